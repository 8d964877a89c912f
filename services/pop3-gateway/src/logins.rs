//! Who clients are: AUTH's questions to the store (RFC 5034), counted and logged.

use crate::metrics::Metrics;
use internal_api::{LoginSupport, StoreClient};
use mail_net::IoClock;
use mail_proto::{
    Mailbox,
    sasl::{Failure, LoginsUnavailable, Mechanisms, ScramVerifier},
};
use service_kit::logins::{self, BY_PASSWORD, BY_VERIFIER, NotReported};
use std::net::IpAddr;

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

    /// The address by which the store is to count the failures of this client, if it is the client's alone.
    pub(crate) fn telling(&self, client: IpAddr) -> Option<IpAddr> {
        self.store.telling(client)
    }

    /// What is known of this user's password, and who that is, if there is such a user.
    pub(crate) async fn find(
        &self,
        client: IpAddr,
        user: String,
    ) -> Result<(Option<Mailbox>, ScramVerifier), LoginsUnavailable> {
        self.store.find(client, user).await.map_err(|error| {
            self.metrics.login_unchecked();
            facts::Pop3StoreFailed { error }.log();
            LoginsUnavailable
        })
    }

    /// Tells the store whether a client has proved the password of this user, before the client is told. If the store
    /// cannot be told, the login is not counted.
    pub(crate) async fn proof_ended(&self, client: IpAddr, user: String, proved: bool) {
        match self.store.proof_ended(client, user, proved).await {
            Ok(()) => {}
            Err(NotReported::Failed(error)) => facts::Pop3StoreFailed { error }.log(),
            Err(NotReported::Late) => facts::Pop3StoreLate {}.log(),
        }
    }

    /// Counts a login that has failed without the store's word, and logs it if somebody may have guessed.
    pub(crate) fn failed(&self, failure: Failure) {
        self.metrics.login_failed(failure);
        if let Failure::Credentials | Failure::Binding | Failure::Downgrade = failure {
            facts::Pop3LoginRefused {}.log();
        }
    }
}

/// Every store checks a password with which a maildrop is opened. A store of the version before opens none without.
fn mechanisms(support: Option<LoginSupport>) -> Mechanisms {
    let takes_proofs = support.is_some_and(|support| support.scram && support.proved_sessions);
    BY_PASSWORD.into_iter().chain(BY_VERIFIER.into_iter().filter(|_| takes_proofs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_proto::sasl::Mechanism;

    #[test]
    fn scram_needs_a_store_that_opens_maildrops_without_a_password() {
        let with = |scram, proved_sessions| mechanisms(Some(LoginSupport { scram, proved_sessions })).to_string();
        let by_password = "PLAIN LOGIN XOAUTH2 OAUTHBEARER";
        assert_eq!(mechanisms(None).to_string(), by_password);
        assert_eq!([with(true, false), with(false, true)], [by_password; 2]);
        assert_eq!(
            mechanisms(Some(LoginSupport { scram: true, proved_sessions: true })),
            Mechanism::ALL.into_iter().collect()
        );
    }
}
