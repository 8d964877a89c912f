//! `smtp_accept`, `smtp_accept_tls` and `relay`: from SMTP to the maildrop, at the same server or at the next one.

use super::{
    Bench, Pair,
    rounds::{Rate, rate, warm_up},
};
use crate::{load::Client, peers::Peers, statistics::Summary, target::Target, town::Town};
use serde::Serialize;

/// The rates at several numbers of connections.
#[derive(Debug, Serialize)]
pub(crate) struct Accept {
    /// One for each number of connections.
    pub(crate) rows: Vec<AcceptRow>,
    /// The memory of the town after all of it, in MiB.
    pub(crate) town_mib: f64,
}

/// The rates with this many connections; each vector holds one entry for each round.
#[derive(Debug, Serialize)]
pub(crate) struct AcceptRow {
    /// How many clients sent at once.
    pub(crate) connections: usize,
    /// mailtown.
    pub(crate) town: Vec<Rate>,
    /// An earlier build of mailtown.
    pub(crate) before: Vec<Rate>,
    /// Postfix and Dovecot.
    pub(crate) peer: Vec<Rate>,
    /// smtp-sink.
    pub(crate) sink: Vec<Rate>,
}

impl AcceptRow {
    /// How many times the peer's delivered rate mailtown's is.
    pub(crate) fn over_peer(&self) -> Option<Summary> {
        Self::ratios(&self.town, &self.peer, delivered, delivered)
    }

    /// Which part of an earlier build's delivered rate mailtown's is.
    pub(crate) fn of_before(&self) -> Option<Summary> {
        Self::ratios(&self.town, &self.before, delivered, delivered)
    }

    /// Which part of smtp-sink's rate mailtown's is.
    pub(crate) fn of_sink(&self) -> Option<Summary> {
        Self::ratios(&self.town, &self.sink, delivered, |rate| Some(rate.accepted))
    }

    fn ratios(
        ours: &[Rate],
        theirs: &[Rate],
        our_rate: fn(&Rate) -> Option<f64>,
        their_rate: fn(&Rate) -> Option<f64>,
    ) -> Option<Summary> {
        Summary::of_ratios(
            ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some((our_rate(ours)?, their_rate(theirs)))),
        )
    }
}

/// The rate at which messages reached their maildrops.
pub(crate) fn delivered(rate: &Rate) -> Option<f64> {
    rate.delivered
}

/// Mail to local mailboxes.
///
/// # Errors
/// When a system fails under the load.
pub(super) async fn measure(bench: &Bench<'_>, towns: &Pair<Town>, peers: &Peers) -> anyhow::Result<Accept> {
    let before = towns.before.as_ref().map(Town::accepting).transpose()?;
    let targets = Targets { town: towns.now.accepting()?, before, peer: peers.accepting(), sink: peers.ceiling() };
    compare(bench, "smtp_accept", &towns.now, &targets, &bench.scale.connections).await
}

/// The same over TLS. A build of before that has no STARTTLS is left out.
///
/// # Errors
/// When a system fails under the load.
pub(super) async fn measure_tls(bench: &Bench<'_>, towns: &Pair<Town>, peers: &Peers) -> anyhow::Result<Accept> {
    let before = towns.before.as_ref().map(Town::accepting).transpose()?.map(Target::over_tls);
    let before = match before {
        Some(target) if Client::open_as_wanted(target.smtp, true).await.is_ok() => Some(target),
        _ => None,
    };
    let (town, peer) = (towns.now.accepting()?.over_tls(), peers.accepting().map(Target::over_tls));
    let targets = Targets { town, before, peer, sink: None };
    compare(bench, "smtp_accept_tls", &towns.now, &targets, &bench.scale.connections).await
}

/// Mail to mailboxes at the other server.
///
/// # Errors
/// When a system fails under the load.
pub(super) async fn measure_relay(bench: &Bench<'_>, towns: &Pair<Town>, peers: &Peers) -> anyhow::Result<Accept> {
    let before = towns.before.as_ref().map(Town::relaying).transpose()?;
    let targets = Targets { town: towns.now.relaying()?, before, peer: peers.relaying(), sink: None };
    compare(bench, "relay", &towns.now, &targets, &bench.scale.relay_connections).await
}

struct Targets {
    town: Target,
    before: Option<Target>,
    peer: Option<Target>,
    sink: Option<Target>,
}

async fn compare(
    bench: &Bench<'_>,
    name: &str,
    town: &Town,
    targets: &Targets,
    connections: &[usize],
) -> anyhow::Result<Accept> {
    let all = [Some(&targets.town), targets.before.as_ref(), targets.peer.as_ref(), targets.sink.as_ref()];
    for target in all.into_iter().flatten() {
        warm_up(bench, target).await?;
    }
    let mut rows: Vec<_> = connections.iter().map(|&connections| AcceptRow::empty(connections)).collect();
    for row in &mut rows {
        for round in 1..=bench.scale.rounds {
            let label = |system: &str| format!("{name} round {round}: {system}");
            row.town.push(rate(bench, &label("mailtown"), &targets.town, row.connections).await?);
            if let Some(before) = &targets.before {
                row.before.push(rate(bench, &label("mailtown before"), before, row.connections).await?);
            }
            if let Some(peer) = &targets.peer {
                row.peer.push(rate(bench, &label("Postfix and Dovecot"), peer, row.connections).await?);
            }
            if let Some(sink) = &targets.sink {
                row.sink.push(rate(bench, &label("smtp-sink"), sink, row.connections).await?);
            }
        }
        bench.progress.say(&row.summary(name));
    }
    Ok(Accept { rows, town_mib: town.resident_mib()? })
}

impl AcceptRow {
    fn empty(connections: usize) -> Self {
        Self { connections, town: Vec::new(), before: Vec::new(), peer: Vec::new(), sink: Vec::new() }
    }

    fn summary(&self, name: &str) -> String {
        let median = |rates: &[Rate], rate: fn(&Rate) -> Option<f64>| {
            Summary::of(rates.iter().filter_map(rate)).map_or("-".to_owned(), |rates| format!("{:.0}", rates.median))
        };
        let (town, peer) = (median(&self.town, delivered), median(&self.peer, delivered));
        let sink = median(&self.sink, |rate| Some(rate.accepted));
        let connections = self.connections;
        format!(
            "{name}, {connections} connections: mailtown {town}/s, Postfix and Dovecot {peer}/s, smtp-sink {sink}/s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_compare_what_was_delivered() {
        let rate = |accepted, delivered| Rate { messages: 1, accepted, delivered, median_ms: 1.0, p99_ms: 1.0 };
        let row = AcceptRow {
            connections: 1,
            town: vec![rate(200.0, Some(180.0)), rate(200.0, Some(100.0))],
            before: vec![rate(200.0, Some(200.0)), rate(200.0, Some(100.0))],
            peer: vec![rate(50.0, Some(10.0)), rate(50.0, Some(20.0))],
            sink: vec![rate(360.0, None), rate(400.0, None)],
        };
        assert_eq!(row.over_peer(), Some(Summary { min: 5.0, median: 11.5, max: 18.0 }));
        assert_eq!(row.of_before(), Some(Summary { min: 0.9, median: 0.95, max: 1.0 }));
        assert_eq!(row.of_sink(), Some(Summary { min: 0.25, median: 0.375, max: 0.5 }));
        assert_eq!(AcceptRow::empty(1).over_peer(), None);
    }
}
