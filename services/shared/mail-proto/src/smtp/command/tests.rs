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
        let command = Command::parse(line.as_bytes()).map(|command| command.to_string());
        assert_eq!(command.as_deref().map(str::trim_end), Ok(expected), "{line}");
    }
}

#[test]
fn malformed_lines() {
    let table: &[(&[u8], u16, &str)] = &[
        (b"", 500, "5.5.1"),
        (b" NOOP", 500, "5.5.1"),
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
        (b"MAIL FROM:<\xc3\xa9@t.example>", 501, "5.1.7"),
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
        (b"EXPN x", 502, "5.5.1"),
        (b"TURN", 502, "5.5.1"),
    ];
    for (line, code, status) in table {
        let reply = Command::parse(line).unwrap_err().reply();
        assert_eq!((reply.code(), reply.enhanced().as_deref()), (*code, Some(*status)), "{line:?}");
    }
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
        if let Ok(command) = Command::parse(line.as_bytes()) {
            prop_assert_eq!(Command::parse(command.to_string().as_bytes()), Ok(command));
        }
    }
}
