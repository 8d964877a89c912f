//! What a command has made, and removes if it fails.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A new file or new directories. They are removed at the end, unless they are kept.
#[derive(Debug)]
pub(crate) struct New {
    file: Option<PathBuf>,
    /// The innermost one first.
    directories: Vec<PathBuf>,
}

impl New {
    /// A file that was just made.
    pub(crate) fn file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), directories: Vec::new() }
    }

    /// A directory that will be made, with those above it that are not there now.
    pub(crate) fn directory(path: &Path) -> Self {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        Self { file: None, directories: missing.map(Path::to_owned).collect() }
    }

    /// Keeps all of it.
    pub(crate) fn keep(mut self) {
        (self.file, self.directories) = (None, Vec::new());
    }
}

impl Drop for New {
    fn drop(&mut self) {
        // The failure is told. A directory in which something is stays.
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
    }
}
