//! Mail that cannot arrive: its sender is told, in a form that mail clients understand (RFC 3464).

use internal_api::Submission;
use mail_parser::{MessageParser, MimeHeaders};
use mail_proto::ReversePath;
use std::time::Duration;
use town_config::PortKey;
use town_tests::{EXMAIL, FakePeer, GMAIL, HOUR, PATIENCE, Plan, TestTown, USR1, USR2, eventually, polite};

/// A failure message, taken apart.
#[derive(Debug)]
struct Failure {
    /// For the human reader.
    explanation: String,
    /// The fields about the message and about each recipient (RFC 3464 §2.2 and §2.3).
    status: Vec<Vec<String>>,
    /// The header section of what failed.
    headers: String,
}

impl Failure {
    /// The only message of usr1, once it is there.
    async fn of(town: &TestTown, limit: Duration) -> Self {
        Self::parse(&town.mail_within(USR1, 1, limit).await.remove(0))
    }

    fn parse(message: &[u8]) -> Self {
        let report = MessageParser::default().parse(message).unwrap();
        let kind = report.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        assert_eq!(report.to().unwrap().first().unwrap().address(), Some(USR1));
        let types: Vec<_> = report.parts[1..]
            .iter()
            .map(|part| {
                part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap())).unwrap()
            })
            .collect();
        assert_eq!(types, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
        let [explanation, status, headers] =
            [1, 2, 3].map(|part: usize| String::from_utf8(report.parts[part].contents().to_vec()).unwrap());
        let groups = status.trim_end().split("\r\n\r\n");
        let status = groups.map(|group| group.split("\r\n").map(str::to_owned).collect()).collect();
        Self { explanation, status, headers }
    }

    /// The value of a field about a recipient.
    fn field(&self, recipient: usize, name: &str) -> Option<&str> {
        let fields = &self.status[recipient + 1];
        fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The recipient, the status code and the diagnosis of the only failure.
    fn only(&self) -> [&str; 3] {
        assert_eq!(self.status.len(), 2, "{self:?}");
        assert_eq!(self.field(0, "Action"), Some("failed"));
        ["Final-Recipient", "Status", "Diagnostic-Code"].map(|name| self.field(0, name).unwrap())
    }
}

const LOST: &[u8] = b"Subject: lost\r\n\r\nnot for the report\r\n";

#[tokio::test]
async fn an_unknown_user_elsewhere_is_reported_in_the_words_of_the_peer_within_two_seconds() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR1, &["nobody@gmail.com"], LOST).await;
    let failure = Failure::of(&town, Duration::from_secs(2)).await;
    let words = "550 5.1.1 <nobody@gmail.com>: no such mailbox here";
    assert_eq!(failure.only(), ["rfc822; nobody@gmail.com", "5.1.1", &format!("smtp; {words}")]);
    assert_eq!(failure.field(0, "Remote-MTA"), Some("dns; gmail-smtp-in.l.google.com"));
    assert!(failure.status[0].contains(&"Reporting-MTA: dns; exmail.qq.com".to_owned()), "{failure:?}");
    assert!(failure.explanation.contains(&format!("gmail-smtp-in.l.google.com said: {words}\r\n")), "{failure:?}");
    assert_eq!(failure.headers.trim_end(), "Subject: lost");
    town.drained(EXMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn what_the_zone_says_no_to_fails_at_once() {
    let plan = Plan::default();
    let own = plan.port(EXMAIL, PortKey::Smtp);
    let plan = plan.mx("null.example", "\".\"").mx("circle.example", "\"circle.example.\"").p("circle.example", own);
    let town = TestTown::start(plan.mx("portless.example", "\"nowhere.example.\"")).await;
    let table = [
        ("a@unknown.example", "5.1.2", "550 5.1.2 unknown.example: no such domain"),
        ("a@null.example", "5.1.10", "556 5.1.10 null.example takes no mail (null MX, RFC 7505)"),
        (
            "a@circle.example",
            "5.4.6",
            "554 5.4.6 mail for circle.example loops back: its exchange circle.example is this server",
        ),
        ("a@portless.example", "5.4.4", "550 5.4.4 portless.example: no exchange has a P record: nowhere.example"),
        ("a@[192.0.2.1]", "5.1.2", "550 5.1.2 [192.0.2.1]: mail is not relayed to address literals"),
    ];
    for (recipient, status, words) in table {
        town.send(USR1, &[recipient], LOST).await;
        let failure = Failure::of(&town, PATIENCE).await;
        assert_eq!(failure.only(), [&format!("rfc822; {recipient}"), status, &format!("X-Mailtown; {words}")]);
        assert_eq!(failure.field(0, "Remote-MTA"), None);
        let mut client = town.pop3(USR1).await;
        client.command(mail_proto::pop3::Command::Dele(1)).await.unwrap();
        client.quit().await;
    }
    town.drained(EXMAIL).await;
    town.stop().await;
}

#[tokio::test]
async fn an_unknown_user_of_the_own_domain_is_reported_in_profile_tutorial_and_refused_in_rfc() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR1, &["nobody@mail.sustech.edu.cn", USR2], LOST).await;
    let failure = Failure::of(&town, PATIENCE).await;
    let words = "X-Mailtown; 550 5.1.1 <nobody@mail.sustech.edu.cn>: no such mailbox here";
    assert_eq!(failure.only(), ["rfc822; nobody@mail.sustech.edu.cn", "5.1.1", words]);
    assert_eq!(town.mail_of(USR2, 1).await, [LOST]);
    town.stop().await;

    let town = TestTown::start(Plan::default().rfc()).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let refusal = client.send(USR1, &["nobody@mail.sustech.edu.cn"], LOST).await.unwrap_err();
    let words = "550 5.1.1 <nobody@mail.sustech.edu.cn>: no such mailbox here";
    assert_eq!(refusal.to_string(), format!("RCPT TO:<nobody@mail.sustech.edu.cn>: {words}"));
    town.stop().await;
}

#[tokio::test]
async fn several_failures_of_one_message_at_one_domain_are_one_report() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR1, &["one@gmail.com", "two@gmail.com", "usr@gmail.com"], LOST).await;
    let failure = Failure::of(&town, PATIENCE).await;
    assert_eq!(failure.status.len(), 3, "{failure:?}");
    assert_eq!(failure.field(0, "Final-Recipient"), Some("rfc822; one@gmail.com"));
    assert_eq!(failure.field(1, "Final-Recipient"), Some("rfc822; two@gmail.com"));
    assert_eq!(town.mail_of("usr@gmail.com", 1).await, [LOST]);
    town.stop().await;
}

#[tokio::test]
async fn what_is_only_ever_put_off_expires() {
    let peer = FakePeer::start(|line| match line.text.starts_with("RCPT") {
        true => "450 4.2.1 not today".into(),
        false => polite(line),
    })
    .await;
    let plan = Plan::default().peer("later.example", peer.port());
    let town = TestTown::start(plan.relay("retry = [\"1h\"]\nexpiry = \"90m\"")).await;
    town.send(USR1, &["a@later.example"], LOST).await;
    for (attempts, pause) in [(1, HOUR), (2, HOUR / 2)] {
        eventually("an attempt", PATIENCE, async || {
            let entry = town.queue(EXMAIL).await.pop();
            entry.filter(|entry| entry.attempts == attempts && !entry.leased)
        })
        .await;
        town.time.advance(pause);
    }
    let failure = Failure::of(&town, PATIENCE).await;
    assert_eq!(failure.only(), ["rfc822; a@later.example", "5.4.7", "smtp; 450 4.2.1 not today"]);
    assert!(failure.explanation.contains("it was tried for as long as this server tries"), "{failure:?}");
    town.drained(EXMAIL).await;
    // At once, after an hour, and when its time was up: what is nearly over is no reason to hurry.
    let attempts = peer.transcript().iter().filter(|line| line.starts_with("C: MAIL")).count();
    assert_eq!(attempts, 3);
}

#[tokio::test]
async fn eight_bit_mail_is_not_sent_to_a_peer_that_takes_seven() {
    let peer = FakePeer::start(|line| match line.text.starts_with("EHLO") {
        true => "250-old.example\n250 PIPELINING".into(),
        false => polite(line),
    })
    .await;
    let town = TestTown::start(Plan::default().peer("old.example", peer.port())).await;
    town.send(USR1, &["a@old.example"], b"Subject: lost\r\n\r\n\xc3\xa4\r\n").await;
    let failure = Failure::of(&town, PATIENCE).await;
    let words = "X-Mailtown; 554 5.6.3 old.example takes no 8-bit messages, and this is one";
    assert_eq!(failure.only(), ["rfc822; a@old.example", "5.6.3", words]);
    assert_eq!(failure.field(0, "Remote-MTA"), None);
    assert!(!failure.explanation.contains("said:"), "{failure:?}");
    town.send(USR1, &["a@old.example"], b"Subject: seven\r\n\r\na\r\n").await;
    peer.heard("C: Subject: seven", 1).await;
    town.drained(EXMAIL).await;
    assert!(!peer.transcript().contains(&"C: Subject: lost".to_owned()));
}

#[tokio::test]
async fn a_report_about_any_headers_reaches_a_peer_that_takes_seven_bits() {
    let peer = FakePeer::start(|line| match line.text.starts_with("EHLO") {
        true => "250-old.example\n250 PIPELINING".into(),
        false => polite(line),
    })
    .await;
    let town = TestTown::start(Plan::default().peer("old.example", peer.port())).await;
    let long = "x".repeat(5_000);
    let message = format!("Subject: \u{e9}\0\r\nX-Long: {long}\r\nX-CR: a\tb\r\n\r\nbody\r\n");
    let submission =
        Submission::new("odd", "<sender@old.example>".parse().unwrap(), ["nobody@gmail.com".parse().unwrap()]);
    town.store(EXMAIL).submit(&submission, message.clone().into_bytes().into()).await.unwrap();
    let transcript = peer.heard("S: 250 2.0.0 taken", 1).await;
    let data = transcript.iter().position(|line| line == "S: 354 go on").unwrap();
    let lines = transcript[data + 1..].iter().map_while(|line| line.strip_prefix("C: "));
    let lines: Vec<_> = lines.take_while(|line| *line != ".").collect();
    assert!(lines.iter().all(|line| line.is_ascii() && line.len() <= 998 && !line.contains('\0')));
    let report = MessageParser::default().parse(lines.join("\r\n").as_bytes()).unwrap().into_owned();
    let returned = String::from_utf8(report.parts[3].contents().to_vec()).unwrap();
    assert_eq!(returned.trim_end(), message.split("\r\n\r\n").next().unwrap());
    let status = String::from_utf8(report.parts[2].contents().to_vec()).unwrap();
    assert!(status.contains("Diagnostic-Code: smtp; 550 5.1.1 <nobody@gmail.com>"), "{status}");
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_message_without_an_empty_line_returns_no_body() {
    let town = TestTown::start(Plan::default()).await;
    let message = format!("Subject: lost\r\n{}", "this is no header field\r\n".repeat(5_000));
    town.send(USR1, &["nobody@gmail.com"], message.as_bytes()).await;
    assert_eq!(Failure::of(&town, PATIENCE).await.headers.trim_end(), "Subject: lost");
    town.stop().await;
    let town = TestTown::start(Plan::default()).await;
    let message = "X-Field: one of very many\r\n".repeat(5_000);
    town.send(USR1, &["nobody@gmail.com"], message.as_bytes()).await;
    let failure = Failure::of(&town, PATIENCE).await;
    assert!(failure.headers.len() <= 64 * 1024 && failure.explanation.contains("The beginning of"), "{failure:?}");
    town.stop().await;
}

#[tokio::test]
async fn a_bounce_never_bounces() {
    let town = TestTown::start(Plan::default()).await;
    // Through the store's door, as a failure message is: no client may send from nobody to elsewhere.
    for recipient in ["nobody@gmail.com", "nobody@mail.sustech.edu.cn", "nobody@unknown.example"] {
        let submission =
            Submission::new(format!("bounce-to-{recipient}"), ReversePath::Null, [recipient.parse().unwrap()]);
        town.store(EXMAIL).submit(&submission, LOST.into()).await.unwrap();
    }
    town.drained(EXMAIL).await;
    town.drained(GMAIL).await;
    for server in [EXMAIL, GMAIL] {
        assert_eq!(town.messages(server).await.messages, [], "{server}");
    }
    town.stop().await;
}
