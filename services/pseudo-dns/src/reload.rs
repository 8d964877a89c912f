//! Reads the zone file again when it has changed.
//!
//! The content is what is compared: modification times and inodes do not tell every change on every bind
//! mount, and a zone file is small. A change counts when two looks in a row have seen it, so a file that is
//! being written is not read half.

use service_kit::{
    shutdown::CancellationToken,
    zone::{Zone, ZoneError, unreadable},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// The file, and how it looked.
pub(crate) struct ZoneFile {
    path: PathBuf,
    /// What was acted upon last.
    settled: Look,
    /// What was seen last.
    seen: Look,
}

/// What one look at the file has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Content(Vec<u8>),
    Unreadable(io::ErrorKind),
}

/// What has become of the file since it was acted upon last.
#[derive(Debug)]
pub(crate) enum Change {
    /// Nothing, or nothing that has settled.
    None,
    /// There is another valid zone in it.
    Zone(Zone),
    /// It is gone or broken. Told once for each such change.
    Fault(ZoneError),
}

impl ZoneFile {
    /// Reads the file for the first time.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Zone), ZoneError> {
        let content = std::fs::read(&path).map_err(|reason| unreadable(&path, reason))?;
        let zone = Zone::from_octets(&content, &path)?;
        let look = Look::Content(content);
        Ok((Self { path, settled: look.clone(), seen: look }, zone))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Acts upon what a look at the file has shown.
    fn consider(&mut self, read: io::Result<Vec<u8>>) -> Change {
        let (look, failure) = match read {
            Ok(content) => (Look::Content(content), None),
            Err(error) => (Look::Unreadable(error.kind()), Some(error)),
        };
        if look != self.seen {
            self.seen = look;
            return Change::None;
        }
        if look == self.settled {
            return Change::None;
        }
        self.settled = look;
        match (&self.settled, failure) {
            (Look::Content(content), _) => match Zone::from_octets(content, &self.path) {
                Ok(zone) => Change::Zone(zone),
                Err(fault) => Change::Fault(fault),
            },
            (Look::Unreadable(kind), failure) => {
                Change::Fault(unreadable(&self.path, failure.unwrap_or_else(|| (*kind).into())))
            }
        }
    }
}

/// Looks at the file every `interval` until `shutdown`, and publishes each new zone.
pub(crate) async fn watch(
    mut file: ZoneFile,
    publish: watch::Sender<Arc<Zone>>,
    interval: Duration,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let read = tokio::fs::read(&file.path).await;
        match file.consider(read) {
            Change::None => {}
            Change::Zone(zone) => {
                tracing::info!(file = %file.path.display(), record_sets = zone.record_sets(), "zone read again");
                publish.send_replace(Arc::new(zone));
            }
            Change::Fault(fault) => tracing::error!(%fault, "the zone that was read last stays in force"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::zone::Lookup;

    const FIRST: &str = "[MX]\n[P]\n\"a.\" = \"1\"\n";
    const SECOND: &str = "[MX]\n[P]\n\"a.\" = \"2\"\n";
    const BROKEN: &str = "[MX]\n[P]\n\"a.\" = \"zwei\"\n";

    fn port(zone: &Zone) -> String {
        match zone.ports("a.") {
            Lookup::Found(port) => port.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// What came of a look, in words.
    fn look(file: &mut ZoneFile, read: Result<&str, io::ErrorKind>) -> String {
        match file.consider(read.map(|text| text.as_bytes().to_vec()).map_err(io::Error::from)) {
            Change::None => "nothing".to_owned(),
            Change::Zone(zone) => port(&zone),
            Change::Fault(fault) => fault.to_string(),
        }
    }

    #[test]
    fn a_change_counts_once_it_has_settled_and_a_fault_is_told_once() {
        let first = Look::Content(FIRST.into());
        let mut file = ZoneFile { path: "fdns.toml".into(), settled: first.clone(), seen: first };
        let fault = "fdns.toml:3: [P] \"a.\": \"zwei\" is no TCP port; write a number from 1 to 65535";
        let gone = "fdns.toml: entity not found; check the path, or name another file with --zone";
        let looks: &[(Result<&str, io::ErrorKind>, &str)] = &[
            (Ok(FIRST), "nothing"),
            // Emptied and being written: never settles.
            (Ok(""), "nothing"),
            (Ok("[MX]\n"), "nothing"),
            (Ok(SECOND), "nothing"),
            (Ok(SECOND), "2"),
            (Ok(SECOND), "nothing"),
            (Ok(BROKEN), "nothing"),
            (Ok(BROKEN), fault),
            (Ok(BROKEN), "nothing"),
            // Back to what is in force: told, so that the log does not end with the fault.
            (Ok(SECOND), "nothing"),
            (Ok(SECOND), "2"),
            // Replaced by renaming: gone for one look at most.
            (Err(io::ErrorKind::NotFound), "nothing"),
            (Ok(SECOND), "nothing"),
            (Ok(SECOND), "nothing"),
            (Err(io::ErrorKind::NotFound), "nothing"),
            (Err(io::ErrorKind::NotFound), gone),
            (Err(io::ErrorKind::NotFound), "nothing"),
            (Ok(FIRST), "nothing"),
            (Ok(FIRST), "1"),
        ];
        for (at, (read, expected)) in looks.iter().enumerate() {
            assert_eq!(look(&mut file, *read), *expected, "look {at}");
        }
    }

    #[tokio::test]
    async fn edits_replacements_and_repairs_are_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fdns.toml");
        std::fs::write(&path, FIRST).unwrap();
        let (file, zone) = ZoneFile::open(path.clone()).unwrap();
        let (publish, mut zones) = watch::channel(Arc::new(zone));
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(watch(file, publish, Duration::from_millis(2), shutdown.clone()));

        std::fs::write(&path, SECOND).unwrap();
        zones.wait_for(|zone| port(zone) == "2").await.unwrap();
        let replacement = directory.path().join("fdns.toml.new");
        std::fs::write(&replacement, FIRST).unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        zones.wait_for(|zone| port(zone) == "1").await.unwrap();
        std::fs::write(&path, BROKEN).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, SECOND).unwrap();
        zones.wait_for(|zone| port(zone) == "2").await.unwrap();

        shutdown.cancel();
        watching.await.unwrap();
    }
}
