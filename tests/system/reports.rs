//! Reports that the sender has asked for with DSN (RFC 3461).

use mail_parser::{MessageParser, MimeHeaders};
use town_tests::{EXMAIL, FakePeer, GMAIL, HOUR, PATIENCE, Plan, TestTown, USR, USR1, USR2, eventually, polite};

const MESSAGE: &str = "Subject: told\r\n\r\nbody\r\n";
const WANTED: &str = " RET=FULL ENVID=QQ+2B1";

/// A report, taken apart.
#[derive(Debug)]
struct Report {
    subject: String,
    /// The fields about the message and about each recipient.
    status: Vec<Vec<String>>,
    /// The media type of what is returned, and its octets.
    returned: (String, String),
}

impl Report {
    fn parse(message: &[u8]) -> Self {
        let report = MessageParser::default().parse(message).unwrap();
        let kind = report.content_type().unwrap();
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let octets = |part: usize| {
            let part = &report.parts[part];
            let octets = &message[part.raw_body_offset() as usize..part.raw_end_offset() as usize];
            String::from_utf8(octets.to_vec()).unwrap()
        };
        let groups = octets(2);
        let status = groups.trim_end().split("\r\n\r\n");
        let status = status.map(|group| group.split("\r\n").map(str::to_owned).collect()).collect();
        let kind = report.parts[3].content_type().unwrap();
        let returned = (format!("{}/{}", kind.ctype(), kind.subtype().unwrap()), octets(3));
        Self { subject: report.subject().unwrap().to_owned(), status, returned }
    }

    fn field(&self, group: usize, name: &str) -> Option<&str> {
        self.status[group].iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The final recipient, the action and the status of the recipients.
    fn recipients(&self) -> Vec<[&str; 3]> {
        let fields = |group| ["Final-Recipient", "Action", "Status"].map(|name| self.field(group, name).unwrap());
        (1..self.status.len()).map(fields).collect()
    }
}

/// Sends a message from usr1 to recipients, each with parameters after it.
async fn send(town: &TestTown, recipients: &[&str], message: &str) {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let mail = client.command(&format!("MAIL FROM:<{USR1}>{WANTED}")).await.unwrap();
    assert_eq!(mail, "250 2.1.0 OK");
    for recipient in recipients {
        let (address, parameters) = recipient.split_once(' ').unwrap();
        assert_eq!(client.command(&format!("RCPT TO:<{address}> {parameters}")).await.unwrap(), "250 2.1.5 OK");
    }
    client.command("DATA").await.unwrap();
    let reply = client.command(&format!("{message}.")).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 OK queued as "), "{reply}");
}

#[tokio::test]
async fn a_delivery_here_is_reported_to_who_wants_to_know() {
    let town = TestTown::start(Plan::default()).await;
    let recipient = format!("{USR2} NOTIFY=SUCCESS ORCPT=rfc822;First+2BName@far.test");
    send(&town, &[&recipient, &format!("{USR1} NOTIFY=FAILURE,DELAY")], MESSAGE).await;
    town.mail_of(USR2, 1).await;
    let report = Report::parse(&town.mail_of(USR1, 2).await[1]);
    assert_eq!(report.subject, "Successful Mail Delivery Report");
    assert_eq!(report.field(0, "Original-Envelope-Id"), Some("QQ+1"));
    assert_eq!(report.field(1, "Original-Recipient"), Some("rfc822; First+Name@far.test"));
    assert_eq!(report.recipients(), [[&format!("rfc822; {USR2}"), "delivered", "2.1.5"]]);
    // RET=FULL is for failures (RFC 3461 §4.3).
    assert_eq!(report.returned.0, "text/rfc822-headers");
    town.drained(EXMAIL).await;
    town.stop().await;
}

/// A server that has DSN reports by itself; for one that has none, the relay does (RFC 3461 §5.2.2).
#[tokio::test]
async fn a_delivery_elsewhere_is_reported_by_who_knows_of_it() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(Plan::default().peer("old.example", peer.port())).await;
    send(&town, &["a@old.example NOTIFY=SUCCESS,FAILURE"], MESSAGE).await;
    let report = Report::parse(&town.mail_of(USR1, 1).await[0]);
    assert_eq!(report.recipients(), [["rfc822; a@old.example", "relayed", "2.0.0"]]);
    assert_eq!(report.field(1, "Diagnostic-Code"), Some("smtp; 250 2.0.0 taken"));
    assert!(!peer.transcript().iter().any(|line| line.contains("ENVID") || line.contains("NOTIFY")));
    send(&town, &["a@old.example NOTIFY=FAILURE"], MESSAGE).await;
    peer.heard("S: 250 2.0.0 taken", 2).await;

    send(&town, &[&format!("{USR} NOTIFY=SUCCESS ORCPT=rfc822;first@far.test")], MESSAGE).await;
    let report = Report::parse(&town.mail_of(USR1, 2).await[1]);
    assert_eq!(report.field(0, "Reporting-MTA"), Some("dns; gmail.com"));
    assert_eq!(report.field(0, "Original-Envelope-Id"), Some("QQ+1"));
    assert_eq!(report.field(1, "Original-Recipient"), Some("rfc822; first@far.test"));
    assert_eq!(report.recipients(), [[&format!("rfc822; {USR}"), "delivered", "2.1.5"]]);
    town.drained(EXMAIL).await;
    town.drained(GMAIL).await;
    town.mail_of(USR1, 2).await;
    town.stop().await;
}

/// What a peer with DSN is told is what the sender has said (RFC 3461 §5.2.1).
#[tokio::test]
async fn a_peer_with_dsn_gets_the_parameters() {
    let peer = FakePeer::start(|line| match line.text.starts_with("EHLO") {
        true => "250-new.example\n250-8BITMIME\n250 DSN".into(),
        false => polite(line),
    })
    .await;
    let town = TestTown::start(Plan::default().peer("new.example", peer.port())).await;
    send(&town, &["a@new.example NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x", "b@new.example NOTIFY=NEVER"], MESSAGE)
        .await;
    let transcript = peer.heard("S: 250 2.0.0 taken", 1).await;
    for line in [
        "C: MAIL FROM:<usr1@mail.sustech.edu.cn> RET=FULL ENVID=QQ+2B1",
        "C: RCPT TO:<a@new.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@x",
        "C: RCPT TO:<b@new.example> NOTIFY=NEVER",
    ] {
        assert!(transcript.contains(&line.to_owned()), "{transcript:?}");
    }
    town.drained(EXMAIL).await;
    assert_eq!(town.mail(USR1).await.len(), 0);
    town.stop().await;
}

/// RFC 3461 §4.3, §6.2.
#[tokio::test]
async fn a_failure_returns_the_whole_message_if_that_is_wanted() {
    let town = TestTown::start(Plan::default()).await;
    for (count, message) in [(1, MESSAGE), (2, "Subject: \u{e4}\r\n\r\n\u{e4}\r\n")] {
        send(&town, &["nobody@gmail.com NOTIFY=FAILURE"], message).await;
        let report = Report::parse(&town.mail_of(USR1, count).await[count - 1]);
        assert_eq!(report.recipients(), [["rfc822; nobody@gmail.com", "failed", "5.1.1"]]);
        assert_eq!(report.returned.0, "message/rfc822");
        assert_eq!(report.returned.1.trim_end(), message.trim_end());
    }
    send(&town, &["nobody@gmail.com NOTIFY=SUCCESS,DELAY"], MESSAGE).await;
    town.drained(EXMAIL).await;
    assert_eq!(town.mail(USR1).await.len(), 2);
    town.stop().await;
}

/// RFC 3461 §5.2.7.2 c: the list is reported, and then only failures of its members.
#[tokio::test]
async fn the_expansion_of_a_list_is_reported() {
    let list = "[aliases.\"exmail.qq.com\"]\n\"team@mail.sustech.edu.cn\" = [\"usr2@mail.sustech.edu.cn\", \"usr@gmail.com\"]\n";
    let town = TestTown::start(Plan::default().tables(list)).await;
    send(&town, &["team@mail.sustech.edu.cn NOTIFY=SUCCESS"], MESSAGE).await;
    let report = Report::parse(&town.mail_of(USR1, 1).await[0]);
    assert_eq!(report.recipients(), [["rfc822; team@mail.sustech.edu.cn", "expanded", "2.1.5"]]);
    town.mail_of(USR2, 1).await;
    town.mail_of(USR, 1).await;
    town.drained(EXMAIL).await;
    town.drained(GMAIL).await;
    assert_eq!(town.mail(USR1).await.len(), 1);
    town.stop().await;
}

/// RFC 3461 §4.1: once for each recipient, and the message is tried on.
#[tokio::test]
async fn a_delay_is_told_once_to_who_wants_to_know() {
    let peer = FakePeer::start(|line| match line.text.starts_with("RCPT") {
        true => "450 4.2.1 not today".into(),
        false => polite(line),
    })
    .await;
    for (notice, reports) in [("4h", 1), ("0s", 0)] {
        let plan = Plan::default().peer("later.example", peer.port());
        let lines = format!("retry = [\"3h\"]\nexpiry = \"2d\"\ndelay_notice = \"{notice}\"");
        let town = TestTown::start(plan.relay(&lines)).await;
        send(&town, &["a@later.example NOTIFY=DELAY", "b@later.example NOTIFY=FAILURE"], MESSAGE).await;
        // The third attempt is the first after four hours.
        for attempts in 1..=4 {
            eventually("an attempt", PATIENCE, async || {
                let queue = town.queue(EXMAIL).await;
                queue.iter().all(|entry| entry.attempts == attempts && !entry.leased).then_some(())
            })
            .await;
            let told = if attempts < 3 { 0 } else { reports };
            assert_eq!(town.mail(USR1).await.len(), told, "after {attempts} attempts");
            town.time.advance(3 * HOUR);
        }
        if reports == 1 {
            let report = Report::parse(&town.mail_of(USR1, 1).await[0]);
            assert_eq!(report.subject, "Delayed Mail (still being tried)");
            assert_eq!(report.recipients(), [["rfc822; a@later.example", "delayed", "4.2.1"]]);
            assert!(report.field(1, "Will-Retry-Until").is_some(), "{report:?}");
            assert_eq!(report.field(0, "Original-Envelope-Id"), Some("QQ+1"));
        }
        town.stop().await;
    }
}
