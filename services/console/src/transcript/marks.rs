//! What services have understood and decided, in words.

use crate::duration::duration;
use internal_api::{Handled, Mark};
use mail_proto::Mailbox;

/// A mark in one sentence, and whether it tells of a refusal.
pub(crate) fn sentence(mark: &Mark) -> (String, bool) {
    match mark {
        Mark::Resolved { domain, exchange, address } => {
            (format!("The mail of {domain} goes to {exchange} (MX), which listens on {address} (P)."), false)
        }
        Mark::Connected { local, remote } => (format!("Connected from {local} to {remote}."), false),
        Mark::Encrypted { tls } => (format!("From here on all is encrypted: {tls}."), false),
        Mark::LoggedIn { user } => (format!("{user} has logged in."), false),
        Mark::LoginRefused { reason } => (format!("The login is refused: {reason}."), true),
        Mark::Verdict { about, accepted: true, .. } => (format!("The policy accepts {about}."), false),
        Mark::Verdict { about, reply, .. } => (format!("The policy refuses {about}: {reply}"), true),
        Mark::Locked { mailbox, messages } => {
            let noun = if *messages == 1 { "message" } else { "messages" };
            (format!("The maildrop of {mailbox} is locked for this session, with {messages} {noun}."), false)
        }
        Mark::LockLost => ("The lock of the maildrop was lost: nothing is deleted.".to_owned(), true),
        Mark::Deleted { messages } => {
            let list: Vec<_> = messages.iter().map(ToString::to_string).collect();
            (format!("Deleted: {}.", list.join(", ")), false)
        }
        Mark::Message { message, how, recipients, .. } => (handled(&message.to_string(), *how, recipients), false),
        Mark::Fault { name, what } => (format!("Fault {name}: {what}."), true),
        Mark::Called { service, request, status, microseconds } => {
            let answer = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let failed = status.is_none_or(|status| status >= 500);
            (format!("{service}: {request} → {answer} in {}", duration(*microseconds)), failed)
        }
    }
}

/// Whether a line of a server refuses something.
pub(crate) fn is_refusal(line: &str) -> bool {
    let is_code = line.len() >= 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit);
    (is_code && line.starts_with(['4', '5'])) || line.starts_with("-ERR")
}

fn handled(message: &str, how: Handled, recipients: &[Mailbox]) -> String {
    let list = recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match how {
        Handled::Accepted => format!("{message} is on disk, for {list}."),
        Handled::Sending => format!("{message} is sent to {list}."),
        Handled::Relayed => format!("{message} was taken for {list}."),
        Handled::Fetched => format!("{message} is read."),
        Handled::Looked => format!("The beginning of {message} is read."),
    }
}
