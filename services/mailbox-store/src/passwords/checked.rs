//! What was found out about plain-text passwords, kept over a restart.

use super::super::store::StoreError;
use blake2::{
    Blake2bMac,
    digest::{KeyInit, Mac, consts::U32},
};
use mail_proto::Mailbox;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use uuid::Uuid;

const FILE_NAME: &str = "passwords.checked";
/// The most that is read of the file: 65 octets each for the key and for every digest.
const FILE_LIMIT_OCTETS: u64 = 64 * 1024 * 1024;
const OCTETS: usize = 32;

/// Identifies an address, a hash and a password that fits the hash, to whoever has the key.
pub(crate) type Digest = [u8; OCTETS];

/// Which plain-text passwords are known to fit which stored hashes.
///
/// The file holds the key and the digests. It belongs to the machine and not to the store: no database and no backup has
/// it. Without it, each password is checked once more.
pub(crate) struct Checked {
    path: PathBuf,
    key: Digest,
    known: Mutex<BTreeSet<Digest>>,
}

impl Checked {
    /// Reads the file in this directory. A file that is missing or unusable is replaced at the next [`Checked::save`].
    pub(crate) fn load(directory: &Path) -> Self {
        let path = directory.join(FILE_NAME);
        let read = read(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                facts::StoreCheckedLost { error }.log();
            }
            None
        });
        let (key, known) = read.unwrap_or_else(|| (new_key(), BTreeSet::new()));
        Self { path, key, known: Mutex::new(known) }
    }

    /// The digest that stands for this password of this account.
    pub(crate) fn digest(&self, address: &Mailbox, hash: &str, password: &str) -> Digest {
        // The key is 32 octets long, which is never too long.
        #[expect(clippy::expect_used, reason = "see above")]
        let mut mac = <Blake2bMac<U32> as KeyInit>::new_from_slice(&self.key).expect("a key of 32 octets");
        for part in [&*address.to_string(), hash, password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether this digest was added, in this run or an earlier one.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.lock().contains(digest)
    }

    /// Remembers a digest.
    pub(crate) fn add(&self, digest: Digest) {
        self.lock().insert(digest);
    }

    /// Forgets all digests except these.
    pub(crate) fn retain(&self, wanted: &BTreeSet<Digest>) {
        self.lock().retain(|digest| wanted.contains(digest));
    }

    /// Writes the file anew, readable by its owner only. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(crate) fn save(&self) -> Result<(), StoreError> {
        let mut text = hex(&self.key);
        self.lock().iter().for_each(|digest| text.push_str(&hex(digest)));
        let partial = self.path.with_extension("partial");
        let written = || {
            // A file that was left by a crash may have other permissions.
            fs::remove_file(&partial).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&partial, &self.path)
        };
        written().map_err(|error: io::Error| StoreError::Unavailable(format!("{}: {error}", partial.display())))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key and digests, one a line; `None` when the text is anything else.
fn read(path: &Path) -> io::Result<Option<(Digest, BTreeSet<Digest>)>> {
    let mut text = String::new();
    File::open(path)?.take(FILE_LIMIT_OCTETS).read_to_string(&mut text)?;
    let lines: Option<Vec<Digest>> = text.lines().map(parse).collect();
    Ok(lines.and_then(|lines| {
        let (key, known) = lines.split_first()?;
        Some((*key, known.iter().copied().collect()))
    }))
}

/// 32 octets from the system's source of randomness.
fn new_key() -> Digest {
    let mut key = [0; OCTETS];
    for part in key.chunks_mut(16) {
        part.copy_from_slice(Uuid::new_v4().as_bytes());
    }
    key
}

fn hex(digest: &Digest) -> String {
    let mut line = String::with_capacity(2 * OCTETS + 1);
    for octet in digest {
        let _ = write!(line, "{octet:02x}");
    }
    line.push('\n');
    line
}

fn parse(line: &str) -> Option<Digest> {
    let mut digest = [0; OCTETS];
    if line.len() != 2 * OCTETS || !line.is_ascii() {
        return None;
    }
    for (octet, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *octet = u8::from_str_radix(&line[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn address() -> Mailbox {
        "u@a.test".parse().unwrap()
    }

    #[test]
    fn digests_differ_where_a_part_or_the_key_does() {
        let directory = tempfile::tempdir().unwrap();
        let checked = Checked::load(directory.path());
        let digest = checked.digest(&address(), "b", "c");
        assert_eq!(digest, checked.digest(&address(), "b", "c"));
        assert_ne!(digest, checked.digest(&address(), "bc", ""));
        assert_ne!(digest, checked.digest(&address(), "b", "C"));
        assert_ne!(digest, Checked::load(directory.path()).digest(&address(), "b", "c"), "the key was not saved");
    }

    #[test]
    fn what_was_saved_is_known_after_a_restart_and_to_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let checked = Checked::load(directory.path());
        let [kept, dropped] = ["b", "x"].map(|hash| checked.digest(&address(), hash, "c"));
        checked.add(kept);
        checked.add(dropped);
        checked.retain(&BTreeSet::from([kept]));
        fs::write(directory.path().join("passwords.partial"), "left by a crash").unwrap();
        checked.save().unwrap();
        let path = directory.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Checked::load(directory.path());
        assert_eq!(again.digest(&address(), "b", "c"), kept);
        assert!(again.contains(&kept) && !again.contains(&dropped));
    }

    #[test]
    fn a_file_that_is_damaged_is_as_none() {
        for text in ["", "short", "zz", &"é".repeat(32), &format!("{}\nx", "0".repeat(64))] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(FILE_NAME), text).unwrap();
            let checked = Checked::load(directory.path());
            assert!(checked.lock().is_empty(), "{text}");
            checked.save().unwrap();
            assert_eq!(Checked::load(directory.path()).key, checked.key, "{text}");
        }
    }
}
