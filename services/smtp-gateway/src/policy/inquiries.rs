//! VRFY and EXPN: what a trusted client may ask about addresses (RFC 5321 §3.5).

use super::Policy;
use internal_api::{Resolved, room::no_such_mailbox};
use mail_proto::{ForwardPath, smtp::Reply};
use town_config::Stack;

impl Policy {
    /// The reply to VRFY (RFC 5321 §4.1.1.6).
    pub(crate) async fn verify(&self, whom: &str) -> Reply {
        let stack = self.stack.current();
        let Some(path) = path(whom, &stack) else { return no_address(whom) };
        let address = self.meant(&stack, path).await;
        if !stack.is_local(address.domain()) {
            // RFC 5321 §3.5.3.
            return Reply::new(252, (1, 5), format!("<{address}> is not local; mail for it is relayed"));
        }
        match Box::pin(self.look_up(&address)).await {
            Ok(Resolved::Mailbox(summary)) => Reply::new(250, (1, 5), format!("<{}>", summary.address)),
            Ok(Resolved::Alias { .. } | Resolved::List { .. } | Resolved::CatchAll { .. }) => {
                Reply::new(250, (1, 5), format!("<{address}>"))
            }
            Ok(Resolved::Unknown) => no_such_mailbox(&address),
            Err(unavailable) => unavailable,
        }
    }

    /// The reply to EXPN (RFC 5321 §4.1.1.7): a line for each member.
    pub(crate) async fn expand(&self, whom: &str) -> Reply {
        let stack = self.stack.current();
        let Some(path) = path(whom, &stack) else { return no_address(whom) };
        let address = self.meant(&stack, path).await;
        if !stack.is_local(address.domain()) {
            return Reply::new(550, (1, 2), format!("<{address}> is not local"));
        }
        let members = match Box::pin(self.look_up(&address)).await {
            Ok(Resolved::List { members: targets } | Resolved::CatchAll { targets }) => targets,
            Ok(Resolved::Alias { target }) => vec![target],
            Ok(Resolved::Mailbox(summary)) => {
                return Reply::new(550, (1, 0), format!("<{}> is a mailbox, and no list", summary.address));
            }
            Ok(Resolved::Unknown) => return no_such_mailbox(&address),
            Err(unavailable) => return unavailable,
        };
        let mut lines = members.iter().map(|member| format!("<{member}>"));
        let first = Reply::new(250, (1, 5), lines.next().unwrap_or_default());
        lines.fold(first, Reply::line)
    }
}

/// What a client names: a path, an address without brackets, or a user's name alone.
fn path(whom: &str, stack: &Stack) -> Option<ForwardPath> {
    let inside = whom.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(whom);
    let path = if inside.contains('@') { format!("<{inside}>") } else { format!("<{inside}@{}>", stack.own_domain()) };
    path.parse().ok()
}

fn no_address(whom: &str) -> Reply {
    Reply::new(501, (1, 3), format!("{whom} is no address"))
}
