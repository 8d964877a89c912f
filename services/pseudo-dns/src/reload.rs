//! Reads the zone file again when it has changed.

use crate::{overlay::Changes, served::ServedZone};
use service_kit::{
    shutdown::CancellationToken,
    watched_file::WatchedFile,
    zone::{Zone, ZoneError, unreadable},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Reads the zone for the first time. The file is looked at every `interval` afterwards.
pub(crate) fn open(path: PathBuf, interval: Duration) -> Result<(WatchedFile, Zone), ZoneError> {
    let (file, content) = WatchedFile::open(path.clone(), interval).map_err(|reason| unreadable(&path, reason))?;
    let zone = Zone::from_octets(&content, &path)?;
    Ok((file, zone))
}

/// Publishes what is `made` of the file's zone, which is `zone` at first, until `shutdown`: after each edit, and after
/// each of the `changes` of what it is made with. A file that is gone or broken is logged once.
pub(crate) async fn watch(
    mut file: WatchedFile,
    mut zone: Zone,
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
        if let Some(read) = read {
            let read = read
                .map_err(|reason| unreadable(file.path(), reason))
                .and_then(|content| Zone::from_octets(&content, file.path()));
            match read {
                Ok(read) => zone = read,
                Err(fault) => {
                    tracing::error!(%fault, "the zone that was read last stays in force");
                    continue;
                }
            }
            tracing::info!(file = %file.path().display(), record_sets = zone.record_sets(), "zone read again");
        }
        publish.send_modify(|served| *served = Arc::new(served.replaced_by(made(&zone))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::Overlay;
    use service_kit::zone::Lookup;

    const FIRST: &str = "[MX]\n[P]\n\"a.\" = \"1\"\n";
    const SECOND: &str = "[MX]\n[P]\n\"a.\" = \"2\"\n";
    const BROKEN: &str = "[MX]\n[P]\n\"a.\" = \"zwei\"\n";

    fn port(zone: &ServedZone) -> String {
        match zone.look_up(|zone| zone.ports("a.")) {
            Ok(Lookup::Found(port)) => port.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn edits_replacements_and_repairs_are_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fdns.toml");
        std::fs::write(&path, FIRST).unwrap();
        let (file, zone) = open(path.clone(), Duration::from_millis(2)).unwrap();
        let (publish, mut zones) = watch::channel(Arc::new(ServedZone::new(zone.clone(), Duration::ZERO)));
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { watch(file, zone, Zone::clone, Overlay::default().changes(), publish, shutdown).await }
        });

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
