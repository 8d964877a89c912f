//! What gateways ask the store about logins: what it can check, whose a password is, and how a proof by SCRAM ended.
//! Counting and logging is theirs.

use internal_api::{ApiError, Login, LoginSupport, ProblemKind, ProofOutcome, StoreClient, VerifierRequest};
use mail_net::{IoClock, SharedAddresses};
use mail_proto::{
    Mailbox,
    sasl::{Credentials, Mechanism, Mechanisms, ScramVerifier},
};
use std::{net::IpAddr, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// How long it is remembered what the store can check, and how long a client waits to learn it.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a client waits until the store knows how its proof ended.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);

/// The mechanisms with which the store only checks a password.
pub const BY_PASSWORD: [Mechanism; 4] =
    [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2, Mechanism::OAuthBearer];
/// The mechanisms with which it needs verifiers.
pub const BY_VERIFIER: [Mechanism; 2] = [Mechanism::ScramSha256, Mechanism::ScramSha256Plus];

/// Asks the store of one stack about logins.
pub struct Logins {
    store: StoreClient,
    io: IoClock,
    /// The mechanisms for what the store can check.
    offered: fn(Option<LoginSupport>) -> Mechanisms,
    support: Mutex<Support>,
    /// The store is not told that these are a client's: one who guesses there would delay all others.
    shared: SharedAddresses,
}

/// What the store can check, as far as it is known.
struct Support {
    mechanisms: Mechanisms,
    /// When that was asked for last.
    asked_at: Option<Instant>,
}

/// The store does not know how a proof ended.
#[derive(Debug, thiserror::Error)]
pub enum NotReported {
    /// It gave no usable answer.
    #[error(transparent)]
    Failed(#[from] ApiError),
    /// It gave none in time.
    #[error("the store did not answer in time")]
    Late,
}

impl Logins {
    /// `offered` tells the mechanisms for what the store can check; it gets `None` for a store of a version that cannot be
    /// asked.
    pub fn new(store: StoreClient, io: IoClock, offered: fn(Option<LoginSupport>) -> Mechanisms) -> Self {
        // As long as the store cannot be asked: a client that logs in is told to try again.
        let support = Support { mechanisms: BY_PASSWORD.into_iter().collect(), asked_at: None };
        Self { store, io, offered, support: Mutex::new(support), shared: SharedAddresses::of_this_machine() }
    }

    /// The mechanisms to offer. While the store cannot be asked, they are what they were.
    pub async fn mechanisms(&self) -> Mechanisms {
        let mut support = self.support.lock().await;
        let is_known = support.asked_at.is_some_and(|asked_at| self.io.since(asked_at) < REMEMBERED_FOR);
        if !is_known {
            if let Ok(Ok(answer)) = self.io.timeout(PATIENCE, self.store.login_support()).await {
                support.mechanisms = (self.offered)(answer);
            }
            support.asked_at = Some(self.io.instant());
        }
        support.mechanisms
    }

    /// The address by which the store is to count the failures of this client, if it is the client's alone.
    pub fn telling(&self, client: IpAddr) -> Option<IpAddr> {
        self.shared.telling(client)
    }

    /// Whose user name and password these are, if they are anybody's. The store delays a client that has failed often.
    ///
    /// # Errors
    /// [`ApiError`] when the store gives no usable answer.
    pub async fn verify(&self, client: IpAddr, credentials: Credentials) -> Result<Option<Mailbox>, ApiError> {
        let Credentials { user, password } = credentials;
        let login = Login { user, password: password.expose().to_owned(), client: self.telling(client) };
        match self.store.log_in(&login).await {
            Ok(mailbox) => Ok(Some(mailbox)),
            Err(error) if error.kind() == Some(ProblemKind::AuthenticationFailed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is known of this user's password, and who that is, if there is such a user.
    ///
    /// # Errors
    /// As [`Logins::verify`].
    pub async fn find(&self, client: IpAddr, user: String) -> Result<(Option<Mailbox>, ScramVerifier), ApiError> {
        let found = self.store.verifier(&VerifierRequest { user, client: self.telling(client) }).await?;
        Ok((found.mailbox, found.verifier))
    }

    /// Tells the store whether a client has proved the password of this user, before the client is told.
    ///
    /// # Errors
    /// [`NotReported`]: the login is not counted then.
    pub async fn proof_ended(&self, client: IpAddr, user: String, proved: bool) -> Result<(), NotReported> {
        let outcome = ProofOutcome { user, client: self.telling(client), proved };
        match self.io.timeout(REPORT_PATIENCE, self.store.report_proof(&outcome)).await {
            Ok(reported) => Ok(reported?),
            Err(_) => Err(NotReported::Late),
        }
    }
}
