//! A snapshot as one file that another machine opens: a tar archive.
//!
//! ```text
//! manifest.json             what the snapshot is, and what it has besides the stores
//! stores/STACK.db           the snapshot of each store
//! records/sessions.jsonl    what the services have recorded of sessions, as far as the console has it, a session in a line
//! captures/town.pcapng      the same for Wireshark
//! ```

use super::bug;
use crate::{
    api::{App, captures},
    follow::StoreFailure,
    index::SessionFilter,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use internal_api::Problem;
use std::{io, pin::pin, sync::Arc};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

/// What a tar archive is made of.
const BLOCK_OCTETS: usize = 512;
/// How many sessions are looked up at once.
const PAGE: usize = 500;
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
        self.whole("records/sessions.jsonl", sessions(app).await?).await?;
        self.whole("captures/town.pcapng", captures::all(app).await?).await?;
        self.send(Bytes::from_static(&[0; 2 * BLOCK_OCTETS])).await
    }

    async fn whole(&self, path: &str, content: Vec<u8>) -> Result<(), Problem> {
        let octets = content.len() as u64;
        self.header(path, octets).await?;
        self.send(content.into()).await?;
        self.fill(octets).await
    }

    async fn header(&self, path: &str, octets: u64) -> Result<(), Problem> {
        let mut header = Header::new_gnu();
        header.set_path(path).map_err(|error| bug(&error))?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(octets);
        header.set_mode(0o600);
        header.set_mtime(self.mtime);
        header.set_cksum();
        self.send(Bytes::copy_from_slice(header.as_bytes())).await
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

/// The recorded sessions, the newest first, each as `GET /v1/sessions/{id}` has it.
async fn sessions(app: &App) -> Result<Vec<u8>, Problem> {
    let (mut lines, mut filter) = (Vec::new(), SessionFilter::default());
    loop {
        let page = app.index.sessions(filter.clone(), PAGE).await?;
        for session in page.sessions {
            // It may have been forgotten meanwhile.
            let Some(records) = app.index.session(session.id).await? else { continue };
            serde_json::to_writer(&mut lines, &records).map_err(|error| bug(&error))?;
            lines.push(b'\n');
        }
        filter.before = page.next_before;
        if filter.before.is_none() {
            return Ok(lines);
        }
    }
}
