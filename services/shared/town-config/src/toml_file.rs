//! Strict TOML with errors that fit on one line and name file, line and key.

mod duplicate;
mod misplaced;
mod plain_words;
mod unquoted;

use crate::descriptors;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::path::{Path, PathBuf};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

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
    let content = crate::small_file::read(path);
    let content = content.map_err(|reason| FileError::Read { path: path.to_owned(), option, reason })?;
    utf8(&content, path).map(str::to_owned)
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

/// The most faults that are looked for.
const MOST_FAULTS: usize = 100;

/// Parses the text of the file at `path`. Returns what can be read of it, and each key that is wrong, in the order of the
/// file. Such a key is left out and the rest is read again, to find the next one. Without faults, there is a value.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> (Option<T>, Vec<FileError>) {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<_> = errors.iter().map(|error| fault(text, error, syntax(text, error))).collect();
    let value = if faults.is_empty() { without_faults(&mut document, text, &mut faults) } else { None };
    faults.sort_by_key(|(line, _)| *line);
    // What follows a syntax error on its line is no fault of its own.
    faults.dedup_by_key(
        |(line, message)| if errors.is_empty() { (*line, message.clone()) } else { (*line, String::new()) },
    );
    let error = |(line, message)| FileError::Text { path: path.to_owned(), line, message };
    (value, faults.into_iter().map(error).collect())
}

/// A line, and what is wrong there.
type Fault = (usize, String);

fn fault(text: &str, error: &toml::de::Error, message: String) -> Fault {
    (line_of(text.as_bytes(), error.span().map_or(0, |span| span.start)), message)
}

/// Removes each key that is wrong, until the rest can be read.
fn without_faults<T: DeserializeOwned>(
    document: &mut Spanned<DeTable<'_>>,
    text: &str,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let mut removed: Vec<Vec<String>> = Vec::new();
    while faults.len() < MOST_FAULTS {
        let error = match serde_path_to_error::deserialize(toml::Deserializer::from(document.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let keys: Vec<_> = error.path().iter().map_while(key).collect();
        let what = plain_words::plain(error.inner().message());
        let what =
            if what == "wanted string or table" { words_for::<T>(document, &keys).unwrap_or(what) } else { what };
        let what = misplaced::cure::<T>(document.get_ref(), text, &keys, &what).unwrap_or(what);
        let what = unquoted::cure(document.get_ref(), &keys, &what).unwrap_or(what);
        // A key that was removed as a fault is not missing.
        if !what.starts_with("missing field") || !removed.iter().any(|path| path.starts_with(&keys)) {
            let dotted: String = error.path().iter().map(dotted).collect();
            let dotted = dotted.trim_start_matches('.');
            let message = if dotted.is_empty() { what } else { format!("{dotted}: {what}") };
            faults.push(fault(text, error.inner(), message));
        }
        if !remove(document.get_mut(), &keys) {
            return None;
        }
        removed.push(keys);
    }
    None
}

/// Which words may stand at this path, where something else than text stands. A text that is no word has serde tell them.
fn words_for<T: DeserializeOwned>(document: &Spanned<DeTable<'_>>, path: &[String]) -> Option<String> {
    let mut document = document.clone();
    let (last, tables) = path.split_last()?;
    let mut table = document.get_mut();
    for name in tables {
        let DeValue::Table(inner) = table.get_mut(name.as_str())?.get_mut() else { return None };
        table = inner;
    }
    *table.get_mut(last.as_str())?.get_mut() = DeValue::String("".into());
    let error = serde_path_to_error::deserialize::<_, T>(toml::Deserializer::from(document)).err()?;
    let (_, words) = error.inner().message().rsplit_once(", expected ")?;
    Some(format!("give text in quotes: {words}"))
}

/// What is wrong with a text that is not TOML.
pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> String {
    if let Some(first) = duplicate::first(text, error) {
        return first;
    }
    let message = error.message().replace(char::is_control, " ");
    let found = error.span().and_then(|span| text.get(span.start..));
    let is_value = ["invalid boolean", "string values must be quoted"].iter().any(|what| message.starts_with(what));
    match found.is_some_and(|found| found.starts_with(char::is_alphabetic)) && is_value {
        true => format!("{message}; put text in quotes"),
        false => message,
    }
}

fn key(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    }
}

/// Whether there was such a key.
fn remove(table: &mut DeTable<'_>, keys: &[String]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return false };
    if rest.is_empty() {
        return table.remove(first.as_str()).is_some();
    }
    match table.get_mut(first.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => remove(table, rest),
        _ => false,
    }
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
