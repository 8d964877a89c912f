//! Argon2, a few hashes at a time, in memory that is returned.

use super::{
    Client, Stored,
    turns::{Turn, Turns},
};
use crate::store::{Result, StoreError, StoredPassword};
use argon2::{
    Argon2, Block, Params,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use mail_net::IoClock;
use mail_proto::sasl::{ScramVerifier, scram::ITERATIONS};
use std::{
    sync::{Arc, LazyLock},
    thread,
};
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard},
    time::Instant,
};
use uuid::Uuid;

/// The most hashes that are computed at once: each takes a processor and 19 MiB.
const CONCURRENT: usize = 4;
/// The room that is reserved for the blocks of a hash: 33 MiB. Today's parameters use 19 of them. glibc maps each
/// allocation over 32 MiB by itself, and unmaps it when it is freed (`mallopt(3)`, `M_MMAP_THRESHOLD`).
const RESERVED_BLOCKS: usize = 33 * 1024;

/// The hash of nobody's password, with the parameters of everybody's: to check a password for an account that does not
/// exist takes as long as for one that does.
pub(crate) const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGxvZ3MgaW4gIA$1YFkTVAFLdhf0f0Rwm8wYiGXUjkxA9GVnKpKZUvlNrE";

/// A client that waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) client: Client,
    /// Then it waits no longer. A login may need two turns.
    pub(crate) until: Instant,
}

/// Computes and verifies argon2 hashes, a few at a time.
///
/// Between two hashes it holds no memory. An allocator keeps large blocks that are freed, some for each thread, unless
/// they are too large for it: see [`RESERVED_BLOCKS`]. Memory would then grow with the number of logins.
#[derive(Clone)]
pub(crate) struct Hasher {
    turns: Turns,
    background: Arc<AsyncMutex<()>>,
}

/// What all stores of a process use.
static SHARED: LazyLock<Hasher> = LazyLock::new(Hasher::new);

impl Hasher {
    /// The hasher of this process: its memory does not grow with the number of stores.
    pub(crate) fn shared() -> Self {
        SHARED.clone()
    }

    fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Turns::new(processors.min(CONCURRENT)), background: Arc::default() }
    }

    /// Waits for the turn of a hash that nobody waits for. There is one at a time, so that a login waits for at most one
    /// of them, however many stores there are.
    pub(crate) async fn background(&self) -> MutexGuard<'_, ()> {
        self.background.lock().await
    }

    /// Whether this is the password that was hashed. Takes tens of milliseconds, as it should.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when too many others wait.
    pub(crate) async fn verify(&self, password: String, hash: String, client: Waiting, io: IoClock) -> Result<bool> {
        let turn = self.turn_of(client, io).await?;
        self.run(turn, move || verify(&password, &hash)).await
    }

    /// What is stored of a password, made from it unless `stored` is of this password already. A password that SASLprep
    /// prohibits has no verifier.
    pub(crate) async fn keep_or_make(
        &self,
        password: String,
        stored: Option<StoredPassword>,
    ) -> Result<StoredPassword> {
        self.keep_or_make_in(self.turns.own().await, password, stored).await
    }

    /// The same for a client that waits.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when too many others wait.
    pub(crate) async fn keep_or_make_for(
        &self,
        (client, io): (Waiting, IoClock),
        password: String,
        stored: Option<StoredPassword>,
    ) -> Result<StoredPassword> {
        let turn = self.turn_of(client, io).await?;
        self.keep_or_make_in(turn, password, stored).await
    }

    async fn turn_of(&self, Waiting { client, until }: Waiting, io: IoClock) -> Result<Turn> {
        match io.timeout_at(until, self.turns.of(client)).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(StoreError::Overloaded("to log in")),
        }
    }

    async fn keep_or_make_in(
        &self,
        turn: Turn,
        password: String,
        stored: Option<StoredPassword>,
    ) -> Result<StoredPassword> {
        let made = self.run(turn, move || {
            let kept = stored.filter(|stored| verify(&password, &stored.hash));
            let (hash, verifier) = match kept {
                Some(StoredPassword { hash, verifier }) => (hash, verifier),
                None => (hash(&password)?, None),
            };
            let verifier = verifier.or_else(|| ScramVerifier::new(&password, new_salt(), ITERATIONS).ok());
            Ok::<_, String>(StoredPassword { hash, verifier })
        });
        made.await?.map_err(|reason| StoreError::Internal(format!("cannot hash a password: {reason}")))
    }

    async fn run<T: Send + 'static>(&self, turn: Turn, compute: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let computing = tokio::task::spawn_blocking(move || {
            let outcome = compute();
            // Held until the memory is freed, also when the caller has gone.
            drop(turn);
            outcome
        });
        computing.await.map_err(|error| StoreError::Internal(format!("computing a hash panicked: {error}")))
    }
}

fn verify(password: &str, hash: &str) -> bool {
    let Ok(Stored { argon2, phc }) = Stored::parse(hash) else { return false };
    let (Some(salt), Some(expected)) = (phc.salt, phc.hash) else { return false };
    // Two outputs are compared in constant time.
    compute(&argon2, password, &salt, expected.len()).is_ok_and(|output| output == expected)
}

/// Octets from the system's source of randomness.
fn new_salt() -> Vec<u8> {
    Uuid::new_v4().as_bytes().to_vec()
}

fn hash(password: &str) -> std::result::Result<String, String> {
    let (argon2, salt) = (Argon2::default(), Salt::generate());
    let output = compute(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?;
    let phc = PasswordHash {
        algorithm: argon2::Algorithm::default().ident(),
        version: Some(argon2::Version::default().into()),
        params: ParamsString::try_from(argon2.params()).map_err(|error| error.to_string())?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(phc.to_string())
}

fn compute(
    argon2: &Argon2<'_>,
    password: &str,
    salt: &Salt,
    output_octets: usize,
) -> std::result::Result<Output, String> {
    let blocks = argon2.params().block_count();
    let mut memory = Vec::with_capacity(RESERVED_BLOCKS.max(blocks));
    memory.resize(blocks, Block::new());
    let mut buffer = [0; Output::MAX_LENGTH];
    let output = buffer.get_mut(..output_octets).ok_or("the hash is too long")?;
    let password = password.as_bytes();
    argon2.hash_password_into_with_memory(password, salt, output, &mut memory).map_err(|error| error.to_string())?;
    Output::new(output).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};
    use mail_net::Clock;
    use std::time::Duration;

    #[test]
    fn nobodys_hash_is_as_costly_as_a_new_one_and_fits_nothing() {
        let hash = hash("").unwrap();
        let costs = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(costs(NOBODY), costs(&hash));
        assert_eq!(NOBODY.len(), hash.len(), "{hash}");
        assert!(!verify("", NOBODY));
    }

    #[test]
    fn hashes_are_those_of_the_library() {
        let ours = hash("pass").unwrap();
        Argon2::default().verify_password(b"pass", ours.as_str()).unwrap();
        let small = Params::new(64, 3, 2, Some(16)).unwrap();
        for theirs in [Argon2::default(), Argon2::from(small)] {
            let theirs = theirs.hash_password(b"pass").unwrap().to_string();
            assert!(verify("pass", &theirs) && !verify("Pass", &theirs), "{theirs}");
        }
    }

    /// A login that gets no turn is told so in time, however many it needs.
    #[tokio::test(start_paused = true)]
    async fn a_login_waits_for_its_turn_for_a_while_only() {
        let (hasher, io) = (Hasher { turns: Turns::new(1), background: Arc::default() }, Clock::system().io);
        let held = hasher.turns.own().await;
        let (started, patience) = (io.instant(), Duration::from_secs(5));
        let client =
            Waiting { client: Client { network: None, account: 0, is_delayed: false }, until: started + patience };
        let verify = || hasher.verify("pass".to_owned(), NOBODY.to_owned(), client, io);
        let make = hasher.keep_or_make_for((client, io), "pass".to_owned(), None);
        assert_eq!(make.await, Err(StoreError::Overloaded("to log in")));
        assert_eq!(verify().await, Err(StoreError::Overloaded("to log in")));
        assert_eq!(io.since(started), patience);
        drop(held);
        assert_eq!(verify().await, Ok(false));
    }

    #[test]
    fn all_stores_of_a_process_share_their_turns() {
        assert!(Hasher::shared().turns.are_those_of(&Hasher::shared().turns));
    }

    #[tokio::test]
    async fn a_password_that_fits_is_kept() {
        let hasher = Hasher::new();
        let make = |password: &str, stored: &StoredPassword| {
            let hasher = hasher.clone();
            let (password, stored) = (password.to_owned(), stored.clone());
            async move { hasher.keep_or_make(password, Some(stored)).await.unwrap() }
        };
        let first = hasher.keep_or_make("pass".to_owned(), None).await.unwrap();
        assert!(first.verifier.is_some());
        assert_eq!(make("pass", &first).await, first);
        let other = make("other", &first).await;
        assert!(other.hash != first.hash && other.verifier != first.verifier);
        let without = StoredPassword { verifier: None, ..first };
        let with = make("pass", &without).await;
        assert!(with.hash == without.hash && with.verifier.is_some());
        assert_eq!(make("a\u{7}", &without).await.verifier, None, "no control character can be proved with SCRAM");
    }
}
