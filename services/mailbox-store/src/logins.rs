//! Checking passwords, slowly the first time.

use crate::{
    accounts,
    metrics::Metrics,
    store::{Result, Store, StoreError},
};
use blake2::{
    Blake2bMac512,
    digest::{KeyInit, Mac},
};
use mail_proto::Mailbox;
use moka::sync::Cache;
use std::{sync::Arc, thread, time::Duration};
use tokio::sync::Semaphore;

/// How many verified logins are remembered, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hash of nobody's password, with the parameters of everybody's: to check a password for an account that
/// does not exist takes as long as for one that does.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGxvZ3MgaW4gIA$1YFkTVAFLdhf0f0Rwm8wYiGXUjkxA9GVnKpKZUvlNrE";

/// Identifies address, password and hash without holding the password.
type Fingerprint = [u8; 64];

/// Checks passwords against the store's hashes. Argon2 is slow by intention; what was found right is remembered
/// for a while, so that a client that polls does not cost more than one that stays.
pub(crate) struct Logins {
    verified: Cache<Fingerprint, ()>,
    /// Of this process only: what is remembered is of no use elsewhere.
    secret: [u8; 16],
    /// Each takes a processor and 19 MiB.
    slots: Arc<Semaphore>,
    metrics: Metrics,
}

impl Logins {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            verified: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build(),
            secret: uuid::Uuid::new_v4().into_bytes(),
            slots: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, usize::from))),
            metrics,
        }
    }

    /// Whether there is such an account and this is its password.
    pub(crate) async fn verify(&self, store: &dyn Store, address: &Mailbox, password: &str) -> Result<bool> {
        let hash = store.password_hash(address).await?;
        let fingerprint = hash.as_deref().map(|hash| self.fingerprint([&address.to_string(), hash, password]));
        if fingerprint.is_some_and(|fingerprint| self.verified.contains_key(&fingerprint)) {
            self.metrics.count_login(true);
            return Ok(true);
        }
        let known = hash.is_some();
        let fits = self.fits(password.to_owned(), hash.unwrap_or_else(|| NOBODY.to_owned())).await? && known;
        if let (true, Some(fingerprint)) = (fits, fingerprint) {
            self.verified.insert(fingerprint, ());
        }
        self.metrics.count_login(fits);
        Ok(fits)
    }

    async fn fits(&self, password: String, hash: String) -> Result<bool> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(slot)) = turn else { return Err(StoreError::Overloaded("to log in")) };
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end, also when the caller has gone.
            let _slot = slot;
            accounts::verify(&password, &hash)
        });
        checking.await.map_err(|error| StoreError::Internal(format!("checking a password panicked: {error}")))
    }

    fn fingerprint(&self, parts: [&str; 3]) -> Fingerprint {
        // The key is 16 octets long, which is never too long.
        #[expect(clippy::expect_used, reason = "see above")]
        let mut mac = Blake2bMac512::new_from_slice(&self.secret).expect("a key of 16 octets");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_is_as_costly_as_a_new_one_and_fits_nothing() {
        use argon2::{Argon2, password_hash::PasswordHasher};
        let hash = Argon2::default().hash_password(b"").unwrap().to_string();
        let costs = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(costs(NOBODY), costs(&hash));
        assert_eq!(NOBODY.len(), hash.len(), "{hash}");
        argon2::password_hash::phc::PasswordHash::new(NOBODY).unwrap();
        assert!(!accounts::verify("", NOBODY));
    }

    #[test]
    fn fingerprints_differ_where_the_parts_do() {
        let logins = Logins::new(Metrics::new(&mut prometheus_client::registry::Registry::default()));
        assert_eq!(logins.fingerprint(["a", "b", "c"]), logins.fingerprint(["a", "b", "c"]));
        assert_ne!(logins.fingerprint(["a", "b", "c"]), logins.fingerprint(["a", "bc", ""]));
        assert_ne!(logins.fingerprint(["a", "b", "c"]), logins.fingerprint(["a", "b", "C"]));
    }
}
