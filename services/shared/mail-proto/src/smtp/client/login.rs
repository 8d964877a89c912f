//! How a client logs in (RFC 4954).

use crate::{
    password::Password,
    sasl::{ClientError, ClientExchange, Mechanism, Mechanisms},
    smtp::Reply,
};

/// What a client logs in with.
#[derive(Debug, Clone)]
pub struct Login {
    /// Who it is.
    pub user: String,
    /// The password.
    pub password: Password,
    /// Printable ASCII without commas that was never used before (RFC 5802 §5.1).
    pub nonce: String,
    /// Whether nobody can listen on the way to the server, so that the password may be sent without TLS.
    pub is_private: bool,
}

/// Why a client is not logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The server offers nothing that this client has, or nothing that keeps the password secret.
    #[error("it offers neither SCRAM-SHA-256 nor, over TLS, PLAIN")]
    NoMechanism,
    /// The server does not take the login.
    #[error("it refuses the login: {}", .0.on_one_line())]
    Refused(Reply),
    /// The exchange went wrong.
    #[error("the login failed: {0}")]
    Exchange(#[from] ClientError),
}

impl Login {
    /// Begins the best exchange of those that are offered: the one that does not tell the password.
    pub(super) fn begin(&self, offered: Mechanisms, is_encrypted: bool) -> Result<ClientExchange, LoginError> {
        let Self { user, password, nonce, is_private } = self;
        if offered.contains(Mechanism::ScramSha256) {
            return Ok(ClientExchange::scram(user, password, nonce).map_err(ClientError::from)?);
        }
        if offered.contains(Mechanism::Plain) && (is_encrypted || *is_private) {
            return Ok(ClientExchange::plain(user, password));
        }
        Err(LoginError::NoMechanism)
    }
}
