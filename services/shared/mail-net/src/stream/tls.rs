//! The upgrade of a connection to TLS, which STARTTLS and STLS ask for (RFC 3207, RFC 2595).

use super::{Closed, LineStream};
use crate::io::{Ends, Io};
use bytes::BytesMut;
use mail_proto::line::LineDecoder;
use std::{io, sync::Arc};
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{ClientConfig, ServerConfig, pki_types::ServerName},
    server,
};

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
        let (deadline, busy_until) = (self.deadline(), self.busy_until());
        let Self { io, place, clock, limits, .. } = self;
        let handshake = clock.io.timeout_at(deadline, handshake(io, tls));
        let agreed = match &place {
            Some(place) => place.idle_from(busy_until, handshake).await.ok_or(Closed::Room)?,
            None => handshake.await,
        };
        let io = agreed.map_err(|_| Closed::Idle)?.map_err(TlsError::Handshake)?;
        let (input, lines) = (BytesMut::new(), LineDecoder::new(limits.line_octets));
        Ok(Self { io, place, clock, input, lines, is_encrypted: true, ..self })
    }
}

async fn handshake(io: Box<dyn Io>, tls: Tls) -> io::Result<Box<dyn Io>> {
    Ok(match tls {
        Tls::Server(config) => Box::new(TlsAcceptor::from(config).accept(io).await?),
        Tls::Client(config, name) => Box::new(TlsConnector::from(config).connect(name, io).await?),
    })
}

impl Io for server::TlsStream<Box<dyn Io>> {
    fn ends(&self) -> io::Result<Ends> {
        self.get_ref().0.ends()
    }
}

impl Io for client::TlsStream<Box<dyn Io>> {
    fn ends(&self) -> io::Result<Ends> {
        self.get_ref().0.ends()
    }
}
