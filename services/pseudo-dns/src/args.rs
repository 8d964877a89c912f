//! The command line.

use crate::{Config, Listeners, Overlay, SERVICE, ZoneSource, run};
use ::records::{Recorder, Records};
use clap::Parser;
use service_kit::cli::{self, ServiceArgs};
use std::{path::PathBuf, process::ExitCode};
use town_config::PortKey;

/// The town's name server: MX and P records from the zone file, over HTTP and DNS.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example:\n  pseudo-dns --name gmail.com\n  dig @127.0.0.1 -p 2053 gmail.com MX")]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The zone file; it is read again when it changes
    #[arg(long, env = "MAILTOWN_ZONE", default_value = "data/fdns.toml", global = true)]
    zone: PathBuf,
}

impl Args {
    /// Runs the name server until a signal ends it.
    pub fn run(self) -> ExitCode {
        cli::run(&self.service, PortKey::DnsHttp, async |launch| {
            let http = launch.listen_http(PortKey::DnsHttp).await?;
            let (dns_tcp, dns_udp) = launch.listen_dns().await?;
            let listeners = Listeners { http, dns_tcp, dns_udp };
            let config = Config {
                zone: ZoneSource::File(self.zone),
                overlay: Overlay::default(),
                servers: launch.servers,
                grace: launch.stack.current().zone_grace,
                reload: launch.reload,
                token: launch.token,
                hosts: launch.stack.http_hosts(),
                faults: service_kit::faults::of_stack(&launch.stack, SERVICE, launch.clock.wall.clone()),
                fault_keys: launch.stack.current().faults.clone(),
                recorder: Recorder::of_stack(launch.stack, SERVICE, Records::default(), launch.clock.wall.clone()),
                clock: launch.clock,
            };
            Ok(run(config, listeners, launch.shutdown).await?)
        })
    }
}
