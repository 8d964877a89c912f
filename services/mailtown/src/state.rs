//! The directory below which the stores of a town keep their mail.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

/// Makes sure that no running store has the directory of this server. Without a directory, none has it. A store holds its
/// directory by itself: this is to find out before anything else is started.
///
/// # Errors
/// Names the directory, when it is in use.
pub(crate) fn ensure_unused(state: &Path, server: &str) -> anyhow::Result<()> {
    let directory = state.join(server);
    // Whatever else is wrong with it, the store says.
    let Ok(lock) = File::open(directory.join("lock")) else { return Ok(()) };
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "{} is in use by a town or a mailbox-store that runs; stop it, or start a second town with --state DIR and \
             --port-base N",
            directory.display()
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_in_use_while_it_is_locked() {
        let state = tempfile::tempdir().unwrap();
        ensure_unused(state.path(), "a.test").unwrap();
        std::fs::create_dir(state.path().join("a.test")).unwrap();
        ensure_unused(state.path(), "a.test").unwrap();
        let lock = File::create(state.path().join("a.test/lock")).unwrap();
        ensure_unused(state.path(), "a.test").unwrap();
        lock.lock().unwrap();
        let error = ensure_unused(state.path(), "a.test").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}/a.test is in use by a town", state.path().display())), "{error}");
        drop(lock);
        ensure_unused(state.path(), "a.test").unwrap();
    }
}
