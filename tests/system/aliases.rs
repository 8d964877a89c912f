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

/// The lines that were added before `MESSAGE`.
fn added(message: &[u8]) -> Vec<String> {
    let message = text(message);
    let added = message.strip_suffix(MESSAGE).expect("the message itself is unchanged");
    added.replace("\r\n\t", " ").split_terminator("\r\n").map(str::to_owned).collect()
}

/// A copy that leaves through an alias says so, in both profiles. One that its sender has addressed there does not.
#[tokio::test]
async fn a_copy_that_leaves_through_an_alias_is_traced() {
    let team = "Delivered-To: team@mail.sustech.edu.cn";
    let town = TestTown::start(Plan::default().tables(ALIASES)).await;
    let id = town.send(USR1, &["team@mail.sustech.edu.cn"], MESSAGE.as_bytes()).await;
    let fields = added(&town.mail_of(USR, 1).await[0]);
    assert_eq!((fields.len(), fields[1].as_str()), (2, team), "{fields:?}");
    let received = "Received: from exmail.qq.com by exmail.qq.com with local";
    assert!(fields[0].starts_with(&format!("{received} id {id} for <team@mail.sustech.edu.cn>; ")), "{fields:?}");
    town.send(USR1, &["team@mail.sustech.edu.cn", USR], MESSAGE.as_bytes()).await;
    assert_eq!(added(&town.mail_of(USR, 2).await[1]), Vec::<String>::new());
    town.drained(EXMAIL).await;
    town.stop().await;

    let town = TestTown::start(Plan::default().rfc().tables(ALIASES)).await;
    town.send(USR1, &["team@mail.sustech.edu.cn"], MESSAGE.as_bytes()).await;
    let fields = added(&town.mail_of(USR, 1).await[0]);
    let names: Vec<_> = fields.iter().map(|field| field.split(": ").next().unwrap()).collect();
    assert_eq!(names, ["Return-Path", "Received", "Delivered-To", "Received"], "{fields:?}");
    assert_eq!(fields[2], team);
    town.drained(EXMAIL).await;
    town.stop().await;
}

/// Two servers that send a message to each other for ever end it. Its sender learns of it, once, if they have asked for
/// failures: it is a member of a list that is in the loop.
#[tokio::test]
async fn a_loop_between_two_servers_ends() {
    let loops = r#"
[aliases."exmail.qq.com"]
"there@mail.sustech.edu.cn" = ["back@gmail.com", "usr2@mail.sustech.edu.cn"]
[aliases."gmail.com"]
"back@gmail.com" = "there@mail.sustech.edu.cn"
"#;
    for (plan, notify, reports) in [
        (Plan::default(), " NOTIFY=FAILURE", 1),
        (Plan::default().rfc(), " NOTIFY=FAILURE", 1),
        (Plan::default(), "", 0),
    ] {
        let town = TestTown::start(plan.tables(loops)).await;
        let mut client = town.smtp(EXMAIL).await;
        client.hello().await;
        for line in [&format!("MAIL FROM:<{USR1}>"), &format!("RCPT TO:<there@mail.sustech.edu.cn>{notify}"), "DATA"] {
            client.command(line).await.unwrap();
        }
        client.command(&format!("{MESSAGE}.")).await.unwrap();
        // The other member of the list gets it at the first time, and at no other.
        town.mail_of(USR2, 1).await;
        let said = "554 5.4.6 <there@mail.sustech.edu.cn>: mail loop: this alias has sent the message on before";
        for report in town.mail_of(USR1, reports).await {
            assert!(text(&report).contains(said), "{}", text(&report));
        }
        // Each server gets mail from the other as long as that has some.
        for server in [EXMAIL, GMAIL, EXMAIL] {
            town.drained(server).await;
        }
        town.mail_of(USR1, reports).await;
        town.mail_of(USR2, 1).await;
        town.stop().await;
    }
}

/// A message that has been through a hundred servers is refused.
#[tokio::test]
async fn a_message_with_a_hundred_received_fields_is_refused() {
    let town = TestTown::start(Plan::default()).await;
    for (fields, length) in [(100, 10), (100, 500_000), (99, 10)] {
        let message = format!("{}\r\n{}\r\n", "Received: by x\r\n".repeat(fields), "x".repeat(length));
        let mut client = town.smtp(EXMAIL).await;
        client.hello().await;
        let sent = client.send("stranger@far.test", &[USR1], message.as_bytes()).await;
        match fields {
            99 => drop(sent.unwrap()),
            _ => {
                let refused = sent.unwrap_err().to_string();
                assert!(refused.contains("554 5.4.6 mail loop"), "{refused}");
            }
        }
    }
    town.mail_of(USR1, 1).await;
    town.stop().await;
}
