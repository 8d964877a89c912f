//! Accounts that are added, changed and removed while the store runs, beside those of the configuration.

use crate::{
    accounts::Accounts,
    passwords::{check_phc, is_locked, is_phc, lock, unlock},
    store::{Account, Result, StoreError, StoredPassword},
};
use mail_proto::Mailbox;
use std::time::Duration;
use town_config::Stack;
use uuid::Uuid;

/// How long a maildrop is locked while it is emptied.
const REMOVAL_LEASE: Duration = Duration::from_secs(60);

/// How many of its messages are read at once.
const LISTED_AT_ONCE: u32 = 10_000;

/// Whether the configuration has this account, in whatever spelling. A domain always has a postmaster.
pub(crate) fn is_configured(stack: &Stack, address: &Mailbox) -> bool {
    let is_postmaster = address.is_postmaster() && stack.is_local(address.domain());
    let rules = stack.address_rules;
    is_postmaster
        || stack.accounts.contains_key(address)
        || (rules.ignores_case && stack.accounts.keys().any(|configured| rules.are_same(configured, address)))
}

impl Accounts {
    /// Adds an account. A password in plain text is hashed and gets a SCRAM verifier, as those of the configuration do.
    ///
    /// # Errors
    /// [`StoreError::AccountExists`], also in another spelling; [`StoreError::AccountConfigured`];
    /// [`StoreError::DomainElsewhere`]; [`StoreError::Invalid`].
    pub(crate) async fn add(&self, stack: &Stack, address: Mailbox, password: String) -> Result<()> {
        if !stack.is_local(address.domain()) {
            let domains = stack.local_domains();
            return Err(StoreError::DomainElsewhere(format!("{address}: the mail domains here are: {domains}")));
        }
        change_is_ours(stack, &address)?;
        let password = self.stored(password).await?;
        let account = Account { address: address.clone(), password_hash: None, quota: stack.default_quota() };
        let _writing = self.writing().await;
        let known = self.store().account(&address).await?;
        if known.is_some_and(|known| stack.address_rules.are_same(&known, &address)) {
            return Err(StoreError::AccountExists);
        }
        self.store().add_account(account, password).await?;
        facts::StoreAccountChanged { address: &address, change: "added" }.log();
        Ok(())
    }

    /// Adds accounts with this password, unless they are there in whatever spelling.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn admit(&self, accounts: Vec<Account>, password: StoredPassword) -> Result<()> {
        let _writing = self.writing().await;
        self.store().admit_accounts(accounts, password).await.map(drop)
    }

    /// Replaces the password of an account. One that is disabled stays so.
    ///
    /// # Errors
    /// [`StoreError::MailboxUnknown`] and those of [`Accounts::add`].
    pub(crate) async fn change_password(&self, stack: &Stack, address: &Mailbox, password: String) -> Result<()> {
        change_is_ours(stack, address)?;
        let mut password = self.stored(password).await?;
        let _writing = self.writing().await;
        if self.store().password(address).await?.is_some_and(|before| is_locked(&before.hash)) {
            password.hash = lock(&password.hash);
        }
        self.store().set_password(address, password).await?;
        facts::StoreAccountChanged { address, change: "password" }.log();
        Ok(())
    }

    /// Lets the user of an account log in again, or not any more. The account gets mail all the same.
    ///
    /// # Errors
    /// As [`Accounts::change_password`]; [`StoreError::Invalid`] where there is no password.
    pub(crate) async fn enable(&self, stack: &Stack, address: &Mailbox, enabled: bool) -> Result<()> {
        change_is_ours(stack, address)?;
        let _writing = self.writing().await;
        let Some(StoredPassword { hash, verifier }) = self.store().password(address).await? else {
            self.store().mailbox(address).await?;
            return Err(StoreError::Invalid(format!("{address} has no password; give it one")));
        };
        let hash = if enabled { unlock(&hash) } else { lock(&hash) };
        self.store().set_password(address, StoredPassword { hash, verifier }).await?;
        facts::StoreAccountChanged { address, change: if enabled { "enabled" } else { "disabled" } }.log();
        Ok(())
    }

    /// Removes an account and the messages in its maildrop.
    ///
    /// # Errors
    /// [`StoreError::MailboxUnknown`], [`StoreError::MaildropInUse`], [`StoreError::AccountConfigured`].
    pub(crate) async fn remove(&self, stack: &Stack, address: &Mailbox) -> Result<()> {
        self.remove_listed(stack, address, LISTED_AT_ONCE).await
    }

    /// As [`Accounts::remove`], which lists this number of messages at once.
    async fn remove_listed(&self, stack: &Stack, address: &Mailbox, at_once: u32) -> Result<()> {
        change_is_ours(stack, address)?;
        let _writing = self.writing().await;
        let name = Uuid::new_v4().simple().to_string();
        // Mail may arrive until the account is gone.
        loop {
            // All that is listed is deleted in one change, under one lock.
            let mut listing = self.store().open_maildrop(address, &name, REMOVAL_LEASE, at_once).await?;
            let mut messages: Vec<_> = listing.entries.iter().map(|entry| entry.id).collect();
            while let Some(after) = listing.next_after {
                listing = self.store().listing(address, after, at_once).await?;
                messages.extend(listing.entries.iter().map(|entry| entry.id));
            }
            self.store().update_maildrop(address, &name, messages).await?;
            if self.store().remove_empty_account(address).await? {
                facts::StoreAccountChanged { address, change: "removed" }.log();
                return Ok(());
            }
        }
    }

    /// What is stored of a password: all that can be made of plain text, or the hash that it is.
    pub(crate) async fn stored(&self, password: String) -> Result<StoredPassword> {
        if password.is_empty() {
            return Err(StoreError::Invalid("the password is empty; give one".to_owned()));
        }
        if is_phc(&password) {
            check_phc(&password).map_err(|reason| {
                StoreError::Invalid(format!(
                    "the password is no valid argon2 PHC string ({reason}); give one, or plain text"
                ))
            })?;
            return Ok(StoredPassword { hash: password, verifier: None });
        }
        self.hashed(password).await
    }
}

fn change_is_ours(stack: &Stack, address: &Mailbox) -> Result<()> {
    if is_configured(stack, address) { Err(StoreError::AccountConfigured) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::Metrics,
        service,
        store::contract::{account, body, mailbox, submission},
    };
    use mail_net::Clock;
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use std::path::Path;
    use town_config::Config;

    /// However many pages it has: between two changes a session could come in, or mail arrive.
    #[tokio::test]
    async fn the_messages_of_an_account_go_in_one_change() {
        let (directory, mut registry) = (tempfile::tempdir().unwrap(), Registry::default());
        let metrics = Metrics::new(&mut registry);
        let text = "[server.\"a.test\"]\nsmtp = 1\npop = 2\n";
        let stack = Config::parse(text, Path::new("config.toml")).unwrap().stack("a.test").unwrap().clone();
        let store =
            service::open(&stack, directory.path().join("store"), None, Clock::system(), metrics).await.unwrap();
        let accounts = Accounts::new(store.clone(), directory.path(), Clock::system().io);
        let (name, others) = ("u@a.test", "other@a.test");
        store.put_accounts(vec![account(name), account(others)]).await.unwrap();
        for number in 0..5 {
            let submission = submission(&number.to_string(), &[name, others]);
            store.submit(submission, body(b"Subject: x\r\n\r\nx\r\n")).await.unwrap();
        }
        let commits = || {
            let mut metrics = String::new();
            encode(&mut metrics, &registry).unwrap();
            let count = metrics.lines().find_map(|line| line.strip_prefix("mailtown_store_group_changes_count "));
            count.unwrap().parse::<u32>().unwrap()
        };
        let before = commits();
        accounts.remove_listed(&stack, &mailbox(name), 2).await.unwrap();
        assert_eq!(commits() - before, 2, "its messages, and then the account");
        assert_eq!(store.account(&mailbox(name)).await, Ok(None));
        assert_eq!(store.mailbox(&mailbox(others)).await.unwrap().messages, 5);
    }
}
