//! POP3 sessions.

use crate::{
    script::{Script, big_message, file, live},
    tshark::File,
};
use capture::Options;
use internal_api::{Handled, Mark, Protocol};

const MESSAGE: &str = "From: a@gmail.com\r\nTo: b@gmail.com\r\nSubject: lunch\r\n\r\n..hidden\r\nAt noon?\r\n";
const TLS: &str = "TLS 1.3, TLS13_AES_256_GCM_SHA384";

/// The greeting and a login.
fn logged_in(script: Script) -> Script {
    script
        .c("USER a@gmail.com\r\n")
        .s("+OK\r\n")
        .secret("PASS ******\r\n")
        .mark(Mark::LoggedIn { user: "a@gmail.com".to_owned() })
        .s("+OK 3 messages\r\n")
}

fn greeted() -> Script {
    Script::new(Protocol::Pop3).s("+OK POP3 server ready\r\n")
}

impl Script {
    /// RETR of a message that travels like this, without its final dot.
    fn retrieve(self, number: u64, message: &[u8], each: usize) -> Self {
        self.c(&format!("RETR {number}\r\n"))
            .s(&format!("+OK {} octets\r\n", message.len() - doubled(message)))
            .body(false, &[message, b".\r\n"].concat(), each)
            .message(number, Handled::Fetched, 0)
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|octet| format!("{octet:02x}")).collect()
}

/// How many dots are doubled.
fn doubled(message: &[u8]) -> usize {
    message.windows(4).filter(|octets| *octets == b"\r\n..").count()
}

fn files(script: Script) -> [(File, Vec<u8>, Vec<u8>); 2] {
    let (client, server) = (script.client.clone(), script.server.clone());
    let session = script.end("quit");
    let live = live(Options::default(), std::slice::from_ref(&session));
    let files = [file(Options::default(), [session]), live];
    files.map(|octets| (File::new(&octets), client.clone(), server.clone()))
}

fn assert_told((file, client, server): &(File, Vec<u8>, Vec<u8>)) {
    assert!(file.follow(0) == (client.clone(), server.clone()));
    file.assert_sound();
    assert_eq!(file.warnings(), Vec::<String>::new());
}

#[test]
fn a_plain_session_needs_no_options() {
    let script = logged_in(greeted())
        .c("CAPA\r\n")
        .s("+OK capabilities\r\nTOP\r\nUIDL\r\n.\r\n")
        .c("STAT\r\n")
        .s("+OK 3 300\r\n")
        .c("LIST\r\n")
        .s("+OK 3 messages\r\n")
        .body(false, b"1 100\r\n2 100\r\n3 100\r\n.\r\n", 10)
        .c("LIST 2\r\n")
        .s("+OK 2 100\r\n")
        .c("UIDL\r\n")
        .s("+OK\r\n")
        .body(false, b".\r\n", 10)
        .retrieve(1, MESSAGE.as_bytes(), 30)
        .c("RETR 9\r\n")
        .s("-ERR no such message\r\n")
        .retrieve(2, MESSAGE.replace("lunch", "dinner").as_bytes(), 8192)
        .c("DELE 1\r\n")
        .s("+OK message 1 deleted\r\n")
        .c("QUIT\r\n")
        .s("+OK\r\n");
    for file in files(script) {
        assert_told(&file);
        let (file, ..) = &file;
        let commands = ["USER", "PASS", "CAPA", "STAT", "LIST", "LIST", "UIDL", "RETR", "RETR", "RETR", "DELE", "QUIT"];
        assert_eq!(file.field("pop.request.command"), commands);
        assert_eq!(file.field("imf.subject"), ["lunch", "dinner"]);
        let descriptions = file.field("pop.response.description");
        assert!(descriptions.contains(&"73 octets".to_owned()), "{descriptions:?}");
        // A listing is in the segment of its status, and the message after its own.
        let data = file.tshark(&["-Y", "pop.response.data", "-T", "fields", "-e", "tcp.payload"]);
        let listings = [
            "+OK capabilities\r\nTOP\r\nUIDL\r\n.\r\n",
            "+OK 3 messages\r\n1 100\r\n2 100\r\n3 100\r\n.\r\n",
            "+OK\r\n.\r\n",
        ];
        assert_eq!(data.lines().collect::<Vec<_>>(), listings.map(hex));
        assert!(file.field("frame.comment").iter().any(|comment| comment.ends_with("fetched with RETR")));
    }
}

#[test]
fn pipelined_commands_are_segments_of_their_own() {
    let script = logged_in(greeted())
        .c("UIDL\r\nRETR 1\r\nTOP 2 0\r\nQUIT\r\n")
        .s("+OK\r\n")
        .body(false, b"1 a\r\n2 b\r\n.\r\n", 8192)
        .s("+OK 75 octets\r\n")
        .body(false, &[MESSAGE.as_bytes(), b".\r\n"].concat(), 8192)
        .s("+OK 54 octets\r\n")
        .body(false, b"Subject: top\r\n\r\n.\r\n", 8192)
        .s("+OK\r\n");
    for file in files(script) {
        assert_told(&file);
        assert_eq!(file.0.field("pop.request.command"), ["USER", "PASS", "UIDL", "RETR", "TOP", "QUIT"]);
        assert_eq!(file.0.field("imf.subject")[0], "lunch");
        assert_eq!(file.0.field("pop.response.indicator").len(), 7);
    }
}

#[test]
fn the_beginning_of_a_message_is_shown() {
    let warning = "1 Malformed POP Length must be a string containing an integer";
    for (status, warnings) in
        [("+OK", vec![]), ("+OK 16 octets", vec![]), ("+OK top of message follows", vec![warning])]
    {
        let script = logged_in(greeted())
            .c("TOP 1 0\r\n")
            .s(&format!("{status}\r\n"))
            .body(false, b"Subject: top\r\n\r\n.\r\n", 8192)
            .message(1, Handled::Looked, 0)
            .retrieve(1, MESSAGE.as_bytes(), 8192)
            .c("QUIT\r\n")
            .s("+OK\r\n");
        for (file, client, server) in files(script) {
            assert_eq!(file.follow(0), (client, server));
            file.assert_sound();
            assert_eq!(file.field("imf.subject"), ["top", "lunch"]);
            // The dissector wants a length in the status of TOP, too, which RFC 1939 does not promise.
            assert_eq!(file.warnings(), warnings);
        }
    }
}

#[test]
fn stls_ends_the_connection_and_begins_another() {
    let script = greeted().c("STLS\r\n").s("+OK go on\r\n").mark(Mark::Encrypted { tls: TLS.to_owned() });
    let before = (script.client.len(), script.server.len());
    let script = logged_in(script.c("CAPA\r\n").s("+OK\r\nTOP\r\n.\r\n"))
        .retrieve(1, MESSAGE.as_bytes(), 8192)
        .c("QUIT\r\n")
        .s("+OK\r\n");
    for (file, client, server) in files(script) {
        file.assert_sound();
        assert_eq!(file.warnings(), Vec::<String>::new());
        assert_eq!(file.follow(0), (client[..before.0].to_vec(), server[..before.1].to_vec()));
        assert_eq!(file.follow(1), (client[before.0..].to_vec(), server[before.1..].to_vec()));
        assert_eq!(file.field("pop.request.command"), ["STLS", "CAPA", "USER", "PASS", "RETR", "QUIT"]);
        assert_eq!(file.field("imf.subject"), ["lunch"]);
        // Two lines.
        assert_eq!(file.field("pop.response.data"), [","]);
        assert_eq!(file.connections(), ["10.0.0.1:50312 10.1.0.110:110", "10.0.0.2:50312 10.1.0.110:110"]);
    }
}

#[test]
fn tls_from_the_first_octet_on_is_shown_on_port_110() {
    let script = Script::new(Protocol::Pop3s).mark(Mark::Encrypted { tls: TLS.to_owned() });
    let script = logged_in(script.s("+OK POP3 server ready\r\n")).retrieve(1, MESSAGE.as_bytes(), 8192);
    for file in files(script.c("QUIT\r\n").s("+OK\r\n")) {
        assert_told(&file);
        assert_eq!(file.0.field("imf.subject"), ["lunch"]);
        assert_eq!(file.0.connections(), ["10.0.0.1:50312 10.1.0.110:110"]);
    }
}

#[test]
fn a_long_message_is_whole() {
    let message = big_message(25 * 1024 * 1024);
    let script = logged_in(greeted()).retrieve(1, &message, 65_536).c("QUIT\r\n").s("+OK\r\n");
    for file in files(script) {
        assert_told(&file);
        assert_eq!(file.0.field("pop.request.command"), ["USER", "PASS", "RETR", "QUIT"]);
        assert_eq!(file.0.field("imf.subject"), ["big"]);
        assert_eq!(file.0.field("pop.data.reassembled.length"), [(message.len() + 3).to_string()]);
    }
}

/// The dissector takes a message for whole too early, unless the last segment has more than what dots add.
#[test]
fn doubled_dots_do_not_end_a_message() {
    for octets in [64_100, 64_200, 64_230, 64_240, 64_260, 64_400] {
        let mut message = b"Subject: dots\r\n\r\n".to_vec();
        while message.len() < octets {
            message.extend_from_slice(b"..\r\n+OK\r\n");
        }
        let script =
            logged_in(greeted()).retrieve(1, &message, 1000).retrieve(2, MESSAGE.as_bytes(), 8192).c("QUIT\r\n");
        let script = script.s("+OK\r\n");
        let session = script.end("quit");
        let file = File::new(&file(Options::default(), [session]));
        assert_eq!(file.field("imf.subject"), ["dots", "lunch"], "{octets}");
        // Of one segment, or put together of two: not of one with the other left over.
        let length = message.len() + 3;
        let put_together = if length > 64_240 { vec![length.to_string()] } else { vec![] };
        assert_eq!(file.field("pop.data.reassembled.length"), put_together);
        assert_eq!(file.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_message_that_was_cut_keeps_its_length() {
    for (missing, end) in [(300_000, 0), (40, 0), (3, 3)] {
        let message = big_message(60_000 + missing);
        let kept = &message[..message.len() - missing + end];
        let script = logged_in(greeted())
            .c("RETR 1\r\n")
            .s(&format!("+OK {} octets\r\n", message.len()))
            .body(false, kept, 8192)
            .missing(false, (message.len() - kept.len() + 3) as u64)
            .message(1, Handled::Fetched, 0)
            .retrieve(2, MESSAGE.as_bytes(), 8192)
            .c("QUIT\r\n")
            .s("+OK\r\n");
        for (file, client, server) in files(script) {
            file.assert_sound();
            assert_eq!(file.warnings(), Vec::<String>::new());
            assert_eq!(file.field("imf.subject"), ["big", "lunch"]);
            let (commands, shown) = file.follow(0);
            assert_eq!(commands, client);
            assert_eq!(shown.len(), server.len() + message.len() - kept.len() + 3);
            assert_eq!(file.field("pop.request.command").last().map(String::as_str), Some("QUIT"));
        }
    }
}
