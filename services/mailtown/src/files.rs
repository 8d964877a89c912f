//! Where configuration and zone come from.

use ipnet::IpNet;
use mail_net::IoClock;
use pseudo_dns::ZoneSource;
use std::path::PathBuf;
use town_config::{Accept, Auth, Config, ConfigError, Files, LiveConfig, Overrides, PortMove};

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
    /// The two files.
    pub(crate) fn files(&self) -> Files {
        Files { config: self.config.clone(), zone: self.zone.clone() }
    }

    /// Reads the configuration, and finds the zone. Without any file, both are built-in.
    ///
    /// # Errors
    /// One line that names file, key and remedy.
    pub(crate) fn open(&self, io: IoClock) -> anyhow::Result<(LiveConfig, ZoneSource)> {
        let (config, files) = (self.open_config(io)?, self.files());
        // Before anything is started: each pseudo-dns reads it for itself.
        let zone = files.load_zone()?;
        if !files.is_built_in() {
            return Ok((config, ZoneSource::File(files.zone_path())));
        }
        let (config_path, zone_path) = (files.config_path(), files.zone_path());
        tracing::info!(
            "no {} and no {} here: running with the built-in ones",
            config_path.display(),
            zone_path.display()
        );
        Ok((config, ZoneSource::Fixed(zone)))
    }

    /// Reads the configuration alone, for what does not need a zone. Without any file, it is the built-in one.
    ///
    /// # Errors
    /// As [`FileArgs::open`].
    pub(crate) fn open_config(&self, io: IoClock) -> anyhow::Result<LiveConfig> {
        let files = self.files();
        let config = match files.is_built_in() {
            true => files.load_config()?.into(),
            false => LiveConfig::open(&files.config_path(), io)?,
        };
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
}
