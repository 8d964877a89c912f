//! The server's side of an exchange.

use super::{
    base64,
    channel::ChannelBindings,
    mechanism::Mechanism,
    oauth::{self, BearerMessage},
    plain::{self, PlainMessage},
    scram::{Begun, ScramServer, ScramVerifier},
};
use crate::{address::Mailbox, password::Password};

/// What LOGIN asks for.
const USER_PROMPT: &str = "Username:";
const PASSWORD_PROMPT: &str = "Password:";

/// The channel that an exchange runs over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Channel {
    /// Its bindings; none without TLS.
    pub bindings: ChannelBindings,
    /// Whether SCRAM-SHA-256-PLUS was offered.
    pub plus_offered: bool,
}

/// A name and a password to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who the client says it is.
    pub user: String,
    /// What it gave as the password.
    pub password: Password,
}

/// What an exchange wants done. A question is answered by the method that its variant names; until then there must be no
/// other call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, which is base64. The client's next line goes to [`ServerExchange::response`].
    Challenge(String),
    /// The client is nobody: [`Failure::Credentials`]. That counts now, because a client may go without another word. Send
    /// this as a challenge, which is base64; the client's next line goes to [`ServerExchange::response`].
    Refuse(String),
    /// The client has acknowledged what [`Step::Refuse`] told it. The exchange is over.
    Refused,
    /// Check this; answer with [`ServerExchange::verified`].
    Verify(Credentials),
    /// Find what is known of this user's password; answer with [`ServerExchange::verifier_found`]. A user that does not
    /// exist has [`ScramVerifier::of_nobody`].
    FindVerifier(String),
    /// The client is this user. The exchange is over.
    Done(Mailbox),
    /// The exchange is over, and the client is nobody.
    Failed(Failure),
}

/// Why an exchange has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The client does not want to go on (RFC 4954 §4).
    #[error("authentication cancelled")]
    Cancelled,
    /// A line is not base64.
    #[error("a response is base64, with nothing before or after it")]
    Encoding,
    /// A message is not what the mechanism says.
    #[error("the message is none of this mechanism")]
    Malformed,
    /// The user or the password is wrong, or the client wants to be somebody else; which of them is never told.
    #[error("authentication credentials invalid")]
    Credentials,
    /// The channel is not the client's, or is bound in a way that is unknown here.
    #[error("the channel binding does not match")]
    Binding,
    /// The client could bind the channel, and believes that the server cannot (RFC 5802 §6).
    #[error("SCRAM-SHA-256-PLUS was offered and is possible; somebody in between has hidden it")]
    Downgrade,
}

/// Whoever knows the users cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("logins cannot be checked now")]
pub struct LoginsUnavailable;

/// One exchange of the server's side.
#[derive(Debug)]
pub struct ServerExchange {
    channel: Channel,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The client's first message comes next.
    First(Mechanism),
    /// LOGIN: the password comes next.
    Password {
        user: String,
    },
    /// Name and password are being checked.
    Verifying {
        mechanism: Mechanism,
        authorization: String,
        user: String,
    },
    /// SCRAM: the user is being looked up.
    Finding(Begun),
    /// SCRAM: the client's proof comes next.
    Proof {
        claim: Claim,
        identity: Option<Mailbox>,
        scram: ScramServer,
    },
    /// The client has seen that it is logged in, and has to acknowledge it (RFC 4954 §4: there is no other way to send
    /// the last message of SCRAM).
    Acknowledgement(Mailbox),
    /// The client has seen why its token is refused, and has to acknowledge it (RFC 7628 §3.2.3).
    Refusal,
    Over,
}

/// Whom the client says it is, and whom it wants to be.
#[derive(Debug)]
struct Claim {
    authorization: String,
    user: String,
}

impl Claim {
    fn is_of(&self, identity: &Mailbox) -> bool {
        claims(&self.authorization, &self.user, identity)
    }
}

/// Whether a client that logs in as `user`, who is `identity`, wants to be no other. Nobody can act for somebody else.
fn claims(authorization: &str, user: &str, identity: &Mailbox) -> bool {
    let is_identity = || authorization.parse().is_ok_and(|wanted: Mailbox| wanted == *identity);
    authorization.is_empty() || authorization == user || is_identity()
}

impl ServerExchange {
    /// Begins an exchange with what follows the mechanism's name in the client's command: its first message in base64, if
    /// it is there; `=` stands for an empty one (RFC 4954 §4).
    pub fn begin(mechanism: Mechanism, channel: Channel, initial: Option<&[u8]>) -> (Self, Step) {
        let mut exchange = Self { channel, state: State::First(mechanism) };
        let step = match initial {
            Some(b"=") => exchange.message(&[]),
            Some(line) => exchange.response(line),
            None if mechanism == Mechanism::Login => challenge(USER_PROMPT),
            None => challenge(""),
        };
        (exchange, step)
    }

    /// Takes the client's next line without its CRLF.
    pub fn response(&mut self, line: &[u8]) -> Step {
        if line == b"*" {
            return self.fail(Failure::Cancelled);
        }
        match base64::decode(line) {
            Some(message) => self.message(&message),
            None => self.fail(Failure::Encoding),
        }
    }

    /// Before the answer to [`Step::Verify`]: whether the client wants to be this user, and not somebody else with this
    /// user's password.
    pub fn wants_to_be(&self, identity: &Mailbox) -> bool {
        match &self.state {
            State::Verifying { authorization, user, .. } => claims(authorization, user, identity),
            _ => false,
        }
    }

    /// Whether the client has been told that it is nobody: after [`Step::Refuse`].
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refusal)
    }

    /// The answer to [`Step::Verify`]: whose user name and password they are.
    pub fn verified(&mut self, identity: Option<Mailbox>) -> Step {
        let State::Verifying { mechanism, authorization, user } = self.take() else { return malformed() };
        let claim = Claim { authorization, user };
        match (identity, mechanism) {
            (Some(identity), _) if claim.is_of(&identity) => Step::Done(identity),
            (_, Mechanism::OAuthBearer) => self.refuse(oauth::BEARER_REFUSED),
            (_, Mechanism::XOAuth2) => self.refuse(oauth::XOAUTH2_REFUSED),
            _ => Step::Failed(Failure::Credentials),
        }
    }

    /// The answer to [`Step::FindVerifier`]: whose verifier it is, unless it is [`ScramVerifier::of_nobody`], and a nonce
    /// that was never used before, of printable ASCII without commas.
    pub fn verifier_found(&mut self, identity: Option<Mailbox>, verifier: ScramVerifier, nonce: &str) -> Step {
        let State::Finding(begun) = self.take() else { return malformed() };
        let claim = Claim { authorization: begun.authorization.clone(), user: begun.user.clone() };
        let scram = begun.challenged(verifier, nonce);
        let step = challenge(&scram.first);
        self.state = State::Proof { claim, identity, scram };
        step
    }

    fn message(&mut self, message: &[u8]) -> Step {
        match self.take() {
            State::First(mechanism) => self.first(mechanism, message).unwrap_or_else(Step::Failed),
            State::Password { user } => match text(message) {
                Some(password) => self.verify(Mechanism::Login, String::new(), user, password),
                None => malformed(),
            },
            State::Proof { claim, identity, scram } => match scram.finished(message) {
                Ok(last) => match identity.filter(|identity| claim.is_of(identity)) {
                    Some(identity) => {
                        self.state = State::Acknowledgement(identity);
                        challenge(&last)
                    }
                    None => Step::Failed(Failure::Credentials),
                },
                Err(failure) => Step::Failed(failure),
            },
            State::Acknowledgement(identity) if message.is_empty() => Step::Done(identity),
            // Whatever it is.
            State::Refusal => Step::Refused,
            State::Acknowledgement(_) | State::Verifying { .. } | State::Finding(_) | State::Over => malformed(),
        }
    }

    fn first(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Step, Failure> {
        Ok(match mechanism {
            Mechanism::Plain => {
                let PlainMessage { authorization, user, password } = plain::parse(message).ok_or(Failure::Malformed)?;
                self.verify(mechanism, authorization, user, password)
            }
            Mechanism::Login => {
                let user = text(message).ok_or(Failure::Malformed)?;
                self.state = State::Password { user };
                challenge(PASSWORD_PROMPT)
            }
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => {
                let parse = if mechanism == Mechanism::XOAuth2 { oauth::parse_xoauth2 } else { oauth::parse_bearer };
                let BearerMessage { user, token } = parse(message).ok_or(Failure::Malformed)?;
                self.verify(mechanism, String::new(), user, token)
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let begun = Begun::new(message, mechanism == Mechanism::ScramSha256Plus, &self.channel)?;
                let user = begun.user.clone();
                self.state = State::Finding(begun);
                Step::FindVerifier(user)
            }
        })
    }

    fn verify(&mut self, mechanism: Mechanism, authorization: String, user: String, password: String) -> Step {
        self.state = State::Verifying { mechanism, authorization, user: user.clone() };
        Step::Verify(Credentials { user, password: password.into() })
    }

    fn refuse(&mut self, reason: &str) -> Step {
        self.state = State::Refusal;
        Step::Refuse(base64::encode(reason))
    }

    fn fail(&mut self, failure: Failure) -> Step {
        // Whoever has to acknowledge a refusal may do that with `*`, too.
        match self.take() {
            State::Refusal => Step::Refused,
            _ => Step::Failed(failure),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }
}

fn challenge(message: &str) -> Step {
    Step::Challenge(base64::encode(message))
}

fn malformed() -> Step {
    Step::Failed(Failure::Malformed)
}

/// A name or a password that stands alone.
fn text(message: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(message).ok()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
