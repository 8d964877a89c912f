//! Who clients are: AUTH's questions to the store (RFC 4954), counted and logged.

use crate::metrics::{LoginOutcome, Metrics};
use internal_api::{ApiError, LoginSupport, StoreClient};
use mail_net::IoClock;
use mail_proto::{
    Mailbox,
    sasl::{Credentials, Failure, LoginsUnavailable, Mechanisms, ScramVerifier},
};
use service_kit::logins::{self, BY_PASSWORD, BY_VERIFIER, NotReported};
use std::net::{IpAddr, SocketAddr};

/// Checks logins of one stack.
pub(crate) struct Logins {
    store: logins::Logins,
    metrics: Metrics,
}

impl Logins {
    pub(crate) fn new(store: StoreClient, io: IoClock, metrics: Metrics) -> Self {
        Self { store: logins::Logins::new(store, io, mechanisms), metrics }
    }

    /// The mechanisms that the store can check.
    pub(crate) async fn mechanisms(&self) -> Mechanisms {
        self.store.mechanisms().await
    }

    /// Whose user name and password these are, if they are anybody's.
    pub(crate) async fn verify(
        &self,
        client: IpAddr,
        credentials: Credentials,
    ) -> Result<Option<Mailbox>, LoginsUnavailable> {
        self.store.verify(client, credentials).await.map_err(|error| self.unavailable(&error))
    }

    /// What is known of this user's password, and who that is, if there is such a user.
    pub(crate) async fn find(
        &self,
        client: IpAddr,
        user: String,
    ) -> Result<(Option<Mailbox>, ScramVerifier), LoginsUnavailable> {
        self.store.find(client, user).await.map_err(|error| self.unavailable(&error))
    }

    /// Tells the store whether a client has proved the password of this user, before the client is told. If the store
    /// cannot be told, the login is not counted.
    pub(crate) async fn proof_ended(&self, client: IpAddr, user: String, proved: bool) {
        match self.store.proof_ended(client, user, proved).await {
            Ok(()) => {}
            Err(NotReported::Failed(error)) => facts::SmtpStoreFailed { error }.log(),
            Err(NotReported::Late) => facts::SmtpStoreLate {}.log(),
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

    fn unavailable(&self, error: &ApiError) -> LoginsUnavailable {
        self.metrics.login(LoginOutcome::unavailable);
        facts::SmtpStoreFailed { error }.log();
        LoginsUnavailable
    }
}

/// A store of the version before checks no logins but those that open a maildrop.
fn mechanisms(support: Option<LoginSupport>) -> Mechanisms {
    let Some(LoginSupport { scram, .. }) = support else { return Mechanisms::NONE };
    BY_PASSWORD.into_iter().chain(BY_VERIFIER.into_iter().filter(|_| scram)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_proto::sasl::Mechanism;

    #[test]
    fn what_the_store_can_check_is_offered() {
        assert_eq!(mechanisms(None), Mechanisms::NONE);
        let with = |scram| mechanisms(Some(LoginSupport { scram, proved_sessions: false }));
        assert_eq!(with(false).to_string(), "PLAIN LOGIN XOAUTH2 OAUTHBEARER");
        assert_eq!(with(true), Mechanism::ALL.into_iter().collect());
    }
}
