//! `--ports-file`: tells other programs where the town listens, for as long as it does.

use crate::StackAddresses;
use anyhow::{Context, ensure};
use std::{
    fs::{self, Permissions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use town_config::ports_file::Ports;

/// The ports file of this process. It is there from [`PortsFile::write`] until this is dropped.
#[derive(Debug)]
pub(crate) struct PortsFile {
    path: PathBuf,
    /// What this process has written.
    text: Option<String>,
}

impl PortsFile {
    /// Makes sure that the file can be written, and removes an old one: a town that was killed may have left it.
    ///
    /// # Errors
    /// Names the file, when it is something else than a ports file or cannot be replaced.
    pub(crate) fn prepare(path: &Path) -> anyhow::Result<Self> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            metadata => {
                let empty = metadata.as_ref().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
                ensure!(
                    empty || Ports::read(path).is_ok(),
                    "{}: this is no ports file; name another file with --ports-file, or remove it",
                    path.display()
                );
                fs::remove_file(path).with_context(|| cannot("replace", path))?;
            }
        }
        // Before the town starts, and not after.
        beside(path).with_context(|| cannot("write", path))?;
        Ok(Self { path: path.to_owned(), text: None })
    }

    /// Writes where these stacks and the console listen, all at once.
    ///
    /// # Errors
    /// Names the file, when it cannot be written.
    pub(crate) fn write(&mut self, stacks: &[StackAddresses], console: Option<SocketAddr>) -> anyhow::Result<()> {
        let mut ports = Ports::default();
        if let Some(address) = console {
            ports.set_console(address);
        }
        for stack in stacks {
            for (key, address) in stack.addresses() {
                ports.insert(stack.stack.name.as_str(), key, address);
            }
        }
        let text = ports.to_json();
        self.replace(&text).with_context(|| cannot("write", &self.path))?;
        self.text = Some(text);
        Ok(())
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut file = beside(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

impl Drop for PortsFile {
    /// Removes the file, unless another process has replaced it meanwhile.
    fn drop(&mut self) {
        let is_ours = |text: &String| fs::read_to_string(&self.path).is_ok_and(|found| found == *text);
        if !self.text.as_ref().is_some_and(is_ours) {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "cannot remove the ports file");
        }
    }
}

/// A new file in the same directory, which can take the place of this one.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Whoever may read the directory may know the ports.
    tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(directory)
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}; give --ports-file a path in a directory that exists and can be written", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use town_config::PortKey;

    fn said(error: &anyhow::Error) -> String {
        format!("{error:#}")
    }

    #[test]
    fn what_a_killed_town_has_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports.json");
        let mut left = Ports::default();
        left.insert("a", PortKey::Smtp, "127.0.0.1:1".parse().unwrap());
        for text in [left.to_json(), String::new()] {
            fs::write(&path, &text).unwrap();
            PortsFile::prepare(&path).unwrap();
            assert!(!path.exists(), "{text:?}");
        }
        fs::write(&path, "precious").unwrap();
        for path in [path.as_path(), directory.path()] {
            let expected =
                format!("{}: this is no ports file; name another file with --ports-file, or remove it", path.display());
            assert_eq!(said(&PortsFile::prepare(path).unwrap_err()), expected);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn it_is_removed_at_the_end_unless_it_is_another_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ports.json");
        let mut file = PortsFile::prepare(&path).unwrap();
        file.write(&[], None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
        drop(file);
        assert!(!path.exists());
        let mut file = PortsFile::prepare(&path).unwrap();
        file.write(&[], None).unwrap();
        fs::write(&path, "another").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = said(&PortsFile::prepare(Path::new("/no/such/ports.json")).unwrap_err());
        let expected = "cannot write /no/such/ports.json; give --ports-file a path in a directory that exists and can be \
                        written: No such file or directory (os error 2)";
        assert!(error.starts_with(expected), "{error}");
    }
}
