mod login;

use super::*;
use crate::{
    address::{Mailbox, ReversePath},
    smtp::{BodyType, MailParameters, Recipient},
};

const FULL: &str = "250-b HELLO\r\n250-PIPELINING\r\n250-size 1000\r\n250-8BITMIME\r\n250 X\r\n";

fn reply(wire: &str) -> Reply {
    let mut reader = super::super::ReplyReader::default();
    wire.split_terminator("\r\n").find_map(|line| reader.line(line.as_bytes()).unwrap()).unwrap()
}

fn decided(wire: &str) -> Verdict {
    Verdict::Decided(reply(wire))
}

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

fn transaction(recipients: &[&str]) -> Transaction {
    let recipients = recipients.iter().map(|mailbox| mailbox.parse::<Mailbox>().unwrap().into()).collect();
    Transaction { reverse_path: ReversePath::Null, parameters: MailParameters::default(), recipients, octets: 7 }
}

/// A client that has introduced itself and begun a transaction to these recipients.
fn begun(ehlo: &str, recipients: &[&str]) -> (Client, Step) {
    let mut client = Client::new("a".parse().unwrap());
    assert_eq!(client.reply(reply("220 b ready")), send("EHLO a\r\n"));
    assert_eq!(client.reply(reply(ehlo)), Step::Ready);
    let step = client.begin(&transaction(recipients));
    (client, step)
}

fn feed(client: &mut Client, replies: &[&str]) -> Vec<Step> {
    replies.iter().map(|wire| client.reply(reply(wire))).collect()
}

#[test]
fn what_the_server_announces_is_known() {
    let announced = Extensions { pipelining: true, size: Some(1000), eight_bit_mime: true, ..Extensions::default() };
    assert_eq!(begun(FULL, &["x@b"]).0.extensions(), announced);
    // The first line is the server's name.
    assert_eq!(begun("250 SIZE", &["x@b"]).0.extensions(), Extensions::default());
}

#[test]
fn pipelined_with_one_recipient_refused() {
    let (mut client, step) = begun(FULL, &["x@b", "y@b"]);
    assert_eq!(step, send("MAIL FROM:<> SIZE=7 BODY=8BITMIME\r\nRCPT TO:<x@b>\r\nRCPT TO:<y@b>\r\nDATA\r\n"));
    let steps = feed(&mut client, &["250 2.1.0 OK", "550 5.1.1 no", "250 2.1.5 OK", "354 go", "250 2.0.0 OK"]);
    let finished = Step::Finished(vec![decided("550 5.1.1 no"), decided("250 2.0.0 OK")]);
    assert_eq!(steps, [Step::Await, Step::Await, Step::Await, Step::SendBody, finished]);
    assert_eq!(client.quit(), send("QUIT\r\n"));
    assert_eq!(client.reply(reply("221 bye")), Step::Closed);
}

#[test]
fn pipelined_with_all_refused_and_data_taken_all_the_same() {
    let (mut client, _) = begun(FULL, &["x@b"]);
    let steps = feed(&mut client, &["250 OK", "550 no", "354 go", "554 nothing"]);
    let finished = Step::Finished(vec![decided("550 no")]);
    assert_eq!(steps, [Step::Await, Step::Await, send(".\r\n"), finished]);
}

#[test]
fn pipelined_with_the_sender_refused() {
    let (mut client, _) = begun(FULL, &["x@b", "y@b"]);
    assert_eq!(client.sender_refusal(), None);
    let steps = feed(&mut client, &["552 big", "503 mail", "503 mail", "503 mail", "250 OK"]);
    assert_eq!(client.sender_refusal(), Some(&reply("552 big")));
    let finished = Step::Finished(vec![decided("552 big"), decided("552 big")]);
    assert_eq!(steps, [Step::Await, Step::Await, Step::Await, send("RSET\r\n"), finished]);
}

/// Each reply takes long, so that the transaction is given up.
#[test]
fn a_slow_transaction_is_followed_by_one_for_fewer_recipients() {
    let table: [(&[&str], usize, bool); 5] = [
        (&[], 1, true),
        (&["250 OK"], 1, true),
        (&["250 OK", "250 ok", "550 no"], 1, true),
        (&["250 OK", "250 ok", "250 ok", "250 ok", "250 ok"], 2, true),
        (&["250 OK", "550 no", "550 no", "250 ok", "250 ok"], 2, true),
    ];
    for (replies, limit, is_fewer) in table {
        let (mut client, _) = begun(FULL, &["1@b", "2@b", "3@b", "4@b"]);
        feed(&mut client, replies);
        assert_eq!((client.halve_recipients(), client.recipient_limit()), (is_fewer, Some(limit)), "{replies:?}");
    }
    let (mut client, _) = begun(FULL, &["1@b"]);
    assert!(!client.halve_recipients(), "one is the least");
}

#[test]
fn a_limit_of_recipients_leaves_the_rest_to_the_next_transaction() {
    // Replies to four recipients; for each what follows: `+` taken, `n` the next transaction, `-` refused; the limit.
    let table: [([&str; 4], &str, Option<usize>); 8] = [
        (["250 ok", "250 ok", "452 4.5.3 many", "452 4.5.3 many"], "++nn", Some(2)),
        (["250 ok", "250 ok", "552 5.5.3 many", "552 many"], "++nn", Some(2)),
        (["250 ok", "452 4.3.1 storage", "452 x", "452 x"], "+nnn", Some(1)),
        (["452 4.5.3 x", "452 4.5.3 x", "250 ok", "452 4.5.3 x"], "--+n", Some(1)),
        (["250 ok", "452 full", "250 ok", "250 ok"], "+n++", None),
        (["250 ok", "452 4.2.2 full", "250 ok", "552 5.2.2 full"], "+-+-", None),
        (["250 ok", "450 4.5.3 x", "451 4.5.3 x", "552 5.3.4 big"], "+---", None),
        (["552 5.5.3 x", "552 x", "452 x", "452 4.5.3 x"], "----", None),
    ];
    for (replies, expected, limit) in table {
        let (mut client, _) = begun(FULL, &["1@b", "2@b", "3@b", "4@b"]);
        feed(&mut client, &["250 OK"]);
        feed(&mut client, &replies);
        assert_eq!(client.recipient_limit(), limit, "{replies:?}");
        let verdicts: String = client.give_up().unwrap().iter().map(sign).collect();
        assert_eq!(verdicts, expected, "{replies:?}");
    }
}

fn sign(verdict: &Verdict) -> char {
    match verdict {
        Verdict::Undecided => '+',
        Verdict::Postponed(_) => 'n',
        Verdict::Decided(_) => '-',
    }
}

#[test]
fn without_pipelining_no_recipient_is_named_beyond_the_limit() {
    for refusals in [&["452 4.5.3 many"][..], &["452 many", "452 many"]] {
        let (mut client, _) = begun("250 b", &["1@b", "2@b", "3@b", "4@b"]);
        feed(&mut client, &["250 OK", "250 OK"]);
        assert_eq!(feed(&mut client, refusals).last(), Some(&send("DATA\r\n")));
        let steps = feed(&mut client, &["354 go", "250 taken"]);
        let Step::Finished(verdicts) = &steps[1] else { panic!("{steps:?}") };
        assert_eq!(verdicts[0], decided("250 taken"));
        assert!(verdicts[1..].iter().all(|verdict| matches!(verdict, Verdict::Postponed(_))), "{verdicts:?}");
        assert_eq!(client.recipient_limit(), Some(1));
    }
}

#[test]
fn a_mailbox_that_stays_full_is_no_limit() {
    let (mut client, _) = begun(FULL, &["1@b", "2@b"]);
    feed(&mut client, &["250 OK", "250 OK", "452 full", "354 go", "250 taken"]);
    assert_eq!(client.recipient_limit(), Some(1));
    client.begin(&transaction(&["2@b"]));
    let steps = feed(&mut client, &["250 OK", "452 full", "554 nobody", "250 OK"]);
    assert_eq!(steps[3], Step::Finished(vec![decided("452 full")]));
    assert_eq!(client.recipient_limit(), None);
}

/// RFC 5321 §4.5.3.1.10: what one transaction has shown holds for the next.
#[test]
fn a_limit_stays_known_while_it_is_kept_to() {
    let (mut client, _) = begun(FULL, &["1@b", "2@b"]);
    feed(&mut client, &["250 OK", "250 OK", "452 4.5.3 many", "354 go", "250 taken"]);
    client.begin(&transaction(&["2@b"]));
    feed(&mut client, &["250 OK", "250 OK", "354 go", "250 taken"]);
    assert_eq!(client.recipient_limit(), Some(1));
}

#[test]
fn one_by_one_without_pipelining() {
    let mut client = Client::new("a".parse().unwrap());
    feed(&mut client, &["220 b"]);
    assert_eq!(feed(&mut client, &["502 what?", "250 b"]), [send("HELO a\r\n"), Step::Ready]);
    assert_eq!(client.begin(&transaction(&["x@b"])), send("MAIL FROM:<>\r\n"));
    let steps = feed(&mut client, &["250 OK", "450 later", "250 OK"]);
    assert_eq!(steps, [send("RCPT TO:<x@b>\r\n"), send("RSET\r\n"), Step::Finished(vec![decided("450 later")])]);
}

#[test]
fn data_answered_with_success_has_delivered_nothing() {
    let (mut client, _) = begun(FULL, &["x@b", "y@b"]);
    let steps = feed(&mut client, &["250 OK", "250 OK", "550 no", "250 OK"]);
    assert_eq!(steps[3], Step::Unexpected(reply("250 OK")));
    assert_eq!(client.give_up(), Some(vec![Verdict::Undecided, decided("550 no")]));
}

#[test]
fn data_refused_for_now_decides_for_all() {
    for refusal in ["451 later", "554 never"] {
        let (mut client, _) = begun(FULL, &["x@b"]);
        let steps = feed(&mut client, &["250 OK", "250 OK", refusal, "250 OK"]);
        assert_eq!(steps[2..], [send("RSET\r\n"), Step::Finished(vec![decided(refusal)])], "{refusal}");
    }
}

/// Until the message is sent, a connection that breaks has left nothing in doubt.
#[test]
fn a_transaction_is_at_its_commands_until_data_is_answered() {
    let mut client = Client::new("a".parse().unwrap());
    feed(&mut client, &["220 b", FULL]);
    assert!(!client.is_at_commands(), "no transaction");
    let (mut client, _) = begun(FULL, &["x@b"]);
    for wire in ["250 OK", "250 OK"] {
        assert!(client.is_at_commands(), "before {wire}");
        client.reply(reply(wire));
    }
    assert!(client.is_at_commands(), "before DATA is answered");
    client.reply(reply("354 go"));
    assert!(!client.is_at_commands(), "in the message");
}

#[test]
fn a_verdict_tells_what_the_server_has_said() {
    let said = reply("550 5.1.1 no");
    for verdict in [Verdict::Decided(said.clone()), Verdict::Postponed(said.clone())] {
        assert_eq!(verdict.into_reply(), Some(said.clone()));
    }
    assert_eq!(Verdict::Undecided.into_reply(), None);
}

#[test]
fn what_was_decided_stands_when_the_connection_is_lost() {
    let (mut client, _) = begun(FULL, &["x@b", "y@b"]);
    feed(&mut client, &["250 OK", "550 no", "250 OK", "354 go"]);
    assert_eq!(client.give_up(), Some(vec![decided("550 no"), Verdict::Undecided]));
    let (mut client, _) = begun(FULL, &["x@b"]);
    feed(&mut client, &["552 big"]);
    assert_eq!(client.give_up(), Some(vec![decided("552 big")]));
    let (mut client, _) = begun(FULL, &["x@b"]);
    assert_eq!(feed(&mut client, &["250 OK", "550 no", "554 no"])[2], send("RSET\r\n"));
    assert_eq!(client.give_up(), Some(vec![decided("550 no")]));
    let (mut client, _) = begun(FULL, &["x@b", "y@b"]);
    let goodbye = reply("421 going down");
    assert_eq!(feed(&mut client, &["250 OK", "421 going down"])[1], Step::Refused(goodbye));
    assert_eq!(client.give_up(), Some(vec![Verdict::Undecided, Verdict::Undecided]));
    assert_eq!(client.give_up(), None);
}

#[test]
fn a_reply_that_nothing_asked_for_ends_the_connection() {
    let mut client = Client::new("a".parse().unwrap());
    feed(&mut client, &["220 b", "250-B.example hello\r\n250 X"]);
    assert_eq!(client.server_name(), "b.example");
    assert_eq!(client.reply(reply("250 early")), Step::Refused(reply("250 early")));
}

#[test]
fn a_server_that_will_not_talk() {
    for wire in ["554 no service", "421 later"] {
        assert_eq!(Client::new("a".parse().unwrap()).reply(reply(wire)), Step::Refused(reply(wire)));
    }
    let mut client = Client::new("a".parse().unwrap());
    assert_eq!(feed(&mut client, &["220 b", "421 later"])[1], Step::Refused(reply("421 later")));
    let mut client = Client::new("a".parse().unwrap());
    let steps = feed(&mut client, &["220 b", "502 what?", "550 no"]);
    assert_eq!(steps[1..], [send("HELO a\r\n"), Step::Refused(reply("550 no"))]);
}

/// What the server has not announced is not sent, and stays with us.
#[test]
fn parameters_go_to_those_who_know_them() {
    let parameters = MailParameters {
        size_octets: Some(1),
        body: Some(BodyType::SevenBit),
        smtputf8: true,
        ret: Some("HDRS".parse().unwrap()),
        envid: Some("an id".parse().unwrap()),
        requiretls: true,
        submitter: Some("<s@b>".parse().unwrap()),
    };
    let recipient = Recipient {
        mailbox: "x@b".parse().unwrap(),
        original: Some("rfc822;a+b@c".parse().unwrap()),
        notify: Some("NEVER".parse().unwrap()),
    };
    let recipients = vec![recipient, "y@b".parse::<Mailbox>().unwrap().into()];
    let transaction = Transaction { reverse_path: ReversePath::Null, parameters, recipients, octets: 7 };
    let dsn = "NOTIFY=NEVER ORCPT=rfc822;a+2Bb@c";
    let table = [
        ("PIPELINING", "", String::new()),
        ("SIZE", " SIZE=7", String::new()),
        ("8BITMIME", " BODY=8BITMIME", String::new()),
        ("SMTPUTF8", " SMTPUTF8", String::new()),
        ("DSN", " RET=HDRS ENVID=an+20id", format!(" {dsn}")),
        ("REQUIRETLS", " REQUIRETLS", String::new()),
        // Not without a login.
        ("AUTH PLAIN", "", String::new()),
    ];
    for (keyword, mail, rcpt) in table {
        let (mut client, _) = begun(&format!("250-b\r\n250-PIPELINING\r\n250 {keyword}"), &["z@b"]);
        feed(&mut client, &["250 OK", "250 OK", "554 no", "250 OK"]);
        let expected = format!("MAIL FROM:<>{mail}\r\nRCPT TO:<x@b>{rcpt}\r\nRCPT TO:<y@b>\r\nDATA\r\n");
        assert_eq!(client.begin(&transaction), send(&expected), "{keyword}");
    }
}

/// A client that asks for TLS, after the greeting and EHLO.
fn asking_for_tls(ehlo: &str) -> (Client, Step) {
    after_ehlo(Client::new("a".parse().unwrap()).with_starttls(Starttls::WhereOffered), ehlo)
}

fn after_ehlo(mut client: Client, ehlo: &str) -> (Client, Step) {
    client.reply(reply("220 b ready"));
    let step = client.reply(reply(ehlo));
    (client, step)
}

#[test]
fn tls_is_asked_for_where_it_is_offered_and_all_is_said_again() {
    let (mut client, step) = asking_for_tls("250-evil\r\n250-CHUNKING\r\n250 STARTTLS");
    assert_eq!(step, send("STARTTLS\r\n"));
    assert_eq!(client.reply(reply("220 go ahead")), Step::StartTls);
    assert_eq!(client.encrypted(), send("EHLO a\r\n"));
    assert_eq!((client.server_name(), client.extensions()), ("", Extensions::default()), "all is forgotten");
    // Whatever the server announces now, there is no TLS in TLS.
    assert_eq!(client.reply(reply("250-b\r\n250-STARTTLS\r\n250 SIZE 7")), Step::Ready);
    assert_eq!((client.server_name(), client.extensions().size, client.tls_refusal()), ("b", Some(7), None));
    assert_eq!(asking_for_tls("250-b\r\n250 SIZE").1, Step::Ready, "it is not offered");
    let mut plain = Client::new("a".parse().unwrap());
    assert_eq!(feed(&mut plain, &["220 b", "250-b\r\n250 STARTTLS"])[1], Step::Ready, "it is not wanted");
}

#[test]
fn tls_that_is_refused_leaves_the_dialogue_open() {
    let (mut client, _) = asking_for_tls("250-b\r\n250 STARTTLS");
    assert_eq!(client.reply(reply("454 4.7.0 not now")), Step::Ready);
    assert_eq!(client.tls_refusal(), Some(&reply("454 4.7.0 not now")));
    assert_eq!(client.begin(&transaction(&["x@b"])), send("MAIL FROM:<>\r\n"));
    let (mut client, _) = asking_for_tls("250-b\r\n250 STARTTLS");
    assert_eq!(client.reply(reply("421 bye")), Step::Refused(reply("421 bye")));
    // What was injected after the go-ahead is no reply to anything.
    let (mut client, _) = asking_for_tls("250-b\r\n250 STARTTLS");
    client.reply(reply("220 go ahead"));
    assert_eq!(client.reply(reply("250 injected")), Step::Refused(reply("250 injected")));
}

/// Who strips the offer from the reply to EHLO, or the go-ahead, must not hear a login.
#[test]
fn without_tls_that_is_required_nobody_logs_in() {
    let login = || Login { user: "u".into(), password: "p".to_owned().into(), nonce: "n".into(), is_private: true };
    for starttls in [Starttls::Required, Starttls::WhereOffered] {
        let client = || Client::new("a".parse().unwrap()).with_login(login()).with_starttls(starttls);
        let not_offered = after_ehlo(client(), "250-b\r\n250 AUTH SCRAM-SHA-256 PLAIN").1;
        let (mut refused, asked) = after_ehlo(client(), "250-b\r\n250-STARTTLS\r\n250 AUTH SCRAM-SHA-256 PLAIN");
        assert!(refused.has_asked_for_tls() && asked == send("STARTTLS\r\n"), "{asked:?}");
        for step in [not_offered, refused.reply(reply("454 4.7.0 not now"))] {
            match starttls {
                Starttls::Required => assert_eq!(step, Step::InTheClear),
                _ => assert!(matches!(step, Step::SendSecret(_)), "{step:?}"),
            }
        }
        assert_eq!(refused.tls_refusal(), Some(&reply("454 4.7.0 not now")));
    }
}

/// A full dialogue in the words of the hand-out, whatever the server announces.
#[test]
fn the_hand_outs_octets() {
    let mut client = Client::new("a".parse().unwrap()).with_wording(Wording::HandOut);
    let from = ReversePath::Mailbox("U@a".parse().unwrap());
    let transaction = Transaction { reverse_path: from, ..transaction(&["X@b", "Y@b"]) };
    assert_eq!(client.reply(reply("220 b")), send("ehlo a\r\n"));
    assert_eq!(client.reply(reply(FULL)), Step::Ready);
    assert_eq!(client.begin(&transaction), send("mail FROM:<U@a>\r\n"));
    let steps = feed(&mut client, &["250 OK", "250 OK", "250 OK", "354 go", "250 OK"]);
    assert_eq!(steps[..3], [send("rcpt TO:<X@b>\r\n"), send("rcpt TO:<Y@b>\r\n"), send("data\r\n")]);
    assert_eq!(steps[3], Step::SendBody);
    client.begin(&transaction);
    assert_eq!(client.reply(reply("550 no")), send("rset\r\n"));
    assert_eq!(client.reply(reply("250 OK")), Step::Finished(vec![decided("550 no"), decided("550 no")]));
    assert_eq!(client.quit(), send("quit\r\n"));
    let mut old = Client::new("a".parse().unwrap()).with_wording(Wording::HandOut);
    assert_eq!(feed(&mut old, &["220 b", "502 what?"])[1], send("helo a\r\n"));
}

#[test]
fn it_is_known_what_a_reply_will_be_to() {
    let mut client = Client::new("a".parse().unwrap());
    assert_eq!(client.awaited(), Awaited::Greeting);
    feed(&mut client, &["220 b"]);
    assert_eq!(client.awaited(), Awaited::Greeting);
    feed(&mut client, &[FULL]);
    client.begin(&transaction(&["x@b"]));
    let mut awaited = Vec::new();
    for wire in ["250 OK", "250 OK", "354 go", "250 OK"] {
        awaited.push(client.awaited());
        feed(&mut client, &[wire]);
    }
    assert_eq!(awaited, [Awaited::Mail, Awaited::Rcpt(0), Awaited::Data, Awaited::FinalDot]);
    client.quit();
    assert_eq!(client.awaited(), Awaited::Quit);
}

/// A client that has begun a transaction with a server that takes chunks.
fn chunked(ehlo: &str, recipients: &[&str]) -> (Client, Step) {
    let mut client = Client::new("a".parse().unwrap()).with_chunks();
    feed(&mut client, &["220 b", ehlo]);
    let step = client.begin(&transaction(recipients));
    (client, step)
}

#[test]
fn a_message_goes_as_it_is_to_those_who_take_chunks() {
    let taken = Step::Finished(vec![decided("250 taken"), decided("550 no")]);
    let (mut client, step) = chunked("250-b\r\n250-PIPELINING\r\n250 CHUNKING", &["x@b", "y@b"]);
    assert_eq!(step, send("MAIL FROM:<>\r\nRCPT TO:<x@b>\r\nRCPT TO:<y@b>\r\n"));
    let steps = feed(&mut client, &["250 OK", "250 OK", "550 no"]);
    assert_eq!(steps, [Step::Await, Step::Await, Step::SendChunk]);
    assert_eq!((client.last_chunk(7), client.awaited()), (b"BDAT 7 LAST\r\n".to_vec(), Awaited::FinalDot));
    assert!(!client.is_at_commands());
    assert_eq!(client.reply(reply("250 taken")), taken);
    let (mut client, step) = chunked("250-b\r\n250 CHUNKING", &["x@b", "y@b"]);
    assert_eq!(step, send("MAIL FROM:<>\r\n"));
    let steps = feed(&mut client, &["250 OK", "250 OK", "550 no", "250 taken"]);
    assert_eq!(steps[2..], [Step::SendChunk, taken]);
    // A limit of recipients.
    let (mut client, _) = chunked("250-b\r\n250 CHUNKING", &["x@b", "y@b", "z@b"]);
    let steps = feed(&mut client, &["250 OK", "250 OK", "452 4.5.3 many"]);
    assert_eq!(steps[2], Step::SendChunk);
}

#[test]
fn a_message_that_nobody_takes_is_not_sent() {
    for (ehlo, replies) in [
        ("250-b\r\n250-PIPELINING\r\n250 CHUNKING", &["250 OK", "550 no", "550 no", "250 OK"][..]),
        ("250-b\r\n250-PIPELINING\r\n250 CHUNKING", &["550 no", "503 mail", "503 mail", "250 OK"]),
        ("250-b\r\n250 CHUNKING", &["250 OK", "550 no", "550 no", "250 OK"]),
        ("250-b\r\n250 CHUNKING", &["550 no", "250 OK"]),
    ] {
        let (mut client, _) = chunked(ehlo, &["x@b", "y@b"]);
        let steps = feed(&mut client, replies);
        let finished = Step::Finished(vec![decided("550 no"), decided("550 no")]);
        assert_eq!(steps[steps.len() - 2..], [send("RSET\r\n"), finished], "{replies:?}");
    }
}

#[test]
fn chunks_are_sent_where_they_are_wanted_and_announced() {
    let (mut client, _) = chunked("250 b", &["x@b"]);
    assert_eq!(feed(&mut client, &["250 OK", "250 OK"])[1], send("DATA\r\n"));
    let (mut client, _) = begun("250-b\r\n250 CHUNKING", &["x@b"]);
    assert_eq!(feed(&mut client, &["250 OK", "250 OK"])[1], send("DATA\r\n"));
    let mut client = Client::new("a".parse().unwrap()).with_chunks().with_wording(Wording::HandOut);
    feed(&mut client, &["220 b", "250-b\r\n250 CHUNKING"]);
    client.begin(&transaction(&["x@b"]));
    assert_eq!(feed(&mut client, &["250 OK", "250 OK"])[1], send("data\r\n"));
}

/// What was announced stands, whatever the replies to RCPT seem to say (RFC 9422 §4.2).
#[test]
fn an_announced_limit_of_recipients_stays() {
    let (mut client, _) = begun("250-b\r\n250 LIMITS RCPTMAX=3 MAILMAX=2", &["x@b", "y@b"]);
    assert_eq!((client.recipient_limit(), client.extensions().limits.transactions), (Some(3), Some(2)));
    feed(&mut client, &["250 ok", "250 ok", "452 4.5.3 too many"]);
    assert_eq!(client.recipient_limit(), Some(1));
    let (client, _) = begun("250-b\r\n250 LIMITS RCPTMAX=1", &["x@b"]);
    assert_eq!(client.recipient_limit(), Some(1));
}
