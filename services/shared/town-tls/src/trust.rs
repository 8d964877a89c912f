//! Whom a client trusts.

use crate::TlsFileError;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// The authorities by which a client knows servers: those of a file, or else the town's own and those of the system.
///
/// Files are read again when they have changed.
#[derive(Debug)]
pub struct Trust {
    town: Option<PathBuf>,
    anybody: Mutex<Option<Arc<ClientConfig>>>,
    verified: Mutex<Option<Verified>>,
}

/// What was made of the files when they were in this state.
#[derive(Debug)]
struct Verified {
    files: Vec<(PathBuf, Stamp)>,
    config: Arc<ClientConfig>,
}

/// Tells one state of a file from another.
type Stamp = Option<(SystemTime, u64)>;

impl Trust {
    /// `town` is the certificate of the town's authority. There need not be one.
    pub fn new(town: Option<PathBuf>) -> Self {
        Self { town, anybody: Mutex::default(), verified: Mutex::default() }
    }

    /// For TLS with every server, whatever its certificate: who only listens learns nothing (RFC 7435).
    ///
    /// # Errors
    /// None with the algorithms that this program has.
    pub fn anybody(&self) -> Result<Arc<ClientConfig>, Error> {
        let mut anybody = self.anybody.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = &*anybody {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)));
        Ok(Arc::clone(anybody.insert(Arc::new(builder.with_no_client_auth()))))
    }

    /// For TLS with servers whose certificate an authority of the file `authorities`, in PEM, has issued; without a file
    /// it is the town's authority, or one of the system's. Looks at the files' times; blocks when they have changed.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn verified(&self, authorities: Option<&Path>) -> Result<Arc<ClientConfig>, TlsFileError> {
        let files: Vec<_> = authorities.or(self.town.as_deref()).into_iter().collect();
        let files: Vec<_> = files.into_iter().map(|file| (file.to_owned(), stamp(file))).collect();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = verified.as_ref().filter(|known| known.files == files) {
            return Ok(Arc::clone(&known.config));
        }
        let mut roots = RootCertStore::empty();
        for (file, _) in &files {
            add(&mut roots, file)?;
        }
        if authorities.is_none() {
            // A certificate of the system that cannot be read or understood is not trusted, and no reason to stop.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let unusable = |error| TlsFileError::content(authorities.unwrap_or(Path::new("TLS")), error);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        *verified = Some(Verified { files, config: Arc::clone(&config) });
        Ok(config)
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Adds the certificates of a file in PEM.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsFileError> {
    // A FIFO would block for ever.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(TlsFileError::io(path)(io::Error::other("it is no file")));
    }
    let pem = fs::read(path).map_err(TlsFileError::io(path))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|error| TlsFileError::content(path, format!("no certificates in PEM: {error:?}")))?;
        roots.add(certificate).map_err(|error| TlsFileError::content(path, error))?;
    }
    if roots.len() == before {
        return Err(TlsFileError::content(path, "there is no certificate in it; give one in PEM"));
    }
    Ok(())
}

/// Takes every certificate. A signature by a key that nobody vouches for proves nothing, so that is not looked at either.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, CA_FILE};
    use jiff::Timestamp;

    #[test]
    fn authorities_are_followed_and_a_bad_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let town = directory.path().join(CA_FILE);
        let trust = Trust::new(Some(town.clone()));
        assert!(trust.verified(None).unwrap_err().to_string().contains(CA_FILE), "there is none yet");
        Authority::open(directory.path(), Timestamp::UNIX_EPOCH).unwrap();
        let first = trust.verified(None).unwrap();
        assert!(Arc::ptr_eq(&first, &trust.verified(None).unwrap()), "it has not changed");
        let other = directory.path().join("other.pem");
        fs::copy(&town, &other).unwrap();
        assert!(!Arc::ptr_eq(&first, &trust.verified(Some(&other)).unwrap()));
        for content in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&other, content).unwrap();
            let error = trust.verified(Some(&other)).unwrap_err().to_string();
            assert!(error.contains("other.pem"), "{error}");
        }
        assert!(Trust::new(None).verified(Some(directory.path())).unwrap_err().to_string().contains("no file"));
        assert!(Arc::ptr_eq(&trust.anybody().unwrap(), &trust.anybody().unwrap()));
    }
}
