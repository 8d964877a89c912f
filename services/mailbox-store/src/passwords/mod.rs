//! Passwords: what a stored hash may be, how hashes are computed in bounded memory, and what was proved of them before.

mod checked;
mod hasher;
mod turns;

pub(crate) use checked::{Checked, Digest};
pub(crate) use hasher::{Hasher, NOBODY, Waiting};
pub(crate) use turns::Client;

use argon2::{Algorithm, Argon2, Params, Version, password_hash::phc::PasswordHash};

/// What every argon2 PHC string begins with.
const PHC_PREFIX: &str = "$argon2";
/// The most memory that one hash may take, in KiB: the second recommendation of RFC 9106 §4.
const MEMORY_LIMIT_KIB: u32 = 64 * 1024;
/// The most work that one hash may take, in passes over one KiB: ten passes over the most memory.
const WORK_LIMIT: u64 = 10 * MEMORY_LIMIT_KIB as u64;

/// Whether a configured password is a hash already, and no plain text.
pub(crate) fn is_phc(password: &str) -> bool {
    password.starts_with(PHC_PREFIX)
}

/// What stands before the hash of an account that is disabled, as in shadow(5): no password fits it.
const LOCK: char = '!';

/// Whether nobody can log in with this stored hash, because its account is disabled.
pub(crate) fn is_locked(hash: &str) -> bool {
    hash.starts_with(LOCK)
}

/// The hash of the same password, of a disabled account.
pub(crate) fn lock(hash: &str) -> String {
    if is_locked(hash) { hash.to_owned() } else { format!("{LOCK}{hash}") }
}

/// The hash of the same password, of an account that is not disabled.
pub(crate) fn unlock(hash: &str) -> String {
    hash.trim_start_matches(LOCK).to_owned()
}

/// Checks that a PHC string is an argon2 hash that this store can verify.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn check_phc(phc: &str) -> Result<(), String> {
    Stored::parse(phc).map(drop)
}

/// An argon2 hash with all that is needed to verify a password.
struct Stored {
    argon2: Argon2<'static>,
    phc: PasswordHash,
}

impl Stored {
    fn parse(phc: &str) -> Result<Self, String> {
        let phc = PasswordHash::new(phc).map_err(|error| error.to_string())?;
        if phc.salt.is_none() || phc.hash.is_none() {
            return Err("it has no salt or no hash".to_owned());
        }
        let algorithm = Algorithm::try_from(phc.algorithm.as_str()).map_err(|error| error.to_string())?;
        let version = phc.version.map(Version::try_from).transpose().map_err(|error| error.to_string())?;
        let params = Params::try_from(&phc).map_err(|error| error.to_string())?;
        if params.m_cost() > MEMORY_LIMIT_KIB {
            return Err(format!("it needs m={} KiB of memory, and {MEMORY_LIMIT_KIB} is the most", params.m_cost()));
        }
        if u64::from(params.m_cost()) * u64::from(params.t_cost()) > WORK_LIMIT {
            return Err(format!("its m times t is over {WORK_LIMIT}: a login would take seconds"));
        }
        Ok(Self { argon2: Argon2::new(algorithm, version.unwrap_or_default(), params), phc })
    }
}
