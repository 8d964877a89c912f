use super::*;
use crate::{Protocol, Side};

/// The words of the line that are explained, and the RFC of each.
fn explained(protocol: Protocol, side: Side, text: &str, about: Option<&str>) -> String {
    let parts = line(protocol, side, text.as_bytes(), about.map(str::as_bytes));
    let words = parts.iter().map(|part| {
        let Explanation { rfc, section, .. } = part.explanation;
        format!("{}={rfc}§{section}", &text[part.octets.clone()])
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_words_of_a_line_are_explained() {
    use {Protocol::*, Side::*};
    let table = [
        (Smtp, Client, "ehlo laptop\r\n", None, "ehlo=5321§4.1.1.1"),
        (
            Smtp,
            Client,
            "MAIL FROM:<a@b> SIZE=1 body=8BITMIME X=y",
            None,
            "MAIL=5321§4.1.1.2 SIZE=1=1870§6 body=8BITMIME=6152§2",
        ),
        (
            Smtp,
            Client,
            "MAIL FROM:<a@b> RET=HDRS SMTPUTF8",
            None,
            "MAIL=5321§4.1.1.2 RET=HDRS=3461§4.3 SMTPUTF8=6531§3.4",
        ),
        (Smtp, Client, "RCPT TO:<SIZE=1@b> NOTIFY=NEVER", None, "RCPT=5321§4.1.1.3 NOTIFY=NEVER=3461§4.1"),
        (Smtp, Client, "BDAT 7 LAST", None, "BDAT=3030§2 LAST=3030§2"),
        (Smtp, Client, "VRFY a SMTPUTF8", None, "VRFY=5321§4.1.1.6 SMTPUTF8=6531§3.7.4.2"),
        (Smtp, Client, "AUTH PLAIN ****", None, "AUTH=4954§4 PLAIN=4616§2 ****=4616§2"),
        (Smtp, Client, "AUTH PLAIN =", None, "AUTH=4954§4 PLAIN=4616§2 ==4954§4"),
        (Smtp, Client, "AHVz", Some("AUTH LOGIN"), "AHVz=4422§3"),
        (Smtp, Client, "*", Some("AUTH LOGIN"), "*=4954§4"),
        (Smtp, Client, ".\r\n", None, ".=5321§4.1.1.4"),
        (Smtp, Client, "HALLO", None, ""),
        (Smtp, Client, "", None, ""),
        (Smtp, Server, "250 2.1.5 OK", None, "250=5321§4.2.3 2.1.5=3463§3.2"),
        (Smtp, Server, "550-5.7.99 OK", None, "550=5321§4.2.3 5.7.99=3463§3.8"),
        (Smtp, Server, "250-SIZE 70000\r\n", Some("EHLO a"), "250=5321§4.2.3 SIZE=1870§3"),
        (Smtp, Server, "250-SIZE 70000\r\n", Some("RSET"), "250=5321§4.2.3"),
        (Smtp, Server, "250 AUTH PLAIN X", Some("ehlo a"), "250=5321§4.2.3 AUTH=4954§3 PLAIN=4616§2"),
        (Smtp, Server, "334 VXNl", None, "334=4954§4 VXNl=4422§3"),
        (Smtp, Server, "599", None, "599=5321§4.2.1"),
        (Smtp, Server, "250OK", None, "250=5321§4.2.3"),
        (Smtp, Server, "OK", None, ""),
        (Pop3, Client, "TOP 1 0", None, "TOP=1939§7"),
        (Pop3, Client, "AUTH SCRAM-SHA-256", None, "AUTH=5034§4 SCRAM-SHA-256=7677§3"),
        (Pop3, Server, "+OK", None, "+OK=1939§3"),
        (Pop3, Server, "-ERR [IN-USE] busy", None, "-ERR=1939§3 [IN-USE]=2449§8.1.2"),
        (Pop3, Server, "-ERR [sys/temp]", None, "-ERR=1939§3 [sys/temp]=3206§4"),
        (Pop3, Server, "+ VXNl", None, "+=5034§4 VXNl=4422§3"),
        (Pop3, Server, "SASL PLAIN", Some("CAPA"), "SASL=2449§6.3 PLAIN=4616§2"),
        (Pop3, Server, "SASL PLAIN", Some("RETR 1"), ""),
        (Pop3, Server, ".", Some("CAPA"), ".=1939§3"),
    ];
    for (protocol, side, text, about, expected) in table {
        assert_eq!(explained(protocol, side, text, about), expected, "{text}");
    }
}

#[test]
fn header_fields_are_found_in_any_case() {
    assert_eq!(header_field("message-id").unwrap().section, "3.6.4");
    assert_eq!(header_field("FINAL-RECIPIENT").unwrap().rfc, 3464);
    assert_eq!(header_field("X-Mailer"), None);
}

/// Every table: its name and its rows, each with the word in it.
fn rows() -> Vec<(String, Explanation)> {
    let tables = [
        auth::MECHANISMS,
        auth::RESPONSES,
        auth::IN_EXCHANGE,
        fields::FIELDS,
        report_fields::FIELDS,
        pop3::COMMANDS,
        pop3::STATUS,
        pop3::RESPONSE_CODES,
        pop3::CAPABILITIES,
        smtp::KEYWORDS,
    ];
    let found = |(name, ..): &Row, table: &[Row]| ((*name).to_owned(), find(table, name).unwrap());
    let words = tables.iter().flat_map(|table| table.iter().map(|row| found(row, table)));
    let codes = (200..600).filter_map(|code| Some((code.to_string(), reply_code(code)?)));
    let status = (0..8).flat_map(|subject| (0..40).map(move |detail| format!("5.{subject}.{detail}")));
    let status = status.map(|code| (code.clone(), status_code(&code).unwrap()));
    words.chain(codes).chain(status).collect()
}

#[test]
fn an_explanation_is_one_sentence_with_its_section() {
    let rows = rows();
    assert!(rows.len() > 380, "{}", rows.len());
    for (word, Explanation { text, rfc, section }) in rows {
        assert!(text.starts_with(|first: char| first.is_uppercase()) && text.ends_with('.'), "{word}: {text}");
        assert!(!text.contains(". "), "{word}: {text}");
        assert!(rfc >= 821 && !section.is_empty() && section != "0", "{word}");
    }
}

#[test]
fn a_word_has_one_row() {
    for table in [fields::FIELDS, report_fields::FIELDS, smtp::KEYWORDS, pop3::CAPABILITIES, pop3::COMMANDS] {
        for (index, row) in table.iter().enumerate() {
            let same = table[..index].iter().find(|other| other.0.eq_ignore_ascii_case(row.0));
            assert_eq!(same, None, "{}", row.0);
        }
    }
}

#[test]
fn what_this_crate_speaks_is_explained() {
    for mechanism in crate::sasl::Mechanism::ALL {
        assert!(super::mechanism(mechanism.as_str()).is_some(), "{mechanism}");
        assert!(find(auth::RESPONSES, mechanism.as_str()).is_some(), "{mechanism}");
    }
    for code in crate::pop3::ResponseCode::ALL {
        assert!(find(pop3::RESPONSE_CODES, code.as_str().trim_matches(['[', ']'])).is_some(), "{code:?}");
    }
    for keyword in crate::smtp::Extensions::KEYWORDS {
        assert!(find(smtp::KEYWORDS, keyword).is_some(), "{keyword}");
    }
    for (command, parameters) in [
        ("MAIL", &["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "REQUIRETLS", "AUTH"][..]),
        ("RCPT", &["ORCPT", "NOTIFY"]),
    ] {
        parameters.iter().for_each(|keyword| assert!(smtp::parameter(command, keyword).is_some(), "{keyword}"));
    }
}

#[test]
fn help_is_made_of_the_same_table() {
    assert_eq!(usage("mail").as_deref(), Some("MAIL FROM:<address> and parameters (RFC 5321 section 4.1.1.2)"));
    assert_eq!(
        usage("BDAT").as_deref(),
        Some("BDAT octets [LAST], then so many octets of the message (RFC 3030 section 2)")
    );
    assert_eq!(usage("ETRN"), None);
    assert_eq!(usage("HALLO"), None);
}
