//! The Dovecot that serves POP3, alone: no Postfix is needed for it.

use super::{
    INSTALL,
    dovecot::{self, Dovecot},
};
use crate::{args::HashScheme, ports::Ports, town::PASSWORD_HASH};
use std::{net::SocketAddr, path::Path};

/// The password of everybody, as Dovecot's cache keeps it.
const SHA1: &str = "{SHA1}nU4eI71bcnBGqeO0t9tXvY1u5oQ=";

/// A running Dovecot with maildrops.
pub(crate) struct Pop3Peer {
    dovecot: Dovecot,
}

impl Pop3Peer {
    /// Starts it with these users, below `directory`; the inner error tells why it cannot be compared.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub(crate) fn start(
        directory: &Path,
        ports: &Ports,
        users: &[String],
        hash: HashScheme,
    ) -> anyhow::Result<Result<Self, String>> {
        if let Some(lacking) = dovecot::lacking(&["pop3"]) {
            return Ok(Err(format!("{lacking}, so its POP3 is not compared: {INSTALL}")));
        }
        if !rustix::process::geteuid().is_root() {
            return Ok(Err("Dovecot serves other users for root only, so its POP3 is not compared".to_owned()));
        }
        let hash = match hash {
            HashScheme::Sha1 => SHA1.to_owned(),
            HashScheme::Argon2id => format!("{{ARGON2ID}}{PASSWORD_HASH}"),
        };
        Ok(Ok(Self { dovecot: Dovecot::start(directory, ports, &dovecot::Role::serving(users, &hash))? }))
    }

    /// Where users log in.
    pub(crate) fn address(&self) -> SocketAddr {
        self.dovecot.pop3()
    }

    /// Puts a message into the maildrop of a user; `number` is of this message only.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn put(&self, user: &str, number: u64, message: &[u8]) -> anyhow::Result<()> {
        self.dovecot.put(user, number, message)
    }

    /// What runs, for the report.
    pub(crate) fn version() -> String {
        dovecot::version()
    }
}
