//! The certificate authority of a town.

use crate::{CertificateFiles, TlsFileError};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

/// The file of the authority's certificate in its directory.
pub const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const CA_NAME: &str = "mailtown town authority";
const REMEDY: &str = "restore it, or delete ca.key and ca.pem: clients must then trust the new ca.pem";
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long the authority's own certificate is valid.
const CA_DAYS: i32 = 3650;
/// How long a server's certificate is valid, and when it is issued anew.
const SERVER_DAYS: i32 = 90;
const RENEWED_AFTER_DAYS: i32 = 60;
/// A clock that is behind takes the certificate all the same.
const BACKDATED_DAYS: i32 = 1;

/// Issues the certificates of a town's servers.
#[derive(Debug)]
pub struct Authority {
    certificate: PathBuf,
    servers: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate was issued for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    /// The public key of the authority, in hexadecimal.
    authority: String,
    names: Vec<String>,
    renewed_at: Timestamp,
}

impl Authority {
    /// The authority whose files are in this directory. Makes a new one where there is none. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, TlsFileError> {
        let servers = Self::servers(directory);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&servers).map_err(TlsFileError::io(&servers))?;
        let (certificate, key) = (directory.join(CA_FILE), directory.join(CA_KEY_FILE));
        let pair = match fs::read_to_string(&key) {
            Ok(pem) => {
                let pair = KeyPair::from_pem(&pem).map_err(|error| {
                    TlsFileError::content(&key, format!("no private key in PEM ({error}); {REMEDY}"))
                })?;
                check(&certificate, &pair)?;
                pair
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pair = KeyPair::generate().map_err(|error| TlsFileError::content(&key, error))?;
                write(&key, &pair.serialize_pem(), 0o600)?;
                // Of a key that is lost.
                fs::remove_file(&certificate).or_else(absent).map_err(TlsFileError::io(&certificate))?;
                pair
            }
            Err(error) => return Err(TlsFileError::io(&key)(error)),
        };
        let parameters = authority_parameters(now);
        if !certificate.exists() {
            let signed = parameters.self_signed(&pair).map_err(|error| TlsFileError::content(&certificate, error))?;
            write(&certificate, &signed.pem(), 0o644)?;
        }
        Ok(Self { certificate, servers, issuer: Issuer::new(parameters, pair) })
    }

    /// The same authority, whose certificates go to another directory, laid out like its own: its certificate, and what it
    /// issues. Its key stays where it is. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn issuing_to(self, directory: &Path) -> Result<Self, TlsFileError> {
        let servers = Self::servers(directory);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&servers).map_err(TlsFileError::io(&servers))?;
        let (own, copy) = (&self.certificate, directory.join(CA_FILE));
        let pem = fs::read_to_string(own).map_err(TlsFileError::io(own))?;
        if fs::read_to_string(&copy).ok().as_ref() != Some(&pem) {
            write(&copy, &pem, 0o644)?;
        }
        Ok(Self { servers, ..self })
    }

    /// Where the servers' certificates are, in an authority's directory.
    pub fn servers(directory: &Path) -> PathBuf {
        directory.join("servers")
    }

    /// The certificate of the server `name`, which holds for these names and addresses too. It is issued anew when they
    /// have changed, or when two thirds of its time have passed. Blocks.
    ///
    /// # Errors
    /// [`TlsFileError`].
    pub fn certificate(
        &self,
        name: &str,
        others: impl IntoIterator<Item = String>,
        now: Timestamp,
    ) -> Result<CertificateFiles, TlsFileError> {
        let files = CertificateFiles::of_server(&self.servers, name);
        let record = self.servers.join(format!("{name}.json"));
        let mut names = vec![name.to_owned()];
        for other in others {
            if !names.contains(&other) {
                names.push(other);
            }
        }
        let known = fs::read(&record).ok().and_then(|json| serde_json::from_slice::<Issued>(&json).ok());
        let authority = hexadecimal(self.issuer.key().public_key_raw());
        let is_good =
            known.is_some_and(|known| known.authority == authority && known.names == names && now < known.renewed_at);
        if is_good && files.certificate.exists() && files.key.exists() {
            return Ok(files);
        }
        let failed = |error: rcgen::Error| TlsFileError::content(&files.certificate, error);
        let pair = KeyPair::generate().map_err(failed)?;
        let signed = server_parameters(names.clone(), now).and_then(|it| it.signed_by(&pair, &self.issuer));
        let signed = signed.map_err(failed)?;
        write(&files.key, &pair.serialize_pem(), 0o600)?;
        write(&files.certificate, &signed.pem(), 0o644)?;
        let issued = Issued { authority, names, renewed_at: later(now, RENEWED_AFTER_DAYS) };
        let json = serde_json::to_string(&issued).map_err(|error| TlsFileError::content(&record, error))?;
        write(&record, &json, 0o644)?;
        facts::TlsCertificateIssued { name, file: &files.certificate.display() }.log();
        Ok(files)
    }
}

fn authority_parameters(now: Timestamp) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, CA_NAME);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit(&mut parameters, now, CA_DAYS);
    parameters
}

fn server_parameters(names: Vec<String>, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        distinguished_name.push(DnType::CommonName, name.as_str());
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = distinguished_name;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    limit(&mut parameters, now, SERVER_DAYS);
    Ok(parameters)
}

/// Makes a certificate valid for some days.
fn limit(parameters: &mut CertificateParams, now: Timestamp, days: i32) {
    let midnight = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    parameters.not_before = midnight(later(now, -BACKDATED_DAYS));
    parameters.not_after = midnight(later(now, days));
}

fn later(now: Timestamp, days: i32) -> Timestamp {
    now.saturating_add(DAY * days).unwrap_or(now)
}

/// Whether a certificate, if there is one, is that of this key.
fn check(certificate: &Path, pair: &KeyPair) -> Result<(), TlsFileError> {
    let pem = match fs::read(certificate) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(TlsFileError::io(certificate)(error)),
    };
    let public_key = pair.public_key_raw();
    let der = CertificateDer::from_pem_slice(&pem).ok();
    // A certificate holds its public key as it is.
    let is_its_own = der.is_some_and(|der| der.windows(public_key.len()).any(|octets| octets == public_key));
    let reason = || TlsFileError::content(certificate, format!("no certificate of the key in ca.key; {REMEDY}"));
    if is_its_own { Ok(()) } else { Err(reason()) }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// That there is no such file is no failure.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Writes a file so that it has its content at once or not at all.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), TlsFileError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let written = || {
        // One that was left by a crash may have other permissions.
        fs::remove_file(partial).or_else(absent)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(partial)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(partial, path)
    };
    written().map_err(TlsFileError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 24 * 60 * 60).unwrap()
    }

    #[test]
    fn a_certificate_stays_until_its_names_change_or_its_time_has_come() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls");
        let issue = |names: &[&str], day| {
            let authority = Authority::open(&path, at(day)).unwrap();
            let others = names.iter().map(|&name| name.to_owned());
            let files = authority.certificate("mail.test", others, at(day)).unwrap();
            (fs::read(files.certificate).unwrap(), fs::read(path.join(CA_FILE)).unwrap())
        };
        let (first, authority) = issue(&["localhost"], 0);
        assert_eq!(issue(&["localhost", "mail.test"], 59), (first.clone(), authority.clone()));
        let (renamed, same) = issue(&["localhost", "127.0.0.1"], 59);
        assert!(renamed != first && same == authority);
        let (renewed, same) = issue(&["localhost", "127.0.0.1"], 59 + 60);
        assert!(renewed != renamed && same == authority);
        // Without its key the authority is another one.
        fs::remove_file(path.join("ca.key")).unwrap();
        let (reissued, other) = issue(&["localhost", "127.0.0.1"], 59 + 60);
        assert!(reissued != renewed && other != authority);
        for key in ["ca.key", "servers/mail.test.key"] {
            assert_eq!(fs::metadata(path.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn what_is_issued_elsewhere_comes_without_the_key_of_the_authority() {
        let [own, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let issue = || {
            let authority = Authority::open(own.path(), at(0)).unwrap().issuing_to(other.path()).unwrap();
            let files = authority.certificate("mail.test", [], at(0)).unwrap();
            assert_eq!(files, CertificateFiles::of_server(&Authority::servers(other.path()), "mail.test"));
            fs::read(files.certificate).unwrap()
        };
        let first = issue();
        assert_eq!(issue(), first);
        let authority = [&own, &other].map(|directory| fs::read(directory.path().join(CA_FILE)).unwrap());
        assert_eq!(authority[0], authority[1]);
        assert!(own.path().join(CA_KEY_FILE).exists() && !other.path().join(CA_KEY_FILE).exists());
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.key"), "nothing").unwrap();
        let error = Authority::open(directory.path(), at(0)).unwrap_err().to_string();
        assert!(error.contains("ca.key: no private key in PEM"), "{error}");
        let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for directory in [&one, &other] {
            Authority::open(directory.path(), at(0)).unwrap();
        }
        fs::copy(other.path().join("ca.key"), one.path().join("ca.key")).unwrap();
        let error = Authority::open(one.path(), at(0)).unwrap_err().to_string();
        assert!(error.contains("ca.pem: no certificate of the key in ca.key"), "{error}");
    }
}
