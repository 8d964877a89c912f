//! The command line.

use crate::{Config, Listeners, SERVICE, run};
use clap::Parser;
use ipnet::IpNet;
use records::{Recorder, Records};
use service_kit::cli::{self, ServiceArgs};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use town_config::{PortKey, Stack};
use town_tls::{CertificateFiles, ServedCertificate, TlsFileError};

/// POP3 in front of the stack's mailbox store: lets users read and delete their mail.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  pop3-gateway --name gmail.com --store http://127.0.0.1:2080\n  pop3-gateway --name gmail.com --store unix:/run/mailtown/store.sock"
)]
pub struct Args {
    #[command(flatten)]
    service: ServiceArgs,
    /// The stack's mailbox store; without it, on this machine at the port of the configuration
    #[arg(long, env = "MAILTOWN_STORE", value_name = "URL", global = true)]
    store: Option<String>,
    /// A directory with the server's certificate NAME.pem and its key NAME.key, as `mailtown` makes it in `tls/servers` of its state; `tls`
    /// of the configuration comes first. Without a certificate, STLS is not offered, and the port `pops` stays closed
    #[arg(long, env = "MAILTOWN_TLS", value_name = "DIR", global = true)]
    tls: Option<PathBuf>,
    /// Who may send a password with AUTH without TLS, comma separated [default: trusted_networks of the configuration]
    #[arg(long, env = "MAILTOWN_TRUSTED_NETWORKS", value_name = "NETWORKS", value_delimiter = ',')]
    trusted_networks: Option<Vec<IpNet>>,
}

impl Args {
    /// Runs the gateway until a signal ends it.
    pub fn run(self) -> ExitCode {
        cli::run(&self.service, PortKey::PopHttp, async |launch| {
            let listeners = Listeners {
                pop3: launch.listen(PortKey::Pop).await?,
                pops: launch.listen_if_configured(PortKey::Pops).await?,
                http: launch.listen_http(PortKey::PopHttp).await?,
            };
            let store = launch.store(self.store.as_deref())?;
            let certificate = certificate(&launch.stack.current(), self.tls.as_deref())?;
            let config = Config {
                store,
                trusted_networks: self.trusted_networks,
                certificate,
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

/// The certificate that the configuration names, or else the one in this directory.
fn certificate(stack: &Stack, directory: Option<&Path>) -> Result<Option<Arc<ServedCertificate>>, TlsFileError> {
    let own = stack.tls.as_ref().map(|own| CertificateFiles { certificate: own.cert.clone(), key: own.key.clone() });
    ServedCertificate::find(own, directory, stack.name.as_str())
}
