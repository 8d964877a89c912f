//! The server's side of a POP3 connection, without the connection (RFC 1939 §3).
//!
//! The shell feeds lines in and performs the steps that come out. A step that asks something is answered
//! with the method it names; the answer is a step again.

mod authentication;
mod capabilities;
mod language;
mod transaction;

use crate::{
    Domain, Mailbox, http,
    line::LineError,
    password::Password,
    pop3::{Command, ListLines, Maildrop, Reply, ResponseCode, SizeStyle, UniqueId, UserName},
    sasl::{ChannelBindings, Failure, Mechanisms, ServerExchange},
};
use language::Language;
use std::time::Duration;

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
    /// Whether the server has a certificate: STLS is offered then, where TLS is not spoken already.
    pub has_tls: bool,
    /// How long a user waits from one login to the next (RFC 2449 §6.5).
    pub login_delay: Option<Duration>,
    /// Whether every client must speak TLS before it sends a password.
    pub require_tls: bool,
    /// How clients may log in with AUTH, over TLS.
    pub mechanisms: Mechanisms,
    /// Whether this client may send a password in clear with AUTH, unless all must speak TLS.
    pub plain_text_in_clear: bool,
}

/// What the shell has to do. A question is answered with the method that its variant names; until then the session must
/// not be given the next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<U> {
    /// Send this.
    Reply(Reply),
    /// Send this, forget whatever was received, and agree on TLS. Then tell [`Session::encrypted`] and read on.
    StartTls(Reply),
    /// What is known of this user's password? Answer with [`Session::verifier_found`].
    FindVerifier(String),
    /// Check who the client is and lock the maildrop; answer with [`Session::opened`].
    OpenMaildrop {
        /// Whose maildrop.
        user: Mailbox,
        /// How it is known that the client is this user.
        proof: Proof,
    },
    /// The client has failed to log in. Send this, which may be a challenge to be acknowledged (RFC 7628 §3.2.3), and
    /// close the connection if this is the last reply.
    LoginFailed {
        /// Why.
        failure: Failure,
        /// What to send.
        reply: Reply,
        /// Whether the connection is to be closed.
        is_last: bool,
    },
    /// Send this and then all lines of the list, as [`Session::list`] gives them.
    SendList(Reply, ListLines),
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

/// How it is known that a client is the user whose maildrop it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// This password, which is to be checked.
    Password(Password),
    /// The client has proved the password with SCRAM.
    Scram,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage<U> {
    /// Which.
    pub uid: U,
    /// Its number in this session.
    pub number: u64,
    /// Whether the client reads one message after the other: the next ones are in [`Session::following`].
    pub is_in_sequence: bool,
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
    /// The user has logged in a moment ago.
    TooSoon,
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

/// The state machine: fields that do not depend on one another. `U` is a message's unique id.
#[derive(Debug)]
pub struct Session<U> {
    config: SessionConfig,
    state: State<U>,
    /// Whether TLS is spoken (RFC 2595).
    is_encrypted: bool,
    /// What both ends of the TLS connection know.
    bindings: ChannelBindings,
    /// From AUTH to the end of the exchange (RFC 5034).
    exchange: Option<ServerExchange>,
    /// Whether the client has said UTF8 (RFC 6856 §2).
    speaks_utf8: bool,
    /// In which language replies are (RFC 6856 §3).
    language: Language,
    /// Since the last login, or the last command in the TRANSACTION state that was carried out.
    bad_commands: u32,
}

#[derive(Debug)]
enum State<U> {
    /// Nobody has logged in. There is a name after USER, for PASS right after it (RFC 1939 §7). Only CAPA may come in
    /// between: clients ask it at any time (RFC 2449 §5).
    Authorization(Option<UserName>),
    Transaction {
        maildrop: Maildrop<U>,
        /// The number of the last message that RETR was for; 0 before.
        retrieved: u64,
    },
    /// QUIT was given, or the connection is to be closed.
    Over,
}

impl<U: UniqueId> Session<U> {
    /// A session whose client has just connected, in clear.
    pub fn new(config: SessionConfig) -> Self {
        Self {
            config,
            state: State::Authorization(None),
            is_encrypted: false,
            bindings: ChannelBindings::default(),
            exchange: None,
            speaks_utf8: false,
            language: Language::default(),
            bad_commands: 0,
        }
    }

    /// Whether the client takes messages that are in UTF-8 (RFC 6856 §2.1).
    pub fn speaks_utf8(&self) -> bool {
        self.speaks_utf8
    }

    /// What the server says first.
    pub fn greeting(&self) -> Reply {
        Reply::ok("POP3 server ready")
    }

    /// TLS is spoken from now on, with these channel bindings. Nothing that the client said before counts (RFC 2595 §4),
    /// except its bad commands.
    pub fn encrypted(&mut self, bindings: ChannelBindings) {
        self.is_encrypted = true;
        self.bindings = bindings;
        self.state = State::Authorization(None);
        self.exchange = None;
        self.speaks_utf8 = false;
        self.language = Language::default();
    }

    /// Takes a line without its CRLF: a command, or a response of an exchange.
    pub fn line(&mut self, line: Result<&[u8], LineError>) -> Step<U> {
        if let Some(exchange) = self.exchange.take() {
            return self.response(exchange, line);
        }
        let command = match line {
            Err(error @ (LineError::HttpRequest | LineError::Tls)) => return self.close_foreign(error),
            Ok(line) if http::is_request(line) => return self.close_foreign(LineError::HttpRequest),
            Ok(line) => Command::parse(line).map_err(Reply::from),
            Err(error) => Err(Reply::from(error)),
        };
        if let State::Authorization(name) = &mut self.state
            && !matches!(command, Ok(Command::Pass(_) | Command::Capa))
        {
            *name = None;
        }
        match (command, &mut self.state) {
            (Err(reply), _) => self.bad_command(reply),
            (Ok(command), State::Authorization(_)) => self.authorization(command),
            (Ok(command), State::Transaction { .. }) => self.transaction(command),
            (Ok(_), State::Over) => Step::Close(Reply::error("session is over")),
        }
    }

    fn authorization(&mut self, command: Command) -> Step<U> {
        match command {
            Command::User(name) => self.user(name),
            Command::Pass(password) => self.pass(password),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_ref()),
            Command::Mechanisms => self.list_mechanisms(),
            Command::Apop => self.bad_command(Reply::error("APOP needs passwords in plain text; use USER or AUTH")),
            Command::Stls => self.stls(),
            Command::Utf8 => {
                self.speaks_utf8 = true;
                Step::Reply(Reply::ok("UTF-8 from now on"))
            }
            Command::Lang(range) => Step::Reply(self.lang(range.as_deref())),
            Command::Capa => Step::Reply(self.capabilities()),
            Command::Quit => {
                self.state = State::Over;
                Step::Close(Reply::ok(""))
            }
            _ => self.bad_command(Reply::error("log in first")),
        }
    }

    /// RFC 2595 §4, RFC 6856 §2.1.
    fn stls(&mut self) -> Step<U> {
        if self.is_encrypted {
            return self.bad_command(Reply::error("TLS is spoken already"));
        }
        if !self.config.has_tls {
            return self.bad_command(Reply::error("this server has no certificate"));
        }
        if self.speaks_utf8 {
            return self.bad_command(Reply::error("STLS comes before UTF8"));
        }
        Step::StartTls(Reply::ok("ready to start TLS"))
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

fn unavailable() -> Reply {
    Reply::error_code(ResponseCode::SysTemp, "the mailbox store is not available, try again later")
}

#[cfg(test)]
mod tests;
