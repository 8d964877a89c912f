//! Certificates: the town's own authority issues them, and servers read them again when they change.
//!
//! ```text
//! DIR/ca.pem              the authority's certificate: what clients trust
//! DIR/ca.key              its key
//! DIR/servers/NAME.pem    the certificate of the server NAME
//! DIR/servers/NAME.key    its key
//! DIR/servers/NAME.json   what the certificate was issued for, and when it is issued anew
//! ```

mod authority;
mod served;
mod trust;

pub use authority::{Authority, CA_FILE};
pub use served::{Served, ServedCertificate};
pub use trust::Trust;

use std::{
    io,
    path::{Path, PathBuf},
};

/// Certificates cannot be had; names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

impl TlsFileError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| Self::Io { path: path.to_owned(), error }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Content { path, .. } => path,
        }
    }

    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Where the certificate and the key of a server are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and the chain that leads to an authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The files of the server `name` in this directory, such as [`Authority::servers`].
    pub fn of_server(directory: &Path, name: &str) -> Self {
        let file = |extension| directory.join(format!("{name}.{extension}"));
        Self { certificate: file("pem"), key: file("key") }
    }
}
