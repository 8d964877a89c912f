//! pseudo-dns: the town's name server. It answers MX and P queries from the zone file, over HTTP to the
//! services of its stack and over the DNS protocol to everybody else.

mod args;
mod faulted;
mod http;
mod metrics;
mod overlay;
mod records;
mod reload;
mod served;
mod tcp;
mod udp;
mod wire;

pub use args::Args;
pub use overlay::{Overlay, RunningStack};

use ::records::{Recorder, Recording};
use faults::Faults;
use internal_api::InProcess;
use mail_net::{Clock, IoClock};
use metrics::Metrics;
use reload::ZoneFile;
use served::ServedZone;
use service_kit::{
    http::{HttpListener, HttpService, Token, always_ready},
    shutdown::CancellationToken,
    telemetry,
};
use std::{io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};
use town_config::{
    FaultKeys, Hosts, Reload, watched_file,
    zone::{Zone, ZoneError},
};
use wire::Responder;

/// Its name.
pub const SERVICE: &str = "pseudo-dns";

/// What a pseudo-dns must be told.
#[derive(Clone)]
pub struct Config {
    /// What it serves.
    pub zone: ZoneSource,
    /// P records that differ from the zone file's.
    pub overlay: Overlay,
    /// Names that have an address here, beside those of the zone: the servers' own.
    pub servers: Vec<String>,
    /// How long a record that has gone from the zone is not denied.
    pub grace: Duration,
    /// Requested when the zone file is to be read again at once.
    pub reload: Reload,
    /// Guards the HTTP API; without one, anybody may call.
    pub token: Option<Token>,
    /// Records what it is asked over DNS.
    pub recorder: Recorder,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Whether that can be changed over HTTP.
    pub fault_keys: FaultKeys,
    /// The names that the HTTP side may be called by.
    pub hosts: Hosts,
    /// Measures the grace, and limits its connections.
    pub clock: Clock,
}

/// Where a zone comes from.
#[derive(Debug, Clone)]
pub enum ZoneSource {
    /// A file, which is followed.
    File(PathBuf),
    /// A zone that never changes.
    Fixed(Zone),
}

/// Where it is asked.
#[derive(Debug)]
pub struct Listeners {
    /// `GET /v1/resolve`, health and metrics.
    pub http: HttpListener,
    /// DNS over TCP.
    pub dns_tcp: TcpListener,
    /// DNS over UDP.
    pub dns_udp: UdpSocket,
}

/// Why a pseudo-dns could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The zone file cannot be used as it stands at the start.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// A listener failed for good.
    #[error("a listener failed")]
    Listener(#[from] io::Error),
}

/// Answers queries until `shutdown`. A zone file that is broken later on is logged, and the zone that was
/// read last stays in force.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let io = config.clock.io;
    let (file, file_zone) = match config.zone {
        ZoneSource::File(path) => {
            let file = ZoneFile::open(path, watched_file::INTERVAL, config.reload, io)?;
            let zone = file.zone.clone();
            (Some(file), zone)
        }
        ZoneSource::Fixed(zone) => (None, zone),
    };
    let (overlay, servers) = (config.overlay, config.servers);
    let changes = overlay.changes();
    let made = |zone: &Zone| overlay.apply(zone.clone()).with_hosts(servers.iter().map(String::as_str));
    let (publish, zone) = watch::channel(Arc::new(ServedZone::new(made(&file_zone), config.grace, io)));

    let mut registry = service_kit::metrics::registry("pseudo-dns");
    let metrics = Metrics::register(&mut registry);
    let (api, description) = http::api(zone.clone(), metrics.clone(), (config.faults.clone(), io))
        .merge(service_kit::faults::routes(config.faults.clone(), &config.fault_keys))
        .merge(::records::routes(config.recorder.clone(), io, shutdown.clone()))
        .split_for_parts();
    let service = HttpService {
        api,
        description,
        metrics: Arc::new(registry),
        // There is a zone from here on, whatever happens to the file.
        readiness: always_ready(),
        token: config.token,
        hosts: config.hosts,
        in_process: InProcess::default(),
        clock: config.clock,
        schedule: None,
    };
    // When one part fails the others are to stop too, but nobody else's.
    let shutdown = shutdown.child_token();
    let _stop = shutdown.clone().drop_guard();
    tokio::try_join!(
        async { Ok(service_kit::http::serve(listeners.http, service, shutdown.clone()).await?) },
        async {
            let responder = Responder::new(zone, metrics);
            let (responder, recorder, faults) = (Arc::new(responder), config.recorder, config.faults);
            let answering = Answering { responder, recorder, faults, io };
            answer(answering, (listeners.dns_udp, listeners.dns_tcp), shutdown.clone()).await;
            Ok(())
        },
        async {
            match file {
                Some(file) => reload::watch(file, made, changes, publish, shutdown.clone()).await,
                None => shutdown.cancelled().await,
            }
            Ok(())
        },
    )
    .map(|_: ((), (), ())| ())
}

/// Speaks DNS until `shutdown`.
async fn answer(answering: Answering, (udp, tcp): (UdpSocket, TcpListener), shutdown: CancellationToken) {
    telemetry::listening("DNS", udp.local_addr());
    let udp = udp::serve(udp, &answering, shutdown.clone());
    let tcp = tcp::serve(tcp, answering.clone(), shutdown);
    tokio::join!(udp, tcp);
}

/// What answers queries over UDP and TCP, and records them.
#[derive(Clone)]
struct Answering {
    responder: Arc<Responder>,
    recorder: Recorder,
    faults: Faults,
    io: IoClock,
}

impl Answering {
    /// The response to a message, unless there is none. Faults may spoil it or keep it back.
    async fn respond(
        &self,
        message: &[u8],
        transport: metrics::Transport,
        (client, recording): (IpAddr, &Recording),
    ) -> Option<Vec<u8>> {
        if self.faults.is_on()
            && let Some((name, record_type)) = wire::question(message)
            && let Some((outcome, wrong)) =
                faulted::at_query((&self.faults, self.io), (&name, record_type), Some(client)).await
        {
            recording.fault(&self.faults, &outcome);
            return self.responder.respond(message, transport, wrong.as_ref());
        }
        self.responder.respond(message, transport, None)
    }
}

/// The zone in force, as its readers see it.
type CurrentZone = watch::Receiver<Arc<ServedZone>>;
