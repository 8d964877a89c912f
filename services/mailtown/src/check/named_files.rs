//! The files that the configuration names.

use super::{Check, Place};
use crate::certificates;
use smtp_gateway::UnusableFile;
use town_config::Stack;

impl Check<'_> {
    /// Whether the certificate of a stack and its key can be used.
    pub(super) fn certificate(&mut self, stack: &Stack) {
        for (key, fault) in certificates::own_faults(stack) {
            self.error(Place::config(["server", stack.name.as_str(), "tls", key]), fault);
        }
    }

    /// Warns of what the relay cannot read. It reads again for each connection, so the files may come later.
    pub(super) fn relay_files(&mut self) {
        // The table is that of the whole town.
        let Some(stack) = self.config.stacks().next() else { return };
        for UnusableFile { key, text } in smtp_gateway::unusable_relay_files(stack) {
            self.warn(Place::Config(key.iter().map(|part| (*part).to_owned()).collect()), text);
        }
    }
}
