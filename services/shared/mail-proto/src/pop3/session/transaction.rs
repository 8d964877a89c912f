//! The TRANSACTION state and its end (RFC 1939 §5, §6).

use super::{Extent, ReadFailure, SendMessage, Session, State, Step, UpdateFailure, unavailable};
use crate::pop3::{Command, Maildrop, Reply, ResponseCode};
use std::fmt::Display;

impl<U: Clone + Display> Session<U> {
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
        let State::Transaction(maildrop) = &mut self.state else {
            return self.bad_command(Reply::error("log in first"));
        };
        let reply = match command {
            Command::Stat => Reply::ok(format_args!("{} {}", maildrop.count(), maildrop.size())),
            Command::List(number) => list(maildrop, number),
            Command::Uidl(number) => uidl(maildrop, number),
            Command::Retr(number) => return send(maildrop, number, Extent::Whole),
            Command::Top { number, lines } => return send(maildrop, number, Extent::Top(lines)),
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

    fn quit(&mut self) -> Step<U> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Transaction(maildrop) => Step::Update { delete: maildrop.into_marked() },
            State::Authorization(_) | State::Over => Step::Close(Reply::ok("")),
        }
    }
}

fn list<U>(maildrop: &Maildrop<U>, number: Option<u64>) -> Reply {
    match number.map(|number| maildrop.message(number)) {
        None => {
            let lines = maildrop.listed().map(|message| format!("{} {}", message.number, message.size));
            Reply::lines(holds(maildrop), lines)
        }
        Some(Ok(message)) => Reply::ok(format_args!("{} {}", message.number, message.size)),
        Some(Err(error)) => Reply::error(error),
    }
}

fn uidl<U: Display>(maildrop: &Maildrop<U>, number: Option<u64>) -> Reply {
    match number.map(|number| maildrop.message(number)) {
        None => {
            let lines = maildrop.listed().map(|message| format!("{} {}", message.number, message.uid));
            Reply::lines("unique-id listing follows", lines)
        }
        Some(Ok(message)) => Reply::ok(format_args!("{} {}", message.number, message.uid)),
        Some(Err(error)) => Reply::error(error),
    }
}

fn send<U: Clone>(maildrop: &Maildrop<U>, number: u64, extent: Extent) -> Step<U> {
    let message = match maildrop.message(number) {
        Ok(message) => message,
        Err(error) => return Step::Reply(Reply::error(error)),
    };
    let reply = match extent {
        Extent::Whole => Reply::ok(format_args!("{} octets", message.size)),
        Extent::Top(_) => Reply::ok("top of message follows"),
    };
    Step::SendMessage(SendMessage { uid: message.uid.clone(), octets: message.octets, extent, reply })
}

fn holds<U>(maildrop: &Maildrop<U>) -> String {
    format!("{} messages ({} octets)", maildrop.count(), maildrop.size())
}
