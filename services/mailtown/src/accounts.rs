//! The command line of `mailtown accounts`.

use crate::client::{NamedStore, Stores, told};
use anyhow::{Context, ensure};
use clap::Subcommand;
use internal_api::{AccountChange, AccountSource, NewAccount};
use mail_proto::Mailbox;
use std::io::{IsTerminal, Write, stdin};

/// What can be done about accounts.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Accounts {
    /// Add an account to the running town; its password is asked for, or read from standard input
    #[command(
        after_help = "Examples:\n  mailtown accounts add usr9@gmail.com\n  mailtown accounts add usr9@gmail.com < FILE\n\n\
                            The password is plain text or an argon2 PHC string. Accounts of the configuration are changed there."
    )]
    Add {
        /// The address of its mailbox, in a mail domain of the town
        address: Mailbox,
    },
    /// Replace the password of an account; it is asked for, or read from standard input
    Passwd {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// Let nobody log in to an account, which still gets mail
    Disable {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// Let the user of a disabled account log in again
    Enable {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// Remove an account and the messages in its maildrop
    Remove {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// List the accounts of the running town: address, source, whether enabled, messages, octets
    List,
    /// Print the hash of a password, an argon2 PHC string, which may stand in [accounts] of the configuration
    #[command(
        after_help = "Examples:\n  mailtown accounts hash\n  MAILTOWN_PASSWORD=secret mailtown accounts hash\n  \
                            mailtown accounts hash < FILE"
    )]
    Hash {
        /// The password; asked for, or read from standard input, if not given (better set in the environment)
        #[arg(long, env = "MAILTOWN_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
}

impl Accounts {
    /// Does it. `stores` finds those of the running town, for what needs them.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run<'a>(self, stores: impl FnOnce() -> anyhow::Result<Stores<'a>>) -> anyhow::Result<()> {
        match self {
            Self::Hash { password } => {
                let hash = mailbox_store::accounts::hash(given(password)?).await?;
                writeln!(std::io::stdout(), "{hash}").context("cannot write to standard output")
            }
            Self::List => list(&stores()?).await,
            Self::Add { address } => {
                let store = store_of(&stores()?, &address)?;
                let password = given(None)?;
                let added = store.client.add_account(&NewAccount { address, password }).await;
                added.map_err(|error| store.failed(error))
            }
            Self::Passwd { address } => {
                let store = store_of(&stores()?, &address)?;
                let change = AccountChange { password: Some(given(None)?), enabled: None };
                changed(&store, &address, &change).await
            }
            Self::Disable { address } => enable(&stores()?, &address, false).await,
            Self::Enable { address } => enable(&stores()?, &address, true).await,
            Self::Remove { address } => {
                let store = store_of(&stores()?, &address)?;
                store.client.remove_account(&address).await.map_err(|error| store.failed(error))
            }
        }
    }
}

async fn enable(stores: &Stores<'_>, address: &Mailbox, enabled: bool) -> anyhow::Result<()> {
    let change = AccountChange { password: None, enabled: Some(enabled) };
    changed(&store_of(stores, address)?, address, &change).await
}

async fn changed(store: &NamedStore, address: &Mailbox, change: &AccountChange) -> anyhow::Result<()> {
    store.client.change_account(address, change).await.map_err(|error| store.failed(error))
}

async fn list(stores: &Stores<'_>) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for store in stores.all()? {
        if let Err(failure) = list_of(&store).await {
            failures.push(failure);
        }
    }
    told(failures)
}

async fn list_of(store: &NamedStore) -> anyhow::Result<()> {
    let (mut output, mut after) = (std::io::stdout(), Some(String::new()));
    while let Some(from) = after.take() {
        let page = store.client.accounts(&from).await.map_err(|error| store.failed(error));
        let page = page.with_context(|| format!("{}: the accounts cannot be read", store.server))?;
        for account in page.accounts {
            let source = match account.source {
                AccountSource::Config => "config",
                AccountSource::Left => "left",
                AccountSource::Api => "api",
            };
            let enabled = if account.enabled { "enabled" } else { "disabled" };
            let (address, messages, octets) = (account.address, account.messages, account.octets);
            writeln!(output, "{address}\t{source}\t{enabled}\t{messages}\t{octets}")
                .context("cannot write to standard output")?;
        }
        after = page.next_after;
    }
    Ok(())
}

/// The store of the mail domain of an address.
fn store_of(stores: &Stores<'_>, address: &Mailbox) -> anyhow::Result<NamedStore> {
    let stacks: Vec<_> = stores.config.stacks().map(|stack| stack.current()).collect();
    let stack = stacks.iter().find(|stack| stack.is_local(address.domain())).with_context(|| {
        let domains: Vec<_> = stacks.iter().flat_map(|stack| &stack.domains).map(|it| it.as_str()).collect();
        format!("no server has the mail domain {}; the domains are: {}", address.domain(), domains.join(", "))
    })?;
    stores.of(stack)
}

/// The password that was given, or else one that is asked for or read. It is not empty.
fn given(password: Option<String>) -> anyhow::Result<String> {
    let password = password.map_or_else(read, Ok)?;
    ensure!(!password.is_empty(), "the password is empty; give one");
    Ok(password)
}

/// Asks for the password, or reads the first line of a file or a pipe.
fn read() -> anyhow::Result<String> {
    if stdin().is_terminal() {
        return Ok(rpassword::prompt_password("Password: ")?);
    }
    let mut line = String::new();
    stdin().read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
