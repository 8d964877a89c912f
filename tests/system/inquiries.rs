//! VRFY and EXPN are for those who are trusted; the dialogues show what they are told.

use crate::starttls::documented;
use town_tests::{EXMAIL, Plan, TestTown};

#[tokio::test]
async fn others_learn_nothing_of_addresses() {
    let town = TestTown::start(Plan::default().setting("trusted_networks = [\"192.0.2.0/24\"]")).await;
    let mut client = town.smtp(EXMAIL).await;
    let hello = client.command("EHLO laptop").await.unwrap();
    let announced: Vec<_> = hello.lines().skip(1).filter_map(|line| line.get(4..)?.split(' ').next()).collect();
    let documented = documented(false);
    let missing: Vec<_> = documented.iter().filter(|keyword| !announced.contains(&keyword.as_str())).collect();
    assert_eq!(missing, ["EXPN"], "{hello}");
    for who in ["usr1", "nobody"] {
        let said = client.command(&format!("VRFY {who}")).await.unwrap();
        assert_eq!(said, "252 2.5.0 cannot verify, but will accept mail and attempt delivery");
        assert_eq!(client.command(&format!("EXPN {who}")).await.unwrap(), "502 5.5.1 command not implemented");
    }
    town.stop().await;
}
