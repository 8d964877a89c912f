//! A snapshot as one file that another machine opens: a tar archive.
//!
//! ```text
//! manifest.json             what the snapshot is, and what it has besides the stores
//! stores/STACK.db           the snapshot of each store
//! records/sessions.jsonl    what the services have recorded of the newest sessions, a session in a line: 64 MiB at most
//! captures/town.pcapng      the same sessions for Wireshark
//! ```

use super::bug;
use crate::{
    api::{App, captures},
    follow::StoreFailure,
    index::SessionFilter,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use internal_api::{Problem, SessionId, SessionRecords};
use std::{collections::BTreeSet, io, pin::pin, sync::Arc};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// What a tar archive is made of.
const BLOCK_OCTETS: usize = 512;
/// How many sessions are looked up at once.
const PAGE: usize = 500;
/// How many octets the lines of sessions have at most. They are in memory, because their length stands before them.
const RECORDS_OCTETS: usize = 64 * 1024 * 1024;
/// How many pieces wait for the reader.
const WAITING: usize = 8;

type Piece = io::Result<Bytes>;

/// The archive of a snapshot, in pieces. It breaks off when a part cannot be had.
pub(crate) async fn export(app: Arc<App>, name: String) -> Result<impl Stream<Item = Piece> + Send, Problem> {
    let snapshot = app.snapshot(&name).await?;
    let manifest = serde_json::to_vec_pretty(&snapshot).map_err(|error| bug(&error))?;
    let (pieces, waiting) = mpsc::channel(WAITING);
    service_kit::telemetry::spawn(async move {
        let archive = Archive { pieces, mtime: snapshot.manifest.now.as_second().unsigned_abs() };
        if let Err(error) = archive.write(&app, &name, manifest).await {
            // Who reads no more has gone.
            let _ = archive.pieces.send(Err(io::Error::other(error.to_string()))).await;
        }
    });
    Ok(stream::unfold(waiting, async |mut waiting| Some((waiting.recv().await?, waiting))))
}

/// An archive that is being written.
struct Archive {
    pieces: mpsc::Sender<Piece>,
    mtime: u64,
}

impl Archive {
    async fn write(&self, app: &Arc<App>, name: &str, manifest: Vec<u8>) -> Result<(), Problem> {
        self.whole("manifest.json", manifest).await?;
        for store in app.town.stores() {
            let (octets, chunks) = store.client.snapshot_file(name).await.map_err(|error| store.problem(error))?;
            self.header(&format!("stores/{}.db", store.stack), octets).await?;
            let mut chunks = pin!(chunks);
            while let Some(chunk) = chunks.next().await {
                self.send(chunk.map_err(|error| store.problem(error))?).await?;
            }
            self.fill(octets).await?;
        }
        let Lines { text, sessions, .. } = sessions(app, RECORDS_OCTETS).await?;
        self.whole("records/sessions.jsonl", text).await?;
        self.whole("captures/town.pcapng", captures::of(app, &sessions).await?).await?;
        self.send(Bytes::from_static(&[0; 2 * BLOCK_OCTETS])).await
    }

    async fn whole(&self, path: &str, content: Vec<u8>) -> Result<(), Problem> {
        let octets = content.len() as u64;
        self.header(path, octets).await?;
        self.send(content.into()).await?;
        self.fill(octets).await
    }

    async fn header(&self, path: &str, octets: u64) -> Result<(), Problem> {
        self.send(header(path, octets, self.mtime).map_err(|error| bug(&error))?.into()).await
    }

    /// Fills the last block of a file.
    async fn fill(&self, octets: u64) -> Result<(), Problem> {
        let over = (octets % BLOCK_OCTETS as u64) as usize;
        if over == 0 { Ok(()) } else { self.send(vec![0; BLOCK_OCTETS - over].into()).await }
    }

    async fn send(&self, piece: Bytes) -> Result<(), Problem> {
        self.pieces.send(Ok(piece)).await.map_err(|error| bug(&error))
    }
}

/// What stands before a file of an archive. A path of more than 100 octets has an entry of its own there.
fn header(path: &str, octets: u64, mtime: u64) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(octets);
    header.set_mode(0o600);
    header.set_mtime(mtime);
    let mut archive = Builder::new(Vec::new());
    // The octets follow piece by piece.
    archive.append_data(&mut header, path, io::empty())?;
    Ok(archive.get_ref().clone())
}

/// Sessions in lines.
struct Lines {
    text: Vec<u8>,
    most: usize,
    sessions: BTreeSet<SessionId>,
}

impl Lines {
    /// Adds one; returns whether there was room for it.
    fn add(&mut self, records: &SessionRecords) -> serde_json::Result<bool> {
        let mut line = serde_json::to_vec(records)?;
        line.push(b'\n');
        let has_room = self.text.len() + line.len() <= self.most;
        if has_room {
            self.text.append(&mut line);
            self.sessions.insert(records.session.id);
        }
        Ok(has_room)
    }
}

/// The newest of the recorded sessions, the newest first, each as `GET /v1/sessions/{id}` has it.
async fn sessions(app: &App, most: usize) -> Result<Lines, Problem> {
    let mut lines = Lines { text: Vec::new(), most, sessions: BTreeSet::new() };
    let mut filter = SessionFilter::default();
    loop {
        let page = app.index.sessions(filter.clone(), PAGE).await?;
        for session in page.sessions {
            // It may have been forgotten meanwhile.
            let Some(records) = app.index.session(session.id).await? else { continue };
            if !lines.add(&records).map_err(|error| bug(&error))? {
                return Ok(lines);
            }
        }
        filter.before = page.next_before;
        if filter.before.is_none() {
            return Ok(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ConnectionId, Protocol, RecordedSession, Role};
    use jiff::Timestamp;
    use std::io::Read;

    /// The name of a server may have 253 octets, and that of a snapshot 64.
    #[test]
    fn a_path_may_be_long() {
        let path = format!("stores/{}.{}.test.db", "a".repeat(63), ["b"; 90].join("."));
        let mut archive = header(&path, 5, 1).unwrap();
        archive.extend(b"mail\n");
        archive.resize(archive.len().next_multiple_of(BLOCK_OCTETS) + 2 * BLOCK_OCTETS, 0);
        let mut archive = tar::Archive::new(&archive[..]);
        let mut found = archive.entries().unwrap().map(|entry| {
            let (mut entry, mut text) = (entry.unwrap(), String::new());
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), entry.header().mode().unwrap(), text)
        });
        assert_eq!(found.next(), Some((path, 0o600, "mail\n".to_owned())));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn sessions_have_a_bound() {
        let mut lines = Lines { text: Vec::new(), most: 3_000, sessions: BTreeSet::new() };
        let mut count = 0;
        loop {
            let id = SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random());
            let service = ("a".parse().unwrap(), "smtp-gateway".into());
            let session = RecordedSession::opened((id, Timestamp::UNIX_EPOCH), service, (Role::Server, Protocol::Smtp));
            if !lines.add(&SessionRecords { session, records: Vec::new() }).unwrap() {
                break;
            }
            count += 1;
        }
        assert!(count > 1 && lines.text.len() <= 3_000, "{count}");
        assert_eq!((lines.sessions.len(), lines.text.split(|octet| *octet == b'\n').count()), (count, count + 1));
    }
}
