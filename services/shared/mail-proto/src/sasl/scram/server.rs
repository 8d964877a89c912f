//! The server's side of SCRAM.

use super::{
    ScramVerifier,
    message::{BindingFlag, ClientFinal, ClientFirst},
};
use crate::sasl::{
    base64,
    channel::ChannelBindings,
    saslprep::prepare,
    server::{Channel, Failure},
};

/// A client's first message, understood.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) authorization: String,
    pub(crate) user: String,
    client_nonce: String,
    client_first_bare: String,
    /// What the client must say of the channel at the end: its GS2 header, and the octets of the binding.
    binding: Vec<u8>,
}

impl Begun {
    /// Takes the client's first message, of SCRAM-SHA-256-PLUS if `plus` says so.
    pub(crate) fn new(message: &[u8], plus: bool, channel: &Channel) -> Result<Self, Failure> {
        let first = ClientFirst::parse(message).ok_or(Failure::Malformed)?;
        let octets = bound_octets(first.flag, plus, channel)?;
        let user = prepare(&first.user).map_err(|_| Failure::Credentials)?.into_owned();
        Ok(Self {
            authorization: first.authorization,
            user,
            client_nonce: first.nonce.to_owned(),
            client_first_bare: first.bare.to_owned(),
            binding: [first.gs2_header.as_bytes(), octets].concat(),
        })
    }

    /// Takes what the server knows of the user, and a nonce of its own.
    pub(crate) fn challenged(self, verifier: ScramVerifier, server_nonce: &str) -> ScramServer {
        let nonce = self.client_nonce + server_nonce;
        let first = format!("r={nonce},s={},i={}", base64::encode(&verifier.salt), verifier.iterations);
        let (bare, binding) = (self.client_first_bare, self.binding);
        ScramServer { first, client_first_bare: bare, nonce, binding, verifier }
    }
}

/// The octets of the channel that the client must name besides its GS2 header (RFC 5802 §6).
fn bound_octets(flag: BindingFlag, plus: bool, channel: &Channel) -> Result<&[u8], Failure> {
    static NONE: ChannelBindings = ChannelBindings { exporter: None, end_point: None };
    let bindings = if plus { &channel.bindings } else { &NONE };
    match (flag, plus) {
        (BindingFlag::Used(Some(binding)), true) => bindings.octets(binding).ok_or(Failure::Binding),
        (BindingFlag::Used(None), true) => Err(Failure::Binding),
        // Somebody in between has hidden that -PLUS was offered.
        (BindingFlag::NotOffered, false) if channel.plus_offered => Err(Failure::Downgrade),
        (BindingFlag::Unsupported | BindingFlag::NotOffered, false) => Ok(&[]),
        (BindingFlag::Used(_), false) | (_, true) => Err(Failure::Malformed),
    }
}

/// A server that waits for the client's proof.
#[derive(Debug)]
pub(crate) struct ScramServer {
    /// The server's first message.
    pub(crate) first: String,
    client_first_bare: String,
    nonce: String,
    binding: Vec<u8>,
    verifier: ScramVerifier,
}

impl ScramServer {
    /// Takes the client's last message; returns the server's, which proves that the server knows the verifier.
    pub(crate) fn finished(&self, message: &[u8]) -> Result<String, Failure> {
        let last = ClientFinal::parse(message).ok_or(Failure::Malformed)?;
        if last.nonce != self.nonce {
            return Err(Failure::Malformed);
        }
        if last.binding != self.binding {
            return Err(Failure::Binding);
        }
        let auth_message = format!("{},{},{}", self.client_first_bare, self.first, last.without_proof);
        if !self.verifier.fits(&auth_message, &last.proof) {
            return Err(Failure::Credentials);
        }
        Ok(format!("v={}", base64::encode(self.verifier.server_signature(&auth_message))))
    }
}
