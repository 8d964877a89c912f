//! Mail from elsewhere into a maildrop, through the same door as all mail.

use super::{
    Subject,
    mbox::{self, FoundMessage, network_lines},
};
use crate::{
    accounts,
    metrics::Metrics,
    service,
    store::{
        MessageStream, Store, StoreError,
        records::return_path,
        sqlite::{self, OpenError},
        store_location::StoreLocation,
    },
};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use indicatif::ProgressBar;
use internal_api::{MailboxSummary, StoreClient, Submission};
use mail_net::IoClock;
use mail_proto::{Mailbox, ReversePath, header::separator};
use prometheus_client::registry::Registry;
use service_kit::cli::{self, ServiceArgs};
use std::{
    convert::Infallible,
    env,
    fs::{self, File},
    io::{self, BufReader},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::runtime::Runtime;
use town_config::Profile;
use xxhash_rust::xxh3::Xxh3;

/// Puts the mail of `source` into the maildrop of `mailbox`: through the running store where it has a directory to
/// itself, and otherwise as one more store. What cannot be taken is named, and left out.
pub(super) fn import(
    args: &ServiceArgs,
    subject: Subject,
    mailbox: &Mailbox,
    source: &Path,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let limit_octets = usize::try_from(subject.stack.limits.message_octets).unwrap_or(usize::MAX);
    let source = Source::open(source)?;
    progress.set_length(source.count(limit_octets)?);
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let target = runtime.block_on(Target::open(args, subject, mailbox))?;
    let (mut imported, mut known, mut refused) = (0_u64, 0_u64, 0_u64);
    let mut repetitions = Xxh3::new();
    let outcome = source.each(limit_octets, |number, message| {
        progress.inc(1);
        match runtime.block_on(target.submit(number, message, limit_octets, &mut repetitions)) {
            Ok(false) => imported += 1,
            Ok(true) => known += 1,
            Err(Refusal::Message(reason)) => {
                refused += 1;
                progress.suspend(|| eprintln!("left out: message {number}: {reason}"));
            }
            Err(Refusal::Store(error)) => return Err(error),
        }
        Ok(())
    });
    runtime.block_on(target.close());
    progress.finish_and_clear();
    outcome.with_context(|| format!("imported {imported} messages, then failed; try the same again"))?;
    say!("imported {imported} messages into {mailbox}");
    if known > 0 {
        say!("{known} were imported before, within a day, and are not imported again");
    }
    ensure!(refused == 0, "{refused} messages were left out");
    Ok(())
}

enum Source {
    Mbox(PathBuf),
    /// Its files, in the order of their names, which is that of their arrival.
    Maildir(Vec<PathBuf>),
}

impl Source {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read {}; name an mbox file or a Maildir directory", path.display());
        if !fs::metadata(path).with_context(cannot_read)?.is_dir() {
            return Ok(Self::Mbox(path.to_owned()));
        }
        let mut files = Vec::new();
        for part in ["cur", "new"] {
            for entry in fs::read_dir(path.join(part)).with_context(cannot_read)? {
                files.push(entry.with_context(cannot_read)?.path());
            }
        }
        files.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
        Ok(Self::Maildir(files))
    }

    fn count(&self, limit_octets: usize) -> anyhow::Result<u64> {
        let mut messages = 0;
        match self {
            Self::Mbox(_) => self.each(limit_octets, |number, _| {
                messages = number;
                Ok(())
            })?,
            Self::Maildir(files) => messages = files.len() as u64,
        }
        Ok(messages)
    }

    /// Gives each message to `take`, counted from 1.
    fn each(
        &self,
        limit_octets: usize,
        mut take: impl FnMut(u64, FoundMessage) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut number = 0;
        let mut counted = |message| {
            number += 1;
            take(number, message)
        };
        match self {
            Self::Mbox(path) => {
                let cannot_read = || format!("cannot read {}", path.display());
                let mut file = BufReader::new(File::open(path).with_context(cannot_read)?);
                mbox::read(&mut file, limit_octets, counted).map_err(|error| match error.is::<io::Error>() {
                    true => error.context(cannot_read()),
                    false => error,
                })
            }
            Self::Maildir(files) => files.iter().try_for_each(|path| {
                let octets = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                counted(FoundMessage { sender: None, octets })
            }),
        }
    }
}

/// Why a message was not taken.
enum Refusal {
    /// It is to blame itself.
    Message(String),
    /// The others would not fare better.
    Store(anyhow::Error),
}

/// Where the mail goes.
struct Target {
    door: Door,
    mailbox: Mailbox,
    has_quota: bool,
    /// Whether the store puts a `Return-Path:` before what it delivers.
    adds_return_path: bool,
}

enum Door {
    /// A store is at work in the directory: it is asked.
    Running(StoreClient),
    /// None is, or it does not mind.
    Opened(Arc<dyn Store>),
}

impl Target {
    async fn open(args: &ServiceArgs, subject: Subject, mailbox: &Mailbox) -> anyhow::Result<Self> {
        let Subject { stack, place, clock } = subject;
        let io = clock.io;
        let config = stack.config_path().to_owned();
        let adds_return_path = stack.profile == Profile::Rfc;
        // Only what arrives is held outside the database.
        let (data, database) = match place {
            StoreLocation::Directory(directory) => (directory, None),
            StoreLocation::Database(url) => (env::temp_dir(), Some(url)),
        };
        let opened = service::open(&stack, data.clone(), database, clock, Metrics::new(&mut Registry::default())).await;
        let door = match opened {
            Ok(store) => {
                service::check_accounts(&stack)?;
                accounts::put(&*store, &stack).await?;
                Door::Opened(store)
            }
            Err(service::ServiceError::Open(in_use @ OpenError::InUse { .. })) => {
                Door::running(args, &data, in_use, io)?
            }
            Err(error) => return Err(error.into()),
        };
        let found = door.mailbox(mailbox).await;
        let Ok(Some(summary)) = found else {
            door.close().await;
            found?;
            bail!("no mailbox {mailbox} here; add it to the accounts in {}", config.display());
        };
        let has_quota = summary.quota_messages.is_some() || summary.quota_octets.is_some();
        Ok(Self { door, mailbox: mailbox.clone(), has_quota, adds_return_path })
    }

    /// Returns whether it had been imported before.
    async fn submit(
        &self,
        number: u64,
        message: FoundMessage,
        limit_octets: usize,
        digest: &mut Xxh3,
    ) -> Result<bool, Refusal> {
        if message.octets.len() > limit_octets {
            return Err(Refusal::Message(format!("it is larger than {limit_octets} octets")));
        }
        let (returned, rest) = split_return_path(&message.octets);
        // Where the store adds none, what stands there is the message's own.
        let body = if self.adds_return_path { rest } else { &message.octets };
        let sender = returned.or(message.sender).unwrap_or_default();
        let octets = network_lines(body);
        let reverse_path = format!("<{sender}>").parse().unwrap_or(ReversePath::Null);
        let added = if self.adds_return_path { return_path(&reverse_path).len() + separator(&octets).len() } else { 0 };
        self.room((octets.len() + added) as u64).await?;
        // Names this message of this import, so that a repeat is known for one.
        digest.reset();
        digest.update(format!("{} {number} {sender}\n", self.mailbox).as_bytes());
        digest.update(&octets);
        let submission =
            Submission::new(format!("import-{:032x}", digest.digest128()), reverse_path, [self.mailbox.clone()]);
        match &self.door {
            Door::Running(client) => match client.submit(&submission, octets.into()).await {
                Ok(accepted) => Ok(accepted.repeated),
                Err(error) => Err(refusal(error.kind().map(|kind| kind.status().as_u16()), error.into())),
            },
            Door::Opened(store) => {
                let stream = stream::iter([Ok::<_, Infallible>(Bytes::from(octets))]);
                match store.submit(submission, MessageStream::new(stream, limit_octets as u64)).await {
                    Ok(submitted) => Ok(submitted.repeated),
                    Err(error) => Err(refusal(Some(error.kind().status().as_u16()), error.into())),
                }
            }
        }
    }

    /// Sees that there is room: what does not fit would be queued, and its author told after a day that it failed.
    async fn room(&self, octets: u64) -> Result<(), Refusal> {
        if !self.has_quota {
            return Ok(());
        }
        match self.door.mailbox(&self.mailbox).await.map_err(Refusal::Store)? {
            Some(summary) if !summary.has_room_for(octets) => {
                let reason = "has no room for it, unless it is there from an earlier import";
                Err(Refusal::Message(format!("the quota of {} {reason}", self.mailbox)))
            }
            _ => Ok(()),
        }
    }

    async fn close(&self) {
        self.door.close().await;
    }
}

impl Door {
    /// The store that has the directory, where it says that it can be asked.
    fn running(args: &ServiceArgs, directory: &Path, in_use: OpenError, io: IoClock) -> anyhow::Result<Self> {
        let Some(mut address) = sqlite::announced(directory) else {
            return Err(anyhow::Error::new(in_use).context("wait until what else is done to the store has ended"));
        };
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Ok(Self::Running(StoreClient::new(cli::endpoint(&format!("http://{address}"), args.token().as_ref())?, io)))
    }

    async fn mailbox(&self, address: &Mailbox) -> anyhow::Result<Option<MailboxSummary>> {
        match self {
            Self::Running(client) => client.mailbox(address).await.context("the running store cannot be used"),
            Self::Opened(store) => match store.mailbox(address).await {
                Ok(summary) => Ok(Some(summary)),
                Err(StoreError::MailboxUnknown) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    async fn close(&self) {
        if let Self::Opened(store) = self {
            store.close().await;
        }
    }
}

/// What was refused as a request is the message's own fault; but not when it is the token that is missing.
fn refusal(status: Option<u16>, error: anyhow::Error) -> Refusal {
    match status {
        Some(400 | 413) => Refusal::Message(format!("{error:#}")),
        _ => Refusal::Store(error),
    }
}

/// The reverse-path that final delivery has put before a message (RFC 5321 §4.4), and what follows it: the
/// store puts its own there.
fn split_return_path(message: &[u8]) -> (Option<String>, &[u8]) {
    let end = message.iter().position(|octet| *octet == b'\n').map_or(message.len(), |end| end + 1);
    let line = String::from_utf8_lossy(&message[..end]);
    let is_folded = matches!(message.get(end), Some(b' ' | b'\t'));
    let Some((name, path)) = line.split_once(':').filter(|_| !is_folded) else { return (None, message) };
    let path = path.trim().strip_prefix('<').and_then(|path| path.strip_suffix('>'));
    match path {
        Some(path) if name.eq_ignore_ascii_case("return-path") => (Some(path.to_owned()), &message[end..]),
        _ => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_path_becomes_the_envelope() {
        let table: &[(&str, Option<&str>, &str)] = &[
            ("Return-Path: <u@a.test>\nSubject: x\n", Some("u@a.test"), "Subject: x\n"),
            ("return-path:<>\r\n\r\n", Some(""), "\r\n"),
            ("Return-Path: u@a.test\nS: x\n", None, "Return-Path: u@a.test\nS: x\n"),
            ("Return-Path: <u@a.test>\n folded\n", None, "Return-Path: <u@a.test>\n folded\n"),
            ("Subject: <u@a.test>\n", None, "Subject: <u@a.test>\n"),
            ("", None, ""),
        ];
        for (message, path, rest) in table {
            assert_eq!(split_return_path(message.as_bytes()), (path.map(str::to_owned), rest.as_bytes()));
        }
    }
}
