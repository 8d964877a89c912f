//! What a command line or an environment says in place of the configuration file.

use crate::{Accept, Auth, Stack};

/// Values that come before those of the file, whatever becomes of the file. By default there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Instead of `auth`.
    pub auth: Option<Auth>,
    /// Instead of `accept`.
    pub accept: Option<Accept>,
}

impl Overrides {
    /// The stack with these values.
    pub(crate) fn apply(self, stack: Stack) -> Stack {
        let (auth, accept) = (self.auth.unwrap_or(stack.auth), self.accept.unwrap_or(stack.accept));
        Stack { auth, accept, ..stack }
    }
}
