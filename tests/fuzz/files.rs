//! The files of a town: an error is one line that names the file, and its line where it has one.

use crate::{fuzz, is_one_line};
use std::{fmt::Write, path::Path};
use town_config::{
    Config,
    zone::{Host, Port, Zone, ZoneError},
};

/// Checks what is said about a file of this content.
fn check_error(error: &ZoneError, path: &str, content: &[u8]) {
    let text = error.to_string();
    assert!(text.starts_with(path) && is_one_line(&text), "{text:?}");
    match error {
        ZoneError::Text { line, message, .. } => {
            let lines = 1 + content.iter().filter(|octet| **octet == b'\n').count();
            assert!((1..=lines).contains(line), "line {line} of {lines}: {text}");
            assert!(!message.is_empty());
        }
        ZoneError::Meaning { message, .. } => assert!(!message.is_empty()),
        ZoneError::Read { .. } => panic!("nothing is read: {text}"),
    }
}

/// The records as a zone file.
fn written(zone: &Zone) -> String {
    let mut text = String::from("[MX]\n");
    for (name, exchanges) in zone.all_mail_exchanges() {
        let entries =
            exchanges.iter().map(|mx| format!("{{ preference = {}, exchange = {:?} }}", mx.preference, mx.exchange));
        writeln!(text, "{name:?} = [{}]", entries.collect::<Vec<_>>().join(", ")).unwrap();
    }
    text.push_str("[P]\n");
    for (name, port) in zone.all_ports() {
        writeln!(text, "{name:?} = \"{port}\"").unwrap();
    }
    text
}

#[test]
fn zone() {
    let vocabulary: &[&[u8]] = &[
        b"[MX]\n",
        b"[P]\n",
        b"\"a.\" = ",
        b"\"mx.a.\" = ",
        b"\"1025\"\n",
        b"\"host.test:25\"\n",
        b"\"[::1]:25\"\n",
        b"\"mx.a.\"\n",
        b"[{ preference = 1, exchange = \"b.\" }]\n",
        b"{ preference = 65536, exchange = \".\" }, ",
        b"\"\\n\" = ",
        b"\\u001b",
        b"\"",
        b"[",
        b"]",
        b"\n",
        b"\r",
        b"\xff",
    ];
    fuzz("zone", vocabulary, |content| match Zone::from_octets(content, Path::new("fdns.toml")) {
        Ok(zone) => {
            assert_eq!(Zone::parse(&written(&zone), Path::new("fdns.toml")).unwrap(), zone);
            for (name, _) in zone.all_mail_exchanges() {
                assert!(zone.contains(name) && zone.mail_exchanges(name.trim_end_matches('.')).found().is_some());
            }
        }
        Err(error) => check_error(&error, "fdns.toml:", content),
    });
}

#[test]
fn port_record() {
    let vocabulary: &[&[u8]] = &[
        b"1025",
        b":25",
        b"[::1]",
        b"[",
        b"]",
        b"127.0.0.1",
        b"host",
        b".",
        b":",
        b"0",
        b"65536",
        b"\x05",
        b"\xff",
        b"\xc3\xa9",
    ];
    fuzz("port_record", vocabulary, |input| {
        if let Some(port) = Port::from_rdata(input) {
            assert_eq!(Port::from_rdata(&port.to_rdata()), Some(port));
        }
        let Ok(port) = String::from_utf8_lossy(input).parse::<Port>() else { return };
        assert_eq!(port.to_string().parse().as_ref(), Ok(&port), "{port}");
        assert_eq!(Port::from_rdata(&port.to_rdata()).as_ref(), Some(&port), "{port}");
        assert!(is_one_line(&port.to_string()), "{port}");
        assert!(!matches!(&port.host, Host::Name(name) if name.parse::<std::net::IpAddr>().is_ok()), "{port}");
    });
}

#[test]
fn config() {
    let vocabulary: &[&[u8]] = &[
        b"[server.a]\nsmtp = 1\npop = 2\n",
        b"[server.\"b.test\"]\nsmtp = 0\npop = 0\n",
        b"[accounts.a]\n",
        b"\"u@x\" = \"p\"\n",
        b"[limits]\n",
        b"recipients = ",
        b"[relay]\n",
        b"retry = [\"",
        b"5m\"]\n",
        b"[quotas]\n",
        b"{ octets = 5 }\n",
        b"\"a\\nb\" = ",
        b"\\u001b",
        b"profile = \"rfc\"\n",
        b"[",
        b"]",
        b"\"",
        b"\n",
        b"\r",
        b"\xc3\xa9",
    ];
    fuzz("config", vocabulary, |input| {
        let text = String::from_utf8_lossy(input);
        match Config::parse(&text, Path::new("config.toml")) {
            Ok(config) => {
                for stack in config.stacks() {
                    assert_eq!(config.stack(stack.name.as_str()).unwrap(), stack);
                    let accounts = stack.accounts.keys().map(|address| address.domain());
                    assert!(accounts.into_iter().all(|domain| stack.is_local(domain)), "{text}");
                }
            }
            Err(error) => check_error(&error, "config.toml:", text.as_bytes()),
        }
    });
}
