//! `config.toml` edited while the town runs.

use std::{fs, time::Duration};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, Pop3Client, ProcessTown, Site, TestTown, USR1};

/// How long an edit may take to be in force.
const DEADLINE: Duration = Duration::from_secs(30);

const NEW_ACCOUNT: &str = "new@second.example";

/// Gives gmail.com an account in a domain that it did not have, and a limit.
fn edit(site: &Site) {
    let text = fs::read_to_string(site.config()).unwrap();
    let accounts = format!("[accounts.\"{GMAIL}\"]\n");
    assert!(text.contains(&accounts) && !text.contains("[limits]\nmessage_octets"), "{text}");
    let text = text.replace(&accounts, &format!("{accounts}\"{NEW_ACCOUNT}\" = \"new\"\n"));
    let text = text.replace("[limits]\n", "[limits]\nmessage_octets = 70000\n");
    let server = format!("[server.\"{GMAIL}\"]\n");
    assert!(text.contains(&server), "{text}");
    let text = text.replace(&server, &format!("{server}greeting = \"12110000\"\n"));
    fs::write(site.config(), text).unwrap();
}

/// Sends to the new account from another server, and reads the message with the new password.
async fn exchanges_mail(site: &Site) {
    let sent = async {
        loop {
            let mut client = site.smtp(GMAIL).await;
            client.hello().await;
            if client.send("someone@far.example", &[NEW_ACCOUNT], b"Subject: new\r\n\r\n").await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, sent).await.unwrap();
    let mut pop3 = Pop3Client::connect(site.address(GMAIL, PortKey::Pop)).await.unwrap();
    pop3.log_in(NEW_ACCOUNT, "new").await.unwrap();
    assert_eq!(pop3.stat().await.0, 1);
    let mut client = site.smtp(GMAIL).await;
    assert_eq!(client.greeting, "220 12110000 SMTP server ready");
    let hello = client.command("EHLO late.example").await.unwrap();
    assert!(hello.contains("SIZE 70000"), "{hello}");
}

#[tokio::test]
async fn an_added_account_domain_and_limit_work_at_once() {
    let town = TestTown::start(Plan::default().limits("")).await;
    let size = town.smtp(GMAIL).await.command("EHLO early.example").await.unwrap();
    assert!(size.contains("SIZE 26214400"), "{size}");
    edit(&town);
    exchanges_mail(&town).await;
    // The accounts that stay have kept everything.
    town.send(USR1, &[USR1], b"Subject: still here\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    town.drained(EXMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn processes_of_their_own_read_the_file_again_too() {
    let town = ProcessTown::start(Plan::default().limits("")).await;
    edit(&town);
    exchanges_mail(&town).await;
}
