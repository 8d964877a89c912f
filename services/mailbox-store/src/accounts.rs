//! The accounts of the configuration, kept in step with those of the store.

use crate::{
    passwords::{Checked, Digest, Hasher, Waiting, check_phc, is_phc},
    store::{Account, Alias, AliasName, Result, Store, StoreError, StoredPassword},
};
use mail_net::IoClock;
use mail_proto::{Mailbox, sasl};
use service_kit::shutdown::CancellationToken;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Notify};
use town_config::{Password, Quota, Stack};

/// How many passwords are checked between two writes of what is known of them.
const SAVE_EVERY: usize = 64;
/// How many pairs of accounts with one address are told of at most.
const ALIKE: u32 = 10;
/// How long to wait after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// A configured account cannot be used: its password looks like a PHC string and is none that could ever be logged in with.
#[derive(Debug, thiserror::Error)]
#[error("the password of {address} is no valid argon2 PHC string ({reason}); give one, or plain text")]
pub struct AccountError {
    /// The account.
    pub address: Mailbox,
    /// What is wrong with it.
    pub reason: String,
}

/// Refuses a password that looks like a PHC string and could never be logged in with.
///
/// # Errors
/// [`AccountError`].
pub fn check(address: &Mailbox, password: &Password) -> Result<(), AccountError> {
    if !is_phc(password.expose()) {
        return Ok(());
    }
    check_phc(password.expose()).map_err(|reason| AccountError { address: address.clone(), reason })
}

/// The argon2 PHC string of a password, as the configuration takes it.
///
/// # Errors
/// When it cannot be computed.
pub async fn hash(password: String) -> Result<String> {
    Ok(Hasher::shared().keep_or_make(password, None).await?.hash)
}

/// Adds the accounts of a stack to the store and updates those that are there, without hashing anything. The store keeps
/// accounts that the stack does not have. Aliases become those of the stack. Every domain has a postmaster (RFC 5321 §4.5.1), with whom nobody can log in
/// unless the configuration gives a password. Returns how many other accounts the store has.
///
/// # Errors
/// When the store fails.
pub(crate) async fn put(store: &dyn Store, stack: &Stack) -> Result<u64> {
    let phc = |password: &Password| Some(password.expose()).filter(|password| is_phc(password)).map(str::to_owned);
    let configured = stack.accounts.iter().map(|(address, password)| Account {
        address: address.clone(),
        password_hash: phc(password),
        quota: stack.quota(address),
    });
    let postmasters = stack.domains.iter().cloned().map(Mailbox::postmaster);
    let implicit = postmasters.filter(|address| !stack.accounts.contains_key(address));
    let implicit = implicit.map(|address| Account { address, password_hash: None, quota: Quota::default() });
    store.set_address_rules(stack.address_rules);
    let others = store.put_accounts(configured.chain(implicit).collect()).await?;
    store.put_aliases(aliases(stack)).await?;
    Ok(others)
}

fn aliases(stack: &Stack) -> Vec<Alias> {
    let aliases = stack.aliases.iter().map(|(address, targets)| (AliasName::Address(address.clone()), targets));
    let catch_alls = stack.catch_all.iter().map(|(domain, targets)| (AliasName::CatchAll(domain.clone()), targets));
    aliases.chain(catch_alls).map(|(name, targets)| Alias { name, targets: targets.to_vec() }).collect()
}

/// Keeps the store's accounts in step with a configuration, and its password hashes with plain-text passwords.
///
/// Hashing takes tens of milliseconds each. So it is done in the background, and on first use: an account whose
/// plain-text password is not known to fit its hash is *unchecked*.
pub(crate) struct Accounts {
    store: Arc<dyn Store>,
    hasher: Hasher,
    checked: Arc<Checked>,
    unchecked: Mutex<BTreeMap<Mailbox, Password>>,
    changed: Notify,
    /// Held while accounts are written: a hash that was computed for an earlier configuration must not replace a newer one.
    writing: AsyncMutex<()>,
    pub(crate) io: IoClock,
}

impl Accounts {
    /// For a store whose state is in this directory. Blocks.
    pub(crate) fn new(store: Arc<dyn Store>, directory: &Path, io: IoClock) -> Self {
        let checked = Arc::new(Checked::load(directory));
        let (unchecked, changed, writing) = (Mutex::default(), Notify::new(), AsyncMutex::default());
        Self { store, hasher: Hasher::shared(), checked, unchecked, changed, writing, io }
    }

    /// Takes over the accounts of a configuration. [`Accounts::check_all`] goes on with their passwords.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn synchronise(&self, stack: &Stack) -> Result<()> {
        let _writing = self.writing.lock().await;
        let others = put(&*self.store, stack).await;
        // Also where nothing can be written now: a password that was replaced must not fit any more.
        let stored = self.store.passwords().await?;
        let (mut unchecked, mut known) = (BTreeMap::new(), BTreeSet::new());
        for (address, password) in stack.accounts.iter().filter(|(_, password)| !is_phc(password.expose())) {
            let stored = stored.get(address).filter(|stored| is_whole(stored, password));
            let digest = stored.map(|stored| self.checked.digest(address, &stored.hash, password.expose()));
            match digest.filter(|digest| self.checked.contains(digest)) {
                Some(digest) => drop(known.insert(digest)),
                None => drop(unchecked.insert(address.clone(), password.clone())),
            }
        }
        self.checked.retain(&known);
        *self.lock() = unchecked;
        self.changed.notify_one();
        let others = others?;
        if others > 0 {
            facts::StoreAccountsUnnamed { accounts: others }.log();
        }
        if stack.address_rules.ignores_case {
            for (account, other) in self.store.alike(ALIKE).await? {
                facts::StoreAccountsAlike { account, other }.log();
            }
        }
        Ok(())
    }

    /// Checks every unchecked password in the background until `shutdown`.
    pub(crate) async fn check_all(&self, shutdown: CancellationToken) {
        let mut unsaved = 0;
        while let Some(checked) = shutdown.run_until_cancelled(self.check_next()).await {
            unsaved += usize::from(checked);
            if unsaved >= SAVE_EVERY || (unsaved > 0 && self.lock().is_empty()) {
                self.save().await;
                unsaved = 0;
            }
        }
        if unsaved > 0 {
            self.save().await;
        }
    }

    /// Checks one unchecked password, or waits until there may be one. Returns whether it has checked one.
    async fn check_next(&self) -> bool {
        let Some(address) = self.lock().keys().next().cloned() else {
            self.changed.notified().await;
            return false;
        };
        let turn = self.hasher.background().await;
        let checked = self.check_now(&address, None).await;
        if let Err(error) = &checked {
            facts::StoreHashFailed { address: &address, error }.log();
            drop(turn);
            self.io.sleep(PAUSE).await;
        }
        checked.is_ok()
    }

    /// Whether this is the password that was hashed. Takes tens of milliseconds, as it should.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when too many others wait.
    pub(crate) async fn verify(&self, password: String, hash: String, client: Waiting) -> Result<bool> {
        self.hasher.verify(password, hash, client, self.io).await
    }

    /// Makes what is stored of this account's password fit its plain text, where that is not known yet. A client may be
    /// waiting for it.
    ///
    /// # Errors
    /// When the store fails, or when too many others wait.
    pub(crate) async fn check_now(&self, address: &Mailbox, client: Option<Waiting>) -> Result<()> {
        let Some(password) = self.lock().get(address).cloned() else { return Ok(()) };
        let stored = self.store.password(address).await?;
        let plain = password.expose().to_owned();
        let made = match client {
            Some(client) => self.hasher.keep_or_make_for((client, self.io), plain, stored.clone()).await?,
            None => self.hasher.keep_or_make(plain, stored.clone()).await?,
        };
        let _writing = self.writing.lock().await;
        if self.lock().get(address) != Some(&password) {
            // The configuration has changed meanwhile, or somebody else was faster.
            return Ok(());
        }
        if stored.as_ref() != Some(&made) {
            self.store.set_password(address, made.clone()).await?;
        }
        self.checked.add(self.digest(address, &made.hash, password.expose()));
        self.lock().remove(address);
        Ok(())
    }

    /// Whether every account that somebody can log in to has a SCRAM verifier, or will have one when it is asked for.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn all_have_verifiers(&self) -> Result<bool> {
        let unchecked = self.lock().len();
        let without =
            self.store.without_verifier(u32::try_from(unchecked).unwrap_or(u32::MAX).saturating_add(1)).await?;
        let unchecked = self.lock();
        Ok(without.iter().all(|address| unchecked.get(address).is_some_and(can_have_verifier)))
    }

    /// The store.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Waits until nobody else changes accounts, and keeps others from it.
    pub(crate) async fn writing(&self) -> AsyncMutexGuard<'_, ()> {
        self.writing.lock().await
    }

    /// What is stored of a password in plain text that was not stored before.
    ///
    /// # Errors
    /// When it cannot be computed.
    pub(crate) async fn hashed(&self, password: String) -> Result<StoredPassword> {
        self.hasher.keep_or_make(password, None).await
    }

    /// The digest that stands for this password of this account.
    pub(crate) fn digest(&self, address: &Mailbox, hash: &str, password: &str) -> Digest {
        self.checked.digest(address, hash, password)
    }

    async fn save(&self) {
        let checked = Arc::clone(&self.checked);
        let saved = tokio::task::spawn_blocking(move || checked.save()).await;
        let saved = saved.unwrap_or_else(|panic| Err(StoreError::Internal(panic.to_string())));
        if let Err(error) = saved {
            facts::StoreCheckedLost { error }.log();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Mailbox, Password>> {
        self.unchecked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all is stored of a password that can be.
fn is_whole(stored: &StoredPassword, password: &Password) -> bool {
    stored.verifier.is_some() || !can_have_verifier(password)
}

fn can_have_verifier(password: &Password) -> bool {
    sasl::prepare(password.expose()).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test waits for threads in real time")]

    use super::*;
    use crate::{
        metrics::Metrics,
        passwords::{Client, Hasher},
        service,
    };
    use mail_net::Clock;
    use prometheus_client::registry::Registry;
    use std::{collections::HashMap, time::Instant};
    use tempfile::TempDir;
    use town_config::Config;

    /// A store in a directory of its own, and what keeps it in step with a configuration.
    struct Fixture {
        directory: TempDir,
        accounts: Accounts,
    }

    fn stack(accounts: &str) -> Stack {
        let text = format!("[server.\"a.test\"]\nsmtp = 1\npop = 2\n[accounts.\"a.test\"]\n{accounts}\n");
        Config::parse(&text, Path::new("config.toml")).unwrap().stack("a.test").unwrap().clone()
    }

    impl Fixture {
        async fn open(directory: TempDir) -> Self {
            let metrics = Metrics::new(&mut Registry::default());
            let store = service::open(&stack(""), directory.path().join("store"), None, Clock::system(), metrics)
                .await
                .unwrap();
            let accounts = Accounts::new(store, directory.path(), Clock::system().io);
            Self { directory, accounts }
        }

        async fn new() -> Self {
            Self::open(tempfile::tempdir().unwrap()).await
        }

        async fn reopen(self) -> Self {
            self.accounts.store.close().await;
            Self::open(self.directory).await
        }

        /// Checks passwords until none is unchecked.
        async fn check_all(&self) {
            let shutdown = CancellationToken::new();
            let checked = async {
                while !self.accounts.lock().is_empty() {
                    tokio::task::yield_now().await;
                }
                shutdown.cancel();
            };
            tokio::join!(self.accounts.check_all(shutdown.clone()), checked);
        }

        async fn stored(&self) -> HashMap<Mailbox, StoredPassword> {
            self.accounts.store.passwords().await.unwrap()
        }

        async fn fits(&self, address: &str, password: &str) -> bool {
            let address = address.parse().unwrap();
            self.accounts.check_now(&address, None).await.unwrap();
            let stored = self.accounts.store.password(&address).await.unwrap().unwrap();
            let client = Client { network: None, account: 0, is_delayed: false };
            let client = Waiting { client, until: self.accounts.io.instant() + Duration::from_secs(60) };
            self.accounts.verify(password.to_owned(), stored.hash, client).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_password_fits_before_the_background_has_come_to_it() {
        let fixture = Fixture::new().await;
        fixture.accounts.synchronise(&stack("\"u@a.test\" = \"one\"")).await.unwrap();
        assert!(fixture.stored().await.is_empty());
        assert!(fixture.fits("u@a.test", "one").await && !fixture.fits("u@a.test", "One").await);
        // Nobody can log in with a password that has been replaced.
        fixture.accounts.synchronise(&stack("\"u@a.test\" = \"two\"")).await.unwrap();
        assert!(!fixture.fits("u@a.test", "one").await && fixture.fits("u@a.test", "two").await);
    }

    /// A hash is computed for longer than a configuration takes to change.
    #[tokio::test]
    async fn a_late_hash_does_not_replace_what_was_configured_meanwhile() {
        let (fixture, address) = (Fixture::new().await, "u@a.test".parse().unwrap());
        let phc = fixture.accounts.hasher.keep_or_make("two".to_owned(), None).await.unwrap().hash;
        fixture.accounts.synchronise(&stack("\"u@a.test\" = \"one\"")).await.unwrap();
        let checking = fixture.accounts.check_now(&address, None);
        tokio::pin!(checking);
        assert!(futures_util::poll!(&mut checking).is_pending());
        fixture.accounts.synchronise(&stack(&format!("\"u@a.test\" = \"{phc}\""))).await.unwrap();
        checking.await.unwrap();
        let expected = StoredPassword { hash: phc, verifier: None };
        assert_eq!(fixture.stored().await.get(&address), Some(&expected));
    }

    #[tokio::test]
    async fn each_password_is_hashed_once_whatever_is_restarted() {
        let stack = stack("\"u@a.test\" = \"one\"\n\"v@a.test\" = \"two\"");
        let fixture = Fixture::new().await;
        fixture.accounts.synchronise(&stack).await.unwrap();
        fixture.check_all().await;
        let stored = fixture.stored().await;
        assert!(stored.len() == 2 && stored.values().all(|password| password.verifier.is_some()));
        let fixture = fixture.reopen().await;
        fixture.accounts.synchronise(&stack).await.unwrap();
        assert!(fixture.accounts.lock().is_empty(), "nothing is left to check");
        assert_eq!(fixture.stored().await, stored);
        // Without the file each is checked again, and the hashes stay.
        std::fs::remove_file(fixture.directory.path().join("passwords.checked")).unwrap();
        let fixture = fixture.reopen().await;
        fixture.accounts.synchronise(&stack).await.unwrap();
        assert_eq!(fixture.accounts.lock().len(), 2);
        fixture.check_all().await;
        assert_eq!(fixture.stored().await, stored);
    }

    #[tokio::test]
    async fn accounts_are_added_and_none_is_removed() {
        let fixture = Fixture::new().await;
        let phc = fixture.accounts.hasher.keep_or_make("two".to_owned(), None).await.unwrap().hash;
        fixture
            .accounts
            .synchronise(&stack(&format!("\"u@a.test\" = \"one\"\n\"v@a.test\" = \"{phc}\"")))
            .await
            .unwrap();
        fixture.check_all().await;
        fixture.accounts.synchronise(&stack("\"w@a.test\" = \"three\"")).await.unwrap();
        let page = fixture.accounts.store.mailboxes("", 10).await.unwrap();
        let addresses: Vec<_> = page.mailboxes.iter().map(|mailbox| mailbox.address.to_string()).collect();
        assert_eq!(addresses, ["postmaster@a.test", "u@a.test", "v@a.test", "w@a.test"]);
        assert!(fixture.fits("u@a.test", "one").await && fixture.fits("v@a.test", "two").await);
        assert_eq!(fixture.stored().await.get(&"postmaster@a.test".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn many_accounts_are_taken_over_without_hashing_any() {
        let many: Vec<_> = (0..6_000).map(|n| format!("\"u{n}@a.test\" = \"pass{n}\"")).collect();
        let fixture = Fixture::new().await;
        let started = Instant::now();
        fixture.accounts.synchronise(&stack(&many.join("\n"))).await.unwrap();
        assert_eq!(fixture.accounts.lock().len(), 6_000);
        // One hash takes 20 ms or more.
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_phc_string_that_nobody_could_log_in_with_is_an_error() {
        let good = Hasher::shared().keep_or_make("pass".to_owned(), None).await.unwrap().hash;
        let no_hash = good.rsplit_once('$').unwrap().0.to_owned();
        let costly = [good.replace("m=19456", "m=65537"), good.replace("t=2", "t=4000000000")];
        let bad = ["$argon2id$", "$argon2", "$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", &no_hash];
        let address = "u@a.test".parse().unwrap();
        assert!(check(&address, &Password::from(&*good)).is_ok());
        for bad in bad.into_iter().chain(costly.iter().map(String::as_str)) {
            let error = check(&address, &Password::from(bad)).unwrap_err();
            assert!(error.to_string().starts_with("the password of u@a.test is no valid"), "{error}");
        }
    }
}
