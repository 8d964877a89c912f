//! Queued mail for this server's own domains: when it came, the mailbox was full or did not exist.

use super::{Context, settle::Settler, verdict::Verdict};
use crate::policy::{no_room, no_such_mailbox, unavailable};
use internal_api::ClaimedMessage;
use mail_proto::{Mailbox, smtp::Reply};
use town_config::Profile;

/// Has each message delivered to those recipients that have room for it now.
pub(super) async fn deliver(context: &Context, settler: &Settler<'_>, messages: &[ClaimedMessage]) {
    for message in messages {
        let mut verdicts = Vec::with_capacity(message.recipients.len());
        for recipient in &message.recipients {
            verdicts.push((recipient, Verdict::Ours(reply(context, message, &recipient.mailbox).await)));
        }
        settler.settle(message, verdicts).await;
    }
}

async fn reply(context: &Context, message: &ClaimedMessage, mailbox: &Mailbox) -> Reply {
    let octets = message.octets
        + match context.stack.current().profile {
            Profile::Tutorial => 0,
            Profile::Rfc => format!("Return-Path: {}\r\n", message.reverse_path).len() as u64,
        };
    match context.store.mailbox(mailbox).await {
        Ok(Some(summary)) => no_room(&summary, octets).unwrap_or_else(|| Reply::new(250, (1, 5), "OK")),
        Ok(None) => no_such_mailbox(mailbox),
        Err(error) => unavailable(&error),
    }
}
