//! What addresses mean: spellings, details, and the names of a server.

use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, Pop3Client, TestTown, USR, USR1, USR2};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\nbody\r\n";

/// In profile `rfc`, for SMTP from here and from elsewhere, POP3 and HTTP.
#[tokio::test]
async fn an_account_is_reached_by_all_its_spellings() {
    let aliases = "[aliases.\"exmail.qq.com\"]\n\"Team@mail.sustech.edu.cn\" = \"USR2+team@mail.sustech.edu.cn\"\n";
    let town = TestTown::start(Plan::default().rfc().tables(aliases)).await;
    let spellings = ["USR1@Mail.Sustech.edu.cn", "Usr1+tag@mail.sustech.edu.cn", "tEAM+x@mail.sustech.edu.cn"];
    // The sender is another spelling of an account, too.
    town.send("uSR1+me@mail.sustech.edu.cn", &spellings, MESSAGE).await;
    town.send(USR, &spellings, MESSAGE).await;
    for address in [USR1, USR2] {
        assert_eq!(town.mail_of(address, 2).await.len(), 2, "{address}");
    }
    // What stands in RCPT travels as it was given.
    town.send(USR1, &["uSR+x@gmail.com"], MESSAGE).await;
    town.mail_of(USR, 1).await;
    let mut pop = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
    pop.log_in("USR1+anything@MAIL.sustech.edu.cn", "pass1").await.unwrap();
    assert_eq!(pop.stat().await.0, 2);
    pop.quit().await;
    let summary = town.store(EXMAIL).mailbox(&"usR2+a@mail.sustech.edu.cn".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((summary.address.to_string().as_str(), summary.messages), (USR2, 2));
    for server in [EXMAIL, GMAIL] {
        town.drained(server).await;
    }
    town.stop().await;
}

/// The tutorial has `usr1` and `Usr1`, and no details.
#[tokio::test]
async fn case_matters_in_the_tutorial() {
    let town = TestTown::start(Plan::default()).await;
    let mut stranger = town.smtp(EXMAIL).await;
    stranger.hello().await;
    stranger.command("MAIL FROM:<a@far.test>").await.unwrap();
    for (address, code) in [("Usr1", "550"), ("usr1+x", "550"), ("usr1", "250"), ("postMASTER", "250")] {
        let reply = stranger.command(&format!("RCPT TO:<{address}@mail.sustech.edu.cn>")).await.unwrap();
        assert!(reply.starts_with(code), "{address}: {reply}");
    }
    town.stop().await;
}

/// The server's name, its address, and the names of its MX records.
#[tokio::test]
async fn a_server_has_more_names_than_its_mail_domain() {
    let plan = Plan::default();
    // An exchange of ours that leads to another server is not one of our names.
    let gmail = plan.port(GMAIL, PortKey::Smtp);
    let mx = "[{ preference = 1, exchange = \"mxbiz1.qq.com.\" }, { preference = 2, exchange = \"backup.test.\" }]";
    let town = TestTown::start(plan.mx("mail.sustech.edu.cn", mx).p("backup.test", gmail)).await;
    let mut stranger = town.smtp(EXMAIL).await;
    stranger.hello().await;
    let recipients = ["usr1@mxbiz1.QQ.com", "usr1@[127.0.0.1]", "usr2@exmail.qq.com"];
    stranger.send("a@far.test", &recipients, MESSAGE).await.unwrap();
    town.mail_of(USR1, 1).await;
    town.mail_of(USR2, 1).await;
    stranger.command("MAIL FROM:<a@far.test>").await.unwrap();
    for elsewhere in ["usr1@backup.test", "usr1@gmail-smtp-in.l.google.com", "usr1@pop.exmail.qq.com"] {
        let reply = stranger.command(&format!("RCPT TO:<{elsewhere}>")).await.unwrap();
        assert!(reply.starts_with("554 5.7.1"), "{elsewhere}: {reply}");
    }
    // A local part may be as long as a path lets it be.
    let long = "x".repeat(200);
    let reply = stranger.command(&format!("RCPT TO:<{long}@mxbiz1.qq.com>")).await.unwrap();
    assert!(reply.starts_with("550 5.1.1"), "{reply}");
    town.stop().await;
}
