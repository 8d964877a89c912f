//! Who may send what. The transaction's reverse-path decides: a local sender submits, anybody else delivers.

mod inquiries;

use crate::{
    own_names::OwnNames,
    rates::{Action, Rates},
};
use internal_api::{
    ApiError, MailboxSummary, ProblemKind, Resolved, StoreClient,
    room::{no_room, no_such_mailbox},
};
use ipnet::IpNet;
use mail_net::WallClock;
use mail_proto::{
    Domain, ForwardPath, Mailbox, ReversePath,
    smtp::{Origin, Reply},
};
use moka::sync::Cache;
use std::{net::IpAddr, time::Duration};
use town_config::{Auth, LiveStack, Profile, Stack};

/// How many mailboxes are remembered to exist, and for how long. One that is removed meanwhile is still found
/// missing by the store, and the relay reports it; one that is added is seen at once. One with a quota is
/// remembered only while there is plenty of room in it; the store sees to the rest.
const REMEMBERED_MAILBOXES: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// What is left of a quota when there is plenty of room: more than mostly arrives in that time.
const PLENTY_MESSAGES: u64 = 1000;
const PLENTY_OCTETS: u64 = 100 * 1024 * 1024;

/// The rules of one stack.
#[derive(Debug)]
pub(crate) struct Policy {
    stack: LiveStack,
    store: StoreClient,
    /// Who may submit without authentication, whatever the configuration says.
    trusted_networks: Option<Vec<IpNet>>,
    /// Where the gateway listens.
    listener: IpAddr,
    own_names: OwnNames,
    /// How many octets there was room for in each.
    known: Cache<Mailbox, u64>,
    rates: Rates,
}

impl Policy {
    /// Of a gateway with these names. Rates are measured by `wall`.
    pub(crate) fn new(
        stack: LiveStack,
        store: StoreClient,
        trusted_networks: Option<Vec<IpNet>>,
        own_names: OwnNames,
        wall: WallClock,
    ) -> Self {
        let listener = own_names.listener().ip();
        let known = Cache::builder().max_capacity(REMEMBERED_MAILBOXES).time_to_live(REMEMBERED_FOR).build();
        Self { stack, store, trusted_networks, listener, own_names, known, rates: Rates::new(wall) }
    }

    /// Says who may submit without authentication, when that is more than this machine.
    pub(crate) fn log_who_is_trusted(&self) {
        let stack = self.stack.current();
        let networks = self.trusted_networks(&stack);
        if !stack.require_auth && networks.iter().any(|network| !network.addr().is_loopback()) {
            let networks: Vec<_> = networks.iter().map(IpNet::to_string).collect();
            facts::SmtpNetworksTrusted { networks: networks.join(", ") }.log();
        }
    }

    fn trusted_networks<'s>(&'s self, stack: &'s Stack) -> &'s [IpNet] {
        self.trusted_networks.as_deref().unwrap_or(&stack.trusted_networks)
    }

    /// Whether this client may send a password in clear.
    pub(crate) fn takes_passwords_in_clear(&self, peer: IpAddr) -> bool {
        self.stack.current().takes_passwords_in_clear(peer, self.trusted_networks.as_deref())
    }

    /// Whether this client must log in to submit mail.
    pub(crate) fn requires_login(&self, peer: IpAddr) -> bool {
        let stack = self.stack.current();
        stack.require_auth || !self.trusts(&stack, peer)
    }

    /// Whether this client may learn which addresses there are (RFC 5321 §7.3).
    pub(crate) fn discloses_addresses(&self, peer: IpAddr) -> bool {
        self.trusts(&self.stack.current(), peer)
    }

    fn trusts(&self, stack: &Stack, peer: IpAddr) -> bool {
        self.trusted_networks(stack).iter().any(|network| network.contains(&peer.to_canonical()))
    }

    /// Counts what a client outside the trusted networks does, or refuses it when it does too much.
    pub(crate) fn count(&self, peer: IpAddr, action: Action) -> Result<(), Reply> {
        let stack = self.stack.current();
        if self.trusts(&stack, peer) { Ok(()) } else { self.rates.count(peer, action, &stack.limits) }
    }

    /// What a transaction with this reverse-path is, or why there is none. Who is logged in sends as itself, from anywhere.
    pub(crate) async fn sender(
        &self,
        peer: IpAddr,
        identity: Option<&Mailbox>,
        path: &ReversePath,
    ) -> Result<Origin, Reply> {
        self.count(peer, Action::Message)?;
        let stack = self.stack.current();
        if let (Some(identity), Some(sender)) = (identity, path.mailbox()) {
            let may_be_anybody = stack.auth == Auth::Any;
            return if sender == identity || may_be_anybody || Box::pin(self.is_account(sender, identity)).await? {
                Ok(Origin::Submission)
            } else {
                Err(not_yourself(sender, identity))
            };
        }
        let Some(sender) = path.mailbox().filter(|sender| stack.is_local(sender.domain())) else {
            return Ok(Origin::Delivery);
        };
        if self.requires_login(peer) {
            // Another server's mail, where every domain is local.
            if !stack.domains.contains(sender.domain()) {
                return Ok(Origin::Delivery);
            }
            return Err(Reply::new(530, (7, 0), "authentication required to send as a local user"));
        }
        if self.known.contains_key(sender) || Box::pin(self.look_up(sender)).await? != Resolved::Unknown {
            Ok(Origin::Submission)
        } else {
            Err(Reply::new(550, (1, 0), format!("<{sender}>: no such sender here")))
        }
    }

    /// Whether an address is another spelling of this account.
    async fn is_account(&self, address: &Mailbox, account: &Mailbox) -> Result<bool, Reply> {
        if address.domain() != account.domain() {
            return Ok(false);
        }
        let resolved = self.look_up(address).await?;
        Ok(matches!(resolved, Resolved::Mailbox(summary) if summary.address == *account))
    }

    /// The mailbox that is meant, or why mail to it is not taken: a message of `declared_octets`, where the
    /// client has said how long it will be.
    pub(crate) async fn recipient(
        &self,
        peer: IpAddr,
        origin: Origin,
        path: ForwardPath,
        declared_octets: Option<u64>,
    ) -> Result<Mailbox, Reply> {
        self.count(peer, Action::Recipient)?;
        let stack = self.stack.current();
        let mailbox = self.meant(&stack, path).await;
        if !stack.is_local(mailbox.domain()) {
            return match origin {
                Origin::Submission => Ok(mailbox),
                Origin::Delivery => Err(Reply::new(554, (7, 1), format!("<{mailbox}>: relay access denied"))),
            };
        }
        // The hand-out wants a failure message: the recipient is queued, found missing by the relay, and
        // reported like any other.
        let reported_later = origin == Origin::Submission && stack.profile == Profile::Tutorial;
        if reported_later && !stack.has_quotas() {
            return Ok(mailbox);
        }
        // Every message has an octet.
        let octets = declared_octets.unwrap_or(1);
        if self.known.get(&mailbox).is_some_and(|room| octets <= room) {
            return Ok(mailbox);
        }
        match Box::pin(self.look_up(&mailbox)).await? {
            Resolved::Mailbox(summary) => no_room(&summary, octets).map_or(Ok(mailbox), Err),
            Resolved::Alias { .. } | Resolved::List { .. } | Resolved::CatchAll { .. } => Ok(mailbox),
            Resolved::Unknown if reported_later => Ok(mailbox),
            Resolved::Unknown => Err(no_such_mailbox(&mailbox)),
        }
    }

    /// The address that a path means. The server's own names and its address mean its mail domain.
    async fn meant(&self, stack: &Stack, path: ForwardPath) -> Mailbox {
        match path {
            ForwardPath::Mailbox(mailbox) if stack.is_local(mailbox.domain()) => mailbox,
            ForwardPath::Mailbox(mailbox) if is_own_name(mailbox.domain(), stack, self.listener) => {
                mailbox.in_domain(stack.own_domain().clone())
            }
            ForwardPath::Mailbox(mailbox) => match Box::pin(self.own_names.mail_domain(mailbox.domain())).await {
                Some(domain) => mailbox.in_domain(domain),
                None => mailbox,
            },
            ForwardPath::Postmaster => Mailbox::postmaster(stack.own_domain().clone()),
        }
    }

    /// Asks the store. To be boxed: that is rare, and its future is large.
    async fn look_up(&self, mailbox: &Mailbox) -> Result<Resolved, Reply> {
        let resolved = self.store.resolve(mailbox).await.map_err(|error| unavailable(&error))?;
        let room = match &resolved {
            Resolved::Mailbox(summary) => plenty_of_room(summary),
            // The store knows where there is room behind an alias.
            Resolved::Alias { .. } | Resolved::List { .. } | Resolved::CatchAll { .. } => Some(u64::MAX),
            Resolved::Unknown => None,
        };
        match room {
            Some(room) => self.known.insert(mailbox.clone(), room),
            None => self.known.invalidate(mailbox),
        }
        Ok(resolved)
    }
}

/// Whether a domain is none of mail, and names this server: by its name or by its address (RFC 5321 §4.1.3).
fn is_own_name(domain: &Domain, stack: &Stack, listener: IpAddr) -> bool {
    let is_own_address = |address: IpAddr| address.is_loopback() || address == listener;
    let is_named = *domain == stack.name || domain.address().is_some_and(is_own_address);
    is_named && !stack.is_local(domain) && !stack.domains.is_empty()
}

fn not_yourself(sender: &Mailbox, identity: &Mailbox) -> Reply {
    let text = format!("<{sender}>: you are logged in as {identity}, and may send only as yourself");
    Reply::new(553, (7, 1), text)
}

/// How many octets there is room for in a mailbox that will not be full soon.
fn plenty_of_room(summary: &MailboxSummary) -> Option<u64> {
    let messages_left = summary.quota_messages.map_or(u64::MAX, |quota| quota.saturating_sub(summary.messages));
    let octets_left = summary.quota_octets.map_or(u64::MAX, |quota| quota.saturating_sub(summary.octets));
    (messages_left >= PLENTY_MESSAGES && octets_left >= PLENTY_OCTETS).then_some(octets_left)
}

/// The reply when a neighbour fails us: temporary, whatever the reason.
pub(crate) fn unavailable(error: &ApiError) -> Reply {
    facts::SmtpStoreFailed { error }.log();
    let text = match error.kind() {
        Some(ProblemKind::DatabaseUnavailable) => "the database of this server cannot be reached, try again later",
        _ => "a part of this server is unavailable, try again later",
    };
    Reply::new(451, (3, 0), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(messages: u64, octets: u64, quota_messages: Option<u64>, quota_octets: Option<u64>) -> MailboxSummary {
        MailboxSummary { address: "u@a.test".parse().unwrap(), messages, octets, quota_messages, quota_octets }
    }

    #[test]
    fn only_plenty_of_room_is_remembered() {
        assert_eq!(plenty_of_room(&summary(9, 9, None, None)), Some(u64::MAX));
        let octets = PLENTY_OCTETS;
        assert_eq!(plenty_of_room(&summary(1, 1, Some(1001), Some(octets + 1))), Some(octets));
        assert_eq!(plenty_of_room(&summary(2, 1, Some(1001), Some(octets + 1))), None);
        assert_eq!(plenty_of_room(&summary(1, 2, Some(1001), Some(octets + 1))), None);
        assert_eq!(plenty_of_room(&summary(9000, 0, Some(1001), None)), None);
    }
}
