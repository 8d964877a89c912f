use super::*;

fn written(text: &str) -> String {
    let query = Query::parse(text).unwrap();
    query.terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn queries_are_read() {
    for (text, expected) in [
        ("", ""),
        ("  Hello   world ", "hello world"),
        ("\"Hello World\"", "\"hello world\""),
        ("-spam !ham", "-spam -ham"),
        ("- !", "- !"),
        ("-\"a b\"", "-\"a b\""),
        ("to:USR1@x.test", "to:usr1@x.test"),
        ("subject:\"Hello World\" from:a", "subject:\"hello world\" from:a"),
        ("!subject:x", "-subject:x"),
        ("\"to:x\"", "to:x"),
        ("\"unknown:x\" 10:30 ::1", "unknown:x 10:30 ::1"),
        ("http://a.test/b", "http://a.test/b"),
        ("message-id:<1@x>", "message-id:1@x"),
        ("before:2026-11-28", "before:2026-11-28T00:00:00Z"),
        ("after:2026-11-28T10:00:00+01:00", "after:2026-11-28T09:00:00Z"),
        ("after:\"2026-11-28 10:00\"", "after:2026-11-28T10:00:00Z"),
        ("larger:5kb smaller:1.5MB", "larger:5120 smaller:1572864"),
        ("is:read is:unread has:attachments", "is:read is:unread has:attachment"),
        ("state:deferred reply:451 domain:@x.test", "state:deferred reply:451 domain:x.test"),
        ("mailbox:a@x rcpt:a mail-from:<b@x> id:06G", "mailbox:a@x rcpt:a mail-from:b@x id:06g"),
        ("\"never closed", "\"never closed\""),
        ("ä -ö", "ä -ö"),
        ("@ \"***\" 🎉", "@ *** 🎉"),
    ] {
        assert_eq!(written(text), expected, "{text:?}");
    }
    let Criterion::Text(text) = &Query::parse("\"to:x\"").unwrap().terms[0].criterion else { panic!("a filter") };
    assert_eq!(text, "to:x");
}

#[test]
fn what_a_filter_cannot_be_is_told_and_mailpits_way_ignores_it() {
    for (text, expected) in [
        (
            "before:yesterday",
            "before:yesterday cannot be; give a date such as 2026-11-28, or a time such as 2026-11-28T10:00:00Z",
        ),
        ("to:", "to: has no value; give one, or leave it out"),
        ("-rcpt:\"\"", "rcpt: has no value; give one, or leave it out"),
        ("mail-from:<>", "mail-from: has no value; give one, or leave it out"),
        ("domain:@", "domain: has no value; give one, or leave it out"),
        ("\" \"", "quotes without a text match nothing; leave them out"),
        ("a\u{0}b", "\"a\\0b\" has a control character; leave it out"),
        ("larger:0", "larger:0 cannot be; give a size such as 5000, 5kb or 1.5mb"),
        ("larger:1tb", "larger:1tb cannot be; give a size such as 5000, 5kb or 1.5mb"),
        ("is:blue", "is:blue cannot be; give read, unread or gone"),
        ("has:wings", "has:wings cannot be; give attachment, inline, link or code"),
        (
            "state:lost",
            "state:lost cannot be; give queued, deferred, held, delivered, relayed, failed, bounced, deleted",
        ),
    ] {
        assert_eq!(Query::parse(text).unwrap_err().to_string(), expected);
        assert!(Query::lenient(text).is_empty(), "{text}");
        assert_eq!(Query::lenient(&format!("{text} x")).terms.len(), 1);
    }
}

/// `-rctp:a@x` would match nearly all mail.
#[test]
fn a_filter_that_does_not_exist_is_an_error_and_mailpits_way_takes_it_for_a_text() {
    for text in ["rctp:a@x", "-rctp:a@x", "x rctp:a@x", "rctp:\"a@x\""] {
        let expected = "rctp: is no filter; to look for the text, write \"rctp:a@x\" in quotes";
        assert_eq!(Query::parse(text).unwrap_err().to_string(), expected, "{text}");
        assert!(!Query::lenient(text).is_empty(), "{text}");
    }
}

#[test]
fn a_query_has_a_limit() {
    assert_eq!(Query::parse(&"x ".repeat(50)).unwrap().terms.len(), 50);
    let error = Query::parse(&"x ".repeat(51)).unwrap_err();
    assert_eq!(error.to_string(), "the query has too many words; give at most 50");
    assert_eq!(Query::lenient(&"x ".repeat(51)).terms.len(), 50);
}

#[test]
fn values_are_parameters_and_never_part_of_the_condition() {
    let hostile = "x'); DROP TABLE mail; --";
    for text in [
        format!("\"{hostile}\""),
        format!("to:\"{hostile}\""),
        format!("mailbox:\"{hostile}\""),
        format!("domain:\"{hostile}\""),
        format!("id:\"{hostile}\""),
        format!("reply:\"{hostile}\""),
    ] {
        let sql = Query::parse(&text).unwrap().sql();
        assert!(!sql.condition.contains("DROP") && !sql.condition.contains("drop"), "{sql:?}");
        assert_eq!(sql.condition.matches('?').count(), sql.values.len(), "{sql:?}");
    }
}

#[test]
fn the_recipients_of_a_query_are_known() {
    let query = Query::parse("to:a@x rcpt:b@x -to:c@x subject:d mailbox:e@x").unwrap();
    assert_eq!(query.recipients().collect::<Vec<_>>(), ["a@x", "b@x", "e@x"]);
    let (rest, left_out) = query.without(3).unwrap();
    assert_eq!((left_out.as_str(), rest.terms.len()), ("subject:d", 4));
    assert_eq!(query.without(5), None);
}

#[test]
fn only_what_a_store_has_is_found_unless_the_query_says_otherwise() {
    let condition = |text: &str| Query::parse(text).unwrap().sql().condition;
    for text in ["", "x", "to:a -b", "-state:failed", "-id:06g x", "-is:gone"] {
        assert!(condition(text).starts_with("places > 0"), "{text}");
    }
    for text in ["is:gone", "id:06g", "x state:relayed"] {
        assert!(condition(text).starts_with("true"), "{text}");
    }
    assert!(Query::parse("x").unwrap().including_gone().sql().condition.starts_with("true"));
}
