//! Whether a town that runs on this machine is ready.

use anyhow::Context;
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
    let Some(file) = ports_file else {
        let port = stack.port(key).filter(|&port| port != 0).with_context(|| {
            let state = stack.port(key).map_or("missing", |_| "0");
            format!(
                "server.\"{name}\".{key_name} is {state}, so the port is not known here; give --ports-file FILE as the town \
                 has it"
            )
        })?;
        return Ok(SocketAddr::new(crate::reachable(http_bind), port));
    };
    Ports::read(file)?.address(name.as_str(), key).with_context(|| {
        format!(
            "{} has no {key_name} of \"{name}\"; name the file of this town, or the stacks that it runs with -n",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use town_config::Config;

    #[test]
    fn a_port_that_the_system_chooses_is_in_the_ports_file() {
        let found = |keys: &str| {
            let text = format!("[server.a]\nsmtp = 1\npop = 2\n{keys}");
            let config = Config::parse(&text, Path::new("config.toml")).unwrap();
            address(config.stack("a").unwrap(), PortKey::Store, Ipv4Addr::LOCALHOST.into(), None)
        };
        assert_eq!(found("store = 3\n").unwrap(), "127.0.0.1:3".parse().unwrap());
        for (keys, state) in [("", "missing"), ("store = 0\n", "0")] {
            let expected = format!(
                "server.\"a\".store is {state}, so the port is not known here; give --ports-file FILE as the town has it"
            );
            assert_eq!(found(keys).unwrap_err().to_string(), expected);
        }
    }
}
