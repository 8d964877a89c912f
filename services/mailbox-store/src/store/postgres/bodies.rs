//! Where bodies are while they arrive, and how they leave: always in pieces.
//!
//! A body enters the database once it is whole: a sender that takes its time holds no transaction open, and a
//! transaction that gave way to another can be repeated. Until then a small one waits in memory, a large one in a
//! file without a name, which is gone with its process.

use super::{
    database::{Database, Transaction},
    failure::Failure,
};
use crate::store::{
    MessageStream, Result, StoreError,
    arrival::{ArrivalMemory, Arrived, Beginning, WRITE_OCTETS},
    checksum::{Checksum, Checksummer},
    records,
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use mail_proto::Mailbox;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncWriteExt;

/// How large a row of a body is at most.
pub(super) const PIECE_OCTETS: usize = 256 * 1024;

/// A body that has arrived whole and was found good.
pub(super) struct ReceivedBody {
    pub(super) content: ReceivedContent,
    pub(super) checksum: Checksum,
    /// The addresses of its `Delivered-To:` fields.
    pub(super) delivered_to: Vec<Mailbox>,
}

pub(super) enum ReceivedContent {
    /// It is one piece.
    Memory(Bytes),
    File(Spool),
}

/// A file that nobody else can find.
pub(super) struct Spool {
    file: Arc<File>,
    octets: u64,
}

impl ReceivedBody {
    pub(super) fn octets(&self) -> u64 {
        match &self.content {
            ReceivedContent::Memory(body) => body.len() as u64,
            ReceivedContent::File(spool) => spool.octets,
        }
    }
}

/// Takes in a message. Nothing is left of it when it fails.
pub(super) async fn receive(
    directory: &Path,
    memory: &ArrivalMemory,
    mut message: MessageStream,
) -> Result<ReceivedBody> {
    match memory.hold(&mut message, PIECE_OCTETS).await? {
        Arrived::Whole(body) => {
            let (checksum, delivered_to) = (Checksum::of(&body), message.delivered_to());
            Ok(ReceivedBody { content: ReceivedContent::Memory(body), checksum, delivered_to })
        }
        Arrived::Beginning(beginning) => match spool(directory.to_owned(), beginning, &mut message).await {
            Err(failure @ StoreError::Unavailable(_)) => Err(message.refuse(failure).await),
            received => received,
        },
    }
}

async fn spool(directory: PathBuf, beginning: Beginning, rest: &mut MessageStream) -> Result<ReceivedBody> {
    let file = Arc::new(blocking(move || tempfile::tempfile_in(directory)).await?);
    let mut writer = tokio::fs::File::from_std(file.try_clone().map_err(unusable)?);
    writer.set_max_buf_size(WRITE_OCTETS);
    let (mut octets, mut checksummer) = (0, Checksummer::default());
    for part in beginning.parts() {
        writer.write_all(part).await.map_err(unusable)?;
        checksummer.update(part);
        octets += part.len() as u64;
    }
    // The rest may take its time, and needs no more memory than a chunk.
    drop(beginning);
    while let Some(chunk) = rest.next().await? {
        writer.write_all(&chunk).await.map_err(unusable)?;
        checksummer.update(&chunk);
        octets += chunk.len() as u64;
    }
    // It has no need to survive anything, but to be read back.
    writer.flush().await.map_err(unusable)?;
    let (checksum, delivered_to) = (checksummer.checksum(), rest.delivered_to());
    Ok(ReceivedBody { content: ReceivedContent::File(Spool { file, octets }), checksum, delivered_to })
}

impl Spool {
    async fn piece(&self, at: u64) -> Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let length = (self.octets - at).min(PIECE_OCTETS as u64);
        blocking(move || {
            let mut piece = vec![0; length as usize];
            file.read_exact_at(&mut piece, at)?;
            Ok(piece)
        })
        .await
    }
}

/// Inserts the body of a message piece by piece.
pub(super) async fn insert_spool(tx: &Transaction<'_>, message: i64, spool: &Spool) -> Result<(), Failure> {
    let mut at = 0;
    while at < spool.octets {
        let piece = spool.piece(at).await?;
        let number = (at / PIECE_OCTETS as u64) as i64;
        let insert = "INSERT INTO bodies (message_id, piece, octets) VALUES ($1, $2, $3)";
        tx.execute(insert, &[&message, &number, &piece]).await?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// A piece of a message's body, if it is there.
pub(super) async fn piece(tx: &Transaction<'_>, message: i64, number: i64) -> Result<Option<Bytes>, Failure> {
    let select = "SELECT octets FROM bodies WHERE message_id = $1 AND piece = $2";
    let row = tx.query_one(select, &[&message, &number]).await?;
    Ok(row.map(|row| row.try_get::<_, Vec<u8>>(0)).transpose()?.map(Bytes::from))
}

/// The pieces of a message's body from number `first` to the end, of `octets` octets in all. No connection is held
/// between two of them, however slowly they are read.
pub(super) fn pieces(
    database: Arc<Database>,
    message: i64,
    first: i64,
    octets: u64,
) -> BoxStream<'static, Result<Bytes>> {
    let end = octets.div_ceil(PIECE_OCTETS as u64) as i64;
    stream::iter(first..end)
        .then(move |number| {
            let database = Arc::clone(&database);
            async move {
                let found = database.read(&number, |tx, &number| piece(tx, message, number).boxed()).await?;
                // It was there a moment ago.
                found.ok_or_else(|| StoreError::Unavailable(format!("{} was deleted", records::id(message))))
            }
        })
        .boxed()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(unusable),
        Err(error) => Err(StoreError::Internal(format!("spooling a body panicked: {error}"))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unusable(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot hold a body: {error}"))
}
