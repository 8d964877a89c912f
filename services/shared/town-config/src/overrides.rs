//! What a command line or an environment says in place of the configuration file.

use crate::{Auth, Stack};

/// Values that come before those of the file, whatever becomes of the file. By default there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Instead of `auth`.
    pub auth: Option<Auth>,
}

impl Overrides {
    /// The stack with these values.
    pub(crate) fn apply(self, stack: Stack) -> Stack {
        Stack { auth: self.auth.unwrap_or(stack.auth), ..stack }
    }
}
