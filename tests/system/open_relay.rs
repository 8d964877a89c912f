//! Nobody from outside reaches an address elsewhere, in whatever form it is written.

use town_tests::{EXMAIL, FakePeer, GMAIL, Plan, TestTown, USR, USR1, polite};

const ALIASES: &str = r#"
[aliases."exmail.qq.com"]
"away@mail.sustech.edu.cn" = "a@far.test"
"team@mail.sustech.edu.cn" = ["usr1@mail.sustech.edu.cn", "a@far.test"]
"#;

/// What stands after `RCPT TO:`. None of it may be taken.
const FORMS: [&str; 40] = [
    "<a@far.test>",
    "<A@FAR.TEST>",
    "a@far.test",
    "<postmaster@far.test>",
    // A target of an alias, which is reached through the alias only.
    "<usr@gmail.com>",
    // The percent hack.
    "<a%far.test@mail.sustech.edu.cn>",
    "<a%far.test@gmail.com>",
    "<a%far.test%mail.sustech.edu.cn@mail.sustech.edu.cn>",
    "<a%far.test@exmail.qq.com>",
    "<a%far.test@mxbiz1.qq.com>",
    "<a%far.test@[127.0.0.1]>",
    "<a%far.test>",
    "<away%far.test@mail.sustech.edu.cn>",
    "<team%far.test@mail.sustech.edu.cn>",
    "<usr1%far.test@mail.sustech.edu.cn>",
    // Source routes.
    "<@mail.sustech.edu.cn:a@far.test>",
    "<@mail.sustech.edu.cn,@far.test:a@far.test>",
    "<@exmail.qq.com:a@far.test>",
    "<@[127.0.0.1]:a@far.test>",
    "<@mail.sustech.edu.cn:a%far.test@mail.sustech.edu.cn>",
    "<@mail.sustech.edu.cn:usr@gmail.com>",
    // Quoted local parts.
    "<\"a@far.test\"@mail.sustech.edu.cn>",
    "<\"a%far.test\"@mail.sustech.edu.cn>",
    "<\"far.test!a\"@mail.sustech.edu.cn>",
    "<\"a@far.test\">",
    "<\"usr1@mail.sustech.edu.cn\"@far.test>",
    "<\"team@mail.sustech.edu.cn\"@far.test>",
    "<@mail.sustech.edu.cn:\"a@far.test\"@mail.sustech.edu.cn>",
    // Bang paths.
    "<far.test!a@mail.sustech.edu.cn>",
    "<mail.sustech.edu.cn!far.test!a@mail.sustech.edu.cn>",
    "<far.test!a>",
    // Two at signs.
    "<a@far.test@mail.sustech.edu.cn>",
    "<usr1@mail.sustech.edu.cn@far.test>",
    // Literals, and names that look like ours.
    "<a@[192.0.2.1]>",
    "<a@[IPv6:2001:db8::1]>",
    "<a@[127.0.0.1]>",
    "<a@exmail.qq.com>",
    "<a@sub.mail.sustech.edu.cn>",
    "<a@mail.sustech.edu.cn.far.test>",
    "<a@localhost>",
];

/// Tries every form, after MAIL FROM with this path.
async fn refuses_all(town: &TestTown, sender: &str) {
    for form in FORMS {
        let mut client = town.smtp(EXMAIL).await;
        client.hello().await;
        client.command(&format!("MAIL FROM:<{sender}>")).await.unwrap();
        let reply = client.command(&format!("RCPT TO:{form}")).await.unwrap();
        assert!(reply.starts_with('5'), "{sender} to {form}: {reply}");
        let reply = client.command("DATA").await.unwrap();
        assert!(reply.starts_with('5'), "{sender} to {form}: {reply}");
    }
    assert!(town.messages(EXMAIL).await.messages.is_empty());
}

#[tokio::test]
async fn no_form_of_an_address_makes_us_an_open_relay() {
    for plan in [Plan::default(), Plan::default().rfc()] {
        let peer = FakePeer::start(polite).await;
        let plan = plan.setting("trusted_networks = [\"192.0.2.0/24\"]").limits("connections_per_minute = 0");
        let plan = plan.tables(ALIASES).peer("far.test", peer.port());
        let town = TestTown::start(plan).await;
        // As another server, as nobody, as a local user, and as the target of an alias.
        for sender in ["stranger@elsewhere.test", "", USR1, "away@mail.sustech.edu.cn", "a@far.test", USR] {
            refuses_all(&town, sender).await;
        }
        // What a stranger may do is to write to an alias.
        let mut stranger = town.smtp(EXMAIL).await;
        stranger.hello().await;
        let aliases = ["away@mail.sustech.edu.cn", "team@mail.sustech.edu.cn"];
        stranger.send("stranger@elsewhere.test", &aliases, b"Subject: hello\r\n\r\n").await.unwrap();
        town.mail_of(USR1, 1).await;
        peer.heard("S: 250 2.0.0 taken", 1).await;
        town.drained(EXMAIL).await;
        assert_eq!(
            peer.transcript().iter().filter(|said| said.to_uppercase().contains("RCPT TO:<A@FAR.TEST>")).count(),
            1
        );
        town.stop().await;
    }
}

/// A catch-all takes all these local parts. It sends them to its target, and never where they point.
#[tokio::test]
async fn a_catch_all_takes_hacks_and_relays_none() {
    let peer = FakePeer::start(polite).await;
    let catch_all = "[catch_all]\n\"mail.sustech.edu.cn\" = \"usr1@mail.sustech.edu.cn\"";
    let town = TestTown::start(Plan::default().tables(catch_all).peer("far.test", peer.port())).await;
    let local = FORMS.iter().filter(|form| form.ends_with("@mail.sustech.edu.cn>") && !form.starts_with("<a@"));
    let local: Vec<_> = local.map(|form| form.trim_matches(['<', '>'])).collect();
    assert!(local.len() > 9, "{local:?}");
    let mut stranger = town.smtp(EXMAIL).await;
    stranger.hello().await;
    stranger.send("stranger@elsewhere.test", &local, b"Subject: hello\r\n\r\n").await.unwrap();
    assert_eq!(town.mail_of(USR1, 1).await.len(), 1);
    assert!(town.queue(EXMAIL).await.is_empty() && town.queue(GMAIL).await.is_empty());
    assert_eq!(peer.transcript(), Vec::<String>::new());
    town.stop().await;
}
