//! The command line.

use crate::{Config, Hosts, Listeners, SERVICE, run};
use clap::Parser;
use ipnet::IpNet;
use mail_net::TcpDial;
use records::{Recorder, Records};
use service_kit::cli::{self, ServiceArgs};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use town_config::{PortKey, Stack};
use town_tls::{CA_FILE, CertificateFiles, ServedCertificate, TlsFileError};

/// Receives mail for one domain over SMTP, and relays queued mail to other servers.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  smtp-gateway --name gmail.com --store http://127.0.0.1:2080 --dns http://127.0.0.1:2054\n  smtp-gateway --name gmail.com --store unix:/run/mailtown/store.sock"
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The mailbox store's URL [default: the port in the configuration, on this machine]
    #[arg(long, env = "MAILTOWN_STORE", value_name = "URL", global = true)]
    store: Option<String>,
    /// The pseudo-dns's URL [default: the port in the configuration, on this machine]; with relay.lookup = "dns", only its
    /// host counts
    #[arg(long, env = "MAILTOWN_DNS", value_name = "URL", global = true)]
    dns: Option<String>,
    /// Where the hosts of the zone are: all on this machine, or each under its own name
    #[arg(long, env = "MAILTOWN_HOSTS", value_enum, default_value = "loopback", global = true)]
    hosts: Hosts,
    /// A directory with the server's certificate NAME.pem and its key NAME.key, as `mailtown` makes it in `tls/servers` of its state; `tls`
    /// of the configuration comes first. Without a certificate, STARTTLS is not offered, and the port `submissions` stays closed
    #[arg(long, env = "MAILTOWN_TLS", value_name = "DIR", global = true)]
    tls: Option<PathBuf>,
    /// Who may submit without authentication, comma separated [default: trusted_networks of the configuration]
    #[arg(long, env = "MAILTOWN_TRUSTED_NETWORKS", value_name = "NETWORKS", value_delimiter = ',')]
    trusted_networks: Option<Vec<IpNet>>,
}

impl Args {
    /// Runs the gateway until a signal ends it.
    pub fn run(self) -> ExitCode {
        cli::run(&self.service, PortKey::SmtpHttp, async |launch| {
            let (store, dns) = (launch.store(self.store.as_deref())?, launch.dns(self.dns.as_deref())?);
            let name_server = launch.name_server(self.dns.as_deref())?;
            let listeners = Listeners {
                smtp: launch.listen(PortKey::Smtp).await?,
                submission: launch.listen_if_configured(PortKey::Submission).await?,
                submissions: launch.listen_if_configured(PortKey::Submissions).await?,
                http: launch.listen_http(PortKey::SmtpHttp).await?,
            };
            let certificate = certificate(&launch.stack.current(), self.tls.as_deref())?;
            let config = Config {
                store,
                dns,
                dial: Arc::new(TcpDial::default()),
                name_server,
                hosts: self.hosts,
                trusted_networks: self.trusted_networks,
                certificate,
                authority: self.tls.as_deref().and_then(authority),
                token: launch.token,
                recorder: Recorder::of_stack(
                    launch.stack.clone(),
                    SERVICE,
                    Records::default(),
                    launch.clock.wall.clone(),
                ),
                faults: service_kit::faults::of_stack(&launch.stack, SERVICE, launch.clock.wall.clone()),
                stack: launch.stack,
                clock: launch.clock,
            };
            Ok(run(config, listeners, launch.shutdown).await?)
        })
    }
}

/// The authority of the certificates in this directory of a town's state.
fn authority(servers: &Path) -> Option<PathBuf> {
    servers.parent().map(|tls| tls.join(CA_FILE)).filter(|path| path.exists())
}

/// The certificate that the configuration names, or else the one in this directory.
fn certificate(stack: &Stack, directory: Option<&Path>) -> Result<Option<Arc<ServedCertificate>>, TlsFileError> {
    let own = stack.tls.as_ref().map(|own| CertificateFiles { certificate: own.cert.clone(), key: own.key.clone() });
    ServedCertificate::find(own, directory, stack.name.as_str())
}
