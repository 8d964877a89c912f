//! The zone in force, and what it has just lost.

use mail_net::IoClock;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use town_config::zone::{Lookup, Zone};

/// How many earlier zones are kept at most: a file that changes at every look.
const EARLIER: usize = 240;

/// A name was found until a moment ago. The file may be in the middle of an edit, so nothing is decided yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JustLost;

/// A zone that remembers for a while what was there before.
///
/// A mail that is told "no such domain" is returned for good. So a record that has just gone from the file is not denied
/// at once.
#[derive(Debug, Clone)]
pub(crate) struct ServedZone {
    zone: Arc<Zone>,
    /// Earlier zones, and until when each is remembered.
    earlier: Vec<(Arc<Zone>, Instant)>,
    grace: Duration,
    io: IoClock,
}

impl ServedZone {
    pub(crate) fn new(zone: Zone, grace: Duration, io: IoClock) -> Self {
        Self { zone: Arc::new(zone), earlier: Vec::new(), grace, io }
    }

    /// What is served once the file holds `zone`.
    pub(crate) fn replaced_by(&self, zone: Zone) -> Self {
        let now = self.io.instant();
        let mut earlier = vec![(Arc::clone(&self.zone), now + self.grace)];
        earlier.extend(self.earlier.iter().filter(|(_, until)| *until > now).cloned());
        earlier.truncate(EARLIER);
        Self { zone: Arc::new(zone), earlier, grace: self.grace, io: self.io }
    }

    /// Looks something up.
    ///
    /// # Errors
    /// [`JustLost`] when there is less than there was within the grace: no record any more, or no name.
    pub(crate) fn look_up<T>(&self, find: impl Fn(&Zone) -> Lookup<T>) -> Result<Lookup<T>, JustLost> {
        let found = find(&self.zone);
        if self.earlier.is_empty() {
            return Ok(found);
        }
        let now = self.io.instant();
        let had_more = |(zone, until): &(Arc<Zone>, Instant)| *until > now && extent(&find(zone)) > extent(&found);
        if self.earlier.iter().any(had_more) { Err(JustLost) } else { Ok(found) }
    }
}

/// How much a zone has of a name: nothing, the name alone, or records.
fn extent<T>(lookup: &Lookup<T>) -> u8 {
    match lookup {
        Lookup::NameUnknown => 0,
        Lookup::NoRecords => 1,
        Lookup::Found(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;
    use std::path::Path;

    const GRACE: Duration = Duration::from_secs(30);

    fn zone(text: &str) -> Zone {
        Zone::parse(text, Path::new("fdns.toml")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_just_lost_is_denied_only_after_the_grace() {
        let (full, empty) = ("[MX]\n\"a.\" = \"mx.a.\"\n[P]\n\"mx.a.\" = \"1\"\n", "[MX]\n[P]\n");
        let mx =
            |served: &ServedZone| served.look_up(|zone| zone.mail_exchanges("a.")).map(|found| found.found().is_some());
        let served = ServedZone::new(zone(full), GRACE, Clock::system().io);
        assert_eq!((mx(&served), served.look_up(|zone| zone.ports("b."))), (Ok(true), Ok(Lookup::NameUnknown)));

        let lost = served.replaced_by(zone(empty));
        assert_eq!(mx(&lost), Err(JustLost));
        assert_eq!(lost.look_up(|zone| zone.ports("mx.a.")), Err(JustLost));
        assert_eq!(lost.look_up(|zone| zone.ports("b.")), Ok(Lookup::NameUnknown));
        assert_eq!(mx(&lost.replaced_by(zone(full))), Ok(true));

        // Another edit, half a grace later, does not forget what the first one took, nor prolong it.
        tokio::time::advance(GRACE / 2).await;
        let lost = lost.replaced_by(zone("[MX]\n[P]\n\"c.\" = \"1\"\n"));
        assert_eq!(mx(&lost), Err(JustLost));
        tokio::time::advance(GRACE / 2).await;
        assert_eq!(mx(&lost), Ok(false));
        assert_eq!(lost.look_up(|zone| zone.ports("mx.a.")), Ok(Lookup::NameUnknown));
    }

    /// A domain that is its own exchange has no MX. Its name has to stay known, or mail to it is returned.
    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_mx_is_just_lost_with_its_port() {
        let served = ServedZone::new(zone("[MX]\n[P]\n\"a.\" = \"1\"\n"), GRACE, Clock::system().io);
        assert_eq!(served.look_up(|zone| zone.mail_exchanges("a.")), Ok(Lookup::NoRecords));
        let lost = served.replaced_by(zone("[MX]\n[P]\n"));
        assert_eq!(lost.look_up(|zone| zone.mail_exchanges("a.")), Err(JustLost));
        assert_eq!(lost.look_up(|zone| zone.ports("a.")), Err(JustLost));
        tokio::time::advance(GRACE).await;
        assert_eq!(lost.look_up(|zone| zone.mail_exchanges("a.")), Ok(Lookup::NameUnknown));
    }

    /// A domain whose MX is lost is not its own exchange meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_lost_mx_is_not_replaced_by_an_implicit_one() {
        let served =
            ServedZone::new(zone("[MX]\n\"a.\" = \"mx.a.\"\n[P]\n\"a.\" = \"1\"\n"), GRACE, Clock::system().io);
        let lost = served.replaced_by(zone("[MX]\n[P]\n\"a.\" = \"1\"\n"));
        assert_eq!(lost.look_up(|zone| zone.mail_exchanges("a.")), Err(JustLost));
        tokio::time::advance(GRACE).await;
        assert_eq!(lost.look_up(|zone| zone.mail_exchanges("a.")), Ok(Lookup::NoRecords));
    }
}
