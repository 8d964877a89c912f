//! Breaches in POP3, of both sides.

use super::check;
use crate::Protocol::Pop3;

const LOGGED_IN: &str = "S: +OK / C: APOP a b / S: +OK";
const CAPA: &str = "S: +OK / C: CAPA / S! +OK\\r\\nPIPELINING\\r\\nSASL PLAIN\\r\\nUSER\\r\\n.\\r\\n";

#[test]
fn what_is_right_is_not_remarked() {
    let table = [
        ("C: STAT / S: +OK 2 320 / C: LIST 1 / S: +OK 1 120 / C: UIDL 1 / S: +OK 1 a-1 / EOF C", ""),
        (
            "C: LIST / S! +OK 2\\r\\n1 120\\r\\n2 200 more\\r\\n.\\r\\n / C: UIDL / S! +OK\\r\\n1 a\\r\\n.\\r\\n / EOF C",
            "",
        ),
        (
            "C: RETR 1 / S! +OK\\r\\nA: b\\r\\n\\r\\n..\\n.\\n\\r\\n\\x\\0\\r\\n.\\r\\n / C: QUIT / S: +OK bye / EOF S",
            "",
        ),
        ("C: TOP 1 0 / S: -ERR no / C: LAST / S: -ERR no / C: RSET / S: +OK", ""),
        ("C: LIST 9 / S: -ERR no", ""),
    ];
    check(Pop3, LOGGED_IN, &table);
    let table = [
        ("C! USER a\\r\\nSTLS\\r\\n / S: +OK / S: -ERR no", "3 client command-not-announced"),
        (
            "C! APOP a b\\r\\n / S: +OK / C! STAT\\r\\nLIST\\r\\nQUIT\\r\\n / S: +OK 0 0 / S! +OK\\r\\n.\\r\\n / S: +OK",
            "",
        ),
        ("C: AUTH PLAIN / S: + / C: abcd / S: +OK", "3 client password-in-clear"),
    ];
    check(Pop3, CAPA, &table);
    check(
        Pop3,
        "S: +OK / C: STLS / S: +OK / TLS",
        &[("C: USER a / S: +OK / C: PASS  b / S: +OK / C: STAT / S: +OK 0 0", "")],
    );
    assert_eq!(super::remarks(Pop3, "TLS / S: +OK / C: QUIT / S: +OK / EOF S"), "");
}

#[test]
fn commands_of_the_client() {
    let table = [
        ("C: HALLO", "3 client unknown-command"),
        ("C: STAT 1", "3 client argument-malformed"),
        ("C: USER a", "3 client out-of-sequence"),
        ("C! NOOP\\n", "3 client bare-lf"),
        ("C! NOOP\\r\\nNOOP\\r\\n", "3 client pipelining-not-announced"),
        ("C! QUIT\\r\\nNOOP\\r\\n", "3 client talked-after-quit"),
        ("C! DELE \\0\\r\\n", "3 client nul, 3 client argument-malformed"),
        ("C! NOO / EOF C", "3 client line-unfinished"),
    ];
    check(Pop3, LOGGED_IN, &table);
    let table = [
        ("C: STAT / S: -ERR no", "1 client out-of-sequence"),
        ("C: PASS a / S: -ERR no", "1 client out-of-sequence, 1 client password-in-clear"),
        (
            "C: USER a / S: +OK / C: PASS a / S: -ERR no / C: PASS a",
            "3 client password-in-clear, 5 client out-of-sequence",
        ),
        ("C! STLS\\r\\nNOOP\\r\\n / S: +OK / TLS", "1 client injected-before-tls"),
        ("C: GET /x HTTP/1.1", "1 client foreign-protocol"),
        ("C! USER \\x\\r\\n", "1 client eight-bit-command, 1 client argument-malformed"),
    ];
    check(Pop3, "S: +OK", &table);
    let long = |octets: usize| format!("C: USER {}", "x".repeat(octets - 7));
    check(Pop3, "S: +OK", &[(&long(255), ""), (&long(256), "1 client command-too-long")]);
    check(Pop3, CAPA, &[("C: AUTH LOGIN", "3 client mechanism-not-announced, 3 client password-in-clear")]);
    assert_eq!(super::remarks(Pop3, "C: NOOP / S: +OK"), "0 client talked-before-greeting, 0 client out-of-sequence");
}

#[test]
fn replies_of_the_server() {
    let table = [
        ("C: NOOP / S: OK", "4 server neither-ok-nor-err"),
        ("C: NOOP / S: +ok", "4 server neither-ok-nor-err"),
        ("C: NOOP / S: 250 OK", "4 server neither-ok-nor-err"),
        ("C: NOOP / S! +OK\\n", "4 server bare-lf"),
        ("C: NOOP / S: +OK / S: +OK", "5 server reply-unasked"),
        ("C: NOOP / S! +O / EOF S", "4 server reply-unfinished"),
        ("C: STAT / S: +OK two", "4 server listing-malformed"),
        ("C: STAT / S: +OK 2  320", "4 server listing-malformed"),
        ("C: LIST / S! +OK\\r\\none 1\\r\\n.\\r\\n", "4 server listing-malformed"),
        ("C: UIDL / S! +OK\\r\\n1 a b\\r\\n1\\r\\n.\\r\\n", "4 server unique-id-malformed"),
        ("C: LIST / S! +OK\\r\\n1 1\\n.\\r\\n.\\r\\n", "4 server bare-lf, 4 server listing-malformed"),
        ("C: RETR 1 / S! +OK\\r\\na\\r\\n.b\\r\\n.\\r\\n", "4 server dot-not-stuffed"),
        ("C: RETR 1 / S! +OK\\r\\na\\r\\n / EOF S", "4 server multi-line-unfinished"),
        ("C: RETR 1 / S! +OK\\r\\na\\n.\\n / C: QUIT / S: +OK", "5 server multi-line-unfinished"),
    ];
    check(Pop3, LOGGED_IN, &table);
    check(Pop3, "S: +OK", &[("C: STAT / S: +OK 0 0", "1 client out-of-sequence, 2 server accepted-in-wrong-state")]);
    let id = |octets: usize| format!("C: UIDL 1 / S: +OK 1 {}", "x".repeat(octets));
    check(Pop3, LOGGED_IN, &[(&id(70), ""), (&id(71), "4 server unique-id-malformed")]);
    let long = |octets: usize| format!("C: NOOP / S: +OK {}", "x".repeat(octets - 6));
    check(Pop3, LOGGED_IN, &[(&long(512), ""), (&long(513), "4 server reply-too-long")]);
}
