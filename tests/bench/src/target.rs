//! What is sent mail, and where that mail can be counted.

use anyhow::Context;
use internal_api::MailboxPage;
use std::{fs, net::SocketAddr, path::PathBuf};

/// A system under test.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Where it takes mail.
    pub(crate) smtp: SocketAddr,
    /// Whether its clients speak TLS with it, whatever its certificate.
    pub(crate) tls: bool,
    /// Who sends it.
    pub(crate) sender: String,
    /// Who gets it, in turns.
    pub(crate) recipients: Vec<String>,
    /// Where it ends.
    pub(crate) maildrops: Maildrops,
}

/// Where delivered messages are counted.
#[derive(Debug, Clone)]
pub(crate) enum Maildrops {
    /// At a mailbox store.
    Store { http: reqwest::Client, mailboxes: String },
    /// In the `new` directories of Maildirs, `*/mail/new` below this directory.
    Maildirs(PathBuf),
    /// In a log that has a line for each message saved.
    Log(PathBuf),
    /// Nothing is stored.
    Nowhere,
}

impl Target {
    /// The same, over TLS.
    pub(crate) fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }
}

impl Maildrops {
    /// How many messages there are now; `None` where none are kept.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub(crate) async fn count(&self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Store { http, mailboxes } => {
                let response = http.get(mailboxes).send().await?.error_for_status()?;
                let page: MailboxPage = response.json().await?;
                Ok(Some(page.mailboxes.iter().map(|mailbox| mailbox.messages).sum()))
            }
            Self::Maildirs(homes) => {
                let mut messages = 0;
                for home in fs::read_dir(homes).with_context(|| format!("{} is unreadable", homes.display()))? {
                    // A user without mail has no Maildir yet.
                    if let Ok(new) = fs::read_dir(home?.path().join("mail/new")) {
                        messages += new.count() as u64;
                    }
                }
                Ok(Some(messages))
            }
            Self::Log(log) => {
                // Without a delivery yet there is no log.
                let text = fs::read(log).unwrap_or_default();
                Ok(Some(text.windows(SAVED.len()).filter(|window| *window == SAVED).count() as u64))
            }
            Self::Nowhere => Ok(None),
        }
    }
}

/// What Dovecot's LMTP logs of each message that it delivered.
const SAVED: &[u8] = b": saved mail to ";
