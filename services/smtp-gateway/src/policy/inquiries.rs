//! VRFY and EXPN: what a trusted client may ask about addresses (RFC 5321 §3.5).

use super::Policy;
use internal_api::{Resolved, room::no_such_mailbox};
use mail_proto::{
    ForwardPath, Mailbox,
    smtp::{Inquiry, Reply},
};
use town_config::Stack;

impl Policy {
    /// The reply to VRFY (RFC 5321 §4.1.1.6).
    pub(crate) async fn verify(&self, Inquiry { whom, smtputf8 }: Inquiry) -> Reply {
        in_its_characters(self.verified(&whom).await, smtputf8)
    }

    /// The reply to EXPN (RFC 5321 §4.1.1.7): a line for each member.
    pub(crate) async fn expand(&self, Inquiry { whom, smtputf8 }: Inquiry) -> Reply {
        in_its_characters(self.expanded(&whom).await, smtputf8)
    }

    /// The address that a client names, and whether its domain is local.
    async fn named(&self, whom: &str) -> Option<(Mailbox, bool)> {
        let stack = self.stack.current();
        let address = self.meant(&stack, path(whom, &stack)?).await;
        let is_local = stack.is_local(address.domain());
        Some((address, is_local))
    }

    async fn verified(&self, whom: &str) -> Reply {
        let Some((address, is_local)) = self.named(whom).await else { return no_address(whom) };
        if !is_local {
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

    async fn expanded(&self, whom: &str) -> Reply {
        let Some((address, is_local)) = self.named(whom).await else { return no_address(whom) };
        if !is_local {
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

/// The reply, if the client takes its characters (RFC 6531 §3.7.4.2).
fn in_its_characters(reply: Reply, smtputf8: bool) -> Reply {
    if smtputf8 || reply.is_ascii() {
        return reply;
    }
    Reply::new(553, (6, 8), "the reply goes beyond ASCII; ask again with SMTPUTF8 after the address")
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
