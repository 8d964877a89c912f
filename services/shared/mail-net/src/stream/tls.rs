//! TLS: from the first octet on (RFC 8314), or after STARTTLS or STLS (RFC 3207, RFC 2595).

use super::{Closed, Encode, LineStream};
use crate::io::{Ends, Io, Prefixed, read_some};
use bytes::BytesMut;
use mail_proto::sasl::{ChannelBindings, end_point_binding};
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{ClientConfig, CommonState, Error, ProtocolVersion, ServerConfig, pki_types::ServerName},
    server,
};

/// The label of `tls-exporter` (RFC 9266 §2). Its context is there and empty.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";
const EXPORTER_OCTETS: usize = 32;
/// How long all of a handshake may take, where the peer may not even be silent for less.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The first octet of a TLS connection: the type of a record with a handshake (RFC 8446 §5.1).
pub(super) const HANDSHAKE_RECORD: u8 = 22;

/// Which side of TLS a connection takes.
#[derive(Debug, Clone)]
pub enum Tls {
    /// The server's, with its certificate.
    Server(Arc<ServerConfig>),
    /// The client's: whom to trust, and the name that the server's certificate must have.
    Client(Arc<ClientConfig>, ServerName<'static>),
}

/// Why a connection is not encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It is already (RFC 3207 §4.2).
    #[error("TLS is spoken already")]
    Nested,
    /// It came to its end before or while TLS was agreed on.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The client has begun with something else, or has waited for this server to speak first.
    #[error("the client does not begin with TLS")]
    InClear,
    /// The two sides have not agreed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
}

impl LineStream {
    /// Sends what is queued and agrees on TLS with the peer.
    ///
    /// Everything that was received before is dropped, half a line included: it may have been put there by somebody who
    /// cannot read what is encrypted (RFC 3207 §4.2). The session has to be reset likewise, by its owner.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is closed then.
    pub async fn upgrade(mut self, tls: Tls) -> Result<Self, TlsError> {
        if self.is_encrypted {
            return Err(TlsError::Nested);
        }
        self.flush().await?;
        self.taps.took_rest();
        let deadline = self.handshake_deadline();
        self.agree(tls, deadline).await
    }

    /// Agrees on TLS with a client that has said nothing yet and that is to begin with it (RFC 8314 §3.3). A client that
    /// does not begin with TLS is sent `last_words` in clear.
    ///
    /// # Errors
    /// [`TlsError`]; the connection is closed then.
    pub async fn begin_with_tls(
        mut self,
        config: Arc<ServerConfig>,
        last_words: &(impl Encode + ?Sized),
    ) -> Result<Self, TlsError> {
        let deadline = self.handshake_deadline();
        let mut first = BytesMut::new();
        let busy_until = self.busy_until();
        let Self { io, place, clock, limits, .. } = &mut self;
        let reading = clock.io.timeout_at(deadline, read_some(&mut **io, &mut first, limits.read_octets));
        let read = match place {
            Some(place) => place.idle_from(busy_until, reading).await.ok_or(Closed::Room)?,
            None => reading.await,
        };
        match read {
            Ok(Ok(1..)) if first[0] == HANDSHAKE_RECORD => {
                let io = Box::new(Prefixed::new(first.freeze(), self.io));
                Self { io, ..self }.agree(Tls::Server(config), deadline).await
            }
            Ok(Ok(0)) => Err(Closed::End.into()),
            Ok(Err(error)) => Err(Closed::Io(error).into()),
            Ok(Ok(_)) | Err(_) => {
                self.taps.heard(&first);
                self.taps.took_rest();
                self.push(last_words);
                self.close().await;
                Err(TlsError::InClear)
            }
        }
    }

    fn handshake_deadline(&self) -> Instant {
        self.deadline_after(HANDSHAKE.min(self.limits.silence))
    }

    async fn agree(self, tls: Tls, deadline: Instant) -> Result<Self, TlsError> {
        let busy_until = self.busy_until();
        let Self { io, place, clock, limits, lines, .. } = self;
        let handshake = clock.io.timeout_at(deadline, handshake(io, tls));
        let agreed = match &place {
            Some(place) => place.idle_from(busy_until, handshake).await.ok_or(Closed::Room)?,
            None => handshake.await,
        };
        let Agreed { io, bindings, tls } = agreed.map_err(|_| Closed::Idle)?.map_err(TlsError::Handshake)?;
        let (input, lines) = (BytesMut::new(), lines.anew(limits.line_octets));
        Ok(Self { io, place, clock, input, lines, is_encrypted: true, tls: Some(tls), bindings, ..self })
    }

    /// What both ends of the TLS connection know, and nobody in between. A server adds the hash of its certificate, which
    /// the connection does not have.
    pub fn channel_bindings(&self) -> &ChannelBindings {
        &self.bindings
    }
}

/// A connection after the handshake.
struct Agreed {
    io: Box<dyn Io>,
    bindings: ChannelBindings,
    /// The version of TLS and the cipher suite.
    tls: Box<str>,
}

async fn handshake(io: Box<dyn Io>, tls: Tls) -> io::Result<Agreed> {
    Ok(match tls {
        Tls::Server(config) => {
            let stream = TlsAcceptor::from(config).accept(io).await?;
            let (_, tls) = stream.get_ref();
            let exporter = exported(tls, |octets| tls.export_keying_material(octets, EXPORTER_LABEL, Some(&[])));
            let (bindings, tls) = (ChannelBindings { exporter, end_point: None }, described(tls));
            Agreed { io: Box::new(stream), bindings, tls }
        }
        Tls::Client(config, name) => {
            let stream = TlsConnector::from(config).connect(name, io).await?;
            let (_, tls) = stream.get_ref();
            let exporter = exported(tls, |octets| tls.export_keying_material(octets, EXPORTER_LABEL, Some(&[])));
            let certificate = tls.peer_certificates().and_then(<[_]>::first);
            let end_point = certificate.and_then(|certificate| end_point_binding(certificate));
            let (bindings, tls) = (ChannelBindings { exporter, end_point }, described(tls));
            Agreed { io: Box::new(stream), bindings, tls }
        }
    })
}

/// The version of TLS and the cipher suite.
fn described(tls: &CommonState) -> Box<str> {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    match tls.negotiated_cipher_suite() {
        Some(suite) => format!("{version}, {:?}", suite.suite()).into(),
        None => version.into(),
    }
}

/// The octets of `tls-exporter`. Before TLS 1.3 they are safe only with an extension that rustls does not tell of
/// (RFC 9266 §3).
fn exported(
    tls: &CommonState,
    export: impl FnOnce([u8; EXPORTER_OCTETS]) -> Result<[u8; EXPORTER_OCTETS], Error>,
) -> Option<Vec<u8>> {
    let is_safe = tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    is_safe.then(|| export([0; EXPORTER_OCTETS]).ok()).flatten().map(Vec::from)
}

impl Io for server::TlsStream<Box<dyn Io>> {
    fn ends(&self) -> io::Result<Ends> {
        self.get_ref().0.ends()
    }

    /// After the handshake. rustls may have read already what came with the end of it.
    fn has_arrived(&self) -> bool {
        let (io, tls) = self.get_ref();
        !tls.wants_read() || io.has_arrived()
    }
}

impl Io for client::TlsStream<Box<dyn Io>> {
    fn ends(&self) -> io::Result<Ends> {
        self.get_ref().0.ends()
    }
}
