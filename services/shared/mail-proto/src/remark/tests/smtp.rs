//! Breaches in SMTP, of both sides.

use super::check;
use crate::Protocol::Smtp;

const GREETED: &str = "S: 220 a";
const HELO: &str = "S: 220 a / C: HELO b / S: 250 a";
const EHLO: &str =
    "S: 220 a / C: EHLO b / S! 250-a\\r\\n250-PIPELINING\\r\\n250-CHUNKING\\r\\n250-SIZE 9\\r\\n250 STARTTLS\\r\\n";
const OPEN: &str = "S: 220 a / C: HELO b / S: 250 a / C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 250 ok";
const DATA: &str = "S: 220 a / C: HELO b / S: 250 a / C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 250 ok / C: DATA / S: 354 go";

#[test]
fn what_is_right_is_not_remarked() {
    let table = [
        ("S: 250 a / C: QUIT / S: 221 bye / EOF S", ""),
        (
            "S! 250-a\\r\\n250 PIPELINING\\r\\n / C! MAIL FROM:<a@b>\\r\\nRCPT TO:<a@b>\\r\\nDATA\\r\\n / S: 250 ok / S: 250 ok / S: 354 go / C! ..\\r\\n.\\r\\nMAIL FROM:<>\\r\\nQUIT\\r\\n / S: 250 ok / S: 250 ok / S: 221 bye / EOF S",
            "",
        ),
        ("S: 250 CHUNKING / EOF C", ""),
        (
            "S! 250-a\\r\\n250 CHUNKING\\r\\n / C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 250 ok / C! BDAT 3\\r\\nab\\r / S: 250 ok / C! BDAT 3 LAST\\r\\n\\n.\\0 / S: 250 ok / EOF C",
            "",
        ),
        (
            "S! 250-a\\r\\n250-STARTTLS\\r\\n250 AUTH PLAIN\\r\\n / C: STARTTLS / S: 220 go / TLS / C: EHLO b / S! 250-a\\r\\n250 AUTH PLAIN\\r\\n / C: AUTH PLAIN AHVz / S: 235 ok",
            "",
        ),
        ("S! 250-a\\r\\n250 X-NEW\\r\\n / C: MAIL FROM:<a@b> NEW=1 / S: 250 ok", ""),
        ("S: 421 bye / EOF S", ""),
        ("S: 250 a / S: 421 shutting down / EOF S", ""),
    ];
    check(Smtp, "S: 220 a / C: EHLO b", &table);
}

#[test]
fn lines_and_commands_of_the_client() {
    let table = [
        ("C! NOOP\\n", "1 client bare-lf"),
        ("C! NO\\rOP\\r\\n", "1 client bare-cr"),
        ("C! NOOP\\n\\rNOOP\\r\\n", "1 client bare-lf, 1 client lf-cr"),
        ("C! NOOP \\0\\r\\n", "1 client nul, 1 client argument-malformed"),
        ("C! NOOP \\x\\r\\n", "1 client eight-bit-command, 1 client argument-malformed"),
        ("C: HALLO", "1 client unknown-command"),
        ("C: XCLIENT a", ""),
        ("C: HELO my_laptop", "1 client hello-not-domain"),
        ("C: EHLO [127.0.0.1]", ""),
        ("C: EHLO 127.0.0.1]", "1 client hello-not-domain"),
        ("C: MAIL FROM:<a@b>", "1 client hello-missing"),
        ("C: RSET now", "1 client argument-malformed"),
        ("C: GET /x HTTP/1.1 / C: Host: a / S: 500 no / EOF S", "1 client foreign-protocol"),
        ("C! NOO / EOF C", "1 client line-unfinished"),
        ("C! NOO / EOF S", ""),
    ];
    check(Smtp, GREETED, &table);
    let table = [
        ("C: MAIL FROM: <a@b>", "3 client odd-spaces"),
        ("C: MAIL FROM :<a@b>", "3 client odd-spaces"),
        ("C: MAIL FROM:a@b", "3 client path-without-brackets"),
        ("C: MAIL FROM:<a>", "3 client path-malformed"),
        ("C: MAIL FROM:<a@b> SIZE=1", "3 client parameter-not-announced"),
        ("C: MAIL FROM:<a@b> SIZE=x SIZE=1", "3 client argument-malformed, 3 client parameter-not-announced"),
        ("C: AUTH PLAIN AHVz", "3 client command-not-announced, 3 client password-in-clear"),
        ("C: RCPT TO:<a@b>", "3 client out-of-sequence"),
        ("C! NOOP\\r\\nNOOP\\r\\n", "3 client not-last-in-group, 3 client pipelining-not-announced"),
        ("C! RSET\\r\\nRSET\\r\\nRSET\\r\\n", "3 client pipelining-not-announced"),
        ("C! QUIT\\r\\nNOOP\\r\\n", "3 client talked-after-quit"),
    ];
    check(Smtp, HELO, &table);
    check(Smtp, GREETED, &[("C! EHLO b\\r\\nRSET\\r\\n", "1 client not-last-in-group")]);
    assert_eq!(super::remarks(Smtp, "C: NOOP / S: 220 a"), "0 client talked-before-greeting");
}

#[test]
fn extensions_are_announced_first() {
    let table = [
        ("C: MAIL FROM:<a@b> SIZE=1", ""),
        ("C: MAIL FROM:<a@b> RET=FULL", "3 client parameter-not-announced"),
        ("C! RSET\\r\\nMAIL FROM:<a@b>\\r\\n", ""),
        ("C: STARTTLS / S: 220 go / TLS / C: NOOP", ""),
        ("C! STARTTLS\\r\\nNOOP\\r\\n / S: 220 go / TLS", "3 client injected-before-tls"),
        ("C: STARTTLS / S: 220 go / C: NOOP / TLS", "5 client injected-before-tls"),
        ("C: STARTTLS / S: 220 go / TLS / C: MAIL FROM:<a@b>", "5 client hello-missing"),
        (
            "C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 250 ok / C! BDAT 9 LAST\\r\\nab / EOF C",
            "7 client chunk-unfinished",
        ),
        (
            "C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 250 ok / C! BDAT 4 LAST\\r\\na\\nb\\r",
            "7 client bare-lf, 7 client bare-cr",
        ),
    ];
    check(Smtp, EHLO, &table);
}

#[test]
fn the_text_of_a_message() {
    let table = [
        ("C! a\\nb\\r\\n.\\r\\n / S: 250 ok", "9 client bare-lf"),
        ("C! a\\rb\\r\\n.\\r\\n / S: 250 ok", "9 client bare-cr"),
        ("C! a\\n\\rb\\n\\r\\r\\n.\\r\\n / S: 250 ok", "9 client bare-lf, 9 client lf-cr"),
        ("C! a\\n.\\nb\\r\\n.\\r\\n / S: 250 ok", "9 client bare-lf, 9 client smuggling-shape"),
        ("C! a\\r\\n.\\nb\\r\\n.\\r\\n / S: 250 ok", "9 client smuggling-shape, 9 client bare-lf"),
        ("C! a\\n.\\r\\nb\\r\\n.\\r\\n / S: 250 ok", "9 client bare-lf, 9 client smuggling-shape"),
        ("C! a\\r.\\rb\\r\\n.\\r\\n / S: 250 ok", "9 client smuggling-shape, 9 client bare-cr"),
        ("C! a\\r\\n.b\\r\\n.\\r\\n / S: 250 ok", "9 client dot-not-stuffed"),
        ("C! a\\0\\r\\n.\\r\\n / S: 250 ok", "9 client nul-in-message"),
        ("C! \\x\\r\\n.\\r\\n / S: 250 ok", "9 client eight-bit-message"),
        ("C! a\\r\\n. / EOF C", "9 client final-dot-missing"),
        ("C! a\\r\\n / S: 421 too slow / EOF S", ""),
        (
            "C! a\\n.\\n / S: 250 taken / C: QUIT / S: 221 bye",
            "9 client bare-lf, 9 client smuggling-shape, 10 server ended-by-bare-lf",
        ),
        ("C! a\\r\\n / S: 552 no / C: QUIT / S: 221 bye", "10 server reply-too-early"),
    ];
    check(Smtp, DATA, &table);
    let long = |octets: usize| format!("C: {}", "x".repeat(octets - 2));
    check(Smtp, DATA, &[(&long(1000), ""), (&long(1001), "9 client text-line-too-long")]);
    check(Smtp, GREETED, &[(&long(513).replacen("xxxxx", "NOOP ", 1), "1 client command-too-long")]);
}

#[test]
fn replies_of_the_server() {
    let table = [
        ("S: 250OK", "4 server reply-without-space"),
        ("S: OK", "4 server reply-without-code"),
        ("S: 150 x", "4 server reply-code-unknown"),
        ("S: 299 x", "4 server reply-code-unknown"),
        ("S! 250-a\\r\\n251 b\\r\\n", "4 server reply-codes-differ"),
        ("S! 250-a\\r\\n / EOF S", "4 server reply-unfinished"),
        ("S! 250 a / EOF S", "4 server reply-unfinished"),
        ("S! 250 a\\n", "4 server bare-lf"),
        ("S! 250 \\x\\r\\n", "4 server eight-bit-reply"),
        ("S: 354 go", "4 server reply-of-wrong-kind"),
        ("S: 250 ok / S: 250 ok", "5 server reply-unasked"),
        ("S: 550 no / S: 250 ok", "5 server reply-unasked"),
    ];
    check(Smtp, "S: 220 a / C: HELO b / S: 250 a / C: NOOP", &table);
    let table = [
        (
            "C: MAIL FROM:<a@b> / S: 550 no / C: RCPT TO:<a@b> / S: 250 ok",
            "5 client out-of-sequence, 6 server recipient-without-sender",
        ),
        (
            "C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 550 no / C: DATA / S: 354 go / C: . / S: 250 ok",
            "7 client out-of-sequence, 8 server data-without-recipients, 10 server message-without-recipients",
        ),
        (
            "C: MAIL FROM:<a@b> / S: 250 ok / C: RCPT TO:<a@b> / S: 550 no / C: DATA / S: 250 ok",
            "7 client out-of-sequence, 8 server reply-of-wrong-kind",
        ),
        ("C: QUIT / S: 250 bye", "4 server reply-of-wrong-kind"),
    ];
    check(Smtp, HELO, &table);
    check(Smtp, OPEN, &[("C: MAIL FROM:<a@b> / S: 250 ok", "7 client out-of-sequence")]);
    let long = format!("S: 250 {}", "x".repeat(507));
    check(Smtp, "S: 220 a / C: NOOP", &[(&long, "2 server reply-too-long"), (&long[..long.len() - 1], "")]);
    let codes = "S: 220 a / C: EHLO b / S! 250-a\\r\\n250 ENHANCEDSTATUSCODES\\r\\n / C: NOOP";
    let table = [
        ("S: 250 ok", "4 server status-missing"),
        ("S: 550 2.0.0 ok", "4 server status-class-differs"),
        ("S! 250-2.0.0 a\\r\\n250 b\\r\\n", "4 server status-missing"),
        ("S: 250 2.0.0", ""),
    ];
    check(Smtp, codes, &table);
}

#[test]
fn logins() {
    let before = "S: 220 a / C: EHLO b / S! 250-a\\r\\n250 AUTH SCRAM-SHA-256 PLAIN\\r\\n";
    let table = [
        ("C: AUTH SCRAM-SHA-256 / S: 334 / C: abcd / S: 334 efgh / C: = / S: 235 ok", ""),
        (
            "C: AUTH SCRAM-SHA-256 / S: 334 ! / C: QUIT! / S: 501 no",
            "4 server challenge-not-base64, 5 client response-not-base64",
        ),
        (
            "C: AUTH SCRAM-SHA-256 / S: 334 / C: * / S: 501 no / C: AUTH PLAIN abcd / S: 235 ok",
            "7 client password-in-clear",
        ),
        ("C: AUTH LOGIN", "3 client mechanism-not-announced, 3 client password-in-clear"),
        ("C: AUTH SCRAM-SHA-256 abcd / S: 235 ok / C: AUTH SCRAM-SHA-256", "5 client out-of-sequence"),
        ("C: MAIL FROM:<> / S: 250 ok / C: AUTH SCRAM-SHA-256", "5 client out-of-sequence"),
        ("C! AUTH SCRAM-SHA-256\\r\\nNOOP\\r\\n", "3 client not-last-in-group"),
    ];
    check(Smtp, before, &table);
}

#[test]
fn nothing_is_concluded_from_replies_to_lines_that_are_none() {
    // The server takes `NOOP LF NOOP CR LF` for one line.
    check(
        Smtp,
        HELO,
        &[(
            "C! NOOP\\nNOOP\\r\\n / S: 500 no / C: NOOP / S: 250 ok / C: QUIT / S: 221 bye / S: 250 x",
            "3 client bare-lf",
        )],
    );
    // Refused before it ends.
    let long = "x".repeat(600);
    let script = format!("C! {long} / S: 500 too long / C! {long}\\r\\n / C: NOOP / S: 250 ok / EOF C");
    check(Smtp, HELO, &[(&script, "")]);
}
