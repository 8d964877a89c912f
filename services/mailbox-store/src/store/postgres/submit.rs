//! Submission: delivery and queueing of many messages at once. And its reverse: removing messages that nothing holds.

use super::{
    accounts, aliases,
    bodies::{ReceivedBody, ReceivedContent, insert_spool},
    database::Transaction,
    deletions,
    failure::Failure,
    messages,
    pool::Parameters,
};
use crate::store::{
    Submitted,
    aliases::Directory,
    plan::{
        expansion::{Expanded, Expansion},
        holders,
        placement::{Placement, Room, delivered_octets, place},
    },
    records::{ParameterColumns, column, id},
};
use futures_util::try_join;
use internal_api::{MessageId, Submission};
use mail_proto::{AddressRules, Mailbox};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    convert::Infallible,
};

/// A submission whose message has arrived.
pub(super) struct Incoming {
    pub(super) submission: Submission,
    pub(super) body: ReceivedBody,
    /// Whether maildrops hold it with a `Return-Path:` line before it.
    pub(super) adds_return_path: bool,
    /// How addresses are compared.
    pub(super) rules: AddressRules,
}

/// One that is not the repeat of another.
struct Fresh<'a> {
    key: i64,
    incoming: &'a Incoming,
    /// By address, once aliases are expanded.
    recipients: Vec<Expanded>,
    /// The addresses of those about whom nothing is decided.
    addresses: BTreeSet<String>,
}

impl Fresh<'_> {
    fn is_large(&self) -> bool {
        matches!(self.incoming.body.content, ReceivedContent::File(_))
    }

    fn octets(&self) -> i64 {
        column(self.incoming.body.octets())
    }

    fn delivered_octets(&self) -> i64 {
        let Incoming { submission, body, adds_return_path, .. } = self.incoming;
        column(delivered_octets(body.octets(), *adds_return_path, &submission.reverse_path))
    }
}

/// Stores messages, but those that are repeats. The number of statements does not depend on how many they are.
pub(super) async fn submit(tx: &mut Transaction<'_>, all: &[Incoming]) -> Result<Vec<Submitted>, Failure> {
    let named = all.iter().flat_map(|incoming| &incoming.submission.recipients).map(|recipient| &recipient.mailbox);
    // All of them came to this store, which has one set of rules, unless those changed just now.
    let rules = all.first().map(|incoming| incoming.rules).unwrap_or_default();
    let (admitted, directory) = try_join!(admit(tx, all), aliases::look_up(tx, rules, named.collect()))?;
    let (answers, mut fresh) = admitted;
    if fresh.is_empty() {
        return Ok(answers);
    }
    expand(tx, rules, &mut fresh, directory).await?;
    // The messages come first, because they find out who else has drawn their ids. The accounts come last: others wait
    // for them until the commit.
    let room = if fresh.iter().any(Fresh::is_large) {
        insert_messages(tx, &fresh).await?;
        insert_large_bodies(tx, &fresh).await?;
        try_join!(insert_bodies(tx, &fresh), count_in(tx, &fresh))?.1
    } else {
        try_join!(insert_messages(tx, &fresh), insert_bodies(tx, &fresh), count_in(tx, &fresh))?.2
    };
    let placed: Vec<_> = fresh.iter().map(|message| (message, room.place(message))).collect();
    let (delivered, queued) = try_join!(deliver(tx, &placed), enqueue(tx, &placed))?;
    hold(tx, &held_twice(&placed)).await?;
    for (message, placement) in &placed {
        let Incoming { submission, body, .. } = message.incoming;
        tx.events.accepted(message.key, &submission.reverse_path, body.octets(), placement);
    }
    tx.effects.submitted += fresh.len() as u64;
    tx.effects.delivered += delivered;
    tx.effects.queued += queued as i64;
    tx.effects.queue_changed |= queued > 0;
    Ok(answers)
}

/// Tells repeats from new messages; the latter get their ids.
async fn admit<'a>(tx: &Transaction<'_>, all: &'a [Incoming]) -> Result<(Vec<Submitted>, Vec<Fresh<'a>>), Failure> {
    let mut keys: BTreeMap<&str, i64> = BTreeMap::new();
    for incoming in all {
        keys.entry(&incoming.submission.transaction).or_insert_with(|| tx.next_key());
    }
    // In order, lest two stores that are sent the same ones wait for each other.
    let transactions: Vec<&str> = keys.keys().copied().collect();
    let candidates: Vec<i64> = keys.values().copied().collect();
    let insert = "INSERT INTO submissions (transaction_id, message_id)
         SELECT * FROM unnest($1::text[], $2::bigint[])
         ON CONFLICT (transaction_id) DO NOTHING RETURNING transaction_id";
    let rows = tx.query(insert, &[&transactions, &candidates]).await?;
    let mut new: HashSet<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let earlier = earlier(tx, transactions.iter().copied().filter(|name| !new.contains(*name)).collect()).await?;

    let (mut answers, mut fresh) = (Vec::with_capacity(all.len()), Vec::new());
    for incoming in all {
        let transaction = incoming.submission.transaction.as_str();
        // Of several with one name the first is new.
        let repeated = !new.remove(transaction);
        let Some(&key) = earlier.get(transaction).or(keys.get(transaction)) else { continue };
        answers.push(Submitted { id: id(key), repeated });
        if !repeated {
            fresh.push(Fresh { key, incoming, recipients: Vec::new(), addresses: BTreeSet::new() });
        }
    }
    Ok((answers, fresh))
}

/// Finds out who the recipients are. `directory` knows those that the senders have named; each further level of aliases
/// takes one look.
async fn expand(
    tx: &Transaction<'_>,
    rules: AddressRules,
    fresh: &mut [Fresh<'_>],
    mut directory: Directory,
) -> Result<(), Failure> {
    let expansion = |Fresh { incoming: Incoming { submission, body, .. }, .. }: &Fresh<'_>| {
        Expansion::new(&submission.recipients, &body.delivered_to)
    };
    let mut expansions: Vec<_> = fresh.iter().map(expansion).collect();
    loop {
        for expansion in &mut expansions {
            let Ok(()) = expansion.answer(|address| Ok::<_, Infallible>(directory.entry(address)));
        }
        let unknown: BTreeSet<&Mailbox> = expansions.iter().flat_map(Expansion::unknown).collect();
        if unknown.is_empty() {
            break;
        }
        directory = aliases::look_up(tx, rules, unknown).await?;
    }
    for (message, expansion) in fresh.iter_mut().zip(expansions) {
        message.recipients = expansion.recipients();
        let good = message.recipients.iter().filter(|expanded| expanded.decided.is_none());
        message.addresses = good.map(|expanded| expanded.recipient.mailbox.to_string()).collect();
    }
    Ok(())
}

/// The message of an earlier submission of this name.
pub(super) async fn transaction(tx: &Transaction<'_>, name: &str) -> Result<Option<MessageId>, Failure> {
    let row = tx.query_one("SELECT message_id FROM submissions WHERE transaction_id = $1", &[&name]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.map(id))
}

/// The keys of submissions that were there before.
async fn earlier(tx: &Transaction<'_>, transactions: Vec<&str>) -> Result<HashMap<String, i64>, Failure> {
    if transactions.is_empty() {
        return Ok(HashMap::new());
    }
    let select = "SELECT transaction_id, message_id FROM submissions WHERE transaction_id = ANY($1)";
    let rows = tx.query(select, &[&transactions]).await?;
    let found: HashMap<String, i64> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, tokio_postgres::Error>>()?;
    if found.len() < transactions.len() {
        return Err(Failure::Conflict("a submission was forgotten while it was repeated"));
    }
    Ok(found)
}

async fn insert_messages(tx: &Transaction<'_>, fresh: &[Fresh<'_>]) -> Result<(), Failure> {
    let received_at_ms = tx.now_ms();
    let keys: Vec<i64> = fresh.iter().map(|message| message.key).collect();
    let reverse_paths: Vec<String> =
        fresh.iter().map(|message| message.incoming.submission.reverse_path.to_string()).collect();
    let octets: Vec<i64> = fresh.iter().map(Fresh::octets).collect();
    let adds_return_path: Vec<bool> = fresh.iter().map(|message| message.incoming.adds_return_path).collect();
    let checksums: Vec<[u8; 16]> = fresh.iter().map(|message| message.incoming.body.checksum.to_bytes()).collect();
    let checksums: Vec<&[u8]> = checksums.iter().map(|checksum| &checksum[..]).collect();
    let holders: Vec<i64> = fresh.iter().map(|message| message.recipients.len() as i64).collect();
    let given: Vec<ParameterColumns> = fresh.iter().map(|message| (&message.incoming.submission).into()).collect();
    let identities: Vec<_> = given.iter().map(|columns| columns.identity.as_deref()).collect();
    let body_types: Vec<_> = given.iter().map(|columns| columns.body_type.as_deref()).collect();
    let smtputf8: Vec<_> = given.iter().map(|columns| columns.smtputf8).collect();
    let rets: Vec<_> = given.iter().map(|columns| columns.ret.as_deref()).collect();
    let envids: Vec<_> = given.iter().map(|columns| columns.envid.as_deref()).collect();
    let requiretls: Vec<_> = given.iter().map(|columns| columns.requiretls).collect();
    let submitters: Vec<_> = given.iter().map(|columns| columns.submitter.as_deref()).collect();
    let insert = "INSERT INTO messages (id, reverse_path, octets, received_at_ms, adds_return_path, checksum, holders,
             identity, body_type, smtputf8, ret, envid, requiretls, submitter)
         SELECT id, reverse_path, octets, $7, adds_return_path, checksum, holders,
             identity, body_type, smtputf8, ret, envid, requiretls, submitter
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::boolean[], $5::bytea[], $6::bigint[],
                 $8::text[], $9::text[], $10::boolean[], $11::text[], $12::text[], $13::boolean[], $14::text[])
             AS fresh (id, reverse_path, octets, adds_return_path, checksum, holders,
                 identity, body_type, smtputf8, ret, envid, requiretls, submitter)
         ON CONFLICT (id) DO NOTHING";
    let columns: Parameters<'_> = &[
        &keys,
        &reverse_paths,
        &octets,
        &adds_return_path,
        &checksums,
        &holders,
        &received_at_ms,
        &identities,
        &body_types,
        &smtputf8,
        &rets,
        &envids,
        &requiretls,
        &submitters,
    ];
    let inserted = tx.execute(insert, columns).await?;
    if inserted < fresh.len() as u64 {
        return Err(Failure::Conflict("another store drew the same message id in the same millisecond"));
    }
    Ok(())
}

/// The bodies that are in files.
async fn insert_large_bodies(tx: &Transaction<'_>, fresh: &[Fresh<'_>]) -> Result<(), Failure> {
    for message in fresh {
        if let ReceivedContent::File(spool) = &message.incoming.body.content {
            insert_spool(tx, message.key, spool).await?;
        }
    }
    Ok(())
}

/// The bodies that are in memory.
async fn insert_bodies(tx: &Transaction<'_>, fresh: &[Fresh<'_>]) -> Result<(), Failure> {
    let (mut keys, mut bodies) = (Vec::new(), Vec::new());
    for message in fresh {
        if let ReceivedContent::Memory(octets) = &message.incoming.body.content {
            keys.push(message.key);
            bodies.push(&octets[..]);
        }
    }
    if !keys.is_empty() {
        let insert = "INSERT INTO bodies (message_id, piece, octets)
             SELECT message_id, 0, octets FROM unnest($1::bigint[], $2::bytea[]) AS fresh (message_id, octets)";
        tx.execute(insert, &[&keys, &bodies]).await?;
    }
    Ok(())
}

/// Which recipients of which messages can have them.
struct Rooms<'a> {
    /// For everything.
    ample: HashSet<&'a str>,
    /// Each for itself.
    single: HashSet<(&'a str, i64)>,
    /// Mailboxes that have no room for something.
    full: HashSet<String>,
}

impl Rooms<'_> {
    fn place<'m>(&self, message: &'m Fresh<'_>) -> Placement<'m> {
        let room = |recipient: &Mailbox| {
            let address = recipient.to_string();
            Ok::<_, Infallible>(
                if self.ample.contains(address.as_str()) || self.single.contains(&(address.as_str(), message.key)) {
                    Room::Found
                } else if self.full.contains(&address) {
                    Room::Full
                } else {
                    Room::Elsewhere
                },
            )
        };
        let Ok(placement) = place(&message.recipients, room);
        placement
    }
}

/// A message, and where it goes.
type Placed<'m> = (&'m Fresh<'m>, Placement<'m>);

/// Counts the messages into mailboxes, as far as their quotas go.
async fn count_in<'a>(tx: &Transaction<'_>, fresh: &'a [Fresh<'_>]) -> Result<Rooms<'a>, Failure> {
    let mut counts: BTreeMap<&str, accounts::Count> = BTreeMap::new();
    for message in fresh {
        for address in &message.addresses {
            let (messages, octets) = counts.entry(address).or_default();
            *messages += 1;
            *octets += message.delivered_octets();
        }
    }
    let ample = accounts::count_in(tx, &counts).await?;
    let others: Vec<&str> = counts.keys().copied().filter(|address| !ample.contains(address)).collect();
    let mut room = Rooms { ample, single: HashSet::new(), full: HashSet::new() };
    if others.is_empty() {
        return Ok(room);
    }
    room.full = accounts::existing(tx, &others).await?;
    for message in fresh {
        for address in message.addresses.iter().filter(|address| room.full.contains(*address)) {
            // What came together may fit in part.
            let count = BTreeMap::from([(address.as_str(), (1, message.delivered_octets()))]);
            if counts[address.as_str()].0 > 1 && !accounts::count_in(tx, &count).await?.is_empty() {
                room.single.insert((address, message.key));
            }
        }
    }
    Ok(room)
}

/// The messages that are in a maildrop and also queued for the report of it, as often as that is so.
fn held_twice(placed: &[Placed<'_>]) -> Vec<i64> {
    let reports = placed.iter().flat_map(|(message, placement)| {
        placement.reported.iter().filter(|(expanded, _)| expanded.decided.is_none()).map(|_| message.key)
    });
    reports.collect()
}

/// Puts messages into the maildrops of those who have one with room in it; returns how often.
async fn deliver(tx: &Transaction<'_>, placed: &[Placed<'_>]) -> Result<u64, Failure> {
    let (mut addresses, mut keys, mut octets) = (Vec::new(), Vec::new(), Vec::new());
    for (message, placement) in placed {
        for recipient in &placement.here {
            addresses.push(recipient.to_string());
            keys.push(message.key);
            octets.push(message.delivered_octets());
        }
    }
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    if addresses.is_empty() {
        return Ok(0);
    }
    let insert = "INSERT INTO deliveries (address, message_id, octets)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])";
    let columns: Parameters<'_> = &[&addresses, &keys, &octets];
    let (late, delivered) = try_join!(deletions::hide_any(tx, &addresses, &keys), tx.execute(insert, columns))?;
    if late {
        return Err(Failure::Conflict("what was deleted around a new message is not removed yet"));
    }
    Ok(delivered)
}

/// Queues messages for all others; returns how often.
async fn enqueue(tx: &Transaction<'_>, placed: &[Placed<'_>]) -> Result<u64, Failure> {
    let (mut domains, mut keys, mut recipients, mut replies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut originals, mut notify, mut vias) = (Vec::new(), Vec::new(), Vec::new());
    for (message, placement) in placed {
        for (Expanded { recipient, via, .. }, reply) in placement.queued.iter().chain(&placement.reported) {
            domains.push(recipient.mailbox.domain().as_str());
            keys.push(message.key);
            recipients.push(recipient.mailbox.to_string());
            replies.push(*reply);
            originals.push(recipient.original.as_ref().map(ToString::to_string));
            notify.push(recipient.notify.map(|notify| notify.to_string()));
            vias.push(via.as_ref().map(ToString::to_string));
        }
    }
    if keys.is_empty() {
        return Ok(0);
    }
    let insert = "INSERT INTO queue (domain, message_id, recipient, attempts, next_attempt_at_ms, last_reply,
             original_recipient, notify, via)
         SELECT domain, message_id, recipient, 0, $5, last_reply, original_recipient, notify, via
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $6::text[], $7::text[], $8::text[])
             AS fresh (domain, message_id, recipient, last_reply, original_recipient, notify, via)";
    tx.execute(insert, &[&domains, &keys, &recipients, &replies, &tx.now_ms(), &originals, &notify, &vias]).await
}

/// How a queued message got into a maildrop after all.
pub(super) enum Arrival {
    Now,
    /// For another spelling of the recipient.
    Before,
    NoRoom,
}

/// Puts a queued message into this maildrop after all.
pub(super) async fn deliver_here(tx: &mut Transaction<'_>, message: i64, into: &Mailbox) -> Result<Arrival, Failure> {
    let Some(octets) = messages::delivered_octets(tx, message).await? else { return Ok(Arrival::NoRoom) };
    let address = into.to_string();
    let count = BTreeMap::from([(address.as_str(), (1, octets))]);
    if accounts::count_in(tx, &count).await?.is_empty() {
        let there = "SELECT 1 FROM maildrops WHERE address = $1 AND message_id = $2";
        let is_there = tx.query_one(there, &[&address, &message]).await?.is_some();
        return Ok(if is_there { Arrival::Before } else { Arrival::NoRoom });
    }
    if deletions::hide_any(tx, &[&address], &[message]).await? {
        // It would go with what was deleted around it. Later there is room for it.
        accounts::count_out(tx, &count).await?;
        return Ok(Arrival::NoRoom);
    }
    let insert = "INSERT INTO deliveries (address, message_id, octets) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    if tx.execute(insert, &[&address, &message, &octets]).await? == 0 {
        accounts::count_out(tx, &count).await?;
        return Ok(Arrival::Before);
    }
    tx.effects.delivered += 1;
    Ok(Arrival::Now)
}

/// Each of these messages has one holder more, as often as it is named.
pub(super) async fn hold(tx: &Transaction<'_>, messages: &[i64]) -> Result<(), Failure> {
    if messages.is_empty() {
        return Ok(());
    }
    let update = "UPDATE messages SET holders = holders + more
         FROM (SELECT id, COUNT(*) AS more FROM unnest($1::bigint[]) AS named (id) GROUP BY id) AS named
         WHERE messages.id = named.id";
    tx.execute(update, &[&messages]).await?;
    Ok(())
}

/// Each of these messages has this number of holders less. The last holder takes the message with it.
pub(super) async fn release(tx: &Transaction<'_>, messages: &BTreeSet<i64>, places: i64) -> Result<(), Failure> {
    let keys: Vec<i64> = messages.iter().copied().collect();
    let update = "UPDATE messages SET holders = holders - $2 WHERE id = ANY($1) RETURNING id, holders";
    let mut abandoned = Vec::new();
    for row in tx.query(update, &[&keys, &places]).await? {
        if holders::are_gone(row.try_get(1)?) {
            abandoned.push(row.try_get::<_, i64>(0)?);
        }
    }
    if !abandoned.is_empty() {
        let keys: Parameters<'_> = &[&abandoned];
        try_join!(
            tx.execute("DELETE FROM messages WHERE id = ANY($1)", keys),
            tx.execute("DELETE FROM bodies WHERE message_id = ANY($1)", keys),
        )?;
    }
    Ok(())
}
