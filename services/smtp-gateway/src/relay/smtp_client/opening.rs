//! From an exchange to a connection that is ready for transactions, over TLS where that is wanted (RFC 3207).

use super::{BUFFER_OCTETS, Connection, faulted::Faulted};
use crate::relay::{
    Context,
    broken::Broken,
    route::Exchange,
    security::Security,
    slots::{DomainSlot, Stage},
};
use internal_api::{Mark, Protocol, Role};
use mail_net::{Address, Closed, Ends, Hop, Kind, LineStream, StreamLimits, Tls, TlsError};
use mail_proto::smtp::{
    ClientName, ReplyReader,
    client::{Client, Login, Starttls, Step, Wording},
};
use records::{Opening, Recording};
use std::{io, net::SocketAddr, sync::Arc};
use tokio_rustls::rustls::{self, pki_types::ServerName};
use town_config::{Profile, RelayTls, Smarthost, SmarthostTls, Stack};

/// The longest reply line that is read (RFC 5321 §4.5.3.1.5 says 512).
const REPLY_LINE_OCTETS: usize = 4096;

/// How an exchange is talked to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'s> {
    tls: RelayTls,
    /// What the mail for it needs.
    security: Security,
    /// Whether the connection begins with TLS.
    is_implicit: bool,
    /// The smarthost, if the exchange is it.
    smarthost: Option<&'s Smarthost>,
}

impl<'s> Way<'s> {
    /// A smarthost of the configuration before this one is an exchange as any other: it does not get the password.
    pub(super) fn to(exchange: &Exchange, stack: &'s Stack, security: Security) -> Self {
        let smarthost = stack.relay.smarthost.as_ref().filter(|smarthost| smarthost.address() == exchange.address);
        let (configured, is_implicit) = match smarthost.map(|smarthost| smarthost.tls) {
            None => (stack.relay_tls(), false),
            Some(SmarthostTls::Starttls) => (RelayTls::Verify, false),
            Some(SmarthostTls::Implicit) => (RelayTls::Verify, true),
            Some(SmarthostTls::Off) => (RelayTls::Off, false),
        };
        let tls = match security {
            Security::Configured => configured,
            // A smarthost gets a password.
            Security::Waived if configured == RelayTls::Verify && smarthost.is_none() => RelayTls::Opportunistic,
            Security::Waived => configured,
            Security::Required => RelayTls::Verify,
        };
        Self { tls, security, is_implicit, smarthost }
    }

    /// Whether a certificate has to prove the name of the exchange.
    pub(super) fn is_verified(self) -> bool {
        self.tls == RelayTls::Verify
    }

    fn starttls(self) -> Starttls {
        match self.tls {
            _ if self.is_implicit => Starttls::Never,
            RelayTls::Off => Starttls::Never,
            RelayTls::Opportunistic => Starttls::WhereOffered,
            RelayTls::Verify => Starttls::Required,
        }
    }

    fn login(self, stack: &Stack, ends: Ends) -> io::Result<Option<Login>> {
        let Some((smarthost, user)) = self.smarthost.and_then(|it| Some((it, it.user.clone()?))) else {
            return Ok(None);
        };
        let password = smarthost.password(stack.config_path())?;
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        Ok(Some(Login { user, password, nonce, is_private: ends.peer.ip().is_loopback() }))
    }
}

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
    pub(crate) async fn open(
        context: &Context,
        slot: &DomainSlot,
        exchange: &Arc<Exchange>,
        security: Security,
    ) -> Result<Self, Broken> {
        if security == Security::Required && !exchange.is_proven {
            return Err(Broken::Unproven);
        }
        let stack = context.stack.current();
        let way = Way::to(exchange, &stack, security);
        let failed = |error: &str| facts::RelayTlsFailed { exchange: &exchange.name, error }.log();
        match Self::attempt(context, slot, exchange, (&stack, way)).await {
            Err(Broken::Tls(error)) if way.tls == RelayTls::Opportunistic => {
                failed(&error);
                Self::attempt(context, slot, exchange, (&stack, Way { tls: RelayTls::Off, ..way })).await
            }
            Ok(connection) => {
                if let Some(refusal) = connection.client.tls_refusal() {
                    failed(&refusal.on_one_line());
                }
                Ok(connection)
            }
            Err(broken) if security == Security::Required => Err(broken.where_tls_is_required()),
            Err(broken) => Err(broken),
        }
    }

    async fn attempt(
        context: &Context,
        slot: &DomainSlot,
        exchange: &Arc<Exchange>,
        (stack, way): (&Stack, Way<'_>),
    ) -> Result<Self, Broken> {
        let recording = context.recorder.open(Opening {
            role: Role::Client,
            protocol: if way.is_implicit { Protocol::Submissions } else { Protocol::Smtp },
            local: None,
            remote: None,
        });
        recording.mark(|| Mark::Resolved {
            domain: slot.destination().to_string(),
            exchange: exchange.name.clone(),
            address: exchange.address.clone(),
        });
        let mut faulted = Faulted::new(context, slot.destination(), exchange, stack);
        let stream = match connect(context, slot, (exchange, stack), (&mut faulted, &recording)).await {
            Ok(stream) => stream.with_taps(recording.taps()),
            Err(broken) => {
                recording.breaks(&broken);
                return Err(broken);
            }
        };
        let ends = stream.ends()?;
        recording.mark(|| Mark::Connected { local: ends.local, remote: ends.peer });
        let mut connection = Self::new(stream, exchange, (context, stack), (faulted, recording));
        connection.smarthost = way.smarthost.cloned();
        if way.is_implicit {
            connection = connection.encrypt(context, slot, (stack, way)).await?;
            connection.client = connection.client.over_tls();
        }
        connection.client = connection.client.with_starttls(way.starttls());
        if let Some(login) = way.login(stack, ends).map_err(Broken::Password)? {
            connection.client = connection.client.with_login(login);
        }
        let mut step = Step::Await;
        loop {
            match connection.introduce(slot, step).await {
                Ok(Introduced::Ready) => break,
                Ok(Introduced::MayEncrypt) => {
                    connection = connection.encrypt(context, slot, (stack, way)).await?;
                    step = connection.client.encrypted();
                }
                Err(broken) => return Err(connection.abandon(broken).await),
            }
        }
        match connection.unfit(stack, way.security) {
            Some(broken) => Err(connection.abandon(broken).await),
            None => Ok(connection),
        }
    }

    /// A connection on which nothing was said.
    fn new(
        mut stream: LineStream,
        exchange: &Arc<Exchange>,
        (context, stack): (&Context, &Stack),
        (faulted, recording): (Faulted, Recording),
    ) -> Self {
        let wording = match stack.profile {
            Profile::Tutorial => Wording::HandOut,
            Profile::Rfc => Wording::Standard,
        };
        let takes_bare_lf = stack.tolerance().lf_replies;
        stream.take_bare_lf(takes_bare_lf);
        Self {
            exchange: Arc::clone(exchange),
            stream,
            client: Client::new(ClientName::from(&stack.name)).with_wording(wording).with_chunks(),
            replies: ReplyReader::default(),
            io: context.clock.io,
            patience: stack.relay.patience(),
            takes_bare_lf,
            is_verified: false,
            smarthost: None,
            transactions: 0,
            has_carried: false,
            faulted,
            recording,
        }
    }

    /// Takes steps until the exchange waits for something else than a command of the introduction.
    async fn introduce(&mut self, slot: &DomainSlot, mut step: Step) -> Result<Introduced, Broken> {
        loop {
            match step {
                Step::Send(octets) => slot.wait(Stage::BeforeDot, self.send(&octets)).await??,
                Step::SendSecret(octets) => slot.wait(Stage::BeforeDot, self.send_secret(&octets)).await??,
                Step::LoginFailed(error) => return Err(error.into()),
                Step::InTheClear => {
                    return Err(Broken::InTheClear(self.client.tls_refusal().map(|reply| reply.on_one_line())));
                }
                Step::StartTls => return Ok(Introduced::MayEncrypt),
                Step::Refused(reply) => return Err(Broken::Refused(reply)),
                Step::Unexpected(reply) => return Err(Broken::Unexpected(reply)),
                Step::Closed => return Err(io::Error::from(Closed::End).into()),
                Step::Ready | Step::Finished(_) => return Ok(Introduced::Ready),
                Step::Await | Step::SendBody | Step::SendChunk => {}
            }
            let (is_about_tls, has_asked) = (self.is_between_clear_and_tls(), self.client.has_asked_for_tls());
            let reply = match slot.wait(Stage::BeforeDot, self.reply()).await? {
                Ok(reply) => reply,
                Err(error) if is_about_tls => return Err(Broken::Tls(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            step = match self.client.reply(reply) {
                Step::Refused(reply) if has_asked => return Err(Broken::Tls(reply.on_one_line())),
                step => step,
            };
        }
    }

    /// Whether TLS is asked for, or is spoken and the exchange has not introduced itself since. With TLS 1.3, who refuses
    /// the client's side does so only after the handshake.
    fn is_between_clear_and_tls(&self) -> bool {
        self.client.has_asked_for_tls() || (self.stream.is_encrypted() && self.client.server_name().is_empty())
    }

    /// Agrees on TLS. A connection on which that fails is closed.
    async fn encrypt(
        self,
        context: &Context,
        slot: &DomainSlot,
        (stack, way): (&Stack, Way<'_>),
    ) -> Result<Self, Broken> {
        let Self { stream, recording, .. } = self;
        let tls = client_side(context, (stack, way), &self.exchange, stream.ends()?).map_err(Broken::Tls)?;
        let upgrading = context.clock.io.timeout(self.patience.greeting, stream.upgrade(tls));
        let upgraded = slot.wait(Stage::BeforeDot, upgrading).await.map_err(Broken::from);
        let upgraded = upgraded.and_then(|it| it.map_err(|_| Broken::Tls("no TLS handshake in time".to_owned())));
        let upgraded = upgraded.and_then(|upgraded| {
            upgraded.map_err(|error| {
                let why = error.to_string();
                if is_about_the_certificate(&error) { Broken::Certificate(why) } else { Broken::Tls(why) }
            })
        });
        let stream = upgraded.inspect_err(|broken| recording.breaks(broken))?;
        recording.mark(|| Mark::Encrypted { tls: stream.tls().unwrap_or_default().to_owned() });
        // A reply of which a part came in the clear does not go on.
        Ok(Self { stream, replies: ReplyReader::default(), is_verified: way.is_verified(), recording, ..self })
    }

    /// Sends what is never recorded.
    async fn send_secret(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write(Kind::Secret, |output| output.extend_from_slice(octets));
        Ok(self.stream.flush().await?)
    }

    /// Why the exchange is of no use although it talks to us.
    fn unfit(&self, stack: &Stack, security: Security) -> Option<Broken> {
        // Whatever the zone says, mail to ourselves would come round for ever (RFC 5321 §5.1).
        let server_name = self.client.server_name();
        if server_name == stack.name.as_str() {
            return Some(Broken::OurName(server_name.to_owned()));
        }
        (!self.is_promised(security)).then_some(Broken::PromisesNothing)
    }

    /// Whether the exchange promises what a message needs on the rest of its way, over TLS that is verified and with a name
    /// that nobody can have forged (RFC 8689 §4.2.1).
    pub(super) fn is_promised(&self, security: Security) -> bool {
        security != Security::Required
            || (self.exchange.is_proven && self.is_verified && self.client.extensions().requiretls)
    }

    /// Says goodbye where the dialogue is open.
    async fn abandon(self, broken: Broken) -> Broken {
        self.recording.breaks(&broken);
        if broken.leaves_an_open_dialogue() {
            self.quit().await;
        }
        broken
    }
}

async fn connect(
    context: &Context,
    slot: &DomainSlot,
    (exchange, stack): (&Exchange, &Stack),
    (faulted, recording): (&mut Faulted, &Recording),
) -> Result<LineStream, Broken> {
    let relay = &stack.relay;
    let address: Address = exchange.address.parse().map_err(io::Error::other)?;
    let dialing = async {
        let dialing = context.dial.dial(Hop::SmtpToPeer, &address);
        if faulted.is_on() { Box::pin(faulted.dial(context, recording, dialing)).await } else { dialing.await }
    };
    let connecting = context.clock.io.timeout(relay.connect_timeout, dialing);
    let io = slot.wait(Stage::BeforeDot, connecting).await?.map_err(io::Error::from)??;
    if is_own(io.ends()?, context.listener) {
        return Err(Broken::Ourselves);
    }
    let patience = relay.patience();
    let limits = StreamLimits {
        line_octets: REPLY_LINE_OCTETS,
        read_octets: BUFFER_OCTETS,
        silence: patience.longest(),
        write: patience.block,
    };
    Ok(LineStream::new(io, limits, context.clock.clone()))
}

/// Our side of TLS with an exchange. One whose name cannot stand in a certificate is known by its address.
fn client_side(
    context: &Context,
    (stack, way): (&Stack, Way<'_>),
    exchange: &Exchange,
    ends: Ends,
) -> Result<Tls, String> {
    let config = match way.tls {
        RelayTls::Verify => {
            context.trust.verified(stack.relay_authorities().as_deref()).map_err(|error| error.to_string())
        }
        RelayTls::Opportunistic | RelayTls::Off => context.trust.anybody().map_err(|error| error.to_string()),
    };
    let name = ServerName::try_from(exchange.name.clone());
    Ok(Tls::Client(config?, name.unwrap_or(ServerName::from(ends.peer.ip()))))
}

/// Whether TLS has failed because the certificate of the other side does not prove its name.
fn is_about_the_certificate(error: &TlsError) -> bool {
    let TlsError::Handshake(error) = error else { return false };
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether this is a connection to the socket on which this server listens.
fn is_own(ends: Ends, listener: SocketAddr) -> bool {
    let host = if listener.ip().is_unspecified() { ends.local.ip() } else { listener.ip() };
    ends.peer == SocketAddr::new(host, listener.port())
}
