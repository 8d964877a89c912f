use super::*;
use proptest::prelude::*;

fn user(name: &str) -> Command {
    Command::User(name.parse().unwrap())
}

fn pass(password: &str) -> Command {
    Command::Pass(password.parse().unwrap())
}

fn auth(mechanism: &str, initial: Option<&str>) -> Command {
    let initial = initial.map(|text| text.parse().unwrap());
    Command::Auth { mechanism: mechanism.to_owned(), initial }
}

#[test]
fn commands() {
    let table: &[(&[u8], Command)] = &[
        (b"USER usr1@mail.sustech.edu.cn", user("usr1@mail.sustech.edu.cn")),
        (b"uSeR \"a b\"@c ", user("\"a b\"@c")),
        (b"PASS  two  spaces ", pass(" two  spaces ")),
        (b"PASS ", pass("")),
        ("pass pässword".as_bytes(), pass("pässword")),
        (b"stat", Command::Stat),
        (b"STAT ", Command::Stat),
        (b"NOOP\t", Command::Noop),
        (b"STAT\t \t", Command::Stat),
        (b"RETR 7\t", Command::Retr(7)),
        (b"LIST", Command::List(None)),
        (b"LIST ", Command::List(None)),
        (b"list 3", Command::List(Some(3))),
        (b"RETR 0", Command::Retr(0)),
        (b"RETR 007 ", Command::Retr(7)),
        (b"DELE 99999999999999999999999", Command::Dele(u64::MAX)),
        (b"RSET", Command::Rset),
        (b"NOOP", Command::Noop),
        (b"quit", Command::Quit),
        (b"UIDL", Command::Uidl(None)),
        (b"UIDL 1", Command::Uidl(Some(1))),
        (b"TOP 1 0", Command::Top { number: 1, lines: 0 }),
        (b"CAPA", Command::Capa),
        (b"stls ", Command::Stls),
        (b"AUTH", Command::Mechanisms),
        (b"AUTH ", Command::Mechanisms),
        (b"auth plain", auth("plain", None)),
        (b"AUTH LOGIN \t", auth("LOGIN", None)),
        (b"AUTH PLAIN =", auth("PLAIN", Some("="))),
        (b"AUTH X-Y dXNy+/8=", auth("X-Y", Some("dXNy+/8="))),
        (b"APOP", Command::Apop),
        (b"APOP a@b c4c9334bac560ecc979e58001b3e22fb", Command::Apop),
        (b"utf8", Command::Utf8),
        (b"LANG", Command::Lang(None)),
        (b"LANG ", Command::Lang(None)),
        (b"lang *", Command::Lang(Some("*".to_owned()))),
        (b"LANG en-GB", Command::Lang(Some("en-GB".to_owned()))),
    ];
    for (line, expected) in table {
        assert_eq!(Command::parse(line).as_ref(), Ok(expected), "{}", line.escape_ascii());
    }
}

#[test]
fn lines_that_are_no_commands() {
    let unknown: &[&[u8]] = &[b"", b" ", b" NOOP", b"HELO x", b"RETR\t1", b"NOOP\0", b"XTND", b"\xff"];
    for line in unknown {
        assert_eq!(Command::parse(line), Err(CommandError::Unknown), "{}", line.escape_ascii());
    }
    let arguments: &[&[u8]] = &[
        b"USER",
        b"USER ",
        b"USER a\rb",
        b"USER \xff",
        b"PASS",
        b"PASS \xff",
        b"PASS a\0",
        b"STAT 1",
        b"LIST x",
        b"LIST 1 2",
        b"RETR",
        b"RETR ",
        b"RETR -1",
        b"RETR +1",
        b"RETR 1.0",
        b"RETR  1",
        b"RETR 1\r",
        b"RETR 0x1",
        "RETR ١".as_bytes(),
        b"DELE",
        b"DELE one",
        b"NOOP 1",
        b"QUIT now",
        b"UIDL -1",
        b"TOP 1",
        b"TOP 1 -1",
        b"TOP 1 1 1",
        b"CAPA x",
        b"STLS now",
        b"AUTH  PLAIN",
        b"AUTH PLAIN  =",
        b"AUTH PLAIN = =",
        b"AUTH PLAIN \xff",
        b"AUTH PL\tAIN",
        b"UTF8 USER",
        b"LANG en de",
        b"LANG  en",
        "LANG é".as_bytes(),
    ];
    for line in arguments {
        let error = Command::parse(line).unwrap_err();
        assert!(matches!(error, CommandError::Arguments(_)), "{}: {error}", line.escape_ascii());
    }
}

#[test]
fn a_password_is_never_shown() {
    assert_eq!(format!("{:?}", pass("secret")), "Pass(Password(…))");
    let shown = format!("{:?}", auth("PLAIN", Some("c2VjcmV0")));
    assert_eq!(shown, "Auth { mechanism: \"PLAIN\", initial: Some(Password(…)) }");
}

#[test]
fn nothing_can_be_smuggled_into_a_command() {
    for text in ["a\r\nDELE 1", "a\n", "a\0", "\r"] {
        assert_eq!(text.parse::<UserName>(), Err(InvalidText));
        assert_eq!(text.parse::<Password>(), Err(InvalidText));
    }
    assert_eq!("".parse::<UserName>(), Err(InvalidText));
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        "[^ \t\r\n\0]([^\r\n\0]{0,20}[^\\s\0])?".prop_map(|name| user(&name)),
        "[^\r\n\0]{0,20}".prop_map(|password| pass(&password)),
        Just(Command::Stat),
        any::<Option<u64>>().prop_map(Command::List),
        any::<u64>().prop_map(Command::Retr),
        any::<u64>().prop_map(Command::Dele),
        Just(Command::Rset),
        Just(Command::Noop),
        Just(Command::Quit),
        any::<Option<u64>>().prop_map(Command::Uidl),
        any::<(u64, u64)>().prop_map(|(number, lines)| Command::Top { number, lines }),
        Just(Command::Capa),
        Just(Command::Stls),
        Just(Command::Mechanisms),
        ("[!-~]{1,20}", prop::option::of("[!-~]{1,20}")).prop_map(|(name, initial)| auth(&name, initial.as_deref())),
        Just(Command::Apop),
        Just(Command::Utf8),
        prop::option::of("[!-~]{1,20}").prop_map(Command::Lang),
    ]
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(command in any_command()) {
        let wire = command.to_wire();
        let line = wire.strip_suffix("\r\n").unwrap();
        prop_assert!(!line.contains(['\r', '\n']));
        prop_assert_eq!(Command::parse(line.as_bytes()), Ok(command));
    }

    #[test]
    fn whatever_is_read_is_sent_alike(line in prop::collection::vec(prop::sample::select(b"LISTOPRE 0129-\r\xff".to_vec()), 0..12)) {
        if let Ok(command) = Command::parse(&line) {
            prop_assert_eq!(Command::parse(command.to_wire().trim_end_matches("\r\n").as_bytes()), Ok(command));
        }
    }
}
