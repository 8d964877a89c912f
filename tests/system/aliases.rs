//! Aliases, lists and catch-alls of a whole town.

use std::fs;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, TestTown, USR, USR1, USR2, eventually};

const MESSAGE: &str = "Subject: x\r\n\r\nbody\r\n";

const ALIASES: &str = r#"
[aliases."exmail.qq.com"]
"team@mail.sustech.edu.cn" = ["usr1@mail.sustech.edu.cn", "usr2@mail.sustech.edu.cn", "usr@gmail.com"]
"away@mail.sustech.edu.cn" = "usr@gmail.com"
"postmaster@mail.sustech.edu.cn" = "usr2@mail.sustech.edu.cn"
"lost@mail.sustech.edu.cn" = "nobody@gmail.com"
"#;

fn text(message: &[u8]) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}

#[tokio::test]
async fn a_list_reaches_its_members_here_and_elsewhere() {
    let town = TestTown::start(Plan::default().tables(ALIASES)).await;
    town.send(USR1, &["team@mail.sustech.edu.cn", USR2], MESSAGE.as_bytes()).await;
    // Who is reached here gets the octets that were sent.
    for address in [USR1, USR2] {
        assert_eq!(town.mail_of(address, 1).await, [MESSAGE.as_bytes()], "{address}");
    }
    town.mail_of(USR, 1).await;
    // Another server may write to an alias, and to `postmaster` in any spelling.
    let mut stranger = town.smtp(EXMAIL).await;
    stranger.hello().await;
    let aliases = ["PostMaster@MAIL.sustech.edu.cn", "away@mail.sustech.edu.cn"];
    stranger.send("stranger@far.test", &aliases, MESSAGE.as_bytes()).await.unwrap();
    town.mail_of(USR2, 2).await;
    town.mail_of(USR, 2).await;
    town.drained(EXMAIL).await;
    town.stop().await;
}

/// The sender of a message learns that the target of an alias does not get it, and nothing of the members of a list.
#[tokio::test]
async fn failures_behind_an_alias_are_reported_and_those_behind_a_list_are_not() {
    let list = "\"list@mail.sustech.edu.cn\" = [\"nobody@gmail.com\", \"usr2@mail.sustech.edu.cn\"]";
    let town = TestTown::start(Plan::default().tables(&format!("{ALIASES}{list}"))).await;
    town.send(USR1, &["list@mail.sustech.edu.cn"], MESSAGE.as_bytes()).await;
    town.drained(EXMAIL).await;
    town.mail_of(USR2, 1).await;
    town.send(USR1, &["lost@mail.sustech.edu.cn"], MESSAGE.as_bytes()).await;
    let report = text(&town.mail_of(USR1, 1).await[0]);
    assert!(report.contains("550 5.1.1 <nobody@gmail.com>"), "{report}");
    town.drained(EXMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn an_alias_that_is_added_to_the_file_works_at_once() {
    let town = TestTown::start(Plan::default()).await;
    let config = fs::read_to_string(town.config()).unwrap();
    fs::write(town.config(), config + ALIASES).unwrap();
    eventually("the new alias", PATIENCE, async || {
        let mut stranger = town.smtp(EXMAIL).await;
        stranger.hello().await;
        stranger.send("stranger@far.test", &["away@mail.sustech.edu.cn"], MESSAGE.as_bytes()).await.ok()
    })
    .await;
    town.mail_of(USR, 1).await;
    town.drained(GMAIL).await;
    town.stop().await;
}
