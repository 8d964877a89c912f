//! `accept = "any"`: a mailbox for whoever gets mail.

use crate::logs::NativeTown;
use std::fs;
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, Pop3Client, TestTown, USR, USR1, eventually};

const MAIL: &[u8] = b"Subject: x\r\n\r\nx\r\n";

/// How many messages this user finds after logging in; `None` if the login is refused.
async fn messages(town: &TestTown, server: &str, user: &str, password: &str) -> Option<u64> {
    let mut pop = Pop3Client::connect(town.address(server, PortKey::Pop)).await.unwrap();
    pop.log_in(user, password).await.ok()?;
    let (messages, _) = pop.stat().await;
    pop.quit().await;
    Some(messages)
}

async fn arrived(town: &TestTown, server: &str, user: &str, password: &str, count: u64) {
    eventually(user, PATIENCE, async || {
        messages(town, server, user, password).await.filter(|messages| *messages == count)
    })
    .await;
}

/// In the tutorial's profile too, where the gateway does not ask for the recipients of a local sender.
#[tokio::test]
async fn every_address_of_a_local_domain_has_a_mailbox() {
    for plan in [Plan::default(), Plan::default().rfc()] {
        let town = TestTown::start(plan.setting("accept = \"any\"")).await;
        let (app, new) = ("app@mail.sustech.edu.cn", "new@mail.sustech.edu.cn");
        // Who waits for mail may be there before it, and who only guesses is nobody.
        assert_eq!(messages(&town, EXMAIL, new, "wrong").await, None);
        assert_eq!(town.store(EXMAIL).mailbox(&new.parse().unwrap()).await.unwrap(), None);
        assert_eq!(messages(&town, EXMAIL, new, "test").await, Some(0));
        town.send(app, &[new, "other@mail.sustech.edu.cn", "far@gmail.com", USR1], MAIL).await;
        arrived(&town, EXMAIL, new, "test", 1).await;
        arrived(&town, EXMAIL, "other@mail.sustech.edu.cn", "test", 1).await;
        arrived(&town, GMAIL, "far@gmail.com", "test", 1).await;
        // An account of the configuration is as it was.
        assert_eq!(messages(&town, EXMAIL, USR1, "test").await, None);
        arrived(&town, EXMAIL, USR1, "pass1", 1).await;
        // What cannot be delivered comes back.
        town.send(app, &["nobody@nowhere.example"], MAIL).await;
        arrived(&town, EXMAIL, app, "test", 1).await;
        town.stop().await;
    }
}

#[tokio::test]
async fn a_server_may_take_every_domain_that_no_other_has() {
    let plan = Plan::default().rfc().setting("accept = \"any\"\naccept_password = \"secret\"");
    let plan = plan
        .server(EXMAIL, "domains = [\"*\"]")
        .tables("[aliases.\"exmail.qq.com\"]\n\"all@shop.test\" = [\"one@shop.test\", \"two@customer.example\"]\n");
    let town = TestTown::start(plan).await;
    let recipients = ["a@customer.example", "all@shop.test", "usr1@[127.0.0.1]", USR];
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.send("noreply@shop.test", &recipients, MAIL).await.unwrap();
    client.send("noreply@shop.test", &["A+tag@customer.example"], MAIL).await.unwrap();
    // Case and details do not count, and the server's address means its own domain.
    for (user, count) in [("a@customer.example", 2), ("one@shop.test", 1), ("two@customer.example", 1)] {
        arrived(&town, EXMAIL, user, "secret", count).await;
    }
    arrived(&town, EXMAIL, USR1, "pass1", 1).await;
    arrived(&town, GMAIL, USR, "pass", 1).await;
    assert_eq!(messages(&town, GMAIL, "a@customer.example", "secret").await, None, "the other server takes its own");
    town.stop().await;
}

/// Before the first mail too, whoever logs in with a detail means the mailbox without it.
#[tokio::test]
async fn a_detail_is_no_part_of_a_new_mailbox() {
    let town = TestTown::start(Plan::default().rfc().setting("accept = \"any\"")).await;
    assert_eq!(messages(&town, EXMAIL, "new+tag@mail.sustech.edu.cn", "test").await, Some(0));
    town.send(USR1, &["New@mail.sustech.edu.cn"], MAIL).await;
    assert_eq!(messages(&town, EXMAIL, "new+other@mail.sustech.edu.cn", "test").await, Some(1));
    town.stop().await;
}

/// Where every domain is local, mail from other servers is a delivery all the same, and never relayed.
#[tokio::test]
async fn strangers_deliver_to_a_server_that_takes_every_domain() {
    let plan = Plan::default().rfc().setting("accept = \"any\"\ntrusted_networks = [\"192.0.2.0/24\"]");
    let town = TestTown::start(plan.server(EXMAIL, "domains = [\"*\"]")).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let local = client.command(&format!("MAIL FROM:<{USR1}>")).await.unwrap();
    assert!(local.starts_with("530 5.7.0"), "{local}");
    client.send("peer@far.example", &["a@customer.example"], MAIL).await.unwrap();
    arrived(&town, EXMAIL, "a@customer.example", "test", 1).await;
    client.command("MAIL FROM:<peer@far.example>").await.unwrap();
    let elsewhere = client.command(&format!("RCPT TO:<{USR}>")).await.unwrap();
    assert!(elsewhere.starts_with("554 5.7.1"), "{elsewhere}");
    town.stop().await;
}

/// Mail that came before the server took every domain waits for another server, until the star covers it.
#[tokio::test]
async fn mail_that_waits_already_gets_a_mailbox_once_the_star_covers_it() {
    let plan = Plan::default().rfc().mx("shop.test", "\"down.test.\"").p("down.test", 9);
    let town = TestTown::start(plan).await;
    town.send(USR1, &["new+tag@shop.test"], MAIL).await;
    let text = fs::read_to_string(town.config()).unwrap();
    let server = format!("[server.\"{EXMAIL}\"]\n");
    assert!(text.contains(&server), "{text}");
    let text = text.replace(&server, &format!("{server}domains = [\"*\"]\n"));
    fs::write(town.config(), format!("accept = \"any\"\n{text}")).unwrap();
    eventually("the mail to arrive", PATIENCE, async || {
        town.store(EXMAIL).flush_queue().await.ok()?;
        town.store(EXMAIL).mailbox(&"new@shop.test".parse().ok()?).await.ok()?.filter(|mailbox| mailbox.messages == 1)
    })
    .await;
    assert_eq!(messages(&town, EXMAIL, "new@shop.test", "test").await, Some(1));
    town.stop().await;
}

/// What is for tests only is told whenever the configuration begins to say it.
#[tokio::test]
async fn a_reload_tells_of_every_address() {
    let town = NativeTown::start(Plan::default()).await;
    let text = fs::read_to_string(town.site.config()).unwrap();
    fs::write(town.site.config(), format!("accept = \"any\"\n{text}")).unwrap();
    town.logged(&["store.every_address", &format!("server=\"{EXMAIL}\"")]).await;
}
