//! The command line of `mailtown accounts`.

mod listing;

use crate::{
    client::{NamedStore, Stores},
    output::say,
    password::PasswordArgs,
};
use anyhow::{Context, bail};
use clap::Subcommand;
use internal_api::{AccountChange, ApiError, NewAccount, ProblemKind};
use mail_proto::{Domain, Mailbox};
use std::sync::Arc;
use town_config::Stack;

/// What can be done about accounts.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Accounts {
    /// Add an account to the running town
    #[command(
        after_help = "Examples:\n  mailtown accounts add usr9@gmail.com\n  mailtown accounts add usr9@gmail.com < FILE\n  \
                            MAILTOWN_PASSWORD=secret mailtown accounts add usr9@gmail.com\n\n\
                            Accounts of the configuration are changed there."
    )]
    Add {
        /// The address of its mailbox, in a mail domain of the town
        address: Mailbox,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Replace the password of an account
    #[command(
        after_help = "Examples:\n  mailtown accounts passwd usr9@gmail.com\n  mailtown accounts passwd usr9@gmail.com < FILE"
    )]
    Passwd {
        /// The address of its mailbox
        address: Mailbox,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Let nobody log in to an account, which still gets mail
    #[command(after_help = "Example:\n  mailtown accounts disable usr9@gmail.com")]
    Disable {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// Let the user of a disabled account log in again
    #[command(after_help = "Example:\n  mailtown accounts enable usr9@gmail.com")]
    Enable {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// Remove an account and the messages in its maildrop
    #[command(visible_aliases = ["delete", "rm"], after_help = "Example:\n  mailtown accounts remove usr9@gmail.com")]
    Remove {
        /// The address of its mailbox
        address: Mailbox,
    },
    /// List the accounts of the running town: address, source, whether somebody can log in, messages, octets
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  mailtown accounts list\n  mailtown accounts list -n gmail.com --json\n\n\
                            The source says where an account is changed: in the configuration (config), by these commands \
                            (api), or\nby these commands, because it has gone from the configuration (left). Every mail \
                            domain has a postmaster (built in)."
    )]
    List {
        /// Print one JSON object in each line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the hash of a password, an argon2 PHC string, which may stand in [accounts] of the configuration
    #[command(
        after_help = "Examples:\n  mailtown accounts hash\n  MAILTOWN_PASSWORD=secret mailtown accounts hash\n  \
                            mailtown accounts hash < FILE"
    )]
    Hash {
        #[command(flatten)]
        password: PasswordArgs,
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
                let hash = mailbox_store::accounts::hash(password.read(None)?).await?;
                say(&hash)
            }
            Self::List { json } => listing::list(&stores()?, json).await,
            Self::Add { address, password } => {
                let home = Home::of(&stores()?, address)?;
                let (password, address) = (password.read(Some(&home.address))?, home.address.clone());
                let added = home.store.client.add_account(&NewAccount { address, password }).await;
                home.told(added, "is added")
            }
            Self::Passwd { address, password } => {
                let home = Home::of(&stores()?, address)?;
                let password = Some(password.read(Some(&home.address))?);
                home.change(AccountChange { password, enabled: None }, "has a new password").await
            }
            Self::Disable { address } => {
                let change = AccountChange { password: None, enabled: Some(false) };
                Home::of(&stores()?, address)?.change(change, "is disabled: nobody can log in, mail still comes").await
            }
            Self::Enable { address } => {
                let change = AccountChange { password: None, enabled: Some(true) };
                Home::of(&stores()?, address)?.change(change, "is enabled").await
            }
            Self::Remove { address } => {
                let home = Home::of(&stores()?, address)?;
                let removed = home.store.client.remove_account(&home.address).await;
                home.told(removed, "is removed, with the messages in its maildrop")
            }
        }
    }
}

/// An address, and the store of its mail domain.
struct Home {
    address: Mailbox,
    store: NamedStore,
    stack: Arc<Stack>,
}

impl Home {
    fn of(stores: &Stores<'_>, address: Mailbox) -> anyhow::Result<Self> {
        let stacks: Vec<_> = stores.config.stacks().map(|stack| stack.current()).collect();
        let stack = home_of(&stacks, stores.are_named, address.domain()).with_context(|| {
            let domains: Vec<_> = stacks.iter().flat_map(|stack| &stack.domains).map(|it| it.as_str()).collect();
            format!("no server has the mail domain {}; the domains are: {}", address.domain(), domains.join(", "))
        })?;
        Ok(Self { address, store: stores.of(stack)?, stack: Arc::clone(stack) })
    }

    async fn change(&self, change: AccountChange, done: &str) -> anyhow::Result<()> {
        self.told(self.store.client.change_account(&self.address, &change).await, done)
    }

    /// Says what was done to the account, or why it was not.
    fn told(&self, outcome: Result<(), ApiError>, done: &str) -> anyhow::Result<()> {
        let Self { address, store, stack } = self;
        let (server, file) = (&store.server, stack.config_path().display());
        match outcome.map_err(|error| (error.kind(), error)) {
            Ok(()) => say(&format!("{server}: {address} {done}")),
            Err((Some(ProblemKind::MailboxUnknown), _)) => {
                bail!("{server} has no account {address}; `mailtown accounts list` shows those that it has")
            }
            Err((Some(ProblemKind::AccountConfigured), _)) if listing::is_built_in(stack, address) => bail!(
                "{address} is built in, as in every mail domain; add it to [accounts.\"{server}\"] in {file} to give it a \
                 password"
            ),
            Err((Some(ProblemKind::AccountExists), _)) => {
                bail!("{server} has an account {address} already; `mailtown accounts passwd` changes its password")
            }
            Err((Some(ProblemKind::AccountConfigured), _)) => {
                bail!("{address} is an account of {file}; change it there")
            }
            Err((_, error)) => Err(store.failed(error)),
        }
    }
}

/// The stack of a mail domain. If none has it, the one that would take every domain, or the only one that the command line
/// names: it may have accounts from a time when it took the domain.
fn home_of<'s>(stacks: &'s [Arc<Stack>], are_named: bool, domain: &Domain) -> Option<&'s Arc<Stack>> {
    let has_a_star = |stack: &&Arc<Stack>| stack.takes_every_domain() || stack.has_a_star_in_vain();
    let only = || stacks.first().filter(|_| are_named && stacks.len() == 1);
    stacks.iter().find(|stack| stack.is_local(domain)).or_else(|| stacks.iter().find(has_a_star)).or_else(only)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use town_config::Config;

    /// The town may run with `--accept any`, which the command does not know.
    #[test]
    fn an_unknown_domain_is_that_of_the_server_with_the_star_or_of_the_named_one() {
        let home = |keys: &str, only: Option<&str>, domain: &str| {
            let text = format!(
                "[server.a]\nsmtp = 1\npop = 2\ndomains = [\"a.test\"]\n[server.b]\nsmtp = 3\npop = 4\ndomains = [{keys}]\n"
            );
            let config = Config::parse(&text, Path::new("config.toml")).unwrap();
            let stacks = config.stacks().filter(|stack| only.is_none_or(|only| stack.name.as_str() == only));
            let stacks: Vec<_> = stacks.cloned().map(Arc::new).collect();
            home_of(&stacks, only.is_some(), &domain.parse().unwrap()).map(|stack| stack.name.to_string())
        };
        for (keys, only, domain, expected) in [
            ("\"*\"", None, "bar.test", Some("b")),
            ("\"*\"", None, "a.test", Some("a")),
            ("\"*\"", Some("a"), "bar.test", Some("a")),
            ("\"b.test\"", None, "bar.test", None),
            ("\"b.test\"", Some("b"), "bar.test", Some("b")),
        ] {
            assert_eq!(home(keys, only, domain).as_deref(), expected, "{keys} {only:?} {domain}");
        }
    }
}
