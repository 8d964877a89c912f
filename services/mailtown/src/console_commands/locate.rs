//! Where the console of the running town is.

use super::TownConsole;
use anyhow::{Context, bail, ensure};
use console::client::{Client, ClientError};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};
use town_config::{LiveConfig, ports_file::Ports};

/// Which console is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConsoleArgs {
    /// The URL of the console, such as http://127.0.0.1:8025 [default: where the town has it]
    #[arg(long, env = "MAILTOWN_CONSOLE_URL", value_name = "URL")]
    console: Option<String>,
}

/// What tells where the console is, unless its URL is given.
pub(crate) struct Place<'a, F> {
    /// Reads the configuration of the town.
    pub(crate) config: F,
    /// Where SMTP listens: the console does so, too, where it has a password.
    pub(crate) bind: IpAddr,
    pub(crate) ports_file: Option<&'a Path>,
    pub(crate) password: Option<&'a str>,
}

impl ConsoleArgs {
    /// The console.
    ///
    /// # Errors
    /// Says why it is not known where it is.
    pub(crate) fn open<F>(&self, place: Place<'_, F>) -> anyhow::Result<TownConsole>
    where
        F: FnOnce() -> anyhow::Result<LiveConfig>,
    {
        let password = place.password.filter(|password| !password.is_empty());
        let url = match self.console.as_deref().filter(|url| !url.is_empty()) {
            Some(url) => url.to_owned(),
            None => format!("http://{}", place.address()?),
        };
        match Client::new(&url, password) {
            Ok(client) => Ok(TownConsole { client }),
            Err(ClientError::Strange(reason)) => bail!("--console: {reason}"),
            Err(error) => Err(error.into()),
        }
    }
}

impl<F: FnOnce() -> anyhow::Result<LiveConfig>> Place<'_, F> {
    fn address(self) -> anyhow::Result<SocketAddr> {
        if let Some(file) = self.ports_file {
            let console = Ports::read(file)?.console();
            return console.with_context(|| format!("{} has no console: the town runs without one", file.display()));
        }
        let console = (self.config)()?.console();
        ensure!(
            console.enabled,
            "console.enabled is false in the configuration, so the town has no console; give --console URL if there is one \
             elsewhere"
        );
        ensure!(
            console.port != 0,
            "the system chooses the port of the console, so it is not known here; give --ports-file FILE as the town has it, \
             or --console URL"
        );
        let is_guarded = self.password.is_some_and(|password| !password.is_empty());
        let host = if is_guarded { crate::reachable(self.bind) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Ok(SocketAddr::new(host, console.port))
    }
}
