//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the password never travels, and the server does not need to know it.

pub(super) mod message;
mod server;

pub(super) use server::{Begun, ScramServer};

use super::{
    base64,
    saslprep::{Unpreparable, prepare},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use subtle::ConstantTimeEq;

/// How often a new verifier hashes the password: the least that RFC 7677 §4 lets a server ask for. Each client has to do
/// the same at each login.
pub const ITERATIONS: u32 = 4096;
/// How many octets of salt a new verifier has.
pub const SALT_OCTETS: usize = 16;
/// The longest salt that is read, in octets.
const LONGEST_SALT_OCTETS: usize = 1024;

/// The octets of a hash, of a key, of a proof and of a signature.
pub(super) const KEY_OCTETS: usize = 32;

/// A key of SCRAM.
pub(super) type Key = [u8; KEY_OCTETS];

/// What a server knows of a password (RFC 5802 §2.1): enough to verify a proof, too little to make one. Never displayed
/// by accident: as text it is what RFC 5803 §2 says, and `Debug` does not show the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Makes equal passwords look different.
    pub salt: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: u32,
    /// The hash of the key that clients prove to have.
    pub stored_key: [u8; KEY_OCTETS],
    /// The key with which the server proves that it knows the verifier.
    pub server_key: [u8; KEY_OCTETS],
}

impl ScramVerifier {
    /// The verifier of a password, with a salt that nobody else has.
    ///
    /// # Errors
    /// [`Unpreparable`].
    pub fn new(password: &str, salt: Vec<u8>, iterations: u32) -> Result<Self, Unpreparable> {
        let salted = salted_password(password, &salt, iterations)?;
        Ok(Self { stored_key: hash(&client_key(&salted)), server_key: server_key(&salted), salt, iterations })
    }

    /// A verifier that looks like that of a user of this name and fits no password. It is the same whenever it is asked
    /// for, so that nobody can find out which users there are. `secret` makes it different from those of other servers.
    pub fn of_nobody(secret: &[u8], user: &str) -> Self {
        let derived = |purpose: &str| mac(secret, &[purpose.as_bytes(), b"\0", user.as_bytes()]);
        let mut salt = derived("salt").to_vec();
        salt.truncate(SALT_OCTETS);
        let (stored_key, server_key) = (derived("stored key"), derived("server key"));
        Self { salt, iterations: ITERATIONS, stored_key, server_key }
    }

    /// Whether this is the client's proof for these messages (RFC 5802 §3). Takes the same time for each wrong proof.
    pub(super) fn fits(&self, auth_message: &str, proof: &Key) -> bool {
        let signature = mac(&self.stored_key, &[auth_message.as_bytes()]);
        hash(&xor(proof, &signature)).ct_eq(&self.stored_key).into()
    }

    /// The server's proof for these messages.
    pub(super) fn server_signature(&self, auth_message: &str) -> Key {
        mac(&self.server_key, &[auth_message.as_bytes()])
    }
}

/// RFC 5802 §3: `Hi(Normalize(password), salt, i)`.
pub(super) fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Result<Key, Unpreparable> {
    let prepared = prepare(password)?;
    Ok(pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_OCTETS>(prepared.as_bytes(), salt, iterations))
}

pub(super) fn client_key(salted_password: &Key) -> Key {
    mac(salted_password, &[b"Client Key"])
}

pub(super) fn server_key(salted_password: &Key) -> Key {
    mac(salted_password, &[b"Server Key"])
}

/// The client's proof for these messages.
pub(super) fn client_proof(client_key: &Key, auth_message: &str) -> Key {
    xor(client_key, &mac(&hash(client_key), &[auth_message.as_bytes()]))
}

pub(super) fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes keys of any length (RFC 2104 §2).
    #[expect(clippy::expect_used, reason = "see above")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn hash(octets: &Key) -> Key {
    Sha256::digest(octets).into()
}

fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|at| left[at] ^ right[at])
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// What begins the text of a verifier.
const SCHEME: &str = "SCRAM-SHA-256";

/// RFC 5803 §2: `SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY`.
impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored_key, &self.server_key].map(base64::encode);
        write!(f, "{SCHEME}${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// A text is no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier is written as SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY")]
pub struct InvalidVerifier;

impl FromStr for ScramVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let parsed = || {
            let (scheme, rest) = text.split_once('$')?;
            let (head, keys) = rest.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored_key, server_key) = keys.split_once(':')?;
            let key = |text: &str| base64::decode(text.as_bytes())?.try_into().ok();
            let salt = base64::decode(salt.as_bytes())?;
            let is_good = scheme == SCHEME && (1..=LONGEST_SALT_OCTETS).contains(&salt.len());
            let verifier = Self {
                salt,
                iterations: iterations.parse().ok().filter(|iterations| *iterations > 0)?,
                stored_key: key(stored_key)?,
                server_key: key(server_key)?,
            };
            is_good.then_some(verifier)
        };
        parsed().ok_or(InvalidVerifier)
    }
}

impl serde::Serialize for ScramVerifier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An error does not repeat the text: it may hold keys.
impl<'de> Deserialize<'de> for ScramVerifier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
