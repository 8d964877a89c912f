//! AUTH (RFC 4954): from the command to the end of the exchange.

use super::{Session, Step, close_foreign};
use crate::{
    address::Mailbox,
    line::{CRLF_CURE, LineError},
    password::Password,
    sasl::{
        self, Channel, ChannelBindings, Failure, LoginsUnavailable, Mechanism, Mechanisms, ScramVerifier,
        ServerExchange,
    },
    smtp::{CommandError, Reply},
};

impl Session {
    /// Who is logged in.
    pub fn identity(&self) -> Option<&Mailbox> {
        self.identity.as_ref()
    }

    /// Whether the next line is a response of an exchange. It may hold a password, and may have
    /// [`sasl::LINE_OCTETS`] octets.
    pub fn expects_response(&self) -> bool {
        self.exchange.is_some()
    }

    /// The TLS connection has these channel bindings.
    pub fn bound(&mut self, bindings: ChannelBindings) {
        self.bindings = bindings;
    }

    /// The mechanisms that this client may use now.
    pub(super) fn mechanisms(&self) -> Mechanisms {
        let is_usable = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => self.is_encrypted && !self.bindings.is_empty(),
            mechanism => self.is_encrypted || self.config.plain_text_in_clear || !mechanism.is_plain_text(),
        };
        self.config.mechanisms.iter().filter(is_usable).collect()
    }

    pub(super) fn auth(&mut self, name: &str, initial: Option<&Password>) -> Step {
        if self.config.mechanisms.is_empty() {
            return self.bad(CommandError::NotImplemented.reply());
        }
        let is_extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        let out_of_state = match () {
            () if !is_extended => Some("say EHLO first"),
            () if self.identity.is_some() => Some("already logged in"),
            () if self.transaction.is_some() => Some("a transaction is open; RSET ends it"),
            () => None,
        };
        if let Some(reason) = out_of_state {
            return self.bad(Reply::new(503, (5, 1), reason));
        }
        let offered = self.mechanisms();
        let mechanism = match name.parse() {
            Ok(mechanism) if offered.contains(mechanism) => mechanism,
            // RFC 4954 §6.
            Ok::<Mechanism, _>(mechanism) if self.config.mechanisms.contains(mechanism) && !self.is_encrypted => {
                let text = match mechanism.is_plain_text() {
                    true => "this mechanism needs TLS, or auth_without_tls in the server's configuration",
                    false => "this mechanism needs TLS",
                };
                return self.bad(Reply::new(538, (7, 11), text));
            }
            _ => return self.bad(Reply::new(504, (5, 4), format!("no such mechanism; there are: {offered}"))),
        };
        let plus_offered = offered.contains(Mechanism::ScramSha256Plus);
        let channel = Channel { bindings: self.bindings.clone(), plus_offered };
        let initial = initial.map(|line| line.expose().as_bytes());
        let (exchange, step) = ServerExchange::begin(mechanism, channel, initial);
        self.go_on(exchange, step)
    }

    /// Takes the client's next line in an exchange.
    pub(super) fn response(&mut self, mut exchange: ServerExchange, line: Result<&[u8], LineError>) -> Step {
        match line {
            Ok(line) => {
                let step = exchange.response(line);
                self.go_on(exchange, step)
            }
            // RFC 4954 §4.
            Err(LineError::TooLong) => {
                self.unreadable_response(&exchange, Reply::new(500, (5, 6), "authentication exchange line is too long"))
            }
            Err(error @ LineError::BareLf) => {
                self.unreadable_response(&exchange, Reply::new(500, (5, 2), format!("{error}; {CRLF_CURE}")))
            }
            Err(error @ (LineError::HttpRequest | LineError::Tls)) => close_foreign(error),
        }
    }

    /// Takes the answer to [`Step::Verify`]: whose user name and password they are, if they are anybody's.
    pub fn verified(&mut self, identity: Result<Option<Mailbox>, LoginsUnavailable>) -> Step {
        let Some(mut exchange) = self.exchange.take() else { return Step::Reply(unavailable()) };
        let Ok(identity) = identity else { return Step::Reply(unavailable()) };
        let step = exchange.verified(identity);
        self.go_on(exchange, step)
    }

    /// Takes the answer to [`Step::FindVerifier`]: whose verifier it is, if it is anybody's, and a nonce that was never
    /// used before, of printable ASCII without commas.
    pub fn verifier_found(
        &mut self,
        found: Result<(Option<Mailbox>, ScramVerifier), LoginsUnavailable>,
        nonce: &str,
    ) -> Step {
        let Some(mut exchange) = self.exchange.take() else { return Step::Reply(unavailable()) };
        let Ok((identity, verifier)) = found else { return Step::Reply(unavailable()) };
        let step = exchange.verifier_found(identity, verifier, nonce);
        self.go_on(exchange, step)
    }

    fn go_on(&mut self, exchange: ServerExchange, step: sasl::Step) -> Step {
        let step = match step {
            sasl::Step::Challenge(line) => Step::Reply(Reply::plain(334, line)),
            sasl::Step::Refuse(line) => {
                let reply = Reply::plain(334, line);
                Step::LoginFailed { failure: Failure::Credentials, reply, is_last: false }
            }
            sasl::Step::Refused => return self.bad(refusal(Failure::Credentials)),
            sasl::Step::Verify(credentials) => Step::Verify(credentials),
            sasl::Step::FindVerifier(user) => Step::FindVerifier(user),
            sasl::Step::Done(identity) => {
                self.identity = Some(identity);
                return Step::LoggedIn(Reply::new(235, (7, 0), "authentication successful"));
            }
            sasl::Step::Failed(failure) => return self.login_failed(failure),
        };
        self.exchange = Some(exchange);
        step
    }

    /// Ends an exchange with a line that cannot be read. A refusal has counted before.
    fn unreadable_response(&mut self, exchange: &ServerExchange, reply: Reply) -> Step {
        if exchange.is_refused() { self.bad(reply) } else { self.refuse_login(Failure::Malformed, reply) }
    }

    fn login_failed(&mut self, failure: Failure) -> Step {
        self.refuse_login(failure, refusal(failure))
    }

    /// Guessing passwords is bounded like any other noise.
    fn refuse_login(&mut self, failure: Failure, reply: Reply) -> Step {
        match self.bad(reply) {
            Step::Reply(reply) => Step::LoginFailed { failure, reply, is_last: false },
            Step::Close(reply) => Step::LoginFailed { failure, reply, is_last: true },
            step => step,
        }
    }
}

fn refusal(failure: Failure) -> Reply {
    let (code, status) = match failure {
        Failure::Cancelled => (501, (7, 0)),
        Failure::Encoding | Failure::Malformed => (501, (5, 2)),
        Failure::Credentials | Failure::Binding | Failure::Downgrade => (535, (7, 8)),
    };
    Reply::new(code, status, failure.to_string())
}

fn unavailable() -> Reply {
    Reply::new(454, (7, 0), "logins cannot be checked now, try again later")
}
