//! The files that the configuration names.

use super::{Check, Place};
use crate::certificates;
use town_config::Stack;

impl Check<'_> {
    /// Whether the certificate of a stack and its key can be used.
    pub(super) fn certificate(&mut self, stack: &Stack) {
        for (key, fault) in certificates::own_faults(stack) {
            self.error(Place::config(["server", stack.name.as_str(), "tls", key]), fault);
        }
    }
}
