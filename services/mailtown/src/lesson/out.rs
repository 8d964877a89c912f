//! The file of a report, which is opened before the lesson is played.

use crate::new::New;
use anyhow::Context;
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An open file. Until the report is written, an older report stays in it. Without a report, no new file is left.
#[derive(Debug)]
pub(super) struct Out {
    path: PathBuf,
    file: File,
    /// The file, if it was made here: it is removed unless a report is written.
    new: Option<New>,
}

impl Out {
    /// Opens the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let (file, new) = match File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (File::options().write(true).open(path), None)
            }
            Ok(file) => (Ok(file), Some(New::file(path))),
            failed => (failed, None),
        };
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, new })
    }

    /// Writes the report. Returns where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(mut self, text: &str) -> anyhow::Result<PathBuf> {
        let cannot_write = || format!("cannot write {}", self.path.display());
        // A device or a pipe has no length.
        if self.file.metadata().is_ok_and(|it| it.is_file()) {
            self.file.set_len(0).with_context(cannot_write)?;
        }
        self.file.write_all(text.as_bytes()).with_context(cannot_write)?;
        if let Some(new) = self.new.take() {
            new.keep();
        }
        Ok(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_report_replaces_an_older_one_and_without_it_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.xml");
        drop(Out::open(&path).unwrap());
        assert!(!path.exists());
        assert_eq!(Out::open(&path).unwrap().write("a long report").unwrap(), path);
        drop(Out::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a long report");
        Out::open(&path).unwrap().write("short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
    }

    #[test]
    fn a_file_that_cannot_be_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/report.xml");
        let error = Out::open(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
    }
}
