//! SMTP sessions.

use crate::{
    script::{Script, big_message, file, live, start},
    tshark::File,
};
use capture::{Options, Ports, Vantage};
use internal_api::{Handled, Mark, Protocol, Role, SessionRecords};
use jiff::SignedDuration;

const MESSAGE: &str = "From: a@gmail.com\r\nTo: b@gmail.com\r\nSubject: lunch\r\n\r\nAt noon?\r\n..hidden\r\n";
const TLS: &str = "TLS 1.3, TLS13_AES_256_GCM_SHA384";

fn greeted(protocol: Protocol) -> Script {
    Script::new(protocol).s("220 gmail.com ready\r\n").hello()
}

/// Both ways to make a file, each with what the client and the server said.
fn files(script: Script, reason: &str) -> [(File, Vec<u8>, Vec<u8>); 2] {
    let (client, server) = (script.client.clone(), script.server.clone());
    let session = script.end(reason);
    let live = live(Options::default(), std::slice::from_ref(&session));
    let files = [file(Options::default(), [session]), live];
    files.map(|octets| (File::new(&octets), client.clone(), server.clone()))
}

/// Fails unless the first stream is what was said, and all else is as it should be.
fn assert_told((file, client, server): &(File, Vec<u8>, Vec<u8>)) {
    let (c, s) = file.follow(0);
    assert_eq!(String::from_utf8_lossy(&c), String::from_utf8_lossy(client));
    assert_eq!(String::from_utf8_lossy(&s), String::from_utf8_lossy(server));
    file.assert_sound();
    assert_eq!(file.warnings(), Vec::<String>::new());
}

#[test]
fn a_plain_session_needs_no_options() {
    let script = greeted(Protocol::Smtp).transaction(0, &["b@gmail.com"], MESSAGE.as_bytes()).quit();
    for file in files(script, "quit") {
        assert_told(&file);
        let (file, ..) = &file;
        assert_eq!(file.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
        assert_eq!(file.field("smtp.response.code"), ["220", "250", "250", "250", "354", "250", "221"]);
        assert_eq!(file.field("imf.subject"), ["lunch"]);
        assert_eq!(file.field("imf.from"), ["a@gmail.com"]);
        // The final dot is alone.
        assert_eq!(file.tshark(&["-Y", "imf", "-T", "fields", "-e", "tcp.payload"]).trim_end(), "2e0d0a");
        let fins = file.field("tcp.flags").into_iter().filter(|flags| flags.ends_with("011"));
        assert_eq!(fins.count(), 2);
    }
}

#[test]
fn comments_tell_whose_packets_they_are() {
    let script = greeted(Protocol::Smtp)
        .transaction(0, &["b@gmail.com"], MESSAGE.as_bytes())
        .transaction(1, &["b@gmail.com"], MESSAGE.as_bytes())
        .quit();
    let id = script.id();
    let query = "session=1".to_owned();
    let session = script.end("quit");
    let mut options = Options { query, ..Options::default() };
    options.know(&session.session);
    let file = File::new(&file(options, [session]));
    let comments = file.field("frame.comment");
    let expected = [
        format!(
            "session {id} (connection 00000000c488)\\nseen by smtp-gateway of gmail.com, the server\\n\
             really from 127.0.0.1:50312 to 127.0.0.1:1025\\nmessage 0000000938nkr, 0000000938nks"
        ),
        format!("session {id}, transaction 1\\nmessage 0000000938nkr"),
        format!("session {id}, transaction 1, message 0000000938nkr: accepted"),
        format!("session {id}, transaction 2\\nmessage 0000000938nks"),
        format!("session {id}, transaction 2, message 0000000938nks: accepted"),
        format!("session {id} ended: quit"),
    ];
    assert_eq!(comments, expected);
    let info = file.capinfos();
    for line in [
        "Capture application: mailtown",
        "Capture comment:     query: session=1",
        "10.1.0.25 is smtp.gmail.com, really 127.0.0.1:1025",
        "Name = smtp.gmail.com",
        "Time precision = nanoseconds (9)",
        "Number of resolved IPv4 addresses in file: 1",
    ] {
        assert!(info.contains(line), "{line:?} is not in\n{info}");
    }
    let numbers = file.fields("", ["frame.packet_id", "frame.packet_flags_direction"]);
    assert_eq!(numbers[..3], [["1", "0x00000001"], ["2", "0x00000002"], ["3", "0x00000001"]]);
}

#[test]
fn pipelined_commands_are_segments_of_their_own() {
    let body = MESSAGE.as_bytes();
    let script = greeted(Protocol::Smtp)
        .c("MAIL FROM:<a@gmail.com>\r\nRCPT TO:<b@gmail.com>\r\nRCPT TO:<c@gmail.com>\r\nDATA\r\n")
        .s("250 sender ok\r\n250 recipient ok\r\n550-no\r\n550 such user\r\n354 go on\r\n")
        .body(true, &[body, b".\r\n"].concat(), 8192)
        .c("QUIT\r\n")
        .message(0, Handled::Accepted, 1)
        .s("250 queued\r\n221 bye\r\n");
    for file in files(script, "quit") {
        assert_told(&file);
        assert_eq!(file.0.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "QUIT"]);
        let codes = ["220", "250", "250", "250", "550", "354", "250", "221"];
        assert_eq!(file.0.field("smtp.response.code"), codes);
        assert_eq!(file.0.field("imf.subject"), ["lunch"]);
    }
}

#[test]
fn each_recipient_is_a_command() {
    let recipients: Vec<_> = (0..100).map(|number| format!("user{number}@gmail.com")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    let script = greeted(Protocol::Smtp).transaction(0, &recipients, MESSAGE.as_bytes()).quit();
    for file in files(script, "quit") {
        assert_told(&file);
        let commands = file.0.field("smtp.req.command");
        assert_eq!(commands.iter().filter(|command| *command == "RCPT").count(), 100);
        assert_eq!(file.0.field("imf.subject"), ["lunch"]);
    }
}

#[test]
fn a_refused_session_is_told_with_its_reason() {
    let verdict = Mark::Verdict { about: "RCPT".to_owned(), accepted: false, reply: "550 no such user\r\n".to_owned() };
    let script = greeted(Protocol::Smtp)
        .c("MAIL FROM:<a@gmail.com>\r\n")
        .s("250 sender ok\r\n")
        .c("RCPT TO:<nobody@gmail.com>\r\n")
        .mark(verdict)
        .s("550 no such user\r\n")
        .c("DATA\r\n")
        .s("503 no recipient\r\n")
        .quit();
    for file in files(script, "quit") {
        assert_told(&file);
        assert!(file.0.field("frame.comment").contains(&"RCPT is refused: 550 no such user".to_owned()));
        assert_eq!(file.0.field("smtp.response.code")[3..], ["550", "503", "221"]);
        assert_eq!(file.0.field("imf.subject"), Vec::<String>::new());
    }
}

#[test]
fn a_reset_is_the_only_warning() {
    let script = greeted(Protocol::Smtp)
        .c("MAIL FROM:<a@gmail.com>\r\nRCPT TO:<b@gmail.com>\r\nDATA\r\n")
        .s("250 ok\r\n250 ok\r\n354 go on\r\n")
        .body(true, b"Subject: half\r\n\r\nthis line has no e", 10);
    for (file, client, server) in files(script, "Connection reset by peer (os error 104)") {
        assert_eq!(file.follow(0), (client, server));
        assert_eq!(file.warnings(), ["1 Sequence TCP Connection reset (RST)"]);
        let [flags, source] = file.fields("", ["tcp.flags", "ip.src"]).pop().unwrap();
        assert!(flags.ends_with("014") && source == "10.0.0.1", "{flags} {source}");
    }
}

#[test]
fn an_attempt_without_connection_is_a_syn() {
    for (reason, packets, warnings) in [
        ("Connection refused (os error 111)", 2, vec!["1 Sequence TCP Connection reset (RST)"]),
        ("timed out", 1, vec![]),
    ] {
        let script = Script::at(Protocol::Smtp, Role::Client, 50_000, start()).mark(Mark::Resolved {
            domain: "other.test".parse().unwrap(),
            exchange: "mx.other.test".to_owned(),
            address: "127.0.0.1:1025".to_owned(),
        });
        for (file, ..) in files(script, reason) {
            assert_eq!(file.field("frame.number").len(), packets);
            assert_eq!(file.warnings(), warnings);
            let comments = file.field("frame.comment");
            assert!(
                comments[0].contains("mail for other.test goes to mx.other.test at 127.0.0.1:1025"),
                "{comments:?}"
            );
            assert!(comments.last().unwrap().contains(&format!("ended: {reason}")), "{comments:?}");
            assert!(file.capinfos().contains("Name = mx.other.test"));
        }
    }
}

#[test]
fn of_a_connection_one_end_is_shown() {
    let sessions = || -> [SessionRecords; 2] {
        let server = greeted(Protocol::Smtp).transaction(0, &["b@gmail.com"], MESSAGE.as_bytes()).quit();
        let client = Script::at(Protocol::Smtp, Role::Client, 50_312, start())
            .connected(50_312)
            .s("220 gmail.com ready\r\n")
            .hello()
            .message(1, Handled::Sending, 1)
            .transaction(0, &["b@gmail.com"], MESSAGE.as_bytes())
            .quit();
        [server.end("quit"), client.end("quit")]
    };
    for (vantage, says) in [(Vantage::Server, "the server"), (Vantage::Client, "the client")] {
        let options = || Options { vantage, ..Options::default() };
        for octets in [file(options(), sessions()), live(options(), &sessions())] {
            let file = File::new(&octets);
            file.assert_sound();
            assert_eq!(file.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
            assert!(file.field("frame.comment")[0].contains(says));
            assert_eq!(file.warnings(), Vec::<String>::new());
            // The client's end calls the server by the name it has.
            assert!(file.capinfos().contains("Name = smtp.gmail.com"));
        }
    }
}

/// A server outside the town records nothing: what the town's relay has seen is there.
#[test]
fn of_a_peer_outside_the_town_the_clients_end_is_shown() {
    let client = Script::at(Protocol::Smtp, Role::Client, 50_312, start())
        .connected(50_312)
        .s("220 peer.example ready\r\n")
        .hello()
        .transaction(0, &["b@peer.example"], MESSAGE.as_bytes())
        .quit()
        .end("quit");
    for octets in [file(Options::default(), [client.clone()]), live(Options::default(), &[client])] {
        let file = File::new(&octets);
        file.assert_sound();
        assert_eq!(file.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
        assert_eq!(file.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_body_that_was_cut_keeps_its_length() {
    let (kept, cut) = (MESSAGE.as_bytes(), 200_003);
    // Cut at the end of a line, within one, and within the end.
    for (kept, cut) in [(kept, cut), (&kept[..kept.len() - 3], cut), (kept, 3), (kept, 5), (&kept[..kept.len() - 1], 4)]
    {
        let script = greeted(Protocol::Smtp)
            .c("MAIL FROM:<a@gmail.com>\r\nRCPT TO:<b@gmail.com>\r\nDATA\r\n")
            .s("250 ok\r\n250 ok\r\n354 go on\r\n")
            .body(true, kept, 10)
            .missing(true, cut)
            .message(0, Handled::Accepted, 1)
            .s("250 queued\r\n")
            .transaction(1, &["b@gmail.com"], b"Subject: another\r\n\r\n")
            .quit();
        let before = script.client.windows(5).position(|octets| octets == b"lunch").unwrap() + kept.len() - 52;
        for (file, client, server) in files(script, "quit") {
            file.assert_sound();
            assert_eq!(file.warnings(), Vec::<String>::new());
            assert_eq!(file.field("imf.subject"), ["lunch", "another"], "{cut}");
            assert_eq!(file.field("smtp.req.command").last().unwrap(), "QUIT");
            let (shown, replies) = file.follow(0);
            assert_eq!(replies, server);
            assert_eq!(shown.len(), client.len() + usize::try_from(cut).unwrap());
            assert!(shown.starts_with(&client[..before]));
            let comment =
                format!("octets of this body that were not kept: {cut}; lines that say so stand in their place");
            assert!(file.field("frame.comment").iter().any(|comments| comments.contains(&comment)));
        }
    }
}

#[test]
fn a_body_that_was_given_up_has_no_end() {
    let script = greeted(Protocol::Smtp)
        .c("MAIL FROM:<a@gmail.com>\r\nRCPT TO:<b@gmail.com>\r\nDATA\r\n")
        .s("250 ok\r\n250 ok\r\n354 go on\r\n")
        .body(true, MESSAGE.as_bytes(), 8192)
        .missing(true, 1000)
        .s("421 idle for too long\r\n");
    for (file, client, _) in files(script, "idle for too long") {
        assert_eq!(file.follow(0).0.len(), client.len() + 1000);
        assert!(!file.follow(0).0.ends_with(b"\r\n.\r\n"));
        assert_eq!(file.warnings(), Vec::<String>::new());
    }
}

#[test]
fn chunks_are_counted() {
    let first = [b"Subject: chunks\r\n\r\n".as_slice(), &b"a line of text\r\n".repeat(6000)].concat();
    // The end of the last line is far from the end.
    let last = [&b"lines of text.\r\n".repeat(4015)[..], &[b'x'; 11]].concat();
    assert_eq!(last.len(), 64_251);
    let script = greeted(Protocol::Smtp)
        .c("MAIL FROM:<a@gmail.com>\r\nRCPT TO:<b@gmail.com>\r\n")
        .s("250 ok\r\n250 ok\r\n")
        .c(&format!("BDAT {}\r\n", first.len()))
        .body(true, &first, 8192)
        .s("250 go on\r\n")
        .c("BDAT 64251 LAST\r\n")
        .body(true, &last, 64_251)
        .message(0, Handled::Accepted, 1)
        .s("250 queued\r\n")
        .quit();
    for file in files(script, "quit") {
        assert_told(&file);
        assert_eq!(file.0.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "BDAT", "BDAT", "QUIT"]);
        // It is put together; that it is not decoded as IMF is so in Wireshark 4.0, for any capture of BDAT.
        assert_eq!(file.0.field("smtp.data.reassembled.in").last().map(String::as_str), Some("18"));
    }
}

#[test]
fn starttls_ends_the_connection_and_begins_another() {
    let encrypted = || Mark::Encrypted { tls: TLS.to_owned() };
    let script = greeted(Protocol::Smtp).c("STARTTLS\r\n").s("220 go on\r\n").mark(encrypted());
    let (before, after) = ((script.client.len(), script.server.len()), script);
    let script = after
        .hello()
        .secret("AUTH PLAIN ************\r\n")
        .mark(Mark::LoggedIn { user: "a@gmail.com".to_owned() })
        .s("235 welcome\r\n")
        .transaction(0, &["b@gmail.com"], MESSAGE.as_bytes())
        .quit();
    for (file, client, server) in files(script, "quit") {
        file.assert_sound();
        // Wireshark says so of every AUTH PLAIN, also of one that is not masked, as long as its preference is off.
        assert_eq!(
            file.warnings(),
            ["1 Protocol SMTP base64 decode failed or is not enabled (check SMTP preferences)"]
        );
        assert_eq!(file.follow(0), (client[..before.0].to_vec(), server[..before.1].to_vec()));
        assert_eq!(file.follow(1), (client[before.0..].to_vec(), server[before.1..].to_vec()));
        let commands = ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"];
        let shown = file.field("smtp.req.command");
        assert_eq!(shown.len(), commands.len());
        assert!(commands.iter().zip(&shown).all(|(command, shown)| command.starts_with(shown.as_str())), "{shown:?}");
        assert_eq!(file.field("imf.subject"), ["lunch"]);
        assert_eq!(file.connections(), ["10.0.0.1:50312 10.1.0.25:25", "10.0.0.1:50312 10.1.0.25:587"]);
        let comments = file.field("frame.comment");
        let ended = format!(
            "TLS begins: {TLS}\\nthe dialogue goes on, in clear, from 10.0.0.1:50312 to 10.1.0.25:587; \
             really it is the same connection"
        );
        assert!(comments.contains(&ended), "{comments:?}");
        assert!(comments.iter().any(|comment| comment.contains(&format!("with {TLS}"))), "{comments:?}");
    }
}

#[test]
fn tls_from_the_first_octet_on_is_shown_as_submission() {
    let script = Script::new(Protocol::Submissions)
        .mark(Mark::Encrypted { tls: TLS.to_owned() })
        .s("220 gmail.com ready\r\n")
        .hello()
        .transaction(0, &["b@gmail.com"], MESSAGE.as_bytes())
        .quit();
    for file in files(script, "quit") {
        assert_told(&file);
        assert_eq!(file.0.connections(), ["10.0.0.1:50312 10.1.0.25:587"]);
        assert_eq!(file.0.field("imf.subject"), ["lunch"]);
        assert!(file.0.field("frame.comment")[1].contains("encrypted from the first octet on"));
    }
}

#[test]
fn real_ports_are_decoded_with_an_option() {
    let script = greeted(Protocol::Smtp).transaction(0, &["b@gmail.com"], MESSAGE.as_bytes()).quit();
    let options = Options { ports: Ports::Real, ..Options::default() };
    let file = File::new(&file(options, [script.end("quit")]));
    file.assert_sound();
    let commands =
        file.tshark(&["-d", "tcp.port==1025,smtp", "-Y", "smtp.req", "-T", "fields", "-e", "smtp.req.command"]);
    assert_eq!(commands, "EHLO\nMAIL\nRCPT\nDATA\nQUIT\n");
}

#[test]
fn a_long_message_is_whole() {
    let message = big_message(25 * 1024 * 1024);
    let script = greeted(Protocol::Smtp).transaction(0, &["b@gmail.com"], &message).quit();
    for file in files(script, "quit") {
        let (file, client, server) = file;
        assert!(file.follow(0) == (client, server));
        file.assert_sound();
        assert_eq!(file.warnings(), Vec::<String>::new());
        assert_eq!(file.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
        assert_eq!(file.field("imf.subject"), ["big"]);
        assert_eq!(file.field("smtp.data.reassembled.length"), [message.len().to_string()]);
    }
}

#[test]
fn an_empty_message_is_over_at_once() {
    let script = greeted(Protocol::Smtp).transaction(0, &["b@gmail.com"], b"").quit();
    for file in files(script, "quit") {
        assert_told(&file);
        assert_eq!(file.0.field("smtp.req.command"), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
    }
}

#[test]
fn sessions_are_shown_in_the_order_of_time() {
    let at = |milliseconds| start() + SignedDuration::from_millis(milliseconds);
    let session = |port, begin, pause| {
        Script::at(Protocol::Smtp, Role::Server, port, at(begin))
            .s("220 gmail.com ready\r\n")
            .wait(SignedDuration::from_millis(pause))
            .hello()
            .transaction(0, &["b@gmail.com"], MESSAGE.as_bytes())
            .quit()
            .end("quit")
    };
    // The last one has the port of the first one.
    let sessions = || [session(50_000, 0, 20), session(50_001, 5, 30), session(50_002, 6, 0), session(50_000, 90, 0)];
    for octets in [file(Options::default(), sessions()), live(Options::default(), &sessions())] {
        let file = File::new(&octets);
        file.assert_sound();
        assert!(file.capinfos().contains("Strict time order:   True"), "{}", file.capinfos());
        assert_eq!(file.field("imf.subject").len(), 4);
        assert_eq!(file.warnings(), Vec::<String>::new());
        let clients = ["10.0.0.1:50000", "10.0.0.1:50001", "10.0.0.1:50002", "10.0.0.2:50000"];
        assert_eq!(file.connections(), clients.map(|client| format!("{client} 10.1.0.25:25")));
    }
}

#[test]
fn a_capture_of_nothing_can_be_read() {
    for octets in [file(Options::default(), []), live(Options::default(), &[])] {
        let file = File::new(&octets);
        assert_eq!(file.tshark(&[]), "");
        assert!(file.capinfos().contains("Number of packets:   0"), "{}", file.capinfos());
    }
}
