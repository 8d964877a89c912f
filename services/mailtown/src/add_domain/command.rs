//! The command line of `mailtown add-domain`.

use super::NewDomain;
use anyhow::{Context, ensure};
use mail_proto::{Domain, Mailbox};
use std::{
    io::{IsTerminal, Write, stdin},
    path::PathBuf,
};
use town_config::Files;

/// The arguments of `mailtown add-domain`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  mailtown add-domain example.org --user ann --dry-run\n  \
                        MAILTOWN_PASSWORD=secret mailtown add-domain example.org --user ann")]
pub(crate) struct AddDomain {
    /// The mail domain, which is also the name of its server
    domain: Domain,
    /// Its first user: a local part, or an address of the domain
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The user's password, in plain text or as an argon2 PHC string; asked for if not given (better set in the environment)
    #[arg(long, env = "MAILTOWN_PASSWORD", hide_env_values = true, requires = "user")]
    password: Option<String>,
    /// The compose file, which is left alone if it does not exist
    #[arg(long, value_name = "FILE", default_value = "docker-compose.yml")]
    compose: PathBuf,
    /// Show the changes and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl AddDomain {
    /// Adds the domain to these files, or shows how it would.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) fn run(self, files: &Files) -> anyhow::Result<()> {
        let Self { domain, user, password, compose, dry_run } = self;
        let account = match user {
            Some(user) => {
                let address = address(&user, &domain)?;
                let password = password.map_or_else(|| ask(&address), Ok)?;
                ensure!(!password.is_empty(), "the password of {address} is empty; give one");
                Some((address, password))
            }
            None => None,
        };
        let (config, zone) = (files.config_path(), files.zone_path());
        let changes = NewDomain { domain, account, config, zone, compose }.changes()?;
        let said = if dry_run {
            changes.diff()
        } else {
            changes.write()?;
            changes.next_steps()
        };
        std::io::stdout().write_all(said.as_bytes()).context("cannot write to standard output")
    }
}

fn address(user: &str, domain: &Domain) -> anyhow::Result<Mailbox> {
    let address = if user.contains('@') { user.to_owned() } else { format!("{user}@{domain}") };
    address.parse().with_context(|| format!("{address} is no address"))
}

fn ask(address: &Mailbox) -> anyhow::Result<String> {
    ensure!(stdin().is_terminal(), "{address} needs a password; give --password or set MAILTOWN_PASSWORD");
    Ok(rpassword::prompt_password(format!("Password of {address}: "))?)
}
