//! The server's side of a POP3 connection, without the connection (RFC 1939 §3).
//!
//! The shell feeds lines in and performs the steps that come out. A step that asks something is answered
//! with the method it names; the answer is a step again.

use crate::{
    Domain, Mailbox, http,
    line::LineError,
    password::Password,
    pop3::{Command, Maildrop, Reply, ResponseCode, SizeStyle, UserName},
};
use std::{fmt::Display, time::Duration};

/// What the server can do (RFC 2449 §6, RFC 3206), the same in both states.
const CAPABILITIES: [&str; 6] = ["TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"];
const IMPLEMENTATION: &str = "IMPLEMENTATION mailtown";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a server holds fixed for all its sessions.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// How sizes are told.
    pub size_style: SizeStyle,
    /// After this number of bad commands in a row the connection is closed.
    pub bad_command_limit: u32,
    /// How long a message stays in a maildrop; for ever without.
    pub retention: Option<Duration>,
    /// The mail domains that are local. A user name without a domain is in the only one.
    pub domains: Vec<Domain>,
}

impl SessionConfig {
    /// RFC 2449 §6.7: the days that the server keeps a message at least. EXPIRE 0 would say that it keeps none, so
    /// less than a day is not announced.
    fn expire(&self) -> Option<String> {
        let Some(retention) = self.retention else { return Some("EXPIRE NEVER".to_owned()) };
        let days = retention.as_secs() / DAY.as_secs();
        (days > 0).then(|| format!("EXPIRE {days}"))
    }

    fn capabilities(&self) -> Reply {
        let fixed = CAPABILITIES.map(str::to_owned).into_iter();
        Reply::lines("capability list follows", fixed.chain(self.expire()).chain([IMPLEMENTATION.to_owned()]))
    }

    /// The mailbox that is meant, or why none is.
    fn mailbox(&self, name: &UserName) -> Result<Mailbox, Reply> {
        let name = name.as_str();
        if name.contains('@') {
            return name.parse().map_err(|_| authentication_failed());
        }
        match self.domains.as_slice() {
            [only] => format!("{name}@{only}").parse().map_err(|_| authentication_failed()),
            [example, ..] => {
                let text = format_args!("log in with the whole address, such as user@{example}");
                Err(Reply::error_code(ResponseCode::Auth, text))
            }
            [] => Err(authentication_failed()),
        }
    }
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<U> {
    /// Send this.
    Reply(Reply),
    /// Check the password and lock the maildrop; answer with [`Session::opened`].
    OpenMaildrop {
        /// Whose maildrop.
        user: Mailbox,
        /// The password to check.
        password: Password,
    },
    /// Send a message; answer with [`Session::unreadable`] where it cannot be had at all.
    SendMessage(SendMessage<U>),
    /// Delete all of these or none, and unlock the maildrop; answer with [`Session::updated`].
    Update {
        /// The messages marked as deleted, often none.
        delete: Vec<U>,
    },
    /// Send this and close the connection. Nothing is deleted by that.
    Close(Reply),
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage<U> {
    /// Which.
    pub uid: U,
    /// How many octets it has; if it turns out to have another number, it must not look complete.
    pub octets: u64,
    /// How much of it.
    pub extent: Extent,
    /// What goes before it, once it is at hand.
    pub reply: Reply,
}

/// How much of a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// RETR: all of it.
    Whole,
    /// TOP: the headers and the first n lines of the body.
    Top(u64),
}

/// Why a maildrop was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFailure {
    /// Name or password is wrong; which of them is never told.
    Authentication,
    /// Another session holds it.
    InUse,
    /// The store cannot be asked now.
    Unavailable,
}

/// Why a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFailure {
    /// It is not there any more.
    Gone,
    /// It cannot be read back as it was written.
    Damaged,
    /// The store cannot be asked now.
    Unavailable,
}

/// Why nothing was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateFailure {
    /// The lock was lost, and another session may hold it.
    LockLost,
    /// The store gave no answer.
    Unavailable,
}

/// The state machine. `U` is a message's unique id.
#[derive(Debug)]
pub struct Session<U> {
    config: SessionConfig,
    state: State<U>,
    /// Since the last login, or the last command in the TRANSACTION state that was carried out.
    bad_commands: u32,
}

#[derive(Debug)]
enum State<U> {
    /// Nobody has logged in. Between USER and PASS there is a name.
    Authorization(Option<UserName>),
    Transaction(Maildrop<U>),
    /// QUIT was given, or the connection is to be closed.
    Over,
}

impl<U: Clone + Display> Session<U> {
    /// A session whose client has just connected.
    pub fn new(config: SessionConfig) -> Self {
        Self { config, state: State::Authorization(None), bad_commands: 0 }
    }

    /// What the server says first.
    pub fn greeting(&self) -> Reply {
        Reply::ok("POP3 server ready")
    }

    /// Takes a line without its CRLF.
    pub fn line(&mut self, line: Result<&[u8], LineError>) -> Step<U> {
        let command = match line {
            Err(error @ (LineError::HttpRequest | LineError::Tls)) => return self.close_foreign(error),
            Ok(line) if http::is_request(line) => return self.close_foreign(LineError::HttpRequest),
            Ok(line) => Command::parse(line).map_err(Reply::from),
            Err(error) => Err(Reply::from(error)),
        };
        match (command, &mut self.state) {
            (Err(reply), _) => self.bad_command(reply),
            (Ok(command), State::Authorization(_)) => self.authorization(command),
            (Ok(command), State::Transaction(_)) => self.transaction(command),
            (Ok(_), State::Over) => Step::Close(Reply::error("session is over")),
        }
    }

    /// The answer to [`Step::OpenMaildrop`]: the messages' unique ids and octets in order.
    pub fn opened(&mut self, outcome: Result<impl IntoIterator<Item = (U, u64)>, OpenFailure>) -> Step<U> {
        match outcome {
            Ok(messages) => {
                self.state = State::Transaction(Maildrop::new(messages, self.config.size_style));
                self.bad_commands = 0;
                Step::Reply(Reply::ok("user successfully logged on"))
            }
            // Guessing passwords is bounded like any other noise.
            Err(OpenFailure::Authentication) => self.bad_command(authentication_failed()),
            Err(OpenFailure::InUse) => {
                Step::Reply(Reply::error_code(ResponseCode::InUse, "another session holds this maildrop"))
            }
            Err(OpenFailure::Unavailable) => Step::Reply(unavailable()),
        }
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

    fn authorization(&mut self, command: Command) -> Step<U> {
        match command {
            Command::User(name) => {
                self.state = State::Authorization(Some(name));
                Step::Reply(Reply::ok(""))
            }
            Command::Pass(password) => self.pass(password),
            Command::Capa => Step::Reply(self.config.capabilities()),
            Command::Quit => {
                self.state = State::Over;
                Step::Close(Reply::ok(""))
            }
            _ => self.bad_command(Reply::error("log in first")),
        }
    }

    /// PASS uses the name up: after a failure USER comes again (RFC 1939 §7).
    fn pass(&mut self, password: Password) -> Step<U> {
        let State::Authorization(Some(name)) = std::mem::replace(&mut self.state, State::Authorization(None)) else {
            return self.bad_command(Reply::error("USER comes before PASS"));
        };
        match self.config.mailbox(&name) {
            Ok(user) => Step::OpenMaildrop { user, password },
            // USER has told nothing, and this depends on the form of the name only, not on who has an account.
            Err(reply) => self.bad_command(reply),
        }
    }

    fn transaction(&mut self, command: Command) -> Step<U> {
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
            Command::User(_) | Command::Pass(_) => return self.bad_command(Reply::error("already logged in")),
            Command::Capa => self.config.capabilities(),
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

    fn bad_command(&mut self, reply: Reply) -> Step<U> {
        self.bad_commands += 1;
        if self.bad_commands < self.config.bad_command_limit {
            return Step::Reply(reply);
        }
        self.state = State::Over;
        Step::Close(Reply::error("too many bad commands"))
    }

    /// Ends a session whose client speaks another protocol.
    fn close_foreign(&mut self, error: LineError) -> Step<U> {
        self.state = State::Over;
        Step::Close(Reply::error(match error {
            LineError::Tls => "this port begins in clear, not with TLS",
            _ => "this is POP3, not HTTP",
        }))
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

fn authentication_failed() -> Reply {
    Reply::error_code(ResponseCode::Auth, "wrong user or password")
}

fn unavailable() -> Reply {
    Reply::error_code(ResponseCode::SysTemp, "the mailbox store is not available, try again later")
}

#[cfg(test)]
mod tests;
