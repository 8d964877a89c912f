//! Connections kept for a moment: under load the next claim for their destination follows at once.

use super::{route::Destination, smtp_client::Connection};
use mail_net::IoClock;
use service_kit::shutdown::CancellationToken;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a connection waits for more mail to its destination. A change of the zone waits no longer for what has
/// left off, and an exchange has an idle connection for no longer.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// The connections that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_destination: HashMap<Destination, Vec<(u64, Connection)>>,
    /// Numbers them.
    number: u64,
}

impl Pool {
    /// A connection to an exchange of this destination, if there is one that is still good.
    pub(super) fn take(&self, destination: &Destination) -> Option<Connection> {
        let mut kept = self.lock();
        let connections = kept.by_destination.get_mut(destination)?;
        let mut good = None;
        while let (None, Some((_, connection))) = (&good, connections.pop()) {
            good = connection.if_quiet();
        }
        if connections.is_empty() {
            kept.by_destination.remove(destination);
        }
        good
    }

    /// Takes connections to other destinations, those that were kept first, until there are `room` of them at most. Together
    /// with those in use, there must not be more than the configuration says.
    pub(super) fn make_room(&self, destination: &Destination, room: usize) -> Vec<Connection> {
        let mut kept = self.lock();
        let mut others: Vec<_> = kept
            .by_destination
            .iter()
            .filter(|(other, _)| *other != destination)
            .flat_map(|(other, connections)| connections.iter().map(|(number, _)| (*number, other.clone())))
            .collect();
        others.sort_unstable_by_key(|(number, _)| *number);
        others.truncate(others.len().saturating_sub(room));
        others.into_iter().filter_map(|(number, destination)| kept.remove(&destination, number)).collect()
    }

    /// Lets a connection be taken for [`KEPT_FOR`], or until `shutdown`, and then says goodbye.
    pub(super) async fn keep(
        &self,
        destination: Destination,
        connection: Connection,
        io: IoClock,
        shutdown: &CancellationToken,
    ) {
        let number = self.add(destination.clone(), connection);
        shutdown.run_until_cancelled(io.sleep(KEPT_FOR)).await;
        let left = self.lock().remove(&destination, number);
        if let Some(connection) = left {
            connection.quit().await;
        }
    }

    fn add(&self, destination: Destination, connection: Connection) -> u64 {
        let mut kept = self.lock();
        kept.number += 1;
        let number = kept.number;
        kept.by_destination.entry(destination).or_default().push((number, connection));
        number
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, destination: &Destination, number: u64) -> Option<Connection> {
        let connections = self.by_destination.get_mut(destination)?;
        let at = connections.iter().position(|(other, _)| *other == number)?;
        let (_, connection) = connections.swap_remove(at);
        if connections.is_empty() {
            self.by_destination.remove(destination);
        }
        Some(connection)
    }
}
