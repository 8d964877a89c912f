//! The certificates of a town's servers: those of the configuration, and the others by the town's own authority.

use crate::output::{NO_OUTPUT, say};
use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use mail_net::Clock;
use pseudo_dns::ZoneSource;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use town_config::{LiveConfig, LiveStack, Stack, TlsFiles, zone::Zone};
use town_tls::{Authority, CA_FILE, CertificateFiles, ServedCertificate, TlsFileError};

/// How often the certificates are looked at, so that none expires while the town runs.
const INTERVAL: SignedDuration = SignedDuration::from_hours(24);
/// What clients on this machine call it.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the authority is, below a town's state.
pub(crate) fn directory(state: &Path) -> PathBuf {
    state.join("tls")
}

/// Issues the certificates of a town. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    authority: Arc<Authority>,
    zone: ZoneSource,
    clock: Clock,
}

impl Certificates {
    /// For a town with this state and zone. The authority is in the state; `to` is where everything else goes, if it is
    /// not the same directory. Blocks.
    ///
    /// # Errors
    /// Names the file that is in the way.
    pub(crate) fn open(state: &Path, to: Option<PathBuf>, zone: ZoneSource, clock: Clock) -> anyhow::Result<Self> {
        let authority = Authority::open(&directory(state), clock.wall.now())?;
        let authority = match to {
            Some(to) => authority.issuing_to(&to)?,
            None => authority,
        };
        Ok(Self { authority: Arc::new(authority), zone, clock })
    }

    /// Issues a certificate to each server that has none of its own, and prints where it is. Blocks.
    ///
    /// # Errors
    /// Names the file that is in the way.
    pub(crate) fn print_all(&self, config: &LiveConfig) -> anyhow::Result<()> {
        for stack in config.stacks().map(|stack| stack.current()).filter(|stack| stack.tls.is_none()) {
            let files = self.issue(&stack, self.clock.wall.now())?;
            say(&format!("{}: {}", stack.name, files.certificate.display()))?;
        }
        Ok(())
    }

    /// The certificate of a stack: its own, or one of the authority. Blocks.
    ///
    /// # Errors
    /// Names the file that is in the way.
    pub(crate) fn of(&self, stack: &Stack) -> anyhow::Result<Arc<ServedCertificate>> {
        let files = match &stack.tls {
            Some(own) => {
                if let Some((key, fault)) = own_faults(stack).first() {
                    anyhow::bail!(stack.located(&["server", stack.name.as_str(), "tls", key], fault));
                }
                files_of(own)
            }
            None => self.issue(stack, self.clock.wall.now())?,
        };
        Ok(Arc::new(ServedCertificate::open(files)?))
    }

    fn issue(&self, stack: &Stack, now: Timestamp) -> anyhow::Result<CertificateFiles> {
        Ok(self.authority.certificate(stack.name.as_str(), names(stack, &self.zone), now)?)
    }

    /// Issues certificates anew before they expire. Runs until it is dropped.
    pub(crate) async fn renew(self, stacks: Vec<LiveStack>) {
        loop {
            let next = self.clock.wall.now().saturating_add(INTERVAL).unwrap_or(Timestamp::MAX);
            self.clock.wall.sleep_until(next).await;
            for stack in &stacks {
                let stack = stack.current();
                if stack.tls.is_none()
                    && let Err(error) = self.issue(&stack, self.clock.wall.now())
                {
                    facts::TlsReloadFailed { error: format!("{error:#}") }.log();
                }
            }
        }
    }
}

/// What is wrong with the files that the configuration names for a stack: each with its key below `tls`. Blocks.
pub(crate) fn own_faults(stack: &Stack) -> Vec<(&'static str, String)> {
    let Some(files) = stack.tls.as_ref().map(files_of) else { return Vec::new() };
    let fault = |error: TlsFileError| {
        let is_key = error.path() == files.key;
        let (key, what) = if is_key { ("key", "private key of the certificate") } else { ("cert", "certificate") };
        let table = format!("server.\"{}\".tls", stack.name);
        (key, format!("{table}.{key}: {error}; name a file with the {what} in PEM, or remove {table}"))
    };
    files.faults().into_iter().map(fault).collect()
}

fn files_of(own: &TlsFiles) -> CertificateFiles {
    CertificateFiles { certificate: own.cert.clone(), key: own.key.clone() }
}

/// What a stack is called, beside its name: by its agents, by those who send mail to it, and on this machine.
fn names(stack: &Stack, zone: &ZoneSource) -> Vec<String> {
    // A zone that cannot be read is the pseudo-dns's to report.
    let zone = match zone {
        ZoneSource::File(path) => Zone::load(path).ok(),
        ZoneSource::Fixed(zone) => Some(zone.clone()),
    };
    let agents = stack.agents.values().flat_map(|hosts| [hosts.smtp.clone(), hosts.pop.clone()]);
    let exchanges = stack.domains.iter().filter_map(|domain| zone.as_ref()?.mail_exchanges(domain.as_str()).found());
    let exchanges = exchanges.flatten().map(|exchange| exchange.exchange.to_string());
    let names = agents.chain(exchanges).chain(THIS_MACHINE.map(str::to_owned));
    names.map(|name| name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Prints the authority's certificate, which clients are to trust.
pub(crate) fn print_authority(state: &Path) -> anyhow::Result<()> {
    let path = directory(state).join(CA_FILE);
    let hint = || format!("{}: start the town once, which makes it; --state names its directory", path.display());
    let pem = std::fs::read(&path).with_context(hint)?;
    io::stdout().write_all(&pem).context(NO_OUTPUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use town_config::Config;

    /// Both files are looked at before the town starts, and the first that is wrong is named.
    #[test]
    fn a_certificate_that_cannot_be_used_is_told_with_its_key_and_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let text = "[server.a]\nsmtp = 1\npop = 2\n[server.a.tls]\ncert = \"no.pem\"\nkey = \"config.toml\"\n";
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let stack = config.stack("a").unwrap();
        let faults = own_faults(stack);
        assert_eq!(faults.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["cert", "key"]);
        let cure = "; name a file with the private key of the certificate in PEM, or remove server.\"a\".tls";
        assert!(faults[1].1.ends_with(cure), "{faults:?}");

        let zone = ZoneSource::Fixed(Zone::parse("[MX]\n[P]\n", Path::new("fdns.toml")).unwrap());
        let certificates = Certificates::open(directory.path(), None, zone, Clock::system()).unwrap();
        let shown = directory.path().display();
        let expected = format!(
            "{shown}/config.toml:5: server.\"a\".tls.cert: {shown}/no.pem: No such file or directory (os error 2); name a \
             file with the certificate in PEM, or remove server.\"a\".tls"
        );
        assert_eq!(certificates.of(stack).unwrap_err().to_string(), expected);
    }
}
