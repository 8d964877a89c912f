//! From an exchange to a connection that is ready for transactions, over TLS where that is wanted (RFC 3207).

use super::{BUFFER_OCTETS, Connection, FINAL_REPLY_TIMEOUT};
use crate::relay::{
    Context,
    broken::Broken,
    route::Exchange,
    slots::{DomainSlot, Stage},
};
use mail_net::{Address, Closed, Ends, Hop, LineStream, StreamLimits, Tls};
use mail_proto::smtp::{
    ClientName, ReplyReader,
    client::{Client, Step},
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio_rustls::rustls::pki_types::ServerName;
use town_config::{RelayTls, Stack};

/// The longest reply line that is read (RFC 5321 §4.5.3.1.5 says 512).
const REPLY_LINE_OCTETS: usize = 4096;

/// How far the dialogue has come.
enum Introduced {
    /// The exchange waits for transactions.
    Ready,
    /// It waits for the handshake.
    MayEncrypt,
}

impl Connection {
    /// Connects and introduces us. Where TLS is of no importance and fails, a new connection does without it.
    ///
    /// # Errors
    /// [`Broken`].
    pub(crate) async fn open(context: &Context, slot: &DomainSlot, exchange: &Arc<Exchange>) -> Result<Self, Broken> {
        let tls = context.stack.current().relay_tls();
        let failed = |error: &str| facts::RelayTlsFailed { exchange: &exchange.name, error }.log();
        match Self::attempt(context, slot, exchange, tls).await {
            Err(Broken::Tls(error)) if tls == RelayTls::Opportunistic => {
                failed(&error);
                Self::attempt(context, slot, exchange, RelayTls::Off).await
            }
            Ok(connection) => {
                if let Some(refusal) = connection.client.tls_refusal() {
                    failed(&refusal.on_one_line());
                }
                Ok(connection)
            }
            Err(broken) => Err(broken),
        }
    }

    async fn attempt(
        context: &Context,
        slot: &DomainSlot,
        exchange: &Arc<Exchange>,
        tls: RelayTls,
    ) -> Result<Self, Broken> {
        let stack = context.stack.current();
        let mut connection = Self::connect(context, slot, exchange, &stack).await?;
        if tls != RelayTls::Off {
            connection.client = connection.client.with_starttls();
        }
        let mut step = Step::Await;
        loop {
            match connection.introduce(slot, step).await {
                Ok(Introduced::Ready) => break,
                Ok(Introduced::MayEncrypt) => {
                    connection = connection.encrypt(context, slot, &stack).await?;
                    step = connection.client.encrypted();
                }
                Err(broken) => return Err(connection.abandon(broken).await),
            }
        }
        match connection.unfit(&stack, tls) {
            Some(broken) => Err(connection.abandon(broken).await),
            None => Ok(connection),
        }
    }

    async fn connect(
        context: &Context,
        slot: &DomainSlot,
        exchange: &Arc<Exchange>,
        stack: &Stack,
    ) -> Result<Self, Broken> {
        let relay = &stack.relay;
        let address: Address = exchange.address.parse().map_err(io::Error::other)?;
        let connecting = context.clock.io.timeout(relay.connect_timeout, context.dial.dial(Hop::SmtpToPeer, &address));
        let io = slot.wait(Stage::BeforeDot, connecting).await?.map_err(io::Error::from)??;
        if is_own(io.ends()?, context.listener) {
            return Err(Broken::Ourselves);
        }
        let limits = StreamLimits {
            line_octets: REPLY_LINE_OCTETS,
            read_octets: BUFFER_OCTETS,
            silence: FINAL_REPLY_TIMEOUT,
            write: relay.reply_timeout,
        };
        Ok(Self {
            exchange: Arc::clone(exchange),
            stream: LineStream::new(io, limits, context.clock.clone()),
            client: Client::new(ClientName::from(&stack.name)),
            replies: ReplyReader::default(),
            io: context.clock.io,
            reply_timeout: relay.reply_timeout,
            transactions: 0,
            has_carried: false,
        })
    }

    /// Takes steps until the exchange waits for something else than a command of the introduction.
    async fn introduce(&mut self, slot: &DomainSlot, mut step: Step) -> Result<Introduced, Broken> {
        loop {
            match step {
                Step::Send(octets) => slot.wait(Stage::BeforeDot, self.send(&octets)).await??,
                Step::StartTls => return Ok(Introduced::MayEncrypt),
                Step::Refused(reply) => return Err(Broken::Refused(reply)),
                Step::Unexpected(reply) => return Err(Broken::Unexpected(reply)),
                Step::Closed => return Err(io::Error::from(Closed::End).into()),
                Step::Ready | Step::Finished(_) => return Ok(Introduced::Ready),
                Step::Await | Step::SendBody => {}
            }
            let reply = match slot.wait(Stage::BeforeDot, self.reply(self.reply_timeout)).await? {
                Ok(reply) => reply,
                // With TLS 1.3, who refuses the client's side does so only after the handshake.
                Err(error) if self.is_fresh_from_tls() => return Err(Broken::Tls(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            step = self.client.reply(reply);
        }
    }

    /// Whether TLS is spoken and the exchange has not introduced itself since.
    fn is_fresh_from_tls(&self) -> bool {
        self.stream.is_encrypted() && self.client.server_name().is_empty()
    }

    /// Agrees on TLS. A connection on which that fails is closed.
    async fn encrypt(self, context: &Context, slot: &DomainSlot, stack: &Stack) -> Result<Self, Broken> {
        let Self { stream, .. } = self;
        let tls = client_side(context, stack, &self.exchange, stream.ends()?).map_err(Broken::Tls)?;
        let upgrading = context.clock.io.timeout(self.reply_timeout, stream.upgrade(tls));
        let upgraded = slot.wait(Stage::BeforeDot, upgrading).await?;
        let upgraded = upgraded.map_err(|_| Broken::Tls("no TLS handshake in time".to_owned()))?;
        let stream = upgraded.map_err(|error| Broken::Tls(error.to_string()))?;
        // A reply of which a part came in the clear does not go on.
        Ok(Self { stream, replies: ReplyReader::default(), ..self })
    }

    /// Why the exchange is of no use although it talks to us.
    fn unfit(&self, stack: &Stack, tls: RelayTls) -> Option<Broken> {
        // Whatever the zone says, mail to ourselves would come round for ever (RFC 5321 §5.1).
        let server_name = self.client.server_name();
        if server_name == stack.name.as_str() {
            return Some(Broken::OurName(server_name.to_owned()));
        }
        if tls == RelayTls::Verify && !self.stream.is_encrypted() {
            let refusal = self.client.tls_refusal().map(|reply| reply.on_one_line());
            return Some(Broken::InTheClear(refusal));
        }
        None
    }

    /// Says goodbye where the dialogue is open.
    async fn abandon(self, broken: Broken) -> Broken {
        if broken.leaves_an_open_dialogue() {
            self.quit().await;
        }
        broken
    }
}

/// Our side of TLS with an exchange. One whose name cannot stand in a certificate is known by its address.
fn client_side(context: &Context, stack: &Stack, exchange: &Exchange, ends: Ends) -> Result<Tls, String> {
    let config = match stack.relay_tls() {
        RelayTls::Verify => {
            context.trust.verified(stack.relay_authorities().as_deref()).map_err(|error| error.to_string())
        }
        RelayTls::Opportunistic | RelayTls::Off => context.trust.anybody().map_err(|error| error.to_string()),
    };
    let name = ServerName::try_from(exchange.name.clone());
    Ok(Tls::Client(config?, name.unwrap_or(ServerName::from(ends.peer.ip()))))
}

/// Whether this is a connection to the socket on which this server listens.
fn is_own(ends: Ends, listener: SocketAddr) -> bool {
    let host = if listener.ip().is_unspecified() { ends.local.ip() } else { listener.ip() };
    ends.peer == SocketAddr::new(host, listener.port())
}
