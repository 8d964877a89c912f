//! Whether a town that runs on this machine is ready.

use anyhow::{Context, ensure};
use service_kit::cli;
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};
use town_config::{LiveConfig, PortKey, Stack, ports_file::Ports};

/// The HTTP port of each service of a stack.
pub(crate) const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

/// Asks each service at the address that the ports file gives it. Without such a file, at the port that the
/// configuration gives it, where HTTP listens on `http_bind`.
///
/// # Errors
/// Names the first service that is not ready, and says why.
pub(crate) async fn check(config: &LiveConfig, http_bind: IpAddr, ports_file: Option<&Path>) -> anyhow::Result<()> {
    for stack in config.stacks() {
        let stack = stack.current();
        for key in HTTP {
            let address = address(&stack, key, http_bind, ports_file)?;
            cli::ready(address).await.with_context(|| format!("{} {}", stack.name, key.as_str()))?;
        }
    }
    Ok(())
}

/// Where a service of the running town listens: as the ports file says, or else as the configuration does, where HTTP
/// listens on `http_bind`.
///
/// # Errors
/// Says why it is not known.
pub(crate) fn address(
    stack: &Stack,
    key: PortKey,
    http_bind: IpAddr,
    ports_file: Option<&Path>,
) -> anyhow::Result<SocketAddr> {
    let (name, key_name) = (&stack.name, key.as_str());
    let address = match ports_file {
        Some(file) => Ports::read(file)?.address(name.as_str(), key).with_context(|| {
            format!(
                "{} has no {key_name} of \"{name}\"; name the file of this town, or the stacks that it runs with -n",
                file.display()
            )
        })?,
        None => SocketAddr::new(crate::reachable(http_bind), stack.require_port(key)?),
    };
    ensure!(
        address.port() != 0,
        "server.\"{name}\".{key_name} is 0, so the port is not known here; give --ports-file FILE as the town has it"
    );
    Ok(address)
}
