//! What a claim costs when much waits, counted in pages of the database.

use super::{
    super::{claims, queue},
    *,
};
use crate::store::contract::nowhere;
use tokio_postgres::types::ToSql;

/// Far below what a walk through the entries touches, and more than any index has levels.
const FEW_PAGES: u64 = 100;

/// How many pages a statement touches.
async fn pages(client: &tokio_postgres::Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> u64 {
    let plan = client.query(&format!("EXPLAIN (ANALYZE, BUFFERS) {sql}"), parameters).await.unwrap();
    let lines: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let buffers =
        lines.iter().find(|line| line.trim_start().starts_with("Buffers: shared")).expect("it reads something");
    let counts = buffers.split_whitespace().filter(|word| word.starts_with("hit=") || word.starts_with("read="));
    counts.map(|word| word.split_once('=').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Queues this many entries for each domain, due one millisecond after the other up to now.
async fn crowd(client: &tokio_postgres::Client, fixture: &Fixture, domains: &[&str], entries: i64) {
    let now_ms = fixture.clock.now().as_millisecond();
    let insert = "INSERT INTO queue (domain, message_id, recipient, attempts, next_attempt_at_ms, last_reply)
         SELECT domain, number, 'x@' || domain, 0, $3 - $2 + number, ''
         FROM unnest($1::text[]) AS domain, generate_series(1::bigint, $2::bigint) AS number";
    client.execute(insert, &[&domains, &entries, &now_ms]).await.unwrap();
    client.batch_execute("ANALYZE queue").await.unwrap();
}

#[tokio::test]
async fn a_look_past_crowded_domains_touches_few_pages() {
    let Some(town) = Town::new().await else { return };
    let (fixture, stranger) = (town.fixture().await, town.stranger().await);
    crowd(&stranger, &fixture, &["crowd-1.test", "crowd-2.test", "crowd-3.test"], 20_000).await;
    let healthy = fixture.send("healthy", &["x@healthy.test"]).await;
    let crowded = ["crowd-1.test", "crowd-2.test", "crowd-3.test"];
    let touched = pages(&stranger, claims::FIRST_DUE_EXCEPT, &[&&crowded[..]]).await;
    assert!(touched < FEW_PAGES, "{touched} pages");
    let except = crowded.map(|domain| domain.parse().unwrap()).to_vec();
    match fixture.store.claim(HOUR, 9, except, nowhere(), Abilities::ALL).await.unwrap() {
        ClaimOutcome::Claimed(claim) => assert_eq!(claim.messages[0].id, healthy),
        nothing @ ClaimOutcome::NothingDue { .. } => panic!("{nothing:?}"),
    }
}

/// A snapshot keeps what was relayed since; looks begin after it all the same.
#[tokio::test]
async fn what_a_snapshot_keeps_is_not_walked_again() {
    let Some(town) = Town::new().await else { return };
    let (store, stranger, backup) = (town.store().await, town.stranger().await, town.stranger().await);
    let fixture = Fixture::new(store.clone(), town.clock.clone(), Box::new(())).await;
    crowd(&stranger, &fixture, &["far.test"], 20_000).await;
    backup.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT COUNT(*) FROM queue").await.unwrap();
    stranger.execute("DELETE FROM queue", &[]).await.unwrap();
    let waiting = fixture.send("waiting", &["x@far.test"]).await;

    let walked = pages(&stranger, claims::FIRST_DUE, &[&i64::MIN]).await;
    assert!(walked > FEW_PAGES, "only {walked} pages: the snapshot keeps nothing");
    let found = fixture.claim().await.unwrap();
    assert_eq!(found.messages[0].id, waiting);
    let next = fixture.send("next", &["x@far.test"]).await;
    let floor_ms = store.database.due_floor_ms();
    let now_ms = town.clock.now().as_millisecond();
    let first = pages(&stranger, claims::FIRST_DUE, &[&floor_ms]).await;
    let due: &[&(dyn ToSql + Sync)] = &[&"far.test", &floor_ms, &now_ms, &Vec::<i64>::new(), &9_i64];
    let due = pages(&stranger, claims::DUE_MESSAGES, due).await;
    assert!(first < FEW_PAGES && due < FEW_PAGES, "{first} and {due} pages");
    assert_eq!(fixture.claim().await.unwrap().messages[0].id, next);
    // Meanwhile the clock of another store is behind: what it queues is found in time.
    town.clock.turn_back(10 * MINUTE);
    let behind = fixture.send("behind", &["x@far.test"]).await;
    town.clock.advance(10 * MINUTE + HALF_MINUTE);
    assert_eq!(fixture.claim().await.unwrap().messages[0].id, behind);
    backup.batch_execute("ROLLBACK").await.unwrap();
}

/// A look for the oldest entry walks past those on hold that are older.
#[tokio::test]
async fn a_backlog_is_found_in_few_pages() {
    let Some(town) = Town::new().await else { return };
    let (fixture, stranger) = (town.fixture().await, town.stranger().await);
    crowd(&stranger, &fixture, &["crowd.test"], 20_000).await;
    let held = pages(&stranger, queue::HELD, &[]).await;
    assert!(held < FEW_PAGES, "{held} pages");
    let (named, now_ms) = (["local.test", "other.test"], fixture.clock.now().as_millisecond());
    let due = pages(&stranger, queue::DUE_DOMAINS, &[&&named[..], &now_ms]).await;
    assert!(due < FEW_PAGES, "{due} pages");
    stranger.batch_execute("UPDATE queue SET held_at_ms = 1 WHERE message_id <= 10").await.unwrap();
    stranger.batch_execute("VACUUM ANALYZE queue").await.unwrap();
    let oldest = pages(&stranger, queue::OLDEST, &[]).await;
    assert!(oldest < FEW_PAGES, "{oldest} pages");
}

const HALF_MINUTE: std::time::Duration = std::time::Duration::from_secs(30);
