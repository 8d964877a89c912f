//! Maildrops as mbox files or Maildir directories.

use super::{Format, mbox};
use crate::store::{
    records::{id, return_path},
    snapshot::{self, DeliveryRecord, MessageRecord, Snapshot, VerifiedBody},
    sqlite::PRIVATE,
};
use anyhow::{Context, bail, ensure};
use indicatif::ProgressBar;
use internal_api::MessageId;
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath};
use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// How many messages are read together.
const TOGETHER: usize = 50;

/// A message of a maildrop, as its reader gets it.
pub(super) struct ExportedMessage {
    pub(super) id: MessageId,
    pub(super) reverse_path: ReversePath,
    pub(super) received_at: Timestamp,
    pub(super) octets: Vec<u8>,
}

/// Writes the maildrops of a store below `target`, all unless `mailboxes` names some. What cannot be read is named,
/// and left out.
pub(super) fn export(
    store: &mut dyn Snapshot,
    target: &Path,
    format: Format,
    mailboxes: &[Mailbox],
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let known = addresses(store)?;
    let wanted: BTreeSet<_> = mailboxes.iter().map(Mailbox::to_string).collect();
    if let Some(unknown) = wanted.iter().find(|address| !known.contains(*address)) {
        bail!("no mailbox {unknown} here; GET /v1/mailboxes lists those that there are");
    }
    let wanted = if wanted.is_empty() { known } else { wanted };
    progress.set_length(store.counts()?.deliveries);
    let mut export = Export { store, progress, written: 0, damaged: 0 };
    for address in &wanted {
        let mut writer = Writer::create(target, address, format)?;
        let outcome = export.maildrop(address, &mut writer);
        outcome.and_then(|()| writer.finish()).with_context(|| format!("cannot write below {}", target.display()))?;
    }
    let Export { written, damaged, .. } = export;
    progress.finish_and_clear();
    say!("exported {written} messages of {} mailboxes to {}", wanted.len(), target.display());
    ensure!(damaged == 0, "{damaged} messages could not be read; mailbox-store check tells more");
    Ok(())
}

/// The addresses that have a maildrop, or mail left from when they had one.
fn addresses(store: &mut dyn Snapshot) -> snapshot::Result<BTreeSet<String>> {
    let mut addresses = BTreeSet::new();
    snapshot::each_batch(
        |after| store.accounts(after),
        |mut batch| {
            addresses.extend(batch.iter().map(|account| account.address.clone()));
            Ok(batch.pop())
        },
    )?;
    let mut batch = store.deliveries(None)?;
    while !batch.is_empty() {
        let address = batch.swap_remove(0).address;
        batch = store.deliveries(Some(&boundary(&address, i64::MAX)))?;
        addresses.insert(address);
    }
    Ok(addresses)
}

/// What stands before or behind all deliveries of a maildrop.
fn boundary(address: &str, message: i64) -> DeliveryRecord {
    DeliveryRecord { address: address.to_owned(), message, octets: 0, quarantined_at_ms: None }
}

struct Export<'a> {
    store: &'a mut dyn Snapshot,
    progress: &'a ProgressBar,
    written: u64,
    damaged: u64,
}

impl Export<'_> {
    /// Writes a maildrop in the order of arrival.
    fn maildrop(&mut self, address: &str, writer: &mut Writer) -> anyhow::Result<()> {
        let mut last = boundary(address, i64::MIN);
        loop {
            let mut batch = self.store.deliveries(Some(&last))?;
            batch.retain(|delivery| delivery.address == address);
            let Some(delivery) = batch.last() else { return Ok(()) };
            last = delivery.clone();
            batch.retain(|delivery| delivery.quarantined_at_ms.is_none());
            let keys: Vec<i64> = batch.iter().map(|delivery| delivery.message).collect();
            for keys in keys.chunks(TOGETHER) {
                self.messages(address, keys, writer)?;
            }
        }
    }

    fn messages(&mut self, address: &str, keys: &[i64], writer: &mut Writer) -> anyhow::Result<()> {
        let messages = self.store.messages(keys)?;
        for key in keys {
            self.progress.inc(1);
            let read = match messages.iter().find(|message| message.key == *key) {
                Some(message) => self.read(message)?,
                None => Err("in a maildrop, but not among the messages".to_owned()),
            };
            match read {
                Ok(Some(message)) => {
                    writer.write(&message)?;
                    self.written += 1;
                }
                Ok(None) => {}
                Err(reason) => {
                    self.damaged += 1;
                    self.progress.suspend(|| eprintln!("left out: {address}: {}: {reason}", id(*key)));
                }
            }
        }
        Ok(())
    }

    /// A message, or what is wrong with it; `None` when it has been deleted meanwhile.
    fn read(&mut self, message: &MessageRecord) -> anyhow::Result<Result<Option<ExportedMessage>, String>> {
        let Some(mut body) = VerifiedBody::new(self.store.body(message.key)?) else { return Ok(Ok(None)) };
        let Ok(reverse_path) = message.reverse_path.parse::<ReversePath>() else {
            return Ok(Err(format!("{:?} is no reverse-path", message.reverse_path)));
        };
        let Ok(received_at) = Timestamp::from_millisecond(message.received_at_ms) else {
            return Ok(Err(format!("{} is no time", message.received_at_ms)));
        };
        let prefix = if message.adds_return_path { return_path(&reverse_path) } else { String::new() };
        let mut octets = prefix.into_bytes();
        body.read_to_end(&mut octets)?;
        let exported = ExportedMessage { id: id(message.key), reverse_path, received_at, octets };
        Ok(body.fault(message).map_or(Ok(Some(exported)), Err))
    }
}

enum Writer {
    /// A file that gets its name when it is whole.
    Mbox {
        file: BufWriter<File>,
        partial: PathBuf,
        path: PathBuf,
    },
    Maildir(PathBuf),
}

impl Writer {
    fn create(target: &Path, address: &str, format: Format) -> anyhow::Result<Self> {
        let name = file_name(address);
        let path = match format {
            Format::Mbox => target.join(format!("{name}.mbox")),
            Format::Maildir => target.join(&name),
        };
        let cannot_create = || format!("cannot create {}; choose an empty directory", path.display());
        let mut directories = DirBuilder::new();
        directories.mode(0o700);
        if !target.is_dir() {
            directories.recursive(true).create(target).with_context(cannot_create)?;
            directories.recursive(false);
        }
        match format {
            Format::Mbox => {
                ensure!(!path.exists(), "{} exists; choose an empty directory", path.display());
                let partial = target.join(format!("{name}.mbox.partial"));
                let opened = File::options().create(true).write(true).truncate(true).mode(PRIVATE).open(&partial);
                Ok(Self::Mbox { file: BufWriter::new(opened.with_context(cannot_create)?), partial, path })
            }
            Format::Maildir => {
                directories.create(&path).with_context(cannot_create)?;
                for part in ["cur", "new", "tmp"] {
                    directories.create(path.join(part)).with_context(cannot_create)?;
                }
                Ok(Self::Maildir(path))
            }
        }
    }

    fn write(&mut self, message: &ExportedMessage) -> anyhow::Result<()> {
        match self {
            Self::Mbox { file, .. } => Ok(mbox::write(file, message)?),
            Self::Maildir(path) => {
                let seconds = message.received_at.as_second();
                let path = path.join("new").join(format!("{seconds}.{}.mailtown", message.id));
                let mut file = File::options().create_new(true).write(true).mode(PRIVATE).open(path)?;
                Ok(file.write_all(&mbox::unix_lines(&message.octets))?)
            }
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Mbox { mut file, partial, path } => {
                file.flush()?;
                file.get_ref().sync_all()?;
                Ok(fs::rename(partial, path)?)
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
