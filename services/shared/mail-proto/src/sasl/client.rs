//! The client's side of an exchange: PLAIN and SCRAM-SHA-256.

use super::{
    base64,
    mechanism::Mechanism,
    plain,
    saslprep::{Unpreparable, prepare},
    scram::{
        Key, client_key, client_proof, mac,
        message::{ServerFirst, encode_name, server_signature},
        salted_password, server_key,
    },
};
use crate::password::Password;
use std::fmt;
use subtle::ConstantTimeEq;

/// The header of a client that does not bind the channel.
const GS2_HEADER: &str = "n,,";
/// How many iterations a server may ask for. Fewer would make the password easy to guess (RFC 7677 §4), more would keep
/// the client busy for long.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Why a client does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server's message is none of the mechanism.
    #[error("the server's message is none of this mechanism")]
    Malformed,
    /// The server has not proved that it knows the user.
    #[error("the server does not know the password's verifier")]
    Impostor,
    /// The server asks for fewer iterations than are safe, or for more than are bearable.
    #[error("the server asks for {0} iterations")]
    Iterations(u32),
    /// The user name or the password cannot be prepared.
    #[error(transparent)]
    Unpreparable(#[from] Unpreparable),
}

/// One exchange of the client's side.
pub struct ClientExchange {
    mechanism: Mechanism,
    initial: String,
    state: State,
}

/// The initial response of PLAIN holds the password.
impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientExchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

enum State {
    /// SCRAM: the server's first message comes next.
    First { bare: String, nonce: String, password: Password },
    /// SCRAM: the server's signature comes next.
    Signature(Key),
    /// Everything is said and heard.
    Complete,
    /// The server has misbehaved.
    Broken,
}

impl ClientExchange {
    /// Logs in with PLAIN.
    pub fn plain(user: &str, password: &Password) -> Self {
        let initial = plain::message(user, password.expose());
        Self { mechanism: Mechanism::Plain, initial, state: State::Complete }
    }

    /// Logs in with SCRAM-SHA-256. The nonce is printable ASCII without commas, and was never used before.
    ///
    /// # Errors
    /// [`Unpreparable`].
    pub fn scram(user: &str, password: &Password, nonce: &str) -> Result<Self, Unpreparable> {
        let bare = format!("n={},r={nonce}", encode_name(&prepare(user)?));
        let initial = format!("{GS2_HEADER}{bare}");
        let state = State::First { bare, nonce: nonce.to_owned(), password: password.clone() };
        Ok(Self { mechanism: Mechanism::ScramSha256, initial, state })
    }

    /// The mechanism to name in the command.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The first message in base64, which may stand in the command.
    pub fn initial(&self) -> String {
        base64::encode(&self.initial)
    }

    /// Takes a challenge in base64; returns the response.
    ///
    /// # Errors
    /// [`ClientError`]; the client should cancel with `*`.
    pub fn challenge(&mut self, challenge: &str) -> Result<String, ClientError> {
        let state = std::mem::replace(&mut self.state, State::Broken);
        let message = base64::decode(challenge.as_bytes()).ok_or(ClientError::Malformed)?;
        let message = String::from_utf8(message).map_err(|_| ClientError::Malformed)?;
        let (response, state) = match state {
            State::First { bare, nonce, password } => {
                let (response, signature) = proof(&bare, &nonce, &password, &message)?;
                (response, State::Signature(signature))
            }
            State::Signature(expected) => {
                let signature = server_signature(&message).ok_or(ClientError::Malformed)?;
                if !bool::from(signature.ct_eq(&expected)) {
                    return Err(ClientError::Impostor);
                }
                (String::new(), State::Complete)
            }
            State::Complete | State::Broken => return Err(ClientError::Malformed),
        };
        self.state = state;
        Ok(base64::encode(response))
    }

    /// Whether the server has proved that it knows the user, where the mechanism wants that. To be asked when the server
    /// says that the login has succeeded.
    ///
    /// # Errors
    /// [`ClientError::Impostor`].
    pub fn succeeded(&self) -> Result<(), ClientError> {
        if matches!(self.state, State::Complete) { Ok(()) } else { Err(ClientError::Impostor) }
    }
}

/// The client's last message, and the signature that the server must answer with.
fn proof(bare: &str, nonce: &str, password: &Password, server_first: &str) -> Result<(String, Key), ClientError> {
    let first = ServerFirst::parse(server_first).ok_or(ClientError::Malformed)?;
    if !ITERATIONS.contains(&first.iterations) {
        return Err(ClientError::Iterations(first.iterations));
    }
    if first.nonce.len() <= nonce.len() || !first.nonce.starts_with(nonce) {
        return Err(ClientError::Malformed);
    }
    let salted = salted_password(password.expose(), &first.salt, first.iterations)?;
    let without_proof = format!("c={},r={}", base64::encode(GS2_HEADER), first.nonce);
    let auth_message = format!("{bare},{server_first},{without_proof}");
    let proof = client_proof(&client_key(&salted), &auth_message);
    let signature = mac(&server_key(&salted), &[auth_message.as_bytes()]);
    Ok((format!("{without_proof},p={}", base64::encode(proof)), signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_debug_output() {
        let password = Password::from("secret".to_owned());
        let exchanges =
            [ClientExchange::plain("user", &password), ClientExchange::scram("user", &password, "nonce").unwrap()];
        for exchange in exchanges {
            let shown = format!("{exchange:?}");
            assert_eq!(shown, format!("ClientExchange {{ mechanism: {:?}, .. }}", exchange.mechanism()));
        }
    }
}
