//! Where bodies are while and after they arrive: small ones in memory and then in the database, large ones in
//! a file from the start.

use crate::store::{
    MessageStream, Result, StoreError,
    arrival::{ArrivalMemory, Arrived, Beginning, WRITE_OCTETS},
    checksum::{Checksum, Checksummer},
    space,
};
use bytes::Bytes;
use mail_proto::Mailbox;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio::{fs::File, io::AsyncWriteExt};

/// The largest body that is kept in the database. Larger ones would pass through the log and the database
/// both, and hold up everyone else's commit.
pub(super) const IN_DATABASE_OCTETS: usize = 256 * 1024;

/// The directory of large bodies.
pub(super) struct Bodies {
    directory: PathBuf,
    memory: ArrivalMemory,
}

/// A body that has arrived whole and was found good.
pub(super) struct ReceivedBody {
    pub(super) content: ReceivedContent,
    pub(super) checksum: Checksum,
    /// The addresses of its `Delivered-To:` fields.
    pub(super) delivered_to: Vec<Mailbox>,
}

pub(super) enum ReceivedContent {
    Memory(Bytes),
    /// Synced, and found in its directory after a loss of power.
    File(SpooledFile),
}

impl ReceivedBody {
    pub(super) fn octets(&self) -> u64 {
        match &self.content {
            ReceivedContent::Memory(body) => body.len() as u64,
            ReceivedContent::File(file) => file.octets,
        }
    }
}

/// A file that is removed again unless it is kept.
pub(super) struct SpooledFile {
    pub(super) name: String,
    path: PathBuf,
    octets: u64,
    kept: bool,
}

impl SpooledFile {
    /// The file stays: a committed record refers to it.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for SpooledFile {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

impl Bodies {
    /// The bodies in this directory, which exists.
    pub(super) fn new(directory: PathBuf, memory: ArrivalMemory) -> Self {
        Self { directory, memory }
    }

    /// Takes in a message. Nothing is left of it when it fails.
    pub(super) async fn receive(&self, mut message: MessageStream) -> Result<ReceivedBody> {
        match self.memory.hold(&mut message, IN_DATABASE_OCTETS).await? {
            Arrived::Whole(body) => {
                let (checksum, delivered_to) = (Checksum::of(&body), message.delivered_to());
                Ok(ReceivedBody { content: ReceivedContent::Memory(body), checksum, delivered_to })
            }
            Arrived::Beginning(beginning) => match self.spool(beginning, &mut message).await {
                Err(failure @ StoreError::Unavailable(_)) => Err(message.refuse(failure).await),
                received => received,
            },
        }
    }

    async fn spool(&self, beginning: Beginning, rest: &mut MessageStream) -> Result<ReceivedBody> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = self.path(&name);
        let mut file = File::create_new(&path).await.map_err(|error| unwritable(&error))?;
        let mut spooled = SpooledFile { name, path, octets: 0, kept: false };
        file.set_max_buf_size(WRITE_OCTETS);
        let mut checksummer = Checksummer::default();
        for octets in beginning.parts() {
            file.write_all(octets).await.map_err(|error| unwritable(&error))?;
            checksummer.update(octets);
            spooled.octets += octets.len() as u64;
        }
        // The rest may take its time, and needs no more memory than a chunk.
        drop(beginning);
        while let Some(chunk) = rest.next().await? {
            file.write_all(&chunk).await.map_err(|error| unwritable(&error))?;
            checksummer.update(&chunk);
            spooled.octets += chunk.len() as u64;
        }
        // The last write may still be under way; sync_all waits for it and keeps its failure to itself.
        file.flush().await.map_err(|error| unwritable(&error))?;
        file.sync_all().await.map_err(|error| unwritable(&error))?;
        let directory = self.directory.clone();
        let synced = tokio::task::spawn_blocking(move || fs::File::open(directory)?.sync_all()).await;
        match synced {
            Ok(synced) => synced.map_err(|error| unwritable(&error))?,
            Err(error) => return Err(StoreError::Internal(format!("syncing a directory panicked: {error}"))),
        }
        let (checksum, delivered_to) = (checksummer.checksum(), rest.delivered_to());
        Ok(ReceivedBody { content: ReceivedContent::File(spooled), checksum, delivered_to })
    }

    /// Writes a large body to a file, which is durable then. Blocks.
    pub(super) fn write(&self, body: &mut impl io::Read) -> Result<SpooledFile> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = self.path(&name);
        let mut file = fs::File::create_new(&path).map_err(|error| unwritable(&error))?;
        let mut spooled = SpooledFile { name, path, octets: 0, kept: false };
        spooled.octets = io::copy(body, &mut file).map_err(|error| unwritable(&error))?;
        file.sync_all().map_err(|error| unwritable(&error))?;
        let synced = fs::File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| unwritable(&error))?;
        Ok(spooled)
    }

    /// The file of a body, to be read. Blocks.
    pub(super) fn read(&self, name: &str) -> io::Result<fs::File> {
        fs::File::open(self.path(name))
    }

    /// Fails when the disk is full.
    pub(super) async fn require_room(&self) -> Result<()> {
        space::require_room(self.directory.clone()).await
    }

    /// Opens a body that should have `octets` octets; `None` when it is missing or has another length.
    pub(super) async fn open(&self, name: &str, octets: u64) -> Result<Option<File>> {
        match File::open(self.path(name)).await {
            Ok(file) => {
                let found = file.metadata().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
                Ok((found.len() == octets).then_some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::Unavailable(format!("cannot read a body: {error}"))),
        }
    }

    /// Whether there is a body of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        // When in doubt: reading it will tell.
        self.path(name).try_exists().unwrap_or(true)
    }

    /// Removes a body that nothing refers to.
    pub(super) fn remove(&self, name: &str) {
        remove(&self.path(name));
    }

    /// Removes what a crash left behind: every file that `is_referenced` disowns.
    pub(super) fn remove_orphans(&self, is_referenced: impl Fn(&str) -> rusqlite::Result<bool>) -> Result<u64> {
        let mut removed = 0;
        let unreadable = |error: io::Error| StoreError::Unavailable(error.to_string());
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if let Some(name) = name.to_str()
                && !is_referenced(name)?
            {
                self.remove(name);
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot remove a body; it will be tried at the next start");
    }
}

fn unwritable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot write a body: {error}"))
}
