use super::*;
use proptest::prelude::*;

#[test]
fn well_formed_lines() {
    let table = [
        ("helo a", "HELO a"),
        ("EHLO [IPv6:::1]", "EHLO [IPv6:::1]"),
        ("EHLO my_laptop", "EHLO my_laptop"),
        ("EHLO Joe's-Mac.local", "EHLO Joe's-Mac.local"),
        ("HELO usr@gmail.com", "HELO usr@gmail.com"),
        ("EHLO MÜLLER-PC", "EHLO M??LLER-PC"),
        ("EHLO a (b) <c>;", "EHLO a??b???c??"),
        ("EHLO [a]b", "EHLO ?a?b"),
        ("EHLO", "EHLO"),
        ("HELO ", "HELO"),
        ("mail from:<a@b>", "MAIL FROM:<a@b>"),
        ("MAIL FROM: <a@b>", "MAIL FROM:<a@b>"),
        ("MAIL FROM:<>", "MAIL FROM:<>"),
        ("MAIL FROM:<a@B> SIZE=10 BODY=8bitmime", "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME"),
        ("MAIL FROM:<a@b>  body=7BIT size=99999999999999999999", "MAIL FROM:<a@b> SIZE=18446744073709551615 BODY=7BIT"),
        ("MAIL FROM:<\"a b>\"@c> SIZE=1", "MAIL FROM:<\"a b>\"@c> SIZE=1"),
        ("RCPT TO:<@x,@y:a@b>", "RCPT TO:<a@b>"),
        ("rcpt to:<Postmaster>", "RCPT TO:<postmaster>"),
        ("DATA", "DATA"),
        ("data  ", "DATA"),
        ("NOOP\t \t", "NOOP"),
        ("NOOP whatever", "NOOP"),
        ("HELP mail", "HELP mail"),
        ("soml from:<a@b>", "MAIL FROM:<a@b>"),
        ("SAML FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> SIZE=1"),
        ("bdat 10", "BDAT 10"),
        ("BDAT  0  last", "BDAT 0 LAST"),
        ("starttls", "STARTTLS"),
        ("vrfy a b", "VRFY a b"),
    ];
    for (line, expected) in table {
        let command = Command::parse(line.as_bytes(), Tolerance::default()).map(|command| command.to_string());
        assert_eq!(command.as_deref().map(str::trim_end), Ok(expected), "{line}");
    }
}

#[test]
fn malformed_lines() {
    let table: &[(&[u8], u16, &str)] = &[
        (b"", 500, "5.5.1"),
        (b" NOOP", 501, "5.5.4"),
        (b" NOPE", 500, "5.5.1"),
        (b"MAIL FROM :<a@b>", 501, "5.5.4"),
        (b"MAIL FROM:< a@b>", 501, "5.1.7"),
        (b"MAIL FROM:<a@b>\tSIZE=1", 501, "5.1.7"),
        (b"MAIL FROM:<a..b@c>", 501, "5.1.7"),
        (b"RCPT TO:<.a@c>", 501, "5.1.3"),
        (b"MAILFROM:<a@b>", 500, "5.5.1"),
        (b"NO\0P", 500, "5.5.2"),
        (b"NO\rOP", 500, "5.5.2"),
        (b"\xc3\xa9", 500, "5.5.2"),
        (b"EHLO\ta", 501, "5.5.4"),
        (b"EHLO a\0", 501, "5.5.4"),
        (b"NOOP\there", 501, "5.5.4"),
        (b"DATA \xff", 501, "5.5.4"),
        (b"VRFY \xe9", 501, "5.5.4"),
        (b"MAIL \x01", 501, "5.1.7"),
        (b"MAIL FROM:<\xc3\xa9@t.example>", 553, "5.6.7"),
        (b"MAIL FROM:<a@\xc3\xa9.example>", 553, "5.6.7"),
        (b"MAIL FROM:<a\xc2\x85@t.example> SMTPUTF8", 501, "5.1.7"),
        (b"MAIL FROM:<a\xe3\x80\x80@t.example> SMTPUTF8", 501, "5.1.7"),
        (b"MAIL FROM:\xe3\x80\x80<a@t.example> SMTPUTF8", 501, "5.1.7"),
        (b"VRFY \xc3\xa9", 553, "5.6.7"),
        (b"VRFY SMTPUTF8 SMTPUTF8\xc3\xa9", 553, "5.6.7"),
        (b"NOOP \xc3\xa9", 501, "5.5.4"),
        (b"MAIL FROM:<\xe9@t.example>", 501, "5.1.7"),
        (b"RCPT TO:<a@\xe9.example>", 501, "5.1.3"),
        (b"RCPT TO:<a\0@b>", 501, "5.1.3"),
        (b"STARTTLS \xff", 501, "5.5.4"),
        (b"STARTTLS now", 501, "5.5.4"),
        (b"BDAT", 501, "5.5.4"),
        (b"BDAT 1 2", 501, "5.5.4"),
        (b"DATA now", 501, "5.5.4"),
        (b"QUIT now", 501, "5.5.4"),
        (b"VRFY", 501, "5.5.4"),
        (b"MAIL", 501, "5.5.4"),
        (b"MAIL TO:<a@b>", 501, "5.5.4"),
        (b"MAIL FROM:a@b", 501, "5.1.7"),
        (b"MAIL FROM:<a@b", 501, "5.1.7"),
        (b"MAIL FROM:<a>", 501, "5.1.7"),
        (b"MAIL FROM:<a@b>SIZE=1", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=-1", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=2", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> BODY=9BIT", 501, "5.5.4"),
        (b"MAIL FROM:<a@b> BODY=BINARYMIME", 555, "5.5.4"),
        (b"MAIL FROM:<a@b> X=1", 555, "5.5.4"),
        (b"MAIL FROM:<a@b> SMTPUTF8=1", 501, "5.5.4"),
        (b"RCPT TO:<>", 501, "5.1.3"),
        (b"RCPT TO:<a@>", 501, "5.1.3"),
        (b"RCPT TO:<a@b> SIZE=1", 555, "5.5.4"),
        (b"TURN x", 502, "5.5.1"),
        (b"TURN", 502, "5.5.1"),
    ];
    for (line, code, status) in table {
        let reply = Command::parse(line, Tolerance::default()).unwrap_err().reply();
        assert_eq!((reply.code(), reply.enhanced().as_deref()), (*code, Some(*status)), "{line:?}");
    }
}

/// What is odd, with the one key that takes it, and the cure in the refusal of a server that does not.
#[test]
fn odd_lines_are_taken_where_they_are_wanted() {
    let spaces = Tolerance { odd_spaces: true, ..Tolerance::default() };
    let brackets = Tolerance { paths_without_brackets: true, ..Tolerance::default() };
    let dots = Tolerance { odd_dots: true, ..Tolerance::default() };
    let table: &[(&[u8], Tolerance, &str, &str)] = &[
        (b"  NOOP", spaces, "NOOP", "put no space before a command"),
        (b"\tMAIL FROM:<a@b>", spaces, "MAIL FROM:<a@b>", "put no space before a command"),
        (b"MAIL FROM : <a@b>", spaces, "MAIL FROM:<a@b>", "put no space before the colon"),
        (b"RCPT TO\t:\t<a@b>", spaces, "RCPT TO:<a@b>", "printable characters"),
        (b"MAIL FROM:< a@b >  SIZE=1", spaces, "MAIL FROM:<a@b> SIZE=1", "put no space inside the angle brackets"),
        (b"MAIL FROM:<>\tSIZE=1", spaces, "MAIL FROM:<> SIZE=1", "printable characters"),
        (b"MAIL FROM:< >", spaces, "MAIL FROM:<>", "put no space inside the angle brackets"),
        (b"MAIL FROM:a@b", brackets, "MAIL FROM:<a@b>", "enclosed in angle brackets"),
        (b"MAIL FROM: a@b SIZE=1", brackets, "MAIL FROM:<a@b> SIZE=1", "enclosed in angle brackets"),
        (b"RCPT TO:\"a b\"@c", brackets, "RCPT TO:<\"a b\"@c>", "enclosed in angle brackets"),
        (b"RCPT TO:postmaster", brackets, "RCPT TO:<postmaster>", "enclosed in angle brackets"),
        (b"RCPT TO:<a..b@c>", dots, "RCPT TO:<\"a..b\"@c>", "put the local part in quotes"),
        (b"MAIL FROM:<.a@c>", dots, "MAIL FROM:<\".a\"@c>", "put the local part in quotes"),
    ];
    for (line, tolerance, expected, cure) in table {
        let taken = Command::parse(line, *tolerance).map(|command| command.to_string());
        assert_eq!(taken.as_deref(), Ok(*expected), "{line:?}");
        let others = Tolerance {
            odd_spaces: !tolerance.odd_spaces,
            paths_without_brackets: !tolerance.paths_without_brackets,
            odd_dots: !tolerance.odd_dots,
            ..Tolerance::ALL
        };
        let refusal = Command::parse(line, others).unwrap_err().reply();
        assert!(refusal.code() == 501 && refusal.to_string().contains(cure), "{line:?}: {refusal}");
    }
    for line in [
        &b"MAIL FROM:"[..],
        b"MAIL FROM: SIZE=1",
        b"RCPT TO:a@b>",
        b"RCPT TO:<a@b",
        b"MAIL FROM:a b@c",
        b"MAIL FROM<a@b>",
    ] {
        assert!(Command::parse(line, Tolerance::ALL).is_err(), "{line:?}");
    }
    // A password is masked, whatever is taken.
    assert!(is_secret(b" \tAUTH PLAIN AHUAcA=="));
}

#[test]
fn a_client_name_has_at_most_255_octets_of_any_kind_but_control_characters() {
    let name = |octets: &[u8]| ClientName::from_octets(octets).map(|name| name.as_str().to_owned());
    assert_eq!(name(&[0xff; 255]), Ok("?".repeat(255)));
    assert!(name(&[b'a'; 256]).is_err());
    assert_eq!(name(b"M\xdcLLER-PC"), Ok("M?LLER-PC".to_owned()));
    assert!(name(b"a\rb").is_err() && name(b"a\x7f").is_err());
}

proptest! {
    #[test]
    fn parsing_never_panics_and_display_parses_back(
        line in "(MAIL FROM:|RCPT TO:|EHLO |VRFY )?<?[ -~]{0,30}>?( SIZE=[0-9]{1,4})?"
    ) {
        for tolerance in [Tolerance::default(), Tolerance::ALL] {
            if let Ok(command) = Command::parse(line.as_bytes(), tolerance) {
                prop_assert_eq!(Command::parse(command.to_string().as_bytes(), Tolerance::default()), Ok(command));
            }
        }
    }
}
