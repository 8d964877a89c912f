//! What a store holds as a whole, and a store in which everything is that can be moved.

use super::{Fixture, HOUR, MINUTE, account, deferred, mailbox, manual_clock, nowhere, octets};
use crate::store::{
    Abilities, Account, ClaimOutcome, Store,
    copy::{self, Destination},
    snapshot::{Snapshot, VerifiedBody, each_batch},
};
use indicatif::ProgressBar;
use internal_api::MessageId;
use rusqlite::{Connection, types::Value};
use std::{collections::BTreeMap, fmt::Debug, io::Read, path::Path};
use town_config::Quota;

/// Every record, one in a line, bodies included.
pub(crate) fn dump(store: &mut dyn Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |record: &dyn Debug| lines.push(format!("{record:?}"));
    let mut keys = Vec::new();
    each_batch(
        |after| store.message_keys(after),
        |mut batch| {
            keys.extend_from_slice(&batch);
            Ok(batch.pop())
        },
    )
    .unwrap();
    for key in keys {
        for message in store.messages(&[key]).unwrap() {
            let mut body = VerifiedBody::new(store.body(key).unwrap()).unwrap();
            let mut octets = Vec::new();
            body.read_to_end(&mut octets).unwrap();
            line(&(&message, octets.len(), body.checksum().to_bytes(), body.fault(&message)));
        }
    }
    macro_rules! lines {
        ($($records:ident),*) => {$(
            each_batch(|after| store.$records(after), |mut batch| {
                batch.iter().for_each(|record| line(record));
                Ok(batch.pop())
            })
            .unwrap();
        )*};
    }
    lines!(submissions, deliveries, queue, accounts, aliases);
    lines
}

/// Every value in an SQLite database, by table and column, except where bodies are and what is not to be copied.
pub(crate) fn columns(directory: &Path) -> BTreeMap<String, Vec<Value>> {
    let database = Connection::open(directory.join("store.db")).unwrap();
    let sql = "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name NOT IN ('maildrop_locks', 'probe', 'deletions', 'properties', 'events')
         AND columns.name NOT IN ('body', 'body_file')";
    let mut names = database.prepare(sql).unwrap();
    let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap);
    let values = |(table, column): (String, String)| {
        let key = match table.as_str() {
            "accounts" | "aliases" => "address",
            "deliveries" => "address, message_id",
            "queue" => "message_id, recipient",
            _ => "rowid",
        };
        let mut statement = database.prepare(&format!("SELECT {column} FROM {table} ORDER BY {key}")).unwrap();
        let values = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        (format!("{table}.{column}"), values)
    };
    names.map(values).collect()
}

/// Copies all of a store; returns what was damaged.
pub(crate) fn fill(source: &mut dyn Snapshot, mut destination: Box<dyn Destination>) -> Vec<String> {
    let damaged = copy::copy(source, &mut *destination, &ProgressBar::hidden(), manual_clock().now()).unwrap();
    destination.finish().unwrap();
    damaged
}

/// Fills a store with something of every kind; returns its messages by name.
pub(crate) async fn furnish(fixture: &Fixture) -> Vec<(&'static str, MessageId)> {
    let quota = Quota { messages: Some(1000), octets: Some(1 << 40) };
    let accounts = vec![
        Account { quota, ..account("a@local.test") },
        account("b@local.test"),
        Account { password_hash: None, ..account("\"o'c x\"@local.test") },
    ];
    fixture.store.put_accounts(accounts).await.unwrap();
    let verifier = Some(mail_proto::sasl::ScramVerifier::new("pass", vec![7; 16], 1).unwrap());
    let password = crate::store::StoredPassword { hash: "hash of b@local.test".to_owned(), verifier };
    fixture.store.set_password(&mailbox("b@local.test"), password).await.unwrap();
    let aliases = [("l@local.test", &["a@local.test", "\"o'c x\"@far.test"][..]), ("@local.test", &["b@local.test"])];
    fixture.aliases(&aliases).await;
    let mut messages = Vec::new();
    for (name, length, recipients) in [
        ("small", 100, &["a@local.test", "b@local.test", "x@far.test", "y@far.test"][..]),
        ("one-piece", 256 * 1024, &["a@local.test"]),
        ("more", 256 * 1024 + 1, &["a@local.test", "x@near.test"]),
        ("large", 1_000_000, &["a@local.test", "b@local.test"]),
        ("gone", 100, &["b@local.test"]),
        ("relayed", 300_000, &["x@far.test"]),
        ("set-aside", 20, &["b@local.test", "z@else.test"]),
        ("weird", 60, &["\"o'c x\"@local.test"]),
    ] {
        let id = fixture.submit(name, recipients, &octets(length)).await.unwrap().id;
        messages.push((name, id));
    }
    let empty = fixture.submit("empty", &["\"o'c x\"@local.test"], b"").await.unwrap().id;
    messages.push(("empty", empty));
    let of = |name: &str| messages.iter().find(|(known, _)| *known == name).unwrap().1;
    fixture.delete("b@local.test", &[of("gone")]).await;
    // One is deferred with a reply, one is under way, one attempt was lost.
    let others = ["near.test", "else.test"].map(|domain| domain.parse().unwrap()).to_vec();
    let claim = match fixture.store.claim(MINUTE, 100, others.clone(), nowhere(), Abilities::ALL).await.unwrap() {
        ClaimOutcome::Claimed(claim) => claim,
        nothing @ ClaimOutcome::NothingDue { .. } => panic!("{nothing:?}"),
    };
    let relayed = super::finished(of("relayed"), &["x@far.test"]);
    fixture.store.settle(&claim.lease, relayed, super::body(b"")).await.unwrap();
    let later = deferred(of("small"), "y@far.test", 7200, "451 4.3.0 sp\"äter\\");
    fixture.store.settle(&claim.lease, later, super::body(b"")).await.unwrap();
    fixture.clock.advance(HOUR);
    fixture.store.claim(MINUTE, 1, others, nowhere(), Abilities::ALL).await.unwrap();
    // The greatest id of all belongs to a message that is not there any more.
    let last = fixture.send("last", &["b@local.test"]).await;
    fixture.delete("b@local.test", &[last]).await;
    fixture.store.open_maildrop(&mailbox("a@local.test"), "session", MINUTE, 1).await.unwrap();
    messages.push(("last", last));
    messages
}

/// That a copy goes on where the store it is a copy of left off.
pub(crate) async fn goes_on(copy: &dyn Store, messages: &[(&'static str, MessageId)]) {
    for (name, message) in messages {
        let repeat = super::submission(name, &["b@local.test"]);
        let submitted = copy.submit(repeat, super::body(b"\r\n")).await.unwrap();
        assert_eq!((submitted.id, submitted.repeated), (*message, true), "{name}");
    }
    let new = copy.submit(super::submission("new", &["b@local.test"]), super::body(b"\r\n")).await.unwrap();
    assert!(messages.iter().all(|(_, message)| *message < new.id), "{}", new.id);
    assert!(copy.open_maildrop(&mailbox("b@local.test"), "session", MINUTE, 1).await.is_ok());
}
