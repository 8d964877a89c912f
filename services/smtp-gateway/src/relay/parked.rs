//! Connections kept for a moment: under load the next claim for their domain follows at once.

use super::deliver::Connection;
use mail_proto::Domain;
use service_kit::shutdown::CancellationToken;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a connection waits for more mail to its domain. A change of the zone waits no longer for what has
/// left off, and an exchange has an idle connection for no longer.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// A connection that has carried so many messages is not kept: many servers end it about there, in the middle of
/// a transaction.
const TRANSACTIONS: u32 = 100;

/// The connections that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    by_domain: HashMap<Domain, Vec<(u64, Connection)>>,
    /// Numbers them.
    parked: u64,
}

impl Parked {
    /// A connection to an exchange of this domain, if there is one that is still good.
    pub(super) fn take(&self, domain: &Domain) -> Option<Connection> {
        let mut places = self.lock();
        let parked = places.by_domain.get_mut(domain)?;
        let mut good = None;
        while let (None, Some((_, connection))) = (&good, parked.pop()) {
            good = Some(connection).filter(Connection::is_quiet);
        }
        if parked.is_empty() {
            places.by_domain.remove(domain);
        }
        good
    }

    /// Lets a connection be taken for [`KEPT_FOR`], or until `shutdown`, and then says goodbye.
    pub(super) async fn keep(&self, domain: Domain, connection: Connection, shutdown: &CancellationToken) {
        if connection.transactions() >= TRANSACTIONS {
            return connection.quit().await;
        }
        let number = self.park(domain.clone(), connection);
        shutdown.run_until_cancelled(tokio::time::sleep(KEPT_FOR)).await;
        if let Some(connection) = self.remove(&domain, number) {
            connection.quit().await;
        }
    }

    fn park(&self, domain: Domain, connection: Connection) -> u64 {
        let mut places = self.lock();
        places.parked += 1;
        let number = places.parked;
        places.by_domain.entry(domain).or_default().push((number, connection));
        number
    }

    fn remove(&self, domain: &Domain, number: u64) -> Option<Connection> {
        let mut places = self.lock();
        let parked = places.by_domain.get_mut(domain)?;
        let at = parked.iter().position(|(parked, _)| *parked == number)?;
        let (_, connection) = parked.swap_remove(at);
        if parked.is_empty() {
            places.by_domain.remove(domain);
        }
        Some(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
