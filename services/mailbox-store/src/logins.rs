//! Checking passwords, slowly the first time.

use crate::{
    accounts::Accounts,
    metrics::Metrics,
    passwords::{Digest, NOBODY},
    store::{self, Result},
};
use mail_proto::Mailbox;
use moka::sync::Cache;
use std::{sync::Arc, time::Duration};

/// How many verified logins are remembered, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Checks passwords against the store's hashes. Argon2 is slow by intention; what was found right is remembered
/// for a while, so that a client that polls does not cost more than one that stays.
pub(crate) struct Logins {
    accounts: Arc<Accounts>,
    verified: Cache<Digest, ()>,
    metrics: Metrics,
}

impl Logins {
    pub(crate) fn new(accounts: Arc<Accounts>, metrics: Metrics) -> Self {
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { accounts, verified, metrics }
    }

    /// Whether there is such an account and this is its password.
    pub(crate) async fn verify(&self, store: &dyn store::Accounts, address: &Mailbox, password: &str) -> Result<bool> {
        let io = self.accounts.io;
        let started = io.instant();
        let fits = self.check(store, address, password).await?;
        self.metrics.login_seconds.observe(io.since(started).as_secs_f64());
        self.metrics.count_login(fits);
        Ok(fits)
    }

    async fn check(&self, store: &dyn store::Accounts, address: &Mailbox, password: &str) -> Result<bool> {
        self.accounts.check_now(address).await?;
        let hash = store.password_hash(address).await?;
        let digest = hash.as_deref().map(|hash| self.accounts.digest(address, hash, password));
        if digest.is_some_and(|digest| self.verified.contains_key(&digest)) {
            return Ok(true);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let fits = self.accounts.verify(password.to_owned(), hash).await? && known;
        if let (true, Some(digest)) = (fits, digest) {
            self.verified.insert(digest, ());
        }
        Ok(fits)
    }
}
