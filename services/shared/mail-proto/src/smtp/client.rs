//! The client's side of an SMTP connection, without the connection. The relay and the agent share it.

mod answer;
mod login;
mod progress;
mod starttls;
mod transaction;
mod wording;

pub use answer::AnswerReader;
pub use login::{Login, LoginError};
pub use progress::Verdict;
pub use starttls::Starttls;
pub use transaction::Transaction;
pub use wording::Wording;

use super::{Chunk, ClientName, Command, Extensions, Reply};
use crate::{address::ForwardPath, password::Password, sasl::ClientExchange};
use progress::{Pending, Progress, TOO_MANY_RECIPIENTS, says_too_many_recipients};
use std::collections::VecDeque;

/// What the client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read a reply and feed it to [`Client::reply`].
    Await,
    /// Send these octets, then do as with [`Step::Await`].
    Send(Vec<u8>),
    /// As [`Step::Send`]; the octets hold what may be a password.
    SendSecret(Vec<u8>),
    /// Send the message through [`DotEncoder`](crate::dot::DotEncoder), its end included, then do as with
    /// [`Step::Await`]. From here on a connection that breaks leaves the outcome unknown.
    SendBody,
    /// Send [`Client::last_chunk`] and the message as it is (RFC 3030), then do as with [`Step::SendBody`].
    SendChunk,
    /// Agree on TLS with the server, drop what it has said before (RFC 3207 §4.2), and call [`Client::encrypted`].
    StartTls,
    /// The server is ready for [`Client::begin`] or [`Client::quit`].
    Ready,
    /// The transaction is over: for each recipient, in their order, the verdict. Then as with [`Step::Ready`].
    Finished(Vec<Verdict>),
    /// The server does not know us; say goodbye and close the connection.
    LoginFailed(LoginError),
    /// The server does not speak TLS, and nothing may be said to it without; say goodbye and close the connection.
    InTheClear,
    /// The server will not talk to us; say goodbye and close the connection.
    Refused(Reply),
    /// The server has answered DATA neither with "go on" nor with a refusal. Nothing was sent, so nothing can have
    /// been taken; say goodbye and close the connection.
    Unexpected(Reply),
    /// The server has said goodbye; close the connection.
    Closed,
}

/// What a reply is to: each has its own time limit (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The connection itself, or a command of the introduction.
    Greeting,
    /// MAIL or RSET.
    Mail,
    /// RCPT, of the recipient with this place in the transaction.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The end of the message.
    FinalDot,
    /// QUIT.
    Quit,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    /// After STARTTLS.
    StartTls,
    /// While TLS is agreed on.
    Handshake,
    /// After AUTH, or after a response to a challenge.
    Login(Box<ClientExchange>),
    /// After the end of an exchange that went wrong.
    LoginCancelled(LoginError),
    Ready,
    Commands(Progress),
    /// After the message's final dot.
    Body(Progress),
    /// After a RSET, or after the lone dot that ends a DATA nobody wanted.
    Clearing(Vec<Verdict>),
    Quitting,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Client {
    name: ClientName,
    wording: Wording,
    login: Option<Login>,
    /// Whether the server knows who we are (RFC 4954).
    is_logged_in: bool,
    is_encrypted: bool,
    /// Whether to send messages without dots where the server takes that.
    wants_chunks: bool,
    starttls: Starttls,
    /// How the server has refused to speak TLS.
    tls_refusal: Option<Reply>,
    server_name: String,
    extensions: Extensions,
    /// How many recipients the server takes in one transaction, once it has refused more.
    recipient_limit: Option<usize>,
    /// How the server has refused the sender of the last transaction.
    sender_refusal: Option<Reply>,
    state: State,
}

impl Client {
    /// A client that has just connected and calls itself `name`. First await the greeting.
    pub fn new(name: ClientName) -> Self {
        Self {
            name,
            wording: Wording::default(),
            login: None,
            is_logged_in: false,
            is_encrypted: false,
            wants_chunks: false,
            starttls: Starttls::default(),
            tls_refusal: None,
            server_name: String::new(),
            extensions: Extensions::default(),
            recipient_limit: None,
            sender_refusal: None,
            state: State::Greeting,
        }
    }

    /// The same client, which writes its commands like this.
    #[must_use]
    pub fn with_wording(self, wording: Wording) -> Self {
        Self { wording, ..self }
    }

    /// The same client, which sends messages as they are where the server announces CHUNKING (RFC 3030). The wording of
    /// the hand-out has DATA only.
    #[must_use]
    pub fn with_chunks(self) -> Self {
        Self { wants_chunks: true, ..self }
    }

    /// The command before a message of this number of octets that is sent as it is.
    pub fn last_chunk(&self, octets: u64) -> Vec<u8> {
        self.wording.line(&Command::Bdat(Chunk { octets, is_last: true }))
    }

    /// The same client, which logs in before it is ready.
    #[must_use]
    pub fn with_login(self, login: Login) -> Self {
        Self { login: Some(login), ..self }
    }

    /// The same client, over a connection that has begun with TLS (RFC 8314).
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self { starttls: Starttls::Never, is_encrypted: true, ..self }
    }

    /// The same client, which asks for TLS like this (RFC 3207).
    #[must_use]
    pub fn with_starttls(self, starttls: Starttls) -> Self {
        Self { starttls, ..self }
    }

    /// The reply by which the server has refused STARTTLS, although it offers it.
    pub fn tls_refusal(&self) -> Option<&Reply> {
        self.tls_refusal.as_ref()
    }

    /// How the server calls itself in its reply to EHLO or HELO (RFC 5321 §4.1.1.1); empty before that.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// What the server has announced.
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// How many recipients the server takes in one transaction, as far as it has shown (RFC 5321 §4.5.3.1.10).
    pub fn recipient_limit(&self) -> Option<usize> {
        let announced = self.extensions.limits.recipients.and_then(|limit| usize::try_from(limit).ok());
        self.recipient_limit.into_iter().chain(announced).min()
    }

    /// The reply by which the server has refused the last transaction's MAIL command.
    pub fn sender_refusal(&self) -> Option<&Reply> {
        self.sender_refusal.as_ref()
    }

    /// Introduces the client again, after [`Step::StartTls`]: all that the server has said before is forgotten
    /// (RFC 3207 §4.2).
    pub fn encrypted(&mut self) -> Step {
        (self.starttls, self.is_encrypted) = (Starttls::Never, true);
        (self.server_name, self.extensions) = (String::new(), Extensions::default());
        self.introduce()
    }

    /// Starts a transaction. Only after [`Step::Ready`] or [`Step::Finished`].
    pub fn begin(&mut self, transaction: &Transaction) -> Step {
        let line = |command: Command| self.wording.line(&command);
        let parameters = transaction.mail_parameters(self.extensions, self.wording, self.is_logged_in);
        let mut pending = VecDeque::with_capacity(transaction.recipients.len() + 2);
        pending.push_back((Pending::Mail, line(Command::Mail(transaction.reverse_path.clone(), parameters))));
        for (index, recipient) in transaction.recipients.iter().enumerate() {
            let path = ForwardPath::Mailbox(recipient.mailbox.clone());
            let parameters = self.extensions.permitted_to_recipient(recipient.parameters());
            let command = Command::Rcpt(path, parameters);
            pending.push_back((Pending::Rcpt(index), line(command)));
        }
        if !self.is_chunked() {
            pending.push_back((Pending::Data, line(Command::Data)));
        }
        let verdicts = vec![Verdict::Undecided; transaction.recipients.len()];
        let progress = Progress { pending, verdicts, accepted: 0, over_limit: 0 };
        self.sender_refusal = None;
        let send = if self.is_pipelined() { progress.all() } else { progress.first() };
        self.state = State::Commands(progress);
        Step::Send(send)
    }

    /// Says goodbye. Only after [`Step::Ready`] or [`Step::Finished`].
    pub fn quit(&mut self) -> Step {
        self.state = State::Quitting;
        Step::Send(self.wording.line(&Command::Quit))
    }

    /// Takes the next reply.
    pub fn reply(&mut self, reply: Reply) -> Step {
        match std::mem::replace(&mut self.state, State::Quitting) {
            State::Greeting if reply.is_positive() => self.introduce(),
            State::Ehlo if reply.is_permanent() => {
                self.state = State::Helo;
                Step::Send(self.wording.line(&Command::Helo(self.name.clone())))
            }
            State::Ehlo if reply.is_positive() => {
                self.extensions = Extensions::parse(reply.lines().iter().skip(1).map(AsRef::as_ref));
                self.introduced(&reply)
            }
            State::Helo if reply.is_positive() => self.introduced(&reply),
            State::Greeting | State::Ehlo | State::Helo => Step::Refused(reply),
            State::StartTls if reply.code() == 220 => {
                self.state = State::Handshake;
                Step::StartTls
            }
            // The server is about to close, or nobody knows what it waits for now.
            State::StartTls if reply.code() == 421 || reply.code() < 400 => Step::Refused(reply),
            State::StartTls => {
                self.tls_refusal = Some(reply);
                self.without_tls()
            }
            State::Login(exchange) => self.login_reply(exchange, reply),
            State::LoginCancelled(error) => Step::LoginFailed(error),
            // RFC 5321 §3.8: the server is about to close, whatever it was asked.
            State::Commands(progress) if reply.code() == 421 => {
                self.state = State::Commands(progress);
                Step::Refused(reply)
            }
            State::Commands(progress) => self.command_reply(progress, reply),
            State::Body(mut progress) => {
                progress.decide(&reply);
                self.ready(Step::Finished(progress.verdicts))
            }
            State::Clearing(verdicts) => self.ready(Step::Finished(verdicts)),
            // Nothing was asked: from here on no reply could be told from another.
            State::Ready | State::Handshake => Step::Refused(reply),
            State::Quitting => Step::Closed,
        }
    }

    /// What the next reply will be to.
    pub fn awaited(&self) -> Awaited {
        match &self.state {
            State::Commands(progress) => progress.pending.front().map_or(Awaited::Data, |(pending, _)| match pending {
                Pending::Mail => Awaited::Mail,
                Pending::Rcpt(index) => Awaited::Rcpt(*index),
                Pending::Data => Awaited::Data,
            }),
            State::Body(_) => Awaited::FinalDot,
            State::Clearing(_) | State::Ready => Awaited::Mail,
            State::Quitting => Awaited::Quit,
            State::Greeting
            | State::Ehlo
            | State::Helo
            | State::StartTls
            | State::Handshake
            | State::Login(_)
            | State::LoginCancelled(_) => Awaited::Greeting,
        }
    }

    /// Whether the reply to STARTTLS is awaited.
    pub fn has_asked_for_tls(&self) -> bool {
        matches!(self.state, State::StartTls)
    }

    /// Whether the transaction under way is still at its commands: nothing of the message was sent, and the server has
    /// not decided about all of its recipients.
    pub fn is_at_commands(&self) -> bool {
        matches!(self.state, State::Commands(_))
    }

    /// Ends a transaction whose connection is lost: for each recipient, in their order, what the server had decided.
    /// `None` when no transaction is under way.
    pub fn give_up(&mut self) -> Option<Vec<Verdict>> {
        match std::mem::replace(&mut self.state, State::Quitting) {
            State::Commands(progress) | State::Body(progress) => Some(progress.verdicts),
            State::Clearing(verdicts) => Some(verdicts),
            _ => None,
        }
    }

    fn introduce(&mut self) -> Step {
        self.state = State::Ehlo;
        Step::Send(self.wording.line(&Command::Ehlo(self.name.clone())))
    }

    fn introduced(&mut self, reply: &Reply) -> Step {
        self.server_name = reply.lines()[0].split(' ').next().unwrap_or_default().to_ascii_lowercase();
        if self.starttls != Starttls::Never && self.extensions.starttls {
            self.state = State::StartTls;
            return Step::Send(self.wording.line(&Command::StartTls));
        }
        self.without_tls()
    }

    /// Goes on with no more TLS than there is, unless more is required.
    fn without_tls(&mut self) -> Step {
        if self.starttls == Starttls::Required { self.ready(Step::InTheClear) } else { self.log_in() }
    }

    fn log_in(&mut self) -> Step {
        let Some(login) = self.login.take() else { return self.ready(Step::Ready) };
        match login.begin(self.extensions.auth, self.is_encrypted) {
            Ok(exchange) => {
                let mechanism = exchange.mechanism().to_string();
                let command = Command::Auth { mechanism, initial: Some(Password::from(exchange.initial())) };
                self.state = State::Login(Box::new(exchange));
                Step::SendSecret(self.wording.line(&command))
            }
            Err(error) => self.ready(Step::LoginFailed(error)),
        }
    }

    fn login_reply(&mut self, mut exchange: Box<ClientExchange>, reply: Reply) -> Step {
        if reply.code() == 334 {
            return match exchange.challenge(&reply.lines()[0]) {
                Ok(response) => {
                    self.state = State::Login(exchange);
                    Step::SendSecret(format!("{response}\r\n").into_bytes())
                }
                Err(error) => {
                    self.state = State::LoginCancelled(error.into());
                    Step::Send(b"*\r\n".to_vec())
                }
            };
        }
        if !reply.is_positive() {
            return self.ready(Step::LoginFailed(LoginError::Refused(reply)));
        }
        self.is_logged_in = exchange.succeeded().is_ok();
        let step = exchange.succeeded().map_or_else(|error| Step::LoginFailed(error.into()), |()| Step::Ready);
        self.ready(step)
    }

    /// Whether a message is sent as it is.
    fn is_chunked(&self) -> bool {
        self.wants_chunks && self.extensions.chunking && self.wording == Wording::Standard
    }

    /// Whether all commands of a transaction are sent at once.
    fn is_pipelined(&self) -> bool {
        self.extensions.pipelining && self.wording == Wording::Standard
    }

    fn ready(&mut self, step: Step) -> Step {
        self.state = State::Ready;
        step
    }

    fn command_reply(&mut self, mut progress: Progress, reply: Reply) -> Step {
        let Some((answered, _)) = progress.pending.pop_front() else { return Step::Refused(reply) };
        match answered {
            Pending::Mail if !reply.is_positive() => {
                progress.decide(&reply);
                self.sender_refusal = Some(reply);
            }
            Pending::Mail => {}
            Pending::Rcpt(index) => self.recipient_reply(&mut progress, index, reply),
            Pending::Data => return self.data_reply(progress, reply),
        }
        let hopeless = !progress.is_wanted();
        // With DATA, the reply to it is the last.
        let is_over = progress.pending.is_empty();
        if is_over && !hopeless {
            self.state = State::Body(progress);
            Step::SendChunk
        } else if self.is_pipelined() && !is_over {
            // Everything was sent: each command gets its reply, whatever the first ones said.
            self.state = State::Commands(progress);
            Step::Await
        } else if hopeless {
            // Nothing more is sent, or was.
            self.state = State::Clearing(progress.verdicts);
            Step::Send(self.wording.line(&Command::Rset))
        } else {
            let send = progress.first();
            self.state = State::Commands(progress);
            Step::Send(send)
        }
    }

    /// Notes what became of a recipient. One refusal may be about its mailbox all the same; if no later recipient is
    /// taken, the limit is as many as were taken before.
    fn recipient_reply(&mut self, progress: &mut Progress, index: usize, reply: Reply) {
        if progress.verdicts[index] != Verdict::Undecided {
            return;
        }
        if reply.is_positive() {
            progress.accepted += 1;
            if progress.over_limit > 0 {
                (progress.over_limit, self.recipient_limit) = (0, None);
            }
        } else if !says_too_many_recipients(&reply) {
            progress.verdicts[index] = Verdict::Decided(reply);
        } else if progress.accepted == 0 {
            // Not even the first one: that was no limit.
            self.recipient_limit = None;
            progress.verdicts[index] = Verdict::Decided(reply);
        } else {
            progress.over_limit += 1;
            self.recipient_limit = Some(progress.accepted);
            if !self.is_pipelined() && (progress.over_limit > 1 || reply.status() == Some(TOO_MANY_RECIPIENTS)) {
                progress.postpone_pending(&reply);
            }
            progress.verdicts[index] = Verdict::Postponed(reply);
        }
    }

    fn data_reply(&mut self, mut progress: Progress, reply: Reply) -> Step {
        if reply.code() == 354 && progress.is_wanted() {
            self.state = State::Body(progress);
            return Step::SendBody;
        }
        if reply.code() == 354 {
            // RFC 2920 §3.1: the server waits for a message that nobody is to get.
            self.state = State::Clearing(progress.verdicts);
            return Step::Send(b".\r\n".to_vec());
        }
        if !reply.is_transient() && !reply.is_permanent() {
            self.state = State::Commands(progress);
            return Step::Unexpected(reply);
        }
        progress.decide(&reply);
        self.state = State::Clearing(progress.verdicts);
        Step::Send(self.wording.line(&Command::Rset))
    }
}

#[cfg(test)]
mod tests;
