//! What a command line or an environment says in place of the configuration file.

use crate::{Accept, Auth, Stack};
use ipnet::IpNet;

/// Values that come before those of the file, whatever becomes of the file. By default there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Instead of `auth`.
    pub auth: Option<Auth>,
    /// Instead of `accept`.
    pub accept: Option<Accept>,
    /// Instead of `proxy_networks`.
    pub proxy_networks: Option<Vec<IpNet>>,
}

impl Overrides {
    /// The stack with these values.
    pub(crate) fn apply(&self, stack: Stack) -> Stack {
        let (auth, accept) = (self.auth.unwrap_or(stack.auth), self.accept.unwrap_or(stack.accept));
        let proxy_networks = self.proxy_networks.clone().unwrap_or_else(|| stack.proxy_networks.clone());
        Stack { auth, accept, proxy_networks, ..stack }
    }
}
