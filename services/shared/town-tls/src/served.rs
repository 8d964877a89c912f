//! The certificate that a server shows, followed while it runs.

use crate::{CertificateFiles, TlsFileError};
use mail_proto::sasl::end_point_binding;
use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// What a TLS connection is served with.
#[derive(Debug, Clone)]
pub struct Served {
    /// For the handshake.
    pub config: Arc<ServerConfig>,
    /// The hash of the certificate, for `tls-server-end-point` (RFC 5929 §4.1).
    pub end_point: Option<Vec<u8>>,
}

/// The certificate of a server. It is read again when its files have changed; one that cannot be read leaves the one
/// before.
#[derive(Debug)]
pub struct ServedCertificate {
    files: CertificateFiles,
    current: Mutex<(Stamp, Served)>,
}

/// Tells one state of the files from another.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl ServedCertificate {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn open(files: CertificateFiles) -> Result<Self, TlsFileError> {
        let current = Mutex::new((stamp(&files), load(&files)?));
        Ok(Self { files, current })
    }

    /// Reads the server's own files if it has some, or else those of the server `name` in this directory, such as
    /// [`Authority::servers`](crate::Authority::servers). Without either, there is no certificate. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn find(
        own: Option<CertificateFiles>,
        directory: Option<&Path>,
        name: &str,
    ) -> Result<Option<Arc<Self>>, TlsFileError> {
        let files = own.or_else(|| Some(CertificateFiles::of_server(directory?, name)));
        files.map(|files| Self::open(files).map(Arc::new)).transpose()
    }

    /// What the next connection is served with. Looks at the files' times.
    pub fn current(&self) -> Served {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.files);
        if stamp != current.0 {
            match load(&self.files) {
                Ok(served) => current.1 = served,
                Err(error) => facts::TlsReloadFailed { error: &error }.log(),
            }
            current.0 = stamp;
        }
        current.1.clone()
    }
}

fn stamp(files: &CertificateFiles) -> Stamp {
    [&files.certificate, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

impl CertificateFiles {
    /// What is wrong with them: with each, or with both together. Blocks.
    pub fn faults(&self) -> Vec<TlsFileError> {
        match (chain(&self.certificate), private(&self.key)) {
            (Ok(_), Ok(_)) => load(self).err().into_iter().collect(),
            (chain, private) => chain.err().into_iter().chain(private.err()).collect(),
        }
    }
}

fn load(files: &CertificateFiles) -> Result<Served, TlsFileError> {
    let CertificateFiles { certificate, key } = files;
    let chain = chain(certificate)?;
    let end_point = chain.first().and_then(|first| end_point_binding(first));
    let private = private(key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| TlsFileError::content(key, format!("certificate and key cannot be used: {error}")))?;
    Ok(Served { config: Arc::new(config), end_point })
}

/// At least one certificate.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsFileError::content(path, format!("no certificates in PEM: {error:?}")))?;
    if chain.is_empty() { Err(TlsFileError::content(path, "there is no certificate in PEM in it")) } else { Ok(chain) }
}

fn private(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| TlsFileError::content(path, format!("no private key in PEM: {error:?}")))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    // A FIFO would block for ever.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(TlsFileError::io(path)(io::Error::other("it is no file")));
    }
    let octets = fs::read(path).map_err(TlsFileError::io(path))?;
    let is_empty = octets.is_empty();
    if is_empty { Err(TlsFileError::io(path)(io::ErrorKind::UnexpectedEof.into())) } else { Ok(octets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;
    use jiff::Timestamp;
    use std::path::PathBuf;

    #[test]
    fn a_certificate_is_followed_and_a_bad_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
        let issue = |name: &str| authority.certificate("a.test", [name.to_owned()], Timestamp::UNIX_EPOCH).unwrap();
        let files = issue("b.test");
        let served = ServedCertificate::open(files.clone()).unwrap();
        let first = served.current();
        assert!(Arc::ptr_eq(&first.config, &served.current().config), "it has not changed");
        issue("much.longer.c.test");
        let second = served.current();
        assert_ne!(first.end_point, second.end_point);
        fs::write(&files.certificate, "no certificate").unwrap();
        assert_eq!(served.current().end_point, second.end_point);
        assert!(ServedCertificate::open(files.clone()).unwrap_err().to_string().contains("a.test.pem"));
        fs::remove_file(&files.key).unwrap();
        assert_eq!(served.current().end_point, second.end_point);
    }

    #[test]
    fn both_files_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
        let issue = |name: &str| authority.certificate(name, [name.to_owned()], Timestamp::UNIX_EPOCH).unwrap();
        let (good, other) = (issue("a.test"), issue("b.test"));
        let missing = directory.path().join("missing");
        let faulty = |certificate: &Path, key: &Path| {
            let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
            files.faults().iter().map(|fault| fault.path().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(faulty(&good.certificate, &good.key), Vec::<PathBuf>::new());
        assert_eq!(faulty(&missing, directory.path()), [missing.clone(), directory.path().to_owned()]);
        assert_eq!(faulty(&good.key, &missing), [good.key.clone(), missing]);
        assert_eq!(faulty(&good.certificate, &other.key), [other.key]);
    }
}
