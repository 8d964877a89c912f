//! The command line of `mailtown add-domain`.

use super::NewDomain;
use crate::password::PasswordArgs;
use anyhow::{Context, ensure};
use mail_proto::{Domain, Mailbox};
use std::{io::Write, path::PathBuf};
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
    #[command(flatten)]
    password: PasswordArgs,
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
                let password = password.read(Some(&address))?;
                Some((address, password))
            }
            None => {
                ensure!(!password.is_given(), "a password without a user; give --user, or unset MAILTOWN_PASSWORD");
                None
            }
        };
        let (config, zone) = (files.config_path(), files.zone_path());
        let changes = NewDomain { domain, account, config, zone, compose }.changes()?;
        let said = if dry_run {
            changes.diff()
        } else {
            changes.write()?;
            changes.next_steps()
        };
        std::io::stdout().write_all(said.as_bytes()).context(crate::output::NO_OUTPUT)
    }
}

fn address(user: &str, domain: &Domain) -> anyhow::Result<Mailbox> {
    let address = if user.contains('@') { user.to_owned() } else { format!("{user}@{domain}") };
    address.parse().with_context(|| format!("{address} is no address"))
}
