//! Where configuration and zone come from.

use ipnet::IpNet;
use mail_net::IoClock;
use pseudo_dns::ZoneSource;
use std::path::{Path, PathBuf};
use town_config::{Accept, Auth, Config, ConfigError, LiveConfig, Overrides, PortMove, zone::Zone};

const DEFAULT_CONFIG: &str = "data/config.toml";
const DEFAULT_ZONE: &str = "data/fdns.toml";

/// Configuration and zone, as the command line names them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FileArgs {
    /// The configuration file [default: data/config.toml; built-in when neither that nor the zone file exists]
    #[arg(long, env = "MAILTOWN_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// The zone file [default: data/fdns.toml; built-in when neither that nor the configuration file exists]
    #[arg(long, env = "MAILTOWN_ZONE", global = true)]
    zone: Option<PathBuf>,
    /// Move all ports, for another town on this machine: the lowest port of the configuration becomes N, and every other keeps its distance to it
    #[arg(long, env = "MAILTOWN_PORT_BASE", value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(1..))]
    port_base: Option<u16>,
    /// Whose logins are taken: accounts, or any for test-beds [default: auth of the configuration]
    #[arg(long, env = "MAILTOWN_AUTH", value_name = "WHOSE", global = true)]
    auth: Option<Auth>,
    /// Which addresses have a mailbox: accounts, or any for test-beds [default: accept of the configuration]
    #[arg(long, env = "MAILTOWN_ACCEPT", value_name = "WHOSE", global = true)]
    accept: Option<Accept>,
    /// From where proxies connect that tell their clients' addresses (PROXY protocol), comma separated [default: proxy_networks of the configuration]
    #[arg(long, env = "MAILTOWN_PROXY_NETWORKS", value_name = "NETWORKS", value_delimiter = ',', global = true)]
    proxy_networks: Option<Vec<IpNet>>,
}

impl FileArgs {
    /// Where the configuration file is.
    pub(crate) fn config(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
    }

    /// Where the zone file is.
    pub(crate) fn zone(&self) -> PathBuf {
        self.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.into())
    }

    /// Reads the configuration, and finds the zone. Without any file, both are built-in.
    ///
    /// # Errors
    /// One line that names file, key and remedy.
    pub(crate) fn open(&self, io: IoClock) -> anyhow::Result<(LiveConfig, ZoneSource)> {
        let config = self.open_config(io)?;
        if self.is_built_in() {
            tracing::info!("no {DEFAULT_CONFIG} and no {DEFAULT_ZONE} here: running with the built-in ones");
            return Ok((config, ZoneSource::Fixed(built_in_zone()?)));
        }
        // Before anything is started: each pseudo-dns reads it for itself.
        Zone::load(&self.zone())?;
        Ok((config, ZoneSource::File(self.zone())))
    }

    /// Reads the configuration alone, for what does not need a zone. Without any file, it is the built-in one.
    ///
    /// # Errors
    /// As [`FileArgs::open`].
    pub(crate) fn open_config(&self, io: IoClock) -> anyhow::Result<LiveConfig> {
        let config = if self.is_built_in() { built_in_config()? } else { LiveConfig::open(&self.config(), io)? };
        let config = config.with_overrides(Overrides {
            auth: self.auth,
            accept: self.accept,
            proxy_networks: self.proxy_networks.clone(),
        });
        Ok(match self.port_base {
            Some(base) => config.with_port_base(base)?,
            None => config,
        })
    }

    /// Whether the ports of this configuration can be moved as the command line says.
    ///
    /// # Errors
    /// As [`PortMove::to_base`].
    pub(crate) fn check_port_base(&self, config: &Config) -> Result<(), ConfigError> {
        self.port_base.map_or(Ok(()), |base| PortMove::to_base(base, config.stacks()).map(drop))
    }

    /// A file that was named must exist, and one of the two files alone would not fit to a built-in one.
    fn is_built_in(&self) -> bool {
        let exists = |path: &str| Path::new(path).exists();
        self.config.is_none() && self.zone.is_none() && !exists(DEFAULT_CONFIG) && !exists(DEFAULT_ZONE)
    }
}

fn built_in_config() -> anyhow::Result<LiveConfig> {
    let text = include_str!("../../../data/config.toml");
    Ok(Config::parse(text, Path::new("the built-in configuration"))?.into())
}

fn built_in_zone() -> anyhow::Result<Zone> {
    Ok(Zone::parse(include_str!("../../../data/fdns.toml"), Path::new("the built-in zone"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_town_is_the_shipped_one() {
        assert_eq!(built_in_config().unwrap().stacks().count(), 2);
        assert!(built_in_zone().unwrap().ports("smtp.gmail.com").found().is_some());
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let args = FileArgs {
            config: Some("no/such.toml".into()),
            zone: None,
            port_base: None,
            auth: None,
            accept: None,
            proxy_networks: None,
        };
        let error = args.open(mail_net::Clock::system().io).unwrap_err().to_string();
        assert!(error.starts_with("no/such.toml: No such file"), "{error}");
    }
}
