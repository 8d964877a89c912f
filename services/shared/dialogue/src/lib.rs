//! Golden dialogues: a protocol conversation in a text file, played against a server in memory, octet by
//! octet, and over a real stream; and what was seen on a connection as such a file.
//!
//! # The files
//! The first line names the rule that the file shows; `key: value` lines in the header set up the fixture.
//! ```text
//! # RFC 1939 §7: TOP 1 0 sends the headers and the empty line, nothing of the body
//! # profile: rfc
//! S: +OK POP3 server ready
//! C: TOP 1 0
//! S: +OK {…}
//! S: Subject: dots
//! S:
//! S: .
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `# text` | a comment; before the first event, `# word: value` is a setting |
//! | `C: text` | the client sends `text` and CRLF |
//! | `C-RAW: text` | the client sends exactly these octets: `\r \n \t \0 \\ \xHH`, and `\(text*600)` for 600 times `text` |
//! | `C-EOF` | the client closes its side |
//! | `S: text` | the server sends `text` and CRLF; `{…}` (or `{...}`) stands for one or more octets of any kind |
//! | `S-RAW: text` | the server sends exactly these octets, written as in `C-RAW`: one line, which ends with `\r\n`; what it sends last in a turn may lack that |
//! | `S-EOF` | the server closes the connection |
//! | `TLS` | both agree on TLS; as the first line: before the server says anything |
//!
//! `C` lines in a row are sent in one write (pipelining). After each run of `C` lines the server must send
//! exactly the `S` lines that follow: no fewer, no more. After the last line the client closes its side, and
//! the server may not send anything else.
//!
//! # Playing them
//! ```no_run
//! # struct Server;
//! # impl dialogue::Peer for Server {
//! #     fn connect(&mut self) -> Vec<u8> { Vec::new() }
//! #     fn receive(&mut self, _: &[u8]) -> Vec<u8> { Vec::new() }
//! #     fn end_of_input(&mut self) -> Vec<u8> { Vec::new() }
//! #     fn is_closed(&self) -> bool { false }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! for dialogue in dialogue::load_directory("../../tests/dialogues/pop3", &["profile"])? {
//!     let rfc = dialogue.setting("profile") == Some("rfc");
//!     for chunk_octets in [usize::MAX, 1] {
//!         dialogue.play(&mut Server, chunk_octets)?;
//!     }
//!     // With the feature "stream":
//!     // dialogue.play_over(tokio::net::TcpStream::connect(address).await?, chunk_octets).await?;
//! }
//! # Ok(())
//! # }
//! ```
//! # Writing them
//! [`write()`] makes the text of a dialogue out of what was seen on a connection.
//! ```
//! use dialogue::{Dialogue, Event, Volatile};
//!
//! let seen = [Event::Server(b"220 mail.example\r\n"), Event::Client(b"NOOP\n"), Event::Server(b"500 no\r\n")];
//! let text = dialogue::write("a line ends with CRLF", &[], seen, Volatile::Kept);
//! assert_eq!(text, "# a line ends with CRLF\nS: 220 mail.example\nC-RAW: NOOP\\n\nS: 500 no\n");
//! assert!(Dialogue::parse("seen.txt", &text, &[]).is_ok());
//! ```
//!
//! # Comparing them
//! A [`Script`] is the text of a dialogue with gaps on both sides; [`Script::compare`] says where what was seen differs.
//!
//! The error of `play` displays file, line, and the expected and the actual conversation.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]

mod compare;
mod parse;
mod pattern;
mod play;
#[cfg(feature = "stream")]
mod stream;
mod volatile;
mod write;

pub use compare::{Difference, Script};
pub use play::{Mismatch, Peer};
#[cfg(feature = "stream")]
pub use stream::Duplex;
pub use write::{Event, Volatile, write};

use pattern::Pattern;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A conversation between a client and a server.
#[derive(Debug, Clone)]
pub struct Dialogue {
    file: String,
    rule: String,
    settings: BTreeMap<String, String>,
    turns: Vec<Turn>,
    /// The file as it is, to be shown beside what happened.
    text: String,
}

/// What the client does, and what the server must answer to it.
#[derive(Debug, Clone, Default)]
struct Turn {
    /// Sent in one write.
    client: Vec<u8>,
    client_closes: bool,
    server: Vec<Expectation>,
    /// The number of the line that says so.
    server_closes: Option<usize>,
    /// Whether TLS begins after that.
    tls: bool,
}

/// One line that the server must send.
#[derive(Debug, Clone)]
struct Expectation {
    line: usize,
    pattern: Pattern,
    /// Whether a CRLF follows.
    ends: bool,
}

/// Why a dialogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file or directory cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A directory without a dialogue tests nothing.
    #[error("{}: holds no .txt file", .0.display())]
    Empty(PathBuf),
    /// A line does not have the documented form.
    #[error("{file}:{line}: {reason}")]
    Syntax {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// All the `.txt` files of a directory, by name. Settings other than `known_settings` are errors.
///
/// # Errors
/// [`LoadError`], also when there is no such file.
pub fn load_directory(directory: impl AsRef<Path>, known_settings: &[&str]) -> Result<Vec<Dialogue>, LoadError> {
    let directory = directory.as_ref();
    let failed = |path: &Path, error| LoadError::Io { path: path.to_owned(), error };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| failed(directory, error))? {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(LoadError::Empty(directory.to_owned()));
    }
    paths.sort();
    let parse = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|error| failed(path, error))?;
        Dialogue::parse(&path.display().to_string(), &text, known_settings)
    };
    paths.iter().map(parse).collect()
}

impl Dialogue {
    /// Reads `text`; `file` is what mismatches are reported under.
    ///
    /// # Errors
    /// [`LoadError::Syntax`].
    pub fn parse(file: &str, text: &str, known_settings: &[&str]) -> Result<Self, LoadError> {
        parse::parse(file, text, known_settings)
    }

    /// The file it comes from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The rule that it shows.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The value of a `# key: value` line of the header.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }
}
