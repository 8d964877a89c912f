//! `pseudo-dns`: starts one from the command line.

use clap::Parser;
use pseudo_dns::{Config, Listeners, Overlay, ZoneSource};
use service_kit::cli::{self, Launch, ServiceArgs};
use std::{path::PathBuf, process::ExitCode};
use town_config::PortKey;

/// The town's name server: MX and P records from the zone file, over HTTP and DNS.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  pseudo-dns --name gmail.com\n  dig @127.0.0.1 -p 2053 gmail.com MX")]
struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The zone file; it is read again when it changes
    #[arg(long, env = "MAILTOWN_ZONE", default_value = "data/fdns.toml", global = true)]
    zone: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::run(&args.service, PortKey::DnsHttp, |launch| start(launch, args.zone.clone()))
}

async fn start(launch: Launch, zone: PathBuf) -> anyhow::Result<()> {
    let http = launch.listen(PortKey::DnsHttp).await?;
    let (dns_tcp, dns_udp) = launch.listen_dns().await?;
    let listeners = Listeners { http, dns_tcp, dns_udp };
    let config = Config {
        zone: ZoneSource::File(zone),
        overlay: Overlay::default(),
        servers: launch.servers,
        grace: launch.stack.current().zone_grace,
        reload: launch.reload,
        token: launch.token,
        hosts: launch.stack.http_hosts(),
    };
    Ok(pseudo_dns::run(config, listeners, launch.shutdown).await?)
}
