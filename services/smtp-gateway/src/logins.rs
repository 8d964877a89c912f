//! Who clients are: AUTH's questions to the store (RFC 4954).

use crate::metrics::{LoginOutcome, Metrics};
use internal_api::{Login, LoginSupport, ProblemKind, ProofOutcome, StoreClient, VerifierRequest};
use mail_net::{IoClock, SharedAddresses};
use mail_proto::{
    Mailbox,
    sasl::{Credentials, Failure, Mechanism, Mechanisms, ScramVerifier},
    smtp::LoginsUnavailable,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// How long it is remembered what the store can check, and how long a client waits to learn it.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a client waits until the store knows how its proof ended.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// The mechanisms with which the store only checks a password.
const BY_PASSWORD: [Mechanism; 4] = [Mechanism::Plain, Mechanism::Login, Mechanism::XOAuth2, Mechanism::OAuthBearer];
/// The mechanisms with which it needs verifiers.
const BY_VERIFIER: [Mechanism; 2] = [Mechanism::ScramSha256, Mechanism::ScramSha256Plus];

/// Checks logins of one stack.
pub(crate) struct Logins {
    store: StoreClient,
    io: IoClock,
    metrics: Metrics,
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

impl Logins {
    pub(crate) fn new(store: StoreClient, io: IoClock, metrics: Metrics) -> Self {
        // As long as the store cannot be asked: a client that logs in is told to try again.
        let support = Support { mechanisms: BY_PASSWORD.into_iter().collect(), asked_at: None };
        let shared = SharedAddresses::of_this_machine();
        Self { store, io, metrics, support: Mutex::new(support), shared }
    }

    /// The mechanisms that the store can check. While it cannot be asked, they are what they were.
    pub(crate) async fn mechanisms(&self) -> Mechanisms {
        let mut support = self.support.lock().await;
        let is_known = support.asked_at.is_some_and(|asked_at| self.io.since(asked_at) < REMEMBERED_FOR);
        if !is_known {
            if let Ok(Ok(answer)) = self.io.timeout(PATIENCE, self.store.login_support()).await {
                support.mechanisms = mechanisms(answer);
            }
            support.asked_at = Some(self.io.instant());
        }
        support.mechanisms
    }

    /// Whose user name and password these are, if they are anybody's. The store delays a client that has failed often.
    pub(crate) async fn verify(
        &self,
        client: IpAddr,
        credentials: Credentials,
    ) -> Result<Option<Mailbox>, LoginsUnavailable> {
        let Credentials { user, password } = credentials;
        let login = Login { user, password: password.expose().to_owned(), client: self.shared.telling(client) };
        match self.store.log_in(&login).await {
            Ok(mailbox) => Ok(Some(mailbox)),
            Err(error) if error.kind() == Some(ProblemKind::AuthenticationFailed) => Ok(None),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    /// What is known of this user's password, and who that is, if there is such a user.
    pub(crate) async fn find(
        &self,
        client: IpAddr,
        user: String,
    ) -> Result<(Option<Mailbox>, ScramVerifier), LoginsUnavailable> {
        match self.store.verifier(&VerifierRequest { user, client: self.shared.telling(client) }).await {
            Ok(found) => Ok((found.mailbox, found.verifier)),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    /// Tells the store whether a client has proved the password of this user, before the client is told. If the store
    /// cannot be told, the login is not counted.
    pub(crate) async fn proof_ended(&self, client: IpAddr, user: String, proved: bool) {
        let outcome = ProofOutcome { user, client: self.shared.telling(client), proved };
        match self.io.timeout(REPORT_PATIENCE, self.store.report_proof(&outcome)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => facts::SmtpStoreFailed { error }.log(),
            Err(_) => facts::SmtpStoreLate {}.log(),
        }
    }

    /// Counts and logs a login.
    pub(crate) fn succeeded(&self, user: Option<&Mailbox>) {
        self.metrics.login(LoginOutcome::ok);
        facts::SmtpLogin { user: user.map(Mailbox::to_string).unwrap_or_default() }.log();
    }

    /// Counts and logs a login that has failed.
    pub(crate) fn failed(&self, peer: SocketAddr, failure: Failure) {
        self.metrics.login(match failure {
            Failure::Cancelled => LoginOutcome::cancelled,
            Failure::Encoding | Failure::Malformed => LoginOutcome::malformed,
            Failure::Credentials | Failure::Binding | Failure::Downgrade => LoginOutcome::wrong_password,
        });
        facts::SmtpLoginFailed { peer: peer.ip().to_canonical(), reason: failure }.log();
    }

    fn unavailable(&self, error: &internal_api::ApiError) -> LoginsUnavailable {
        self.metrics.login(LoginOutcome::unavailable);
        facts::SmtpStoreFailed { error }.log();
        LoginsUnavailable
    }
}

/// A store of the version before checks no logins but those that open a maildrop.
fn mechanisms(support: Option<LoginSupport>) -> Mechanisms {
    let Some(LoginSupport { scram }) = support else { return Mechanisms::NONE };
    BY_PASSWORD.into_iter().chain(BY_VERIFIER.into_iter().filter(|_| scram)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_can_check_is_offered() {
        assert_eq!(mechanisms(None), Mechanisms::NONE);
        let plain = mechanisms(Some(LoginSupport { scram: false }));
        assert_eq!(plain.to_string(), "PLAIN LOGIN XOAUTH2 OAUTHBEARER");
        assert_eq!(mechanisms(Some(LoginSupport { scram: true })), Mechanism::ALL.into_iter().collect());
    }
}
