//! From the accounts of the configuration to those of the store.

use crate::store::Account;
use argon2::{
    Argon2, Params,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use mail_proto::{Domain, Mailbox};
use service_kit::config::{Password, Quota};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    thread,
};

/// What every argon2 PHC string begins with.
const PHC_PREFIX: &str = "$argon2";

/// Why a configured account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password looks like a PHC string and is none that could ever be logged in with.
    #[error("the password of {address} is no valid argon2 PHC string ({reason}); give one, or plain text")]
    Hash {
        /// The account.
        address: Mailbox,
        /// What is wrong with it.
        reason: String,
    },
    /// Hashing failed.
    #[error("cannot hash the password of {address}: {reason}")]
    Hashing {
        /// The account.
        address: Mailbox,
        /// Why.
        reason: String,
    },
}

/// All accounts of a stack: those of the configuration, and the postmaster that every domain has (RFC 5321
/// §4.5.1), with whom nobody can log in unless the configuration gives a password. `stored` are the hashes as
/// of now; one that fits is kept. Blocks, on all processors.
///
/// # Errors
/// [`AccountError`].
pub fn accounts(
    configured: &BTreeMap<Mailbox, Password>,
    domains: &BTreeSet<Domain>,
    stored: &HashMap<Mailbox, String>,
) -> Result<Vec<Account>, AccountError> {
    let passwords: Vec<_> = configured.iter().collect();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let share = passwords.len().div_ceil(processors).max(1);
    let hashed: Result<Vec<Vec<Account>>, AccountError> = thread::scope(|scope| {
        let threads: Vec<_> = passwords
            .chunks(share)
            .map(|share| {
                scope.spawn(|| share.iter().map(|(address, password)| account(address, password, stored)).collect())
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut accounts = hashed?.concat();
    let postmasters = domains.iter().cloned().map(Mailbox::postmaster);
    let implicit = postmasters.filter(|address| !configured.contains_key(address));
    accounts.extend(implicit.map(|address| Account { address, password_hash: None, quota: Quota::default() }));
    Ok(accounts)
}

/// Refuses a password that looks like a PHC string and could never be logged in with.
///
/// # Errors
/// [`AccountError::Hash`].
pub fn check(address: &Mailbox, password: &Password) -> Result<(), AccountError> {
    if !password.expose().starts_with(PHC_PREFIX) {
        return Ok(());
    }
    check_phc(password.expose()).map_err(|reason| AccountError::Hash { address: address.clone(), reason })
}

fn account(address: &Mailbox, password: &Password, stored: &HashMap<Mailbox, String>) -> Result<Account, AccountError> {
    check(address, password)?;
    let password = password.expose();
    let hash = if password.starts_with(PHC_PREFIX) {
        password.to_owned()
    } else {
        match stored.get(address).filter(|hash| verify(password, hash)) {
            Some(hash) => hash.clone(),
            None => Argon2::default()
                .hash_password(password.as_bytes())
                .map_err(|error| AccountError::Hashing { address: address.clone(), reason: error.to_string() })?
                .to_string(),
        }
    };
    Ok(Account { address: address.clone(), password_hash: Some(hash), quota: Quota::default() })
}

/// Whether this is the password that was hashed. Takes tens of milliseconds, as it should.
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

fn check_phc(phc: &str) -> Result<(), String> {
    let hash = PasswordHash::new(phc).map_err(|error| error.to_string())?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("it has no salt or no hash".to_owned());
    }
    argon2::Algorithm::try_from(hash.algorithm.as_str()).map_err(|error| error.to_string())?;
    if let Some(version) = hash.version {
        argon2::Version::try_from(version).map_err(|error| error.to_string())?;
    }
    Params::try_from(&hash).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "pass".
    fn phc() -> String {
        Argon2::default().hash_password(b"pass").unwrap().to_string()
    }

    fn configured(accounts: &[(&str, &str)]) -> BTreeMap<Mailbox, Password> {
        accounts.iter().map(|(address, password)| (address.parse().unwrap(), Password::from(*password))).collect()
    }

    #[test]
    fn every_domain_has_a_postmaster_and_passwords_are_hashed() {
        let domains = BTreeSet::from(["b.test".parse().unwrap(), "a.test".parse().unwrap()]);
        let configured = configured(&[("u@a.test", "pass"), ("postmaster@a.test", "secret")]);
        let accounts = accounts(&configured, &domains, &HashMap::new()).unwrap();
        let addresses: Vec<_> = accounts.iter().map(|account| account.address.to_string()).collect();
        assert_eq!(addresses, ["postmaster@a.test", "u@a.test", "postmaster@b.test"]);
        assert!(verify("secret", accounts[0].password_hash.as_ref().unwrap()));
        let hash = accounts[1].password_hash.as_ref().unwrap();
        assert!(verify("pass", hash) && !verify("Pass", hash) && !hash.contains("pass"), "{hash}");
        assert_eq!(accounts[2].password_hash, None);
    }

    #[test]
    fn a_hash_that_fits_is_kept_and_another_is_not() {
        let (address, old): (Mailbox, _) = ("u@a.test".parse().unwrap(), phc());
        let stored = HashMap::from([(address, old.clone())]);
        let hash = |password| {
            let accounts = accounts(&configured(&[("u@a.test", password)]), &BTreeSet::new(), &stored).unwrap();
            accounts[0].password_hash.clone().unwrap()
        };
        assert_eq!(hash("pass"), old);
        assert!(verify("changed", &hash("changed")));
        let other = phc();
        assert_eq!(hash(&other), other);
    }

    #[test]
    fn a_phc_string_that_nobody_could_log_in_with_is_an_error() {
        let no_hash = phc().rsplit_once('$').unwrap().0.to_owned();
        for bad in ["$argon2id$", "$argon2", "$argon2x$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g", &no_hash] {
            let error = accounts(&configured(&[("u@a.test", bad)]), &BTreeSet::new(), &HashMap::new()).unwrap_err();
            assert!(error.to_string().starts_with("the password of u@a.test is no valid"), "{error}");
        }
    }
}
