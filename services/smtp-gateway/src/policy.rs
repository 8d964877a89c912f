//! Who may send what. The transaction's reverse-path decides: a local sender submits, anybody else delivers.

use mail_api::{ApiError, StoreClient};
use mail_proto::{
    Domain, ForwardPath, Mailbox, ReversePath,
    smtp::{Origin, Reply},
};
use moka::sync::Cache;
use service_kit::config::{Profile, Stack};
use std::{net::IpAddr, time::Duration};

/// How many mailboxes are remembered to exist, and for how long. One that is removed meanwhile is still found
/// missing by the store, and the relay reports it; one that is added is seen at once.
const REMEMBERED_MAILBOXES: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The rules of one stack.
#[derive(Debug)]
pub(crate) struct Policy {
    stack: Stack,
    store: StoreClient,
    known: Cache<Mailbox, ()>,
}

impl Policy {
    pub(crate) fn new(stack: Stack, store: StoreClient) -> Self {
        let known = Cache::builder().max_capacity(REMEMBERED_MAILBOXES).time_to_live(REMEMBERED_FOR).build();
        Self { stack, store, known }
    }

    /// What a transaction with this reverse-path is, or why there is none.
    pub(crate) async fn sender(&self, peer: IpAddr, path: &ReversePath) -> Result<Origin, Reply> {
        let Some(sender) = path.mailbox().filter(|sender| self.stack.is_local(sender.domain())) else {
            return Ok(Origin::Delivery);
        };
        let trusted = self.stack.trusted_networks.iter().any(|network| network.contains(&peer.to_canonical()));
        if self.stack.require_auth || !trusted {
            return Err(Reply::new(530, (7, 0), "authentication required to send as a local user"));
        }
        if self.exists(sender).await? {
            Ok(Origin::Submission)
        } else {
            Err(Reply::new(550, (1, 0), format!("<{sender}>: no such sender here")))
        }
    }

    /// The mailbox that is meant, or why mail to it is not taken.
    pub(crate) async fn recipient(&self, origin: Origin, path: ForwardPath) -> Result<Mailbox, Reply> {
        let mailbox = match path {
            ForwardPath::Mailbox(mailbox) => mailbox,
            ForwardPath::Postmaster => Mailbox::postmaster(self.own_domain()),
        };
        if !self.stack.is_local(mailbox.domain()) {
            return match origin {
                Origin::Submission => Ok(mailbox),
                Origin::Delivery => Err(Reply::new(554, (7, 1), format!("<{mailbox}>: relay access denied"))),
            };
        }
        // The hand-out wants a failure message: the recipient is queued, found missing by the relay, and
        // reported like any other.
        let reported_later = origin == Origin::Submission && self.stack.profile == Profile::Tutorial;
        if reported_later || self.exists(&mailbox).await? { Ok(mailbox) } else { Err(no_such_mailbox(&mailbox)) }
    }

    /// The domain that `<postmaster>` alone is in.
    fn own_domain(&self) -> Domain {
        self.stack.domains.first().unwrap_or(&self.stack.name).clone()
    }

    async fn exists(&self, mailbox: &Mailbox) -> Result<bool, Reply> {
        if self.known.contains_key(mailbox) {
            return Ok(true);
        }
        let found = self.store.mailbox(mailbox).await.map_err(|error| unavailable(&error))?;
        if found.is_some() {
            self.known.insert(mailbox.clone(), ());
        }
        Ok(found.is_some())
    }
}

/// The reply about a local recipient without a mailbox.
pub(crate) fn no_such_mailbox(mailbox: &Mailbox) -> Reply {
    Reply::new(550, (1, 1), format!("<{mailbox}>: no such mailbox here"))
}

/// The reply when a neighbour fails us: temporary, whatever the reason.
pub(crate) fn unavailable(error: &ApiError) -> Reply {
    tracing::warn!(%error, "the mailbox store gave no usable answer");
    Reply::new(451, (3, 0), "a part of this server is unavailable, try again later")
}
