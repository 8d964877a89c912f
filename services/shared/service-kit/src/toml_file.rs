//! Strict TOML with errors that fit on one line and name file, line and key.

use crate::descriptors;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::path::{Path, PathBuf};

/// Why a file cannot be used. Displays as one line that names the file and what to change.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{}: {reason}; {}", path.display(), remedy(.reason, .option))]
    Read {
        /// The file.
        path: PathBuf,
        /// The command-line option that names it.
        option: &'static str,
        /// Why. Not named `source`: the text tells it already, and would tell it twice in a chain.
        reason: std::io::Error,
    },
    /// Its text is not what is expected there.
    #[error("{}:{line}: {message}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, what is wrong with it and what is right.
        message: String,
    },
    /// Each value is well formed, but they do not fit together.
    #[error("{}: {message}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// The key, what is wrong with it and what to do.
        message: String,
    },
}

fn remedy(reason: &std::io::Error, option: &str) -> String {
    descriptors::remedy(reason).unwrap_or_else(|| format!("check the path, or name another file with --{option}"))
}

/// Reads a file that the user can name with `--option`.
pub(crate) fn read(path: &Path, option: &'static str) -> Result<String, FileError> {
    crate::small_file::read_to_string(path).map_err(|reason| FileError::Read { path: path.to_owned(), option, reason })
}

/// The text of the file at `path`.
pub(crate) fn utf8<'c>(content: &'c [u8], path: &Path) -> Result<&'c str, FileError> {
    std::str::from_utf8(content).map_err(|error| FileError::Text {
        path: path.to_owned(),
        line: line_of(content, error.valid_up_to()),
        message: "not UTF-8; save the file as UTF-8".to_owned(),
    })
}

/// The line of the octet at `offset`, counted from 1.
pub(crate) fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text[..offset.min(text.len())].iter().filter(|&&octet| octet == b'\n').count()
}

/// Parses the text of the file at `path`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, FileError> {
    let failure = |error: &toml::de::Error, key: &str| {
        let line = line_of(text.as_bytes(), error.span().map_or(0, |span| span.start));
        let what = error.message().replace(char::is_control, " ");
        let message = if key.is_empty() { what } else { format!("{key}: {what}") };
        FileError::Text { path: path.to_owned(), line, message }
    };
    let document = toml::Deserializer::parse(text).map_err(|error| failure(&error, ""))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let segments: String = error.path().iter().map(dotted).collect();
        failure(error.inner(), segments.trim_start_matches('.'))
    })
}

/// A part of a key as TOML writes it: a server's name has dots of its own, and is quoted.
fn dotted(segment: &Segment) -> String {
    let is_bare = |key: &str| key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_-".contains(&octet));
    match segment {
        Segment::Map { key } if is_bare(key) => format!(".{key}"),
        Segment::Map { key } => format!(".{key:?}"),
        Segment::Seq { index } => format!("[{index}]"),
        Segment::Enum { variant } => format!(".{variant}"),
        Segment::Unknown => String::new(),
    }
}
