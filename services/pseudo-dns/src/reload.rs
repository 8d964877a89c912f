//! Reads the zone file again when it has changed.

use crate::{overlay::Changes, served::ServedZone};
use mail_net::IoClock;
use service_kit::shutdown::CancellationToken;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;
use town_config::{
    Reload,
    watched_file::WatchedFile,
    zone::{Zone, ZoneError, unreadable},
};

/// A zone file, and what it held when it was read last.
pub(crate) struct ZoneFile {
    file: WatchedFile,
    reload: Reload,
    pub(crate) zone: Zone,
}

impl ZoneFile {
    /// Reads the zone for the first time. The file is looked at every `interval` afterwards, and read at once when `reload`
    /// is requested.
    pub(crate) fn open(path: PathBuf, interval: Duration, reload: Reload, io: IoClock) -> Result<Self, ZoneError> {
        let opened = WatchedFile::open(path.clone(), interval, io);
        let (file, content) = opened.map_err(|reason| unreadable(&path, reason))?;
        let zone = Zone::from_octets(&content, &path)?;
        facts::DnsZoneRead { file: path.display(), record_sets: zone.record_sets() }.log();
        Ok(Self { file, reload, zone })
    }

    /// Waits until the file is to be read again, and reads it.
    async fn changed(&mut self) -> io::Result<Vec<u8>> {
        tokio::select! {
            read = self.file.changed() => read,
            () = self.reload.requested() => self.file.read_now().await,
        }
    }

    /// Takes over what was read. A file that is gone or broken is logged, and changes nothing.
    fn take(&mut self, read: io::Result<Vec<u8>>) -> bool {
        let path = self.file.path();
        let zone =
            read.map_err(|reason| unreadable(path, reason)).and_then(|content| Zone::from_octets(&content, path));
        match zone {
            Ok(zone) => {
                facts::DnsZoneRead { file: path.display(), record_sets: zone.record_sets() }.log();
                self.zone = zone;
                true
            }
            Err(error) => {
                facts::DnsZoneRefused { error }.log();
                false
            }
        }
    }
}

/// Publishes what is `made` of the file's zone until `shutdown`: after each edit, and after each of the `changes` of what it
/// is made with.
pub(crate) async fn watch(
    mut file: ZoneFile,
    made: impl Fn(&Zone) -> Zone,
    mut changes: Changes,
    publish: watch::Sender<Arc<ServedZone>>,
    shutdown: CancellationToken,
) {
    loop {
        let read = tokio::select! {
            () = shutdown.cancelled() => return,
            read = file.changed() => Some(read),
            () = changes.next() => None,
        };
        if read.is_none_or(|read| file.take(read)) {
            publish.send_modify(|served| *served = Arc::new(served.replaced_by(made(&file.zone))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::Overlay;
    use mail_net::Clock;
    use town_config::zone::Lookup;

    const FIRST: &str = "[MX]\n[P]\n\"a.\" = \"1\"\n";
    const SECOND: &str = "[MX]\n[P]\n\"a.\" = \"2\"\n";
    const BROKEN: &str = "[MX]\n[P]\n\"a.\" = \"zwei\"\n";

    fn port(zone: &ServedZone) -> String {
        match zone.look_up(|zone| zone.ports("a.")) {
            Ok(Lookup::Found(port)) => port.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Follows a file that is looked at every `interval`.
    fn follow(path: PathBuf, interval: Duration, reload: Reload) -> watch::Receiver<Arc<ServedZone>> {
        let io = Clock::system().io;
        let file = ZoneFile::open(path, interval, reload, io).unwrap();
        let (publish, zones) = watch::channel(Arc::new(ServedZone::new(file.zone.clone(), Duration::ZERO, io)));
        let changes = Overlay::default().changes();
        tokio::spawn(watch(file, Zone::clone, changes, publish, CancellationToken::new()));
        zones
    }

    async fn published(zones: &mut watch::Receiver<Arc<ServedZone>>, expected: &str) {
        let found = zones.wait_for(|zone| port(zone) == expected);
        Clock::system().io.timeout(Duration::from_secs(30), found).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn edits_replacements_and_repairs_are_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fdns.toml");
        std::fs::write(&path, FIRST).unwrap();
        let mut zones = follow(path.clone(), Duration::from_millis(2), Reload::never());

        std::fs::write(&path, SECOND).unwrap();
        published(&mut zones, "2").await;
        let replacement = directory.path().join("fdns.toml.new");
        std::fs::write(&replacement, FIRST).unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        published(&mut zones, "1").await;
        std::fs::write(&path, BROKEN).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, SECOND).unwrap();
        published(&mut zones, "2").await;
    }

    #[tokio::test]
    async fn a_requested_reload_reads_the_file_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fdns.toml");
        std::fs::write(&path, FIRST).unwrap();
        let (request, reload) = Reload::channel();
        let mut zones = follow(path.clone(), Duration::from_secs(3600), reload);
        for (text, expected) in [(SECOND, "2"), (BROKEN, "2"), (FIRST, "1")] {
            std::fs::write(&path, text).unwrap();
            request.send_replace(());
            published(&mut zones, expected).await;
        }
    }
}
