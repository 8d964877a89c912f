//! Answers that go wrong on purpose.

use crate::served::ServedZone;
use faults::{Action, DnsAnswer, Faults, Outcome, Point};
use mail_net::{Hop, IoClock};
use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};
use town_config::zone::{Zone, absolute_name};

/// What a query is answered instead.
pub(crate) enum Wrong {
    /// SERVFAIL.
    Failure,
    /// NXDOMAIN.
    Unknown,
    /// Nothing.
    Silence,
    /// What this zone has.
    Zone(Arc<ServedZone>),
}

/// Asks the faults about a query, and waits as long as they say. Returns which of them happen, and what is answered instead,
/// if anything is.
pub(crate) async fn at_query(
    (faults, io): (&Faults, IoClock),
    (name, record_type): (&str, &str),
    client: Option<IpAddr>,
) -> Option<(Box<Outcome>, Option<Wrong>)> {
    let name = absolute_name(name);
    let verbs = [record_type];
    let point = Point { name: Some(&name), client, ..Point::of(Hop::GatewayToDns, &verbs) };
    let outcome = faults.at(&point)?;
    io.sleep(outcome.delay).await;
    let wrong = match &outcome.action {
        Some(Action::Dns(DnsAnswer::Servfail)) => Some(Wrong::Failure),
        Some(Action::Dns(DnsAnswer::Nxdomain)) => Some(Wrong::Unknown),
        Some(Action::Dns(DnsAnswer::Timeout) | Action::Stall) => Some(Wrong::Silence),
        Some(Action::Dns(DnsAnswer::Wrong(record))) => Some(zone((&name, record_type), record, io)),
        _ => None,
    };
    Some((outcome, wrong))
}

/// A zone with this record alone. A record that no zone can have is a failure.
fn zone((name, record_type): (&str, &str), record: &str, io: IoClock) -> Wrong {
    let text = match record_type {
        "P" => format!("[MX]\n[P]\n{name:?} = {record:?}\n"),
        // An exchange of a zone has a port there. Nobody asks this zone for it.
        _ => format!("[MX]\n{name:?} = {record:?}\n[P]\n{record:?} = \"25\"\n"),
    };
    match Zone::parse(&text, Path::new("fault")) {
        Ok(zone) => Wrong::Zone(Arc::new(ServedZone::new(zone, Duration::ZERO, io))),
        Err(_) => Wrong::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use town_config::zone::Lookup;

    #[test]
    fn wrong_records_are_those_of_a_zone() {
        let io = Clock::system().io;
        let Wrong::Zone(ports) = zone(("mx.a.test.", "P"), "9", io) else { panic!("no zone") };
        assert!(
            matches!(ports.look_up(|zone| zone.ports("mx.a.test.")), Ok(Lookup::Found(port)) if port.to_string() == "9")
        );
        let Wrong::Zone(exchanges) = zone(("a.test.", "MX"), "mx.b.test.", io) else { panic!("no zone") };
        assert!(matches!(exchanges.look_up(|zone| zone.mail_exchanges("a.test.")), Ok(Lookup::Found(_))));
        assert!(matches!(zone(("a.test.", "P"), "no port", io), Wrong::Failure));
    }
}
