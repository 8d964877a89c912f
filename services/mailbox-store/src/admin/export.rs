//! Maildrops as mbox files or Maildir directories.

use super::{Format, mbox};
use crate::store::sqlite::snapshot::{ExportedMessage, Snapshot};
use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use mail_proto::Mailbox;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Writes the maildrops of the store in `directory` below `target`, all unless `mailboxes` names some. What
/// cannot be read is named, and left out.
pub(super) fn export(
    directory: &Path,
    target: &Path,
    format: Format,
    mailboxes: &[Mailbox],
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let snapshot = Snapshot::open(directory)?;
    let known = snapshot.maildrops()?;
    let wanted: Vec<String> = match mailboxes {
        [] => known,
        some => some.iter().map(Mailbox::to_string).collect(),
    };
    progress.set_length(snapshot.maildrop_entries()?);
    let (mut written, mut damaged) = (0_u64, 0_u64);
    for address in &wanted {
        let mut writer = Writer::create(target, address, format)?;
        let outcome = snapshot.each_message(address, |message| {
            progress.inc(1);
            match message {
                Ok(message) => {
                    written += 1;
                    writer.write(&message)
                }
                Err(reason) => {
                    damaged += 1;
                    progress.suspend(|| eprintln!("left out: {address}: {reason}"));
                    Ok(())
                }
            }
        });
        outcome.and_then(|()| writer.finish()).with_context(|| format!("cannot write below {}", target.display()))?;
    }
    println!("exported {written} messages of {} mailboxes to {}", wanted.len(), target.display());
    ensure!(damaged == 0, "{damaged} messages could not be read; mailbox-store check tells more");
    Ok(())
}

enum Writer {
    Mbox(BufWriter<File>),
    Maildir(PathBuf),
}

impl Writer {
    fn create(target: &Path, address: &str, format: Format) -> anyhow::Result<Self> {
        let name = file_name(address);
        let path = match format {
            Format::Mbox => target.join(format!("{name}.mbox")),
            Format::Maildir => target.join(name),
        };
        let cannot_create = || format!("cannot create {}; choose an empty directory", path.display());
        fs::create_dir_all(target).with_context(cannot_create)?;
        match format {
            Format::Mbox => Ok(Self::Mbox(BufWriter::new(File::create_new(&path).with_context(cannot_create)?))),
            Format::Maildir => {
                fs::create_dir(&path).with_context(cannot_create)?;
                for part in ["cur", "new", "tmp"] {
                    fs::create_dir(path.join(part)).with_context(cannot_create)?;
                }
                Ok(Self::Maildir(path))
            }
        }
    }

    fn write(&mut self, message: &ExportedMessage) -> anyhow::Result<()> {
        match self {
            Self::Mbox(file) => Ok(mbox::write(file, message)?),
            Self::Maildir(path) => {
                let seconds = message.received_at.as_second();
                let name = format!("{seconds}.{}.mailtown", message.id);
                Ok(fs::write(path.join("new").join(name), mbox::unix_lines(&message.octets))?)
            }
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Mbox(mut file) => {
                file.flush()?;
                Ok(file.get_ref().sync_all()?)
            }
            Self::Maildir(_) => Ok(()),
        }
    }
}

/// An address as one component of a path.
fn file_name(address: &str) -> String {
    let mut name = String::new();
    for octet in address.bytes() {
        match octet {
            b'/' | b'\\' | b'%' | b'\0'..=b' ' | 0x7f.. => name.push_str(&format!("%{octet:02X}")),
            b'.' if name.is_empty() => name.push_str("%2E"),
            _ => name.push(char::from(octet)),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_never_leaves_the_directory() {
        let table = [
            ("usr@gmail.com", "usr@gmail.com"),
            ("\"../a b\"@x", "\"..%2Fa%20b\"@x"),
            (".%@x", "%2E%25@x"),
            ("ü@x", "%C3%BC@x"),
        ];
        for (address, name) in table {
            assert_eq!(file_name(address), name);
        }
    }
}
