//! Who guesses passwords is slowed down, through both gateways, and others are not.

use crate::{
    auth::{GUESS, PLAIN, REFUSED, SUCCESS, scram},
    logs::NativeTown,
};
use reqwest::Method;
use std::{fs, io, net::Ipv4Addr};
use tokio::task::JoinSet;
use town_config::PortKey;
use town_tests::{EXMAIL, PATIENCE, Plan, Pop3Client, Site, SmtpClient, TestTown, USR1, USR2, eventually};

/// Of these addresses, one guesses, and the other is that of a good user.
const GUESSER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
/// Two failures cost nothing; after eight the delay is the longest, 8 s.
const LIMIT: &str = "login_failures = 2";

/// A town whose clients come through a proxy on this machine, which tells their addresses.
fn behind_a_proxy() -> Plan {
    Plan::default().setting("proxy_networks = [\"127.0.0.1/32\"]\ntrusted_networks = [\"203.0.113.0/24\"]")
}

async fn smtp(site: &Site, from: Ipv4Addr) -> SmtpClient {
    let mut client = SmtpClient::connect_through_proxy(from, site.address(EXMAIL, PortKey::Smtp)).await.unwrap();
    client.hello().await;
    client
}

async fn pop3(site: &Site, from: Ipv4Addr) -> Pop3Client {
    Pop3Client::connect_through_proxy(from, site.address(EXMAIL, PortKey::Pop)).await.unwrap()
}

/// Begins wrong logins at once, one half of them over SMTP and the other over POP3, each over its own connection.
async fn guess(site: &Site, count: usize) -> JoinSet<String> {
    let mut guesses = JoinSet::new();
    for number in 0..count {
        if number % 2 == 0 {
            let mut client = smtp(site, GUESSER).await;
            guesses.spawn(async move { client.command(GUESS).await.unwrap() });
        } else {
            let mut client = pop3(site, GUESSER).await;
            let answer = |refused: io::Result<()>| refused.unwrap_err().to_string();
            guesses.spawn(async move { answer(client.log_in(USR1, "guessed-secret").await) });
        }
    }
    guesses
}

/// What a counter of the store shows.
async fn counter(site: &Site, name: &str) -> u64 {
    let metrics = site.call(Method::GET, EXMAIL, PortKey::Store, "/metrics").await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("_total "));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

async fn delayed(site: &Site) -> u64 {
    counter(site, "mailtown_store_logins_delayed").await
}

async fn refused_unchecked(site: &Site) -> u64 {
    counter(site, "mailtown_store_logins_refused_unchecked").await
}

/// Waits until this number of logins are delayed or refused.
async fn until_throttled(site: &Site, count: u64) {
    eventually("logins are delayed or refused", PATIENCE, async || {
        (delayed(site).await + refused_unchecked(site).await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_good_user_elsewhere_gets_in_while_somebody_guesses() {
    let town = TestTown::start(behind_a_proxy().limits(LIMIT)).await;
    let mut guesses = guess(&town, 16).await;
    until_throttled(&town, 14).await;
    // The last of them wait for 8 s.
    assert_eq!(smtp(&town, ELSEWHERE).await.command(PLAIN).await.unwrap(), SUCCESS);
    pop3(&town, ELSEWHERE).await.log_in(USR1, "pass1").await.unwrap();
    assert_eq!(scram(&mut smtp(&town, ELSEWHERE).await, USR2, "pass2").await.0, SUCCESS);
    let mut answered = 0;
    while guesses.try_join_next().is_some() {
        answered += 1;
    }
    assert!(answered < 16, "had a good user waited as the guesses do, all had their answers");
    guesses.shutdown().await;
    town.stop().await;
}

/// An address that guesses very much is told to come back, by both protocols in their own words.
#[tokio::test]
async fn too_many_guesses_at_once_are_refused_for_now() {
    let town = TestTown::start(behind_a_proxy().limits(LIMIT)).await;
    let first = guess(&town, 10).await;
    until_throttled(&town, 8).await;
    let mut more = guess(&town, 60).await;
    until_throttled(&town, 68).await;
    // Of these, 16 wait at once. A place that becomes free meanwhile is taken by one of the others.
    let refused = refused_unchecked(&town).await;
    assert!(refused >= 30, "{refused}");
    let mut answers = Vec::new();
    while answers.len() < 30 {
        answers.push(more.join_next().await.unwrap().unwrap());
    }
    for answer in [
        "454 4.7.0 logins cannot be checked now, try again later",
        "[SYS/TEMP] the mailbox store is not available, try again later",
    ] {
        assert!(answers.iter().any(|got| got == answer), "{answer}: {answers:?}");
    }
    drop((first, more));
    town.stop().await;
}

/// Proofs are checked by the gateway, and count as passwords do. Whoever breaks off has not guessed.
#[tokio::test]
async fn guesses_by_scram_are_delayed() {
    let town = TestTown::start(behind_a_proxy().limits(LIMIT)).await;
    for _ in 0..30 {
        assert_eq!(scram(&mut smtp(&town, GUESSER).await, USR1, "pass1").await.0, SUCCESS);
    }
    let mut client = smtp(&town, GUESSER).await;
    for _ in 0..5 {
        // `n,,n=usr1,r=abc`.
        let challenge = client.command("AUTH SCRAM-SHA-256 biwsbj11c3IxLHI9YWJj").await.unwrap();
        assert!(challenge.starts_with("334 "), "{challenge}");
        assert_eq!(client.command("*").await.unwrap(), "501 5.7.0 authentication cancelled");
    }
    assert_eq!(delayed(&town).await, 0);
    for guesses in 1..=4 {
        assert_eq!(scram(&mut smtp(&town, GUESSER).await, USR2, "guess").await.0, REFUSED);
        // The third is the first beyond the limit, so that the fourth waits.
        assert_eq!(delayed(&town).await, u64::from(guesses == 4));
    }
    assert_eq!(scram(&mut smtp(&town, ELSEWHERE).await, USR1, "pass1").await.0, SUCCESS);
    assert_eq!(delayed(&town).await, 1);
    town.stop().await;
}

/// What is logged names the address, and nothing has the password.
#[tokio::test]
async fn the_log_tells_who_is_delayed_and_no_credential() {
    let town = NativeTown::start_verbose(behind_a_proxy().limits(LIMIT)).await;
    for _ in 0..2 {
        assert_eq!(smtp(&town.site, GUESSER).await.command(GUESS).await.unwrap(), REFUSED);
    }
    pop3(&town.site, GUESSER).await.log_in(USR2, "guessed-secret").await.unwrap_err();
    town.logged(&["store.logins_delayed", "client=203.0.113.7", "failures=3"]).await;
    let log = fs::read_to_string(town.site.directory().join("log")).unwrap();
    assert!(!log.contains("guessed-secret") && !log.contains("Z3Vlc3NlZC1zZWNyZXQ"), "{log}");
}

/// A user who mistypes the password at times, and logs in often, meets what there was before.
#[tokio::test]
async fn nothing_changes_for_ordinary_users() {
    let town = TestTown::start(behind_a_proxy()).await;
    for _ in 0..5 {
        assert_eq!(smtp(&town, GUESSER).await.command(GUESS).await.unwrap(), REFUSED);
        let refused = pop3(&town, GUESSER).await.log_in(USR1, "mistyped").await.unwrap_err().to_string();
        assert_eq!(refused, "[AUTH] wrong user or password");
    }
    for _ in 0..20 {
        assert_eq!(smtp(&town, GUESSER).await.command(PLAIN).await.unwrap(), SUCCESS);
        let mut client = pop3(&town, GUESSER).await;
        client.log_in(USR1, "pass1").await.unwrap();
        client.quit().await;
    }
    assert_eq!((delayed(&town).await, refused_unchecked(&town).await), (0, 0));
    town.stop().await;
}

/// Without a proxy, all clients of these tests have one address, as those behind a container bridge do. Who guesses there
/// delays the logins to one account, by very little, and no others.
#[tokio::test]
async fn guesses_at_a_shared_address_delay_one_account_only() {
    let town = TestTown::start(Plan::default().limits(LIMIT)).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    for guesses in 1..=8 {
        assert_eq!(client.command(GUESS).await.unwrap(), REFUSED);
        if guesses % 4 == 0 {
            client = town.smtp(EXMAIL).await;
            client.hello().await;
        }
        // The third is the first beyond the limit.
        assert_eq!(delayed(&town).await, u64::max(guesses, 2) - 2);
    }
    assert_eq!(scram(&mut client, USR2, "pass2").await.0, SUCCESS);
    let address = town.address(EXMAIL, PortKey::Pop);
    Pop3Client::connect(address).await.unwrap().log_in(USR2, "pass2").await.unwrap();
    assert_eq!(delayed(&town).await, 6);
    let refused = Pop3Client::connect(address).await.unwrap().log_in(USR1, "guess").await.unwrap_err().to_string();
    assert_eq!((refused.as_str(), delayed(&town).await), ("[AUTH] wrong user or password", 7));
    Pop3Client::connect(address).await.unwrap().log_in(USR1, "pass1").await.unwrap();
    assert_eq!((delayed(&town).await, refused_unchecked(&town).await), (8, 0));
    // The right password ends it.
    Pop3Client::connect(address).await.unwrap().log_in(USR1, "pass1").await.unwrap();
    assert_eq!(delayed(&town).await, 8);
    town.stop().await;
}
