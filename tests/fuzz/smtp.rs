//! SMTP as values: commands, paths and replies, and POP3's commands.

use crate::{fuzz, is_one_line};
use mail_proto::{
    Domain, ForwardPath, LocalPart, Mailbox, ReversePath, pop3,
    smtp::{Command, Reply, ReplyReader, Tolerance},
};
use std::{fmt::Debug, str::FromStr};

/// What a path leaves for a local part, and RFC 5321 §4.5.3.1.
const LOCAL_PART_OCTETS: usize = 252;
const DOMAIN_OCTETS: usize = 255;
const PATH_OCTETS: usize = 256;

fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[test]
fn smtp_command() {
    let vocabulary: &[&[u8]] = &[
        b"HELO ",
        b"EHLO ",
        b"MAIL FROM:<",
        b"RCPT TO:<",
        b"DATA",
        b"RSET",
        b"VRFY ",
        b"NOOP",
        b"a@b",
        b"> ",
        b" SIZE=",
        b" BODY=8BITMIME",
        b"[IPv6:",
        b"]",
        b"\"",
        b"\n",
        b"\xff",
    ];
    fuzz("smtp_command", vocabulary, |input| {
        for line in lines(input) {
            match Command::parse(line, Tolerance::ALL) {
                Ok(command) => {
                    let sent = command.to_string();
                    assert!(is_one_line(&sent), "{sent:?}");
                    assert_eq!(Command::parse(sent.as_bytes(), Tolerance::default()), Ok(command));
                }
                Err(error) => {
                    let reply = error.reply();
                    assert!(matches!(reply.code(), 500 | 501 | 502 | 555), "{reply}");
                    assert!(reply.enhanced().is_some() && reply.lines().len() == 1, "{reply}");
                }
            }
        }
    });
}

#[test]
fn pop3_command() {
    let vocabulary: &[&[u8]] = &[
        b"USER ",
        b"PASS ",
        b"STAT",
        b"LIST",
        b"RETR ",
        b"DELE ",
        b"NOOP",
        b"RSET",
        b"QUIT",
        b"UIDL",
        b"TOP ",
        b"CAPA",
        b"STLS",
        b"AUTH ",
        b"APOP ",
        b"UTF8",
        b"LANG ",
        b" ",
        b"1",
        b"18446744073709551616",
        b"\n",
        b"\xff",
        b"\xc3\xa9",
    ];
    fuzz("pop3_command", vocabulary, |input| {
        for line in lines(input) {
            if let Ok(command) = pop3::Command::parse(line) {
                let sent = command.to_wire();
                let line = sent.strip_suffix("\r\n").unwrap();
                assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
                assert_eq!(pop3::Command::parse(line.as_bytes()), Ok(command));
            }
        }
    });
}

/// Parses `text`, and what it then is as text. Text in ASCII never grows, so that the limits of lengths hold for it too.
fn read_back<T: FromStr<Err: Debug + PartialEq> + ToString + PartialEq + Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let written = value.to_string();
    assert!(is_one_line(&written) && (written.is_ascii() || !text.is_ascii()), "{written:?}");
    assert!(written.len() <= text.len() || !text.is_ascii(), "{text:?} became {written:?}");
    assert_eq!(written.parse().as_ref(), Ok(&value), "{written:?}");
    Some(value)
}

fn check_limits(mailbox: &Mailbox) {
    let (local_part, domain) = (mailbox.local_part().as_str(), mailbox.domain());
    assert!(local_part.len() <= LOCAL_PART_OCTETS, "{mailbox}");
    assert!((1..=DOMAIN_OCTETS).contains(&domain.as_str().len()), "{mailbox}");
    assert_eq!(mailbox.is_postmaster(), local_part.eq_ignore_ascii_case(LocalPart::POSTMASTER), "{mailbox}");
    assert_eq!(domain.is_literal(), domain.as_str().ends_with(']'), "{mailbox}");
}

#[test]
fn path() {
    let vocabulary: &[&[u8]] = &[
        b"<",
        b">",
        b"@",
        b".",
        b":",
        b",",
        b"\"",
        b"\\",
        b"[",
        b"]",
        b"[IPv6:",
        b"[127.0.0.1]",
        b"<postmaster",
        b"user",
        b"mail.example",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\n",
        b"\xc3\xa9",
    ];
    fuzz("path", vocabulary, |input| {
        for line in String::from_utf8_lossy(input).split('\n') {
            let reverse = read_back::<ReversePath>(line);
            let forward = read_back::<ForwardPath>(line);
            assert!(line.len() <= PATH_OCTETS || (reverse.is_none() && forward.is_none()), "{line:?}");
            if let (Some(ReversePath::Mailbox(sender)), Some(ForwardPath::Mailbox(recipient))) = (&reverse, &forward) {
                assert_eq!(sender, recipient);
                assert!(sender.to_string().len() + "<>".len() <= PATH_OCTETS, "{sender}");
                check_limits(sender);
            }
            read_back::<Domain>(line);
            if let Some(mailbox) = read_back::<Mailbox>(line) {
                check_limits(&mailbox);
            }
        }
    });
}

/// The most lines and octets of a reply that are kept, except its last line.
const REPLY_LINES: usize = 100;
const REPLY_OCTETS: usize = 8 * 1024;

fn read(reader: &mut ReplyReader, wire: &str) -> Option<Reply> {
    wire.split_terminator("\r\n").find_map(|line| reader.line(line.as_bytes()).unwrap())
}

#[test]
fn smtp_reply() {
    let vocabulary: &[&[u8]] = &[
        b"250-",
        b"250 ",
        b"250-",
        b"550 ",
        b"550-",
        b"421 ",
        b"2.1.5 ",
        b"5.1.1 ",
        b"5.1.",
        b".",
        b" ",
        b"2.0.0\t",
        b"\n",
        b"\r\n",
        b"\n250 ",
        b"\n250-",
        b"\x1b[2J",
        b"\xff",
        b"\xc3\xa9",
    ];
    fuzz("smtp_reply", vocabulary, |input| {
        let mut reader = ReplyReader::default();
        for line in lines(input) {
            match reader.line(line) {
                Ok(None) => {}
                Ok(Some(reply)) => {
                    let octets: usize = reply.lines().iter().rev().skip(1).map(|line| line.len()).sum();
                    assert!(reply.lines().len() <= REPLY_LINES && octets < REPLY_OCTETS, "{reply}");
                    assert!((200..600).contains(&reply.code()) && is_one_line(&reply.on_one_line()), "{reply}");
                    assert_eq!(read(&mut ReplyReader::default(), &reply.to_string()).as_ref(), Some(&reply), "{reply}");
                }
                Err(_) => reader = ReplyReader::default(),
            }
        }
    });
}
