//! The server's side of an SMTP connection, without the connection.

mod authentication;
mod transaction;

use super::{
    AnnouncedLimits, ClientName, Command, CommandError, Extensions, Hello, Inquiry, MailParameters, Origin,
    RecipientParameters, Reply, Tolerance, Verb, command::help,
};
use crate::{
    address::{Domain, ForwardPath, Mailbox, ReversePath},
    http,
    line::{CRLF_CURE, LineError},
    sasl::{ChannelBindings, Credentials, Failure, Mechanisms, ServerExchange},
};
use transaction::Transaction;

/// How many octets of trace fields of other servers do not count against the limit of a message (RFC 5321 §4.4).
/// Otherwise a message of the size that one server accepts would be too large for the next.
pub const TRACE_OCTETS: u64 = 32 * 1024;

/// What a server holds fixed for all its sessions.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// How the server calls itself.
    pub server_name: Domain,
    /// What the first reply begins with; mostly the server's name.
    pub greeting: String,
    /// The largest message in octets (RFC 1870).
    pub size_limit_octets: u64,
    /// The most recipients of one transaction.
    pub recipient_limit: usize,
    /// How many bad commands end the connection.
    pub bad_command_limit: u32,
    /// Whether the server has a certificate: STARTTLS is offered then, where TLS is not spoken already.
    pub has_tls: bool,
    /// How clients may log in, over TLS. AUTH is offered if there is any.
    pub mechanisms: Mechanisms,
    /// Whether this client may send a password in clear.
    pub plain_text_in_clear: bool,
    /// Whether this client may learn which addresses there are: VRFY tells then, and EXPN is offered.
    pub discloses_addresses: bool,
    /// What is taken although RFC 5321 does not.
    pub tolerance: Tolerance,
}

/// What the session wants done. A question is answered by the method that its variant names; until then the session must
/// not be given the next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and read on.
    Reply(Reply),
    /// Send this and close the connection.
    Close(Reply),
    /// Send this, forget whatever was received, and agree on TLS. Then tell [`Session::encrypted`] and read on.
    StartTls(Reply),
    /// Whose user name and password are these? Answer with [`Session::verified`].
    Verify(Credentials),
    /// What is known of this user's password? Answer with [`Session::verifier_found`].
    FindVerifier(String),
    /// Send this: the client is logged in, as [`Session::identity`].
    LoggedIn(Reply),
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
    /// May this sender send? Answer with [`Session::sender_checked`].
    CheckSender(ReversePath),
    /// May this sender reach this recipient? Answer with [`Session::recipient_checked`].
    CheckRecipient(Origin, ForwardPath),
    /// Which mailbox is this? Send what is to be told (RFC 5321 §3.5.1).
    VerifyAddress(Inquiry),
    /// Who is on this list? Send what is to be told (RFC 5321 §3.5.1).
    ExpandList(Inquiry),
    /// Send this (354) if there is something to send, and read what follows into the message of
    /// [`Session::envelope`]. Then tell [`Session::received`].
    Receive(Option<Reply>, Framing),
    /// Read this number of octets, drop them, and send this. They belong to a BDAT command that is refused.
    Skip(u64, Reply),
}

/// What the octets are that were read for [`Step::Receive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A part of the message. Send this and read on.
    Chunk(Reply),
    /// All of the message, or its end. Reply according to what becomes of it, and tell that to [`Session::committed`]. The
    /// transaction is over whatever that is.
    Message,
}

/// How the octets of a message are told from commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// They end with a line that has only a dot; see [`DotDecoder`](crate::dot::DotDecoder).
    Dots,
    /// There are this many of them (RFC 3030 §2).
    Octets(u64),
}

/// One connection's protocol state: fields that do not depend on one another.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    /// What came with HELO or EHLO.
    hello: Option<Hello>,
    /// Whether TLS is spoken.
    is_encrypted: bool,
    /// What both ends of the TLS connection know.
    bindings: ChannelBindings,
    /// Who is logged in (RFC 4954).
    identity: Option<Mailbox>,
    /// From AUTH to the end of the exchange.
    exchange: Option<ServerExchange>,
    /// From MAIL to the end of the message.
    transaction: Option<Transaction>,
    /// What came with the last MAIL.
    mail_parameters: MailParameters,
    /// What came with the last RCPT.
    recipient_parameters: RecipientParameters,
    offences: Offences,
}

/// What a client has done wrong.
#[derive(Debug, Default)]
struct Offences {
    /// Since the last message that was accepted.
    bad_commands: u32,
    /// The last MAIL or BDAT was refused: what a pipelining client had sent along with it does not count
    /// (RFC 2920 §3.1).
    excuses_pipelined: bool,
}

impl Session {
    /// A session whose client has just connected, in clear.
    pub fn new(config: SessionConfig) -> Self {
        Self {
            config,
            hello: None,
            is_encrypted: false,
            bindings: ChannelBindings::default(),
            identity: None,
            exchange: None,
            transaction: None,
            mail_parameters: MailParameters::default(),
            recipient_parameters: RecipientParameters::default(),
            offences: Offences::default(),
        }
    }

    /// The first thing to send.
    pub fn greeting(&self) -> Reply {
        Reply::plain(220, format!("{} SMTP server ready", self.config.greeting))
    }

    /// Whether the client has said HELO or EHLO. Before that it may not send several commands at once (RFC 2920 §3.1).
    pub fn is_introduced(&self) -> bool {
        self.hello.is_some()
    }

    /// TLS is spoken from now on. The client has to introduce itself again, and nothing that it said before counts
    /// (RFC 3207 §4.2), except its bad commands.
    pub fn encrypted(&mut self) {
        self.is_encrypted = true;
        self.hello = None;
        self.identity = None;
        self.exchange = None;
        self.reset();
    }

    /// What EHLO announces now.
    pub fn extensions(&self) -> Extensions {
        Extensions {
            pipelining: true,
            size: Some(self.config.size_limit_octets),
            eight_bit_mime: true,
            enhanced_status_codes: true,
            starttls: self.config.has_tls && !self.is_encrypted,
            chunking: true,
            smtputf8: true,
            dsn: true,
            // RFC 8689 §2: only where it can be kept.
            requiretls: self.is_encrypted,
            expn: self.config.discloses_addresses,
            limits: AnnouncedLimits { transactions: None, recipients: u32::try_from(self.config.recipient_limit).ok() },
            auth: self.mechanisms(),
        }
    }

    /// What the client may use: what EHLO announces, and nothing after HELO.
    fn usable(&self) -> Extensions {
        let is_extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        if is_extended { self.extensions() } else { Extensions::default() }
    }

    /// Takes a line without its CRLF, or the reason why there is none: a command, or a response of an exchange.
    pub fn line(&mut self, line: Result<&[u8], LineError>) -> Step {
        if let Some(exchange) = self.exchange.take() {
            return self.response(exchange, line);
        }
        match line {
            Ok(line) if http::is_request(line) => close_foreign(LineError::HttpRequest),
            Ok(line) => match Verb::split(line, self.config.tolerance) {
                Ok((verb, argument)) => match self.parsed(verb, argument) {
                    Ok(command) => self.command(command),
                    Err(error) => self.bad_argument(verb, error),
                },
                Err(error) => self.bad(error.reply()),
            },
            Err(LineError::TooLong) => self.bad(Reply::new(500, (5, 6), "line too long")),
            Err(error @ LineError::BareLf) => self.bad(Reply::new(500, (5, 2), format!("{error}; {CRLF_CURE}"))),
            Err(error @ (LineError::HttpRequest | LineError::Tls)) => close_foreign(error),
        }
    }

    /// A command whose characters are allowed now (RFC 6531 §3.5).
    fn parsed(&self, verb: Verb, argument: &[u8]) -> Result<Command, CommandError> {
        let command = Command::with_argument(verb, argument, self.config.tolerance)?;
        let is_recipient = matches!(command, Command::Rcpt(..));
        if is_recipient && self.is_in_ascii() && !argument.is_ascii() {
            Err(CommandError::NotAscii)
        } else {
            Ok(command)
        }
    }

    /// A recipient that is refused for its syntax is one more refused recipient, and does not count either.
    fn bad_argument(&mut self, verb: Verb, error: CommandError) -> Step {
        let reply = error.reply();
        match verb {
            Verb::Rcpt if self.transaction.is_some() => Step::Reply(reply),
            Verb::Rcpt => self.bad_unless_pipelined(reply),
            Verb::Mail if self.transaction.is_none() => self.refuse_mail(reply),
            // Nobody knows where the next command begins.
            Verb::Bdat => Step::Close(Reply::new(421, (5, 4), error.to_string())),
            _ => self.bad(reply),
        }
    }

    fn command(&mut self, command: Command) -> Step {
        match command {
            Command::Helo(name) => self.hello(name, false),
            Command::Ehlo(name) => self.hello(name, true),
            Command::Mail(path, parameters) => self.mail(path, parameters),
            Command::Rcpt(path, parameters) => self.rcpt(path, parameters),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk),
            Command::StartTls => self.start_tls(),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_ref()),
            Command::Rset => {
                self.reset();
                Step::Reply(Reply::new(250, (0, 0), "OK"))
            }
            Command::Noop => Step::Reply(Reply::new(250, (0, 0), "OK")),
            Command::Vrfy(inquiry) | Command::Expn(inquiry) if inquiry.smtputf8 && !self.usable().smtputf8 => {
                self.bad(CommandError::UnknownParameter("SMTPUTF8".into()).reply())
            }
            Command::Vrfy(inquiry) if self.config.discloses_addresses => Step::VerifyAddress(inquiry),
            Command::Expn(inquiry) if self.config.discloses_addresses => Step::ExpandList(inquiry),
            Command::Expn(_) => self.bad(CommandError::NotImplemented.reply()),
            Command::Vrfy(_) => {
                Step::Reply(Reply::new(252, (5, 0), "cannot verify, but will accept mail and attempt delivery"))
            }
            Command::Help(topic) => Step::Reply(Reply::new(214, (0, 0), help(&topic, self.config.discloses_addresses))),
            Command::Quit => Step::Close(Reply::new(221, (0, 0), "Bye")),
        }
    }

    fn hello(&mut self, name: ClientName, extended: bool) -> Step {
        self.hello = Some(Hello { name, extended });
        self.reset();
        let hello = Reply::plain(250, format!("{} HELLO", self.config.server_name));
        Step::Reply(self.usable().lines().fold(hello, Reply::line))
    }

    /// RFC 3207 §4.
    fn start_tls(&mut self) -> Step {
        if self.is_encrypted {
            return self.bad(Reply::new(503, (5, 1), "TLS is spoken already"));
        }
        if !self.config.has_tls {
            return self.bad(CommandError::NotImplemented.reply());
        }
        Step::StartTls(Reply::new(220, (0, 0), "ready to start TLS"))
    }

    /// Forgets the transaction, if there is one.
    fn reset(&mut self) {
        self.offences.excuses_pipelined = false;
        self.transaction = None;
        self.mail_parameters = MailParameters::default();
    }

    fn bad_unless_pipelined(&mut self, reply: Reply) -> Step {
        if self.offences.excuses_pipelined { Step::Reply(reply) } else { self.bad(reply) }
    }

    /// Counts a command that breaks the protocol; the one too many ends the session.
    fn bad(&mut self, reply: Reply) -> Step {
        self.offences.bad_commands += 1;
        if self.offences.bad_commands < self.config.bad_command_limit {
            return Step::Reply(reply);
        }
        Step::Close(Reply::new(421, (7, 0), "too many bad commands"))
    }
}

/// The reply to a message over the limit, whether it was declared or sent (RFC 1870 §6.1, §6.3).
pub fn too_large(size_limit_octets: u64) -> Reply {
    Reply::new(552, (3, 4), format!("message too large; the limit is {size_limit_octets} octets"))
}

/// The reply to a message that could be read as two (RFC 5321 §2.3.8): `line` has a CR or LF outside a CRLF.
pub fn bare_line_ending(line: u64) -> Reply {
    Reply::new(554, (6, 0), format!("line {line} of the message has a CR or LF outside a CRLF; {CRLF_CURE}"))
}

/// The reply to a client that did not wait for a reply, before it knew of PIPELINING (RFC 5321 §4.3.1, RFC 2920 §3.1).
pub fn early_talk() -> Reply {
    Reply::new(554, (5, 0), "wait for the greeting, and for the reply to EHLO, before you send more; nc -i 1 does")
}

/// Ends a session whose client speaks another protocol.
fn close_foreign(error: LineError) -> Step {
    let text = match error {
        LineError::Tls => "this port begins in clear, not with TLS",
        _ => "this is SMTP, not HTTP",
    };
    Step::Close(Reply::new(421, (7, 0), text))
}

#[cfg(test)]
mod tests;
