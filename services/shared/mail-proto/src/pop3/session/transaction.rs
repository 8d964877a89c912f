//! The TRANSACTION state and its end (RFC 1939 §5, §6).

use super::{Extent, ReadFailure, SendMessage, Session, State, Step, UpdateFailure, unavailable};
use crate::pop3::{Command, ListLines, Listed, Maildrop, NoSuchMessage, Reply, ResponseCode, UniqueId};
use std::fmt::Display;

impl<U: UniqueId> Session<U> {
    /// Appends the next lines of a list, a few KiB at most; after the last of them the final dot. Returns whether there
    /// are more.
    pub fn list(&self, lines: &mut ListLines, output: &mut Vec<u8>) -> bool {
        match &self.state {
            State::Transaction { maildrop, .. } => lines.encode(maildrop, output),
            State::Authorization(_) | State::Over => false,
        }
    }

    /// The message of this number and those after it that are not marked as deleted: at most `limit` messages, which have
    /// at most `limit_octets` together.
    pub fn following(&self, number: u64, limit_octets: u64, limit: usize) -> Vec<Listed<U>> {
        let State::Transaction { maildrop, .. } = &self.state else { return Vec::new() };
        let mut room = Some(limit_octets);
        let messages = maildrop.listed_from(number).take(limit).take_while(|message| {
            room = room.and_then(|room| room.checked_sub(message.octets));
            room.is_some()
        });
        messages.collect()
    }

    /// The answer to [`Step::SendMessage`] when not even its beginning can be had.
    pub fn unreadable(&self, failure: ReadFailure) -> Step<U> {
        Step::Reply(match failure {
            ReadFailure::Gone => Reply::error("the message is gone"),
            ReadFailure::Damaged => Reply::error_code(ResponseCode::SysPerm, "the message is damaged"),
            ReadFailure::Unavailable => unavailable(),
        })
    }

    /// The answer to [`Step::Update`].
    pub fn updated(&mut self, outcome: Result<(), UpdateFailure>) -> Step<U> {
        self.state = State::Over;
        Step::Close(match outcome {
            Ok(()) => Reply::ok(""),
            Err(UpdateFailure::LockLost) => {
                Reply::error_code(ResponseCode::SysTemp, "the maildrop's lock was lost, nothing was deleted")
            }
            Err(UpdateFailure::Unavailable) => {
                Reply::error_code(ResponseCode::SysTemp, "the marked messages could not be deleted")
            }
        })
    }

    pub(super) fn transaction(&mut self, command: Command) -> Step<U> {
        let State::Transaction { maildrop, retrieved } = &mut self.state else {
            return self.bad_command(Reply::error("log in first"));
        };
        let reply = match command {
            Command::Stat => Reply::ok(format_args!("{} {}", maildrop.count(), maildrop.size())),
            Command::List(None) => {
                self.bad_commands = 0;
                return Step::SendList(Reply::ok(holds(maildrop)), ListLines::sizes());
            }
            Command::Uidl(None) => {
                self.bad_commands = 0;
                return Step::SendList(Reply::ok("unique-id listing follows"), ListLines::unique_ids());
            }
            Command::List(Some(number)) => one(maildrop, number, |message| message.size),
            Command::Uidl(Some(number)) => one(maildrop, number, |message| message.uid),
            Command::Retr(number) => match retr(maildrop, retrieved, number) {
                Ok(message) => return self.send(message),
                Err(error) => Reply::error(error),
            },
            Command::Top { number, lines } => match message(maildrop, number, Extent::Top(lines)) {
                Ok(message) => return self.send(message),
                Err(error) => Reply::error(error),
            },
            Command::Dele(number) => match maildrop.mark(number) {
                Ok(()) => Reply::ok(format_args!("message {number} deleted")),
                Err(error) => Reply::error(error),
            },
            Command::Rset => {
                maildrop.reset();
                Reply::ok(holds(maildrop))
            }
            Command::Noop => Reply::ok(""),
            Command::Quit => return self.quit(),
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } | Command::Mechanisms | Command::Apop => {
                return self.bad_command(Reply::error("already logged in"));
            }
            Command::Stls | Command::Utf8 => {
                return self.bad_command(Reply::error("too late: this comes before the login"));
            }
            Command::Lang(range) => self.lang(range.as_deref()),
            Command::Capa => self.capabilities(),
        };
        if reply.is_ok() {
            self.bad_commands = 0;
        }
        Step::Reply(reply)
    }

    /// RETR or TOP of a message that there is. It is no bad command, also where the message cannot be read.
    fn send(&mut self, message: SendMessage<U>) -> Step<U> {
        self.bad_commands = 0;
        Step::SendMessage(message)
    }

    fn quit(&mut self) -> Step<U> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Transaction { maildrop, .. } => Step::Update { delete: maildrop.into_marked() },
            State::Authorization(_) | State::Over => Step::Close(Reply::ok("")),
        }
    }
}

/// LIST and UIDL of one message.
fn one<U: UniqueId, T: Display>(maildrop: &Maildrop<U>, number: u64, told: impl FnOnce(Listed<U>) -> T) -> Reply {
    match maildrop.message(number) {
        Ok(message) => Reply::ok(format_args!("{number} {}", told(message))),
        Err(error) => Reply::error(error),
    }
}

/// RETR. Those who read one message after the other are noticed.
fn retr<U: UniqueId>(
    maildrop: &Maildrop<U>,
    retrieved: &mut u64,
    number: u64,
) -> Result<SendMessage<U>, NoSuchMessage> {
    let expected = maildrop.listed_from(retrieved.saturating_add(1)).next();
    let is_in_sequence = expected.is_some_and(|expected| expected.number == number);
    let message = message(maildrop, number, Extent::Whole)?;
    *retrieved = number;
    Ok(SendMessage { is_in_sequence, ..message })
}

fn message<U: UniqueId>(maildrop: &Maildrop<U>, number: u64, extent: Extent) -> Result<SendMessage<U>, NoSuchMessage> {
    let Listed { uid, octets, size, .. } = maildrop.message(number)?;
    let reply = match extent {
        Extent::Whole => Reply::ok(format_args!("{size} octets")),
        Extent::Top(_) => Reply::ok("top of message follows"),
    };
    Ok(SendMessage { uid, number, is_in_sequence: false, octets, extent, reply })
}

fn holds<U: UniqueId>(maildrop: &Maildrop<U>) -> String {
    format!("{} messages ({} octets)", maildrop.count(), maildrop.size())
}
