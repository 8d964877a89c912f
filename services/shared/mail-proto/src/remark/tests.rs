mod pop3;
mod smtp;

use super::*;
use proptest::prelude::*;

/// Plays a script and returns the remarks, as `at side name`. Its events are separated by ` / `: `C: line`, `S: line`
/// and their raw forms `C! octets` and `S! octets` with `\r`, `\n`, `\0` and `\x` for the octet 0xE9; `TLS`, `EOF C`,
/// `EOF S`.
fn remarks(protocol: Protocol, script: &str) -> String {
    let mut machine = Remarks::new(protocol);
    let mut found = Vec::new();
    for event in script.split(" / ") {
        let side = if event.starts_with('C') || event == "EOF C" { Side::Client } else { Side::Server };
        match (event, event.get(1..2)) {
            ("TLS", _) => machine.encrypted(),
            ("EOF C" | "EOF S", _) => found.extend(machine.closed(Some(side))),
            (_, Some(":")) => {
                let text = event[2..].strip_prefix(' ').unwrap_or(&event[2..]);
                found.extend(machine.saw(side, Form::Line, format!("{text}\r\n").as_bytes()));
            }
            _ => found.extend(machine.saw(side, Form::Line, &raw(&event[3..]))),
        }
    }
    let found = found.iter().map(|Remark { what, by, at, .. }| format!("{at} {by} {what}"));
    found.collect::<Vec<_>>().join(", ")
}

fn raw(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'\\' => match rest.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b'0' => 0,
                _ => 0xE9,
            },
            octet => octet,
        });
    }
    octets
}

/// Checks a table of what follows `before`, and what there is to remark. Events are counted from `before` on.
fn check(protocol: Protocol, before: &str, table: &[(&str, &str)]) {
    assert_eq!(remarks(protocol, before), "", "{before}");
    for (script, expected) in table {
        let found = remarks(protocol, &[before, script].join(" / "));
        assert_eq!(found, *expected, "{script}");
    }
}

#[test]
fn the_table_is_sound() {
    for (index, breach) in Breach::ALL.iter().enumerate() {
        assert!(Breach::ALL[..index].iter().all(|other| other.name() != breach.name()), "{breach}");
        assert!(breach.text().ends_with('.') && !breach.text().contains(". "), "{breach}");
    }
}

#[test]
fn a_masked_secret_is_not_judged() {
    let mut machine = Remarks::new(Protocol::Smtp);
    let lines: [(Side, Form, &str); 7] = [
        (Side::Server, Form::Line, "220 a"),
        (Side::Client, Form::Line, "EHLO b"),
        (Side::Server, Form::Line, "250-a\r\n250 AUTH SCRAM-SHA-256"),
        (Side::Client, Form::Secret, "AUTH SCRAM-SHA-256 ******"),
        (Side::Server, Form::Line, "334 abcd"),
        (Side::Client, Form::Secret, "** **"),
        (Side::Server, Form::Line, "235 ok"),
    ];
    for (side, form, line) in lines {
        assert_eq!(machine.saw(side, form, format!("{line}\r\n").as_bytes()), [], "{line}");
    }
}

/// Feeds what is right: lines that begin with C or S for the side.
fn feed(machine: &mut Remarks, lines: &[&str]) {
    for line in lines {
        let side = if line.starts_with('C') { Side::Client } else { Side::Server };
        assert_eq!(machine.saw(side, Form::Line, format!("{}\r\n", &line[1..]).as_bytes()), [], "{line}");
    }
}

#[test]
fn octets_of_a_body_that_were_not_kept_are_no_breach() {
    let open = [
        "S220 a",
        "CEHLO b",
        "S250-a",
        "S250-PIPELINING",
        "S250 CHUNKING",
        "CMAIL FROM:<a@b>",
        "S250 ok",
        "CRCPT TO:<a@b>",
        "S250 ok",
    ];
    for rest in [["S250 taken", "CQUIT", "S221 bye"], ["CQUIT", "S250 taken", "S221 bye"]] {
        let mut machine = Remarks::new(Protocol::Smtp);
        feed(&mut machine, &open);
        feed(&mut machine, &["CDATA", "S354 go"]);
        assert_eq!(machine.saw(Side::Client, Form::Body, b"the first half, cut in a li"), []);
        machine.missing(Side::Client, 99);
        feed(&mut machine, &rest);
        assert_eq!(machine.closed(None), []);
    }

    let mut machine = Remarks::new(Protocol::Smtp);
    feed(&mut machine, &open);
    feed(&mut machine, &["CBDAT 50"]);
    assert_eq!(machine.saw(Side::Client, Form::Body, b"0123456789"), []);
    machine.missing(Side::Client, 40);
    feed(&mut machine, &["CBDAT 4 LAST"]);
    assert_eq!(machine.saw(Side::Client, Form::Body, b"\n\r\n\r"), []);
    feed(&mut machine, &["S250 ok", "S250 ok", "CQUIT", "S221 bye"]);
    assert_eq!(machine.closed(None), []);

    let mut machine = Remarks::new(Protocol::Pop3);
    feed(&mut machine, &["S+OK", "CAPOP a b", "S+OK", "CRETR 1", "S+OK"]);
    assert_eq!(machine.saw(Side::Server, Form::Body, b"the first half, cut in a li"), []);
    machine.missing(Side::Server, 99);
    feed(&mut machine, &["CQUIT", "S+OK"]);
    assert_eq!(machine.closed(None), []);
}

#[test]
fn a_line_may_come_in_pieces() {
    let mut machine = Remarks::new(Protocol::Smtp);
    machine.saw(Side::Server, Form::Line, b"220 a\r\n");
    for octet in b"NOOP" {
        assert_eq!(machine.saw(Side::Client, Form::Line, &[*octet]), []);
    }
    let found = machine.saw(Side::Client, Form::Line, b"\nNOOP\n");
    assert_eq!(found.iter().map(|remark| remark.at).collect::<Vec<_>>(), [1, 5], "{found:?}");
}

/// Octets that mean something, of either side.
fn octets() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let words = [
        "\r\n",
        "\n",
        "\r",
        ".",
        "EHLO a",
        "MAIL FROM:<a@b>",
        "RCPT TO:<a@b>",
        "DATA",
        "BDAT 3",
        "STARTTLS",
        "AUTH PLAIN",
        "QUIT",
        "250 ok",
        "250-PIPELINING",
        "354 go",
        "334 ",
        "220 a",
        "421 x",
        "+OK",
        "-ERR",
        "+ ",
        "USER a",
        "PASS a",
        "RETR 1",
        "UIDL",
        "STLS",
        "CAPA",
        "SASL PLAIN",
        "\0",
        "\u{16}\u{3}",
        "é",
        " ",
    ];
    let word = prop::sample::select(words.to_vec());
    let text = prop::collection::vec((word, any::<bool>()), 1..6);
    let octets = text.prop_map(|words| {
        let ended = words.iter().map(|(word, ends)| if *ends { format!("{word}\r\n") } else { (*word).to_owned() });
        ended.collect::<String>().into_bytes()
    });
    (any::<bool>(), octets)
}

/// What was found, in order; `chunk_octets` at a time.
fn found(protocol: Protocol, events: &[(bool, Vec<u8>)], chunk_octets: usize) -> Vec<(Side, Breach)> {
    let mut machine = Remarks::new(protocol);
    let mut found = Vec::new();
    for (by_client, octets) in events {
        let side = if *by_client { Side::Client } else { Side::Server };
        octets.chunks(chunk_octets).for_each(|chunk| found.extend(machine.saw(side, Form::Line, chunk)));
    }
    found.extend(machine.closed(None));
    found.iter().map(|remark| (remark.by, remark.what)).collect()
}

proptest! {
    #[test]
    fn whatever_comes_the_pieces_do_not_matter(events in prop::collection::vec(octets(), 1..20), chunk_octets in 1usize..9) {
        for protocol in [Protocol::Smtp, Protocol::Pop3] {
            prop_assert_eq!(found(protocol, &events, chunk_octets), found(protocol, &events, usize::MAX));
        }
    }
}
