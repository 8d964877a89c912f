//! A small file that is read again whenever it has changed.
//!
//! The content is compared: modification times and inodes do not show every change on every bind mount. A change
//! counts once two looks in a row have seen it, so a file that is being written is not read half.

use crate::small_file;
use mail_net::IoClock;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

/// How often a file is looked at.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// The file, and how it looked.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    interval: Duration,
    io: IoClock,
    next_look: Instant,
    /// What was reported last.
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

impl From<&io::Result<Vec<u8>>> for Look {
    fn from(read: &io::Result<Vec<u8>>) -> Self {
        match read {
            Ok(content) => Self::Content(content.clone()),
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

impl WatchedFile {
    /// Reads the file for the first time. It is looked at every `interval` afterwards.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(path: PathBuf, interval: Duration, io: IoClock) -> io::Result<(Self, Vec<u8>)> {
        let content = small_file::read(&path)?;
        Ok((Self::seen(path, interval, io, content.clone()), content))
    }

    fn seen(path: PathBuf, interval: Duration, io: IoClock, content: Vec<u8>) -> Self {
        let look = Look::Content(content);
        Self { path, interval, io, next_look: io.instant(), settled: look.clone(), seen: look }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the file has changed; returns its content. Losing the file is a change, and is told once.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub async fn changed(&mut self) -> io::Result<Vec<u8>> {
        loop {
            self.io.sleep_until(self.next_look).await;
            let read = read(self.path.clone()).await;
            self.next_look = self.io.instant() + self.interval;
            if let Some(change) = self.consider(read) {
                return change;
            }
        }
    }

    /// Reads the file at once, changed or not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read_now(&mut self) -> io::Result<Vec<u8>> {
        let read = read(self.path.clone()).await;
        self.seen = Look::from(&read);
        self.settled = self.seen.clone();
        read
    }

    /// Takes note of what a look has shown; returns it when it is a change that has settled.
    fn consider(&mut self, read: io::Result<Vec<u8>>) -> Option<io::Result<Vec<u8>>> {
        let look = Look::from(&read);
        if look != self.seen {
            self.seen = look;
            return None;
        }
        if look == self.settled {
            return None;
        }
        self.settled = look;
        Some(read)
    }
}

async fn read(path: PathBuf) -> io::Result<Vec<u8>> {
    tokio::task::spawn_blocking(move || small_file::read(&path))
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;

    #[test]
    fn a_change_counts_once_it_has_settled_and_is_told_once() {
        let mut file = WatchedFile::seen("file".into(), INTERVAL, Clock::system().io, b"first".to_vec());
        let gone = Err(io::ErrorKind::NotFound);
        let looks: &[(Result<&str, io::ErrorKind>, bool)] = &[
            (Ok("first"), false),
            // Emptied and being written: never settles.
            (Ok(""), false),
            (Ok("sec"), false),
            (Ok("second"), false),
            (Ok("second"), true),
            (Ok("second"), false),
            // Replaced by renaming: gone for one look at most.
            (gone, false),
            (Ok("second"), false),
            (Ok("second"), false),
            (gone, false),
            (gone, true),
            (gone, false),
            (Ok("second"), false),
            (Ok("second"), true),
            (Ok("first"), false),
            (Ok("first"), true),
        ];
        for (at, (read, settles)) in looks.iter().enumerate() {
            let read = read.map(|text| text.as_bytes().to_vec());
            let change = file.consider(read.clone().map_err(io::Error::from));
            let change = change.map(|change| change.map_err(|error| error.kind()));
            assert_eq!(change, settles.then_some(read), "look {at}");
        }
    }

    #[tokio::test]
    async fn edits_and_replacements_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "first").unwrap();
        let (mut file, content) =
            WatchedFile::open(path.clone(), Duration::from_millis(2), Clock::system().io).unwrap();
        assert_eq!(content, b"first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(file.changed().await.unwrap(), b"second");
        let replacement = directory.path().join("new");
        std::fs::write(&replacement, "third").unwrap();
        std::fs::rename(&replacement, &path).unwrap();
        assert_eq!(file.changed().await.unwrap(), b"third");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.changed().await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
