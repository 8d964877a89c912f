//! Whether a town that runs on this machine is ready.

use anyhow::Context;
use service_kit::{
    cli,
    config::{LiveConfig, PortKey},
};
use std::net::{IpAddr, SocketAddr};

/// The HTTP port of each service of a stack.
pub(crate) const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

/// Asks each service at the port that the configuration gives it, where HTTP listens on `http_bind`.
///
/// # Errors
/// Names the first service that is not ready, and says why.
pub async fn check(config: &LiveConfig, http_bind: IpAddr) -> anyhow::Result<()> {
    let host = crate::reachable(http_bind);
    for stack in config.stacks() {
        let stack = stack.current();
        for key in HTTP {
            let address = SocketAddr::new(host, stack.require_port(key)?);
            cli::ready(address).await.with_context(|| format!("{} {}", stack.name, key.as_str()))?;
        }
    }
    Ok(())
}
