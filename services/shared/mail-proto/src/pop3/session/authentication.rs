//! Logging in: USER and PASS (RFC 1939 §7), and AUTH (RFC 5034).

use super::{Proof, Session, SessionConfig, State, Step, unavailable};
use crate::{
    Mailbox,
    line::LineError,
    password::Password,
    pop3::{Listing, Maildrop, OpenFailure, Reply, ResponseCode, UniqueId, UserName},
    sasl::{
        self, Channel, Credentials, Failure, LoginsUnavailable, Mechanism, ScramVerifier, ServerExchange, is_permitted,
    },
};

/// The client must speak TLS before it sends a password. That is a matter of its login (RFC 3206 §5).
const STLS_FIRST: &str = "say STLS first: passwords are taken over TLS only";

impl SessionConfig {
    /// The mailbox that is meant, or why none is. This depends on the form of the name only, not on who has an account.
    fn mailbox(&self, name: &str) -> Result<Mailbox, Reply> {
        if name.contains('@') {
            return name.parse().map_err(|_| wrong_password());
        }
        match self.domains.as_slice() {
            [only] => format!("{name}@{only}").parse().map_err(|_| wrong_password()),
            [example, ..] => {
                let text = format_args!("log in with the whole address, such as user@{example}");
                Err(Reply::error_code(ResponseCode::Auth, text))
            }
            [] => Err(wrong_password()),
        }
    }
}

impl<U: UniqueId> Session<U> {
    /// Whether the next line is a response of AUTH. It may hold a password, and may have [`sasl::LINE_OCTETS`] octets.
    pub fn expects_response(&self) -> bool {
        self.exchange.is_some()
    }

    pub(super) fn user(&mut self, name: UserName) -> Step<U> {
        if !self.takes_passwords() {
            return self.bad_command(Reply::error_code(ResponseCode::Auth, STLS_FIRST));
        }
        self.state = State::Authorization(Some(name));
        Step::Reply(Reply::ok(""))
    }

    /// PASS uses the name up: after a failure USER comes again (RFC 1939 §7).
    pub(super) fn pass(&mut self, password: Password) -> Step<U> {
        if !self.takes_passwords() {
            return self.bad_command(Reply::error_code(ResponseCode::Auth, STLS_FIRST));
        }
        let State::Authorization(Some(name)) = std::mem::replace(&mut self.state, State::Authorization(None)) else {
            return self.bad_command(Reply::error("USER comes before PASS"));
        };
        if !is_acceptable(name.as_str()) || !is_acceptable(password.expose()) {
            return self.login_failed(Failure::Credentials);
        }
        match self.config.mailbox(name.as_str()) {
            Ok(user) => Step::OpenMaildrop { user, proof: Proof::Password(password) },
            Err(reply) => self.refuse_login(Failure::Credentials, reply),
        }
    }

    pub(super) fn list_mechanisms(&mut self) -> Step<U> {
        Step::Reply(Reply::lines("mechanisms follow", self.mechanisms().iter()))
    }

    pub(super) fn auth(&mut self, name: &str, initial: Option<&Password>) -> Step<U> {
        let offered = self.mechanisms();
        let mechanism = match name.parse() {
            Ok(mechanism) if offered.contains(mechanism) => mechanism,
            Ok::<Mechanism, _>(mechanism) if self.config.mechanisms.contains(mechanism) && !self.is_encrypted => {
                let text = "say STLS first: this mechanism needs TLS";
                return self.bad_command(Reply::error_code(ResponseCode::Auth, text));
            }
            _ => return self.bad_command(Reply::error("no such mechanism; CAPA lists them")),
        };
        let plus_offered = offered.contains(Mechanism::ScramSha256Plus);
        let channel = Channel { bindings: self.bindings.clone(), plus_offered };
        let initial = initial.map(|line| line.expose().as_bytes());
        let (exchange, step) = ServerExchange::begin(mechanism, channel, initial);
        self.go_on(exchange, step)
    }

    /// Takes the client's next line in an exchange.
    pub(super) fn response(&mut self, mut exchange: ServerExchange, line: Result<&[u8], LineError>) -> Step<U> {
        match line {
            Ok(line) => {
                let step = exchange.response(line);
                self.go_on(exchange, step)
            }
            Err(LineError::TooLong) => {
                self.unreadable_response(&exchange, Reply::error("authentication exchange line is too long"))
            }
            Err(error @ LineError::BareLf) => self.unreadable_response(&exchange, Reply::from(error)),
            Err(error @ (LineError::HttpRequest | LineError::Tls)) => self.close_foreign(error),
        }
    }

    /// Takes the answer to [`Step::FindVerifier`]: whose verifier it is, if it is anybody's, and a nonce that was never
    /// used before, of printable ASCII without commas.
    pub fn verifier_found(
        &mut self,
        found: Result<(Option<Mailbox>, ScramVerifier), LoginsUnavailable>,
        nonce: &str,
    ) -> Step<U> {
        let (Some(mut exchange), Ok((identity, verifier))) = (self.exchange.take(), found) else {
            return Step::Reply(unavailable());
        };
        let step = exchange.verifier_found(identity, verifier, nonce);
        self.go_on(exchange, step)
    }

    /// The answer to [`Step::OpenMaildrop`]: what is in the maildrop.
    pub fn opened(&mut self, outcome: Result<Listing<U>, OpenFailure>) -> Step<U> {
        let exchange = self.exchange.take();
        match (outcome, exchange) {
            (Ok(listing), _) => {
                self.state =
                    State::Transaction { maildrop: Maildrop::new(listing, self.config.size_style), retrieved: 0 };
                self.bad_commands = 0;
                Step::Reply(Reply::ok("user successfully logged on"))
            }
            (Err(OpenFailure::Authentication), Some(mut exchange)) => {
                let step = exchange.verified(None);
                self.go_on(exchange, step)
            }
            (Err(OpenFailure::Authentication), None) => self.login_failed(Failure::Credentials),
            (Err(OpenFailure::InUse), _) => {
                Step::Reply(Reply::error_code(ResponseCode::InUse, "another session holds this maildrop"))
            }
            (Err(OpenFailure::TooSoon), _) => Step::Reply(Reply::error_code(
                ResponseCode::LoginDelay,
                "the last login was a moment ago, try again later",
            )),
            (Err(OpenFailure::Unavailable), _) => Step::Reply(unavailable()),
        }
    }

    fn go_on(&mut self, mut exchange: ServerExchange, step: sasl::Step) -> Step<U> {
        let step = match step {
            sasl::Step::Challenge(line) => Step::Reply(Reply::challenge(&line)),
            sasl::Step::Refuse(line) => {
                let reply = Reply::challenge(&line);
                Step::LoginFailed { failure: Failure::Credentials, reply, is_last: false }
            }
            sasl::Step::Refused => return self.bad_command(wrong_password()),
            sasl::Step::FindVerifier(user) => Step::FindVerifier(user),
            sasl::Step::Verify(Credentials { user, password }) => match self.config.mailbox(&user) {
                Ok(user) if exchange.wants_to_be(&user) => {
                    Step::OpenMaildrop { user, proof: Proof::Password(password) }
                }
                // Nobody needs to be asked. The exchange may still have something to say.
                _ => {
                    let step = exchange.verified(None);
                    return self.go_on(exchange, step);
                }
            },
            sasl::Step::Done(user) => return Step::OpenMaildrop { user, proof: Proof::Scram },
            sasl::Step::Failed(failure) => return self.login_failed(failure),
        };
        self.exchange = Some(exchange);
        step
    }

    /// Ends an exchange with a line that cannot be read. A refusal has counted before.
    fn unreadable_response(&mut self, exchange: &ServerExchange, reply: Reply) -> Step<U> {
        if exchange.is_refused() { self.bad_command(reply) } else { self.refuse_login(Failure::Malformed, reply) }
    }

    fn login_failed(&mut self, failure: Failure) -> Step<U> {
        let reply = match failure {
            Failure::Credentials => wrong_password(),
            Failure::Binding | Failure::Downgrade => Reply::error_code(ResponseCode::Auth, failure),
            Failure::Cancelled | Failure::Encoding | Failure::Malformed => Reply::error(failure),
        };
        self.refuse_login(failure, reply)
    }

    /// Guessing passwords is bounded like any other noise.
    fn refuse_login(&mut self, failure: Failure, reply: Reply) -> Step<U> {
        match self.bad_command(reply) {
            Step::Reply(reply) => Step::LoginFailed { failure, reply, is_last: false },
            Step::Close(reply) => Step::LoginFailed { failure, reply, is_last: true },
            step => step,
        }
    }
}

/// Whether a name or a password beyond ASCII has no character that SASLprep forbids (RFC 6856 §2.2).
fn is_acceptable(text: &str) -> bool {
    text.is_ascii() || is_permitted(text)
}

fn wrong_password() -> Reply {
    Reply::error_code(ResponseCode::Auth, "wrong user or password")
}
