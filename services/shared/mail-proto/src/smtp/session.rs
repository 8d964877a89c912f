//! The server's side of an SMTP connection, without the connection.

use super::{
    ClientName, Command, CommandError, Envelope, Hello, MailParameters, Origin, Recipient, RecipientParameters, Reply,
    Verb,
};
use crate::{
    address::{Domain, ForwardPath, Mailbox, ReversePath},
    http,
    line::{CRLF_CURE, LineError},
};

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
}

/// What the session wants done. Each question carries its own context, and is answered by the method that
/// its variant names; until then the session must not be given the next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and read on.
    Reply(Reply),
    /// Send this and close the connection.
    Close(Reply),
    /// May this sender send? Answer with [`Session::sender_checked`].
    CheckSender(ReversePath),
    /// May this sender reach this recipient? Answer with [`Session::recipient_checked`].
    CheckRecipient(Origin, ForwardPath),
    /// Send this (354), then read the message through [`DotDecoder`](crate::dot::DotDecoder) and reply
    /// according to what became of it, and tell that to [`Session::body_received`]. The transaction is over whatever
    /// that was.
    ReceiveBody(Reply, Envelope),
}

#[derive(Debug)]
enum State {
    /// Before HELO or EHLO.
    Greeted,
    /// Between transactions.
    Ready(Hello),
    /// After MAIL.
    Mail(Envelope),
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    /// Since the last message that was accepted.
    bad_commands: u32,
    /// The last MAIL was refused: what a pipelining client had sent along with it does not count (RFC 2920 §3.1).
    mail_refused: bool,
    /// What came with the last MAIL.
    mail_parameters: MailParameters,
    /// What came with the last RCPT.
    recipient_parameters: RecipientParameters,
}

impl Session {
    /// A session whose client has just connected.
    pub fn new(config: SessionConfig) -> Self {
        Self {
            config,
            state: State::Greeted,
            bad_commands: 0,
            mail_refused: false,
            mail_parameters: MailParameters::default(),
            recipient_parameters: RecipientParameters::default(),
        }
    }

    /// The first thing to send.
    pub fn greeting(&self) -> Reply {
        Reply::plain(220, format!("{} SMTP server ready", self.config.greeting))
    }

    /// Takes a command line without its CRLF, or the reason why there is none.
    pub fn line(&mut self, line: Result<&[u8], LineError>) -> Step {
        match line {
            Ok(line) if http::is_request(line) => close_http(),
            Ok(line) => match Verb::split(line) {
                Ok((verb, argument)) => match Command::with_argument(verb, argument) {
                    Ok(command) => self.command(command),
                    Err(error) => self.bad_argument(verb, error.reply()),
                },
                Err(error) => self.bad(error.reply()),
            },
            Err(LineError::TooLong) => self.bad(Reply::new(500, (5, 6), "line too long")),
            Err(error @ LineError::BareLf) => self.bad(Reply::new(500, (5, 2), format!("{error}; {CRLF_CURE}"))),
            Err(LineError::HttpRequest) => close_http(),
        }
    }

    /// Takes the reply to the final dot. An accepted message sets the count of bad commands back.
    pub fn body_received(&mut self, reply: &Reply) {
        if reply.is_positive() {
            self.bad_commands = 0;
        }
    }

    /// A recipient that is refused for its syntax is one more refused recipient, and does not count either.
    fn bad_argument(&mut self, verb: Verb, reply: Reply) -> Step {
        match (verb, &self.state) {
            (Verb::Rcpt, State::Mail(_)) => Step::Reply(reply),
            (Verb::Rcpt, _) => self.bad_unless_pipelined(reply),
            (Verb::Mail, State::Greeted | State::Ready(_)) => self.refuse_mail(reply),
            _ => self.bad(reply),
        }
    }

    /// Refuses a MAIL command that breaks the protocol.
    fn refuse_mail(&mut self, reply: Reply) -> Step {
        self.mail_refused = true;
        self.bad(reply)
    }

    fn command(&mut self, command: Command) -> Step {
        match command {
            Command::Helo(name) => self.hello(name, false),
            Command::Ehlo(name) => self.hello(name, true),
            Command::Mail(path, parameters) => self.mail(path, parameters),
            Command::Rcpt(path, parameters) => self.rcpt(path, parameters),
            Command::Data => self.data(),
            Command::Rset => {
                self.reset();
                Step::Reply(Reply::new(250, (0, 0), "OK"))
            }
            Command::Noop => Step::Reply(Reply::new(250, (0, 0), "OK")),
            Command::Vrfy(_) => {
                Step::Reply(Reply::new(252, (5, 0), "cannot verify, but will accept mail and attempt delivery"))
            }
            Command::Help => {
                Step::Reply(Reply::new(214, (0, 0), "HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP (RFC 5321)"))
            }
            Command::Quit => Step::Close(Reply::new(221, (0, 0), "Bye")),
        }
    }

    fn hello(&mut self, name: ClientName, extended: bool) -> Step {
        self.state = State::Ready(Hello { name, extended });
        self.mail_refused = false;
        let hello = Reply::plain(250, format!("{} HELLO", self.config.server_name));
        if !extended {
            return Step::Reply(hello);
        }
        let size = format!("SIZE {}", self.config.size_limit_octets);
        Step::Reply(hello.line("PIPELINING").line(size).line("8BITMIME").line("ENHANCEDSTATUSCODES"))
    }

    fn mail(&mut self, path: ReversePath, parameters: MailParameters) -> Step {
        let peer = match &self.state {
            State::Greeted => return self.refuse_mail(hello_first()),
            State::Mail(_) => return self.bad(Reply::new(503, (5, 1), "a transaction is open; RSET ends it")),
            State::Ready(peer) => peer,
        };
        if parameters != MailParameters::default() && !peer.extended {
            return self.refuse_mail(CommandError::UnknownParameter.reply());
        }
        let most_octets = self.config.size_limit_octets.saturating_add(TRACE_OCTETS);
        if parameters.size_octets.is_some_and(|octets| octets > most_octets) {
            self.mail_refused = true;
            return Step::Reply(too_large(self.config.size_limit_octets));
        }
        self.mail_parameters = parameters;
        Step::CheckSender(path)
    }

    /// How long the message of this transaction will be, if its MAIL command has said so (RFC 1870 §3).
    pub fn declared_octets(&self) -> Option<u64> {
        self.mail_parameters.size_octets
    }

    /// Takes the policy's answer to [`Step::CheckSender`]: what the transaction is, or the refusal.
    pub fn sender_checked(&mut self, reverse_path: ReversePath, verdict: Result<Origin, Reply>) -> Reply {
        let origin = match verdict {
            // What a user submits has no trace yet.
            Ok(Origin::Submission) if self.declared_octets() > Some(self.config.size_limit_octets) => {
                self.mail_refused = true;
                return too_large(self.config.size_limit_octets);
            }
            Ok(origin) => origin,
            Err(refusal) => {
                self.mail_refused = true;
                return refusal;
            }
        };
        self.mail_refused = false;
        let State::Ready(hello) = &self.state else { return hello_first() };
        self.state = State::Mail(Envelope {
            hello: hello.clone(),
            identity: None,
            origin,
            reverse_path,
            parameters: self.mail_parameters.clone(),
            recipients: Vec::new(),
        });
        Reply::new(250, (1, 0), "OK")
    }

    fn rcpt(&mut self, path: ForwardPath, parameters: RecipientParameters) -> Step {
        match &self.state {
            State::Greeted => self.bad_unless_pipelined(hello_first()),
            State::Ready(_) => self.bad_unless_pipelined(mail_first()),
            State::Mail(envelope) if envelope.recipients.len() >= self.config.recipient_limit => Step::Reply(
                Reply::new(452, (5, 3), "too many recipients; send to the others in a transaction of their own"),
            ),
            State::Mail(envelope) => {
                self.recipient_parameters = parameters;
                Step::CheckRecipient(envelope.origin, path)
            }
        }
    }

    /// Takes the policy's answer to [`Step::CheckRecipient`]: the mailbox that is meant, or the refusal.
    pub fn recipient_checked(&mut self, verdict: Result<Mailbox, Reply>) -> Reply {
        let mailbox = match verdict {
            Ok(mailbox) => mailbox,
            Err(refusal) => return refusal,
        };
        let State::Mail(envelope) = &mut self.state else { return mail_first() };
        if envelope.recipients.iter().all(|known| known.mailbox != mailbox) {
            let parameters = std::mem::take(&mut self.recipient_parameters);
            envelope.recipients.push(Recipient::new(mailbox, parameters));
        }
        Reply::new(250, (1, 5), "OK")
    }

    fn data(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Greeted) {
            State::Mail(envelope) if envelope.recipients.is_empty() => {
                self.state = State::Mail(envelope);
                Step::Reply(Reply::new(554, (5, 1), "no valid recipients"))
            }
            State::Mail(envelope) => {
                self.state = State::Ready(envelope.hello.clone());
                Step::ReceiveBody(Reply::plain(354, "Start mail input; end with <CRLF>.<CRLF>"), envelope)
            }
            State::Ready(peer) => {
                self.state = State::Ready(peer);
                self.bad_unless_pipelined(mail_first())
            }
            State::Greeted => self.bad_unless_pipelined(hello_first()),
        }
    }

    /// Forgets the transaction, if there is one.
    fn reset(&mut self) {
        self.mail_refused = false;
        if let State::Mail(Envelope { hello, .. }) = &self.state {
            self.state = State::Ready(hello.clone());
        }
    }

    fn bad_unless_pipelined(&mut self, reply: Reply) -> Step {
        if self.mail_refused { Step::Reply(reply) } else { self.bad(reply) }
    }

    /// Counts a command that breaks the protocol; the one too many ends the session.
    fn bad(&mut self, reply: Reply) -> Step {
        self.bad_commands += 1;
        if self.bad_commands < self.config.bad_command_limit {
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

fn close_http() -> Step {
    Step::Close(Reply::new(421, (7, 0), "this is SMTP, not HTTP"))
}

fn hello_first() -> Reply {
    Reply::new(503, (5, 1), "say EHLO or HELO first")
}

fn mail_first() -> Reply {
    Reply::new(503, (5, 1), "say MAIL FROM first")
}

#[cfg(test)]
mod tests;
