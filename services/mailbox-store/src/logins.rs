//! Checking passwords, slowly the first time.

use crate::{
    accounts::Accounts,
    metrics::Metrics,
    passwords::{Digest, NOBODY, Waiting, is_locked},
    store::{self, Result, StoreError},
    throttle::{LOGIN_TIME, Throttle},
};
use mail_proto::{Mailbox, sasl::ScramVerifier};
use moka::sync::Cache;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{sync::OnceCell, time::Instant};
use uuid::Uuid;

/// How many verified logins are remembered, and for how long.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// The name of the store's secret for SCRAM.
const SECRET: &str = "scram_secret";

/// Checks passwords against the store's hashes. Argon2 is slow by intention. So a password that was right is remembered
/// for a while: a client that polls costs no more than one that stays. Whoever guesses is slowed down.
pub(crate) struct Logins {
    accounts: Arc<Accounts>,
    verified: Cache<Digest, ()>,
    /// Makes the verifiers of users who do not exist.
    secret: OnceCell<String>,
    throttle: Throttle,
    metrics: Metrics,
}

/// Who wants to log in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User<'a> {
    /// As the client spells it.
    pub(crate) name: &'a str,
    /// Who that is, if it is an address; there may be no such account.
    pub(crate) address: Option<&'a Mailbox>,
    /// From where, if the gateway has said it.
    pub(crate) client: Option<IpAddr>,
    /// When the request came. Its answer comes [`LOGIN_TIME`] later at most.
    pub(crate) began: Instant,
}

impl User<'_> {
    /// What the failures of this user are counted by.
    fn account(&self) -> String {
        self.address.map_or_else(|| self.name.to_owned(), Mailbox::to_string)
    }
}

impl Logins {
    pub(crate) fn new(accounts: Arc<Accounts>, throttle: Throttle, metrics: Metrics) -> Self {
        let verified = Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self { accounts, verified, secret: OnceCell::new(), throttle, metrics }
    }

    /// What part of a login comes to, unless it takes too long.
    ///
    /// # Errors
    /// Those of the part; [`StoreError::Overloaded`].
    pub(crate) async fn in_time<T>(&self, began: Instant, part: impl Future<Output = Result<T>>) -> Result<T> {
        let ended = self.accounts.io.timeout_at(began + LOGIN_TIME, part).await;
        ended.unwrap_or(Err(StoreError::Overloaded("to log in")))
    }

    /// The accounts that log in.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Whether there is such an account and this is its password. Takes as long when there is none.
    ///
    /// # Errors
    /// When the store fails or takes too long, or when too many others wait.
    pub(crate) async fn verify(&self, store: &dyn store::Accounts, user: User<'_>, password: &str) -> Result<bool> {
        let attempt = self.throttle.begin(user.client, &user.account(), user.began)?;
        let (client, io) = (attempt.hash_for(), self.accounts.io);
        let started = io.instant();
        let checked = async {
            match user.address {
                Some(address) => self.check(store, address, password, client).await,
                None => self.accounts.verify(password.to_owned(), NOBODY.to_owned(), client).await.map(|_| false),
            }
        };
        let fits = self.in_time(user.began, checked).await?;
        self.metrics.login_seconds.observe(io.since(started).as_secs_f64());
        self.metrics.count_login(fits);
        if fits {
            attempt.succeeded().await;
        } else {
            attempt.failed().await;
        }
        Ok(fits)
    }

    async fn check(
        &self,
        store: &dyn store::Accounts,
        address: &Mailbox,
        password: &str,
        client: Waiting,
    ) -> Result<bool> {
        self.accounts.check_now(address, Some(client)).await?;
        // Asked for each time, so that a password that was changed is not taken any more.
        let hash = store.password(address).await?.map(|stored| stored.hash).filter(|hash| !is_locked(hash));
        let digest = hash.as_deref().map(|hash| self.accounts.digest(address, hash, password));
        if digest.is_some_and(|digest| self.verified.contains_key(&digest)) {
            return Ok(true);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let fits = self.accounts.verify(password.to_owned(), hash, client).await? && known;
        if let (true, Some(digest)) = (fits, digest) {
            self.verified.insert(digest, ());
        }
        Ok(fits)
    }

    /// The SCRAM verifier of this user's password, if there is such an account and its plain text was known.
    ///
    /// Whoever guesses needs one for each guess. So the wait is here, and [`Logins::proved`] only counts.
    ///
    /// # Errors
    /// As [`Logins::verify`].
    pub(crate) async fn verifier(&self, store: &dyn store::Accounts, user: User<'_>) -> Result<Option<ScramVerifier>> {
        let attempt = self.throttle.begin(user.client, &user.account(), user.began)?;
        let find = async {
            let Some(address) = user.address else { return Ok(None) };
            self.accounts.check_now(address, Some(attempt.hash_for())).await?;
            Ok(store.password(address).await?.filter(|stored| !is_locked(&stored.hash)))
        };
        let found = self.in_time(user.began, find).await?;
        attempt.wait().await;
        Ok(found.and_then(|stored| stored.verifier))
    }

    /// Counts whether a user has proved the password with SCRAM.
    pub(crate) fn proved(&self, user: User<'_>, proved: bool) {
        self.throttle.count(user.client, &user.account(), proved);
    }

    /// The verifier that a user has who does not exist: the same in every store of the stack.
    pub(crate) async fn verifier_of_nobody(&self, store: &dyn store::Accounts, user: &str) -> Result<ScramVerifier> {
        let made = || store.secret(SECRET, [(); 2].map(|()| Uuid::new_v4().simple().to_string()).concat());
        let secret = self.secret.get_or_try_init(made).await?;
        Ok(ScramVerifier::of_nobody(secret.as_bytes(), user))
    }

    /// Whether SCRAM is possible for every account that somebody can log in to.
    pub(crate) async fn all_have_verifiers(&self) -> Result<bool> {
        self.accounts.all_have_verifiers().await
    }
}
