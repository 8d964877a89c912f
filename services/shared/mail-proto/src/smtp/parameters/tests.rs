use super::*;
use proptest::prelude::*;

/// What a client writes, and how it is written back; `None` where it is refused.
type Table<'a> = &'a [(&'a str, Option<&'a str>)];

fn check<P: Default + fmt::Display>(
    table: Table<'_>,
    set: impl Fn(&mut P, &str, Option<&str>) -> Result<(), CommandError>,
) {
    for (written, expected) in table {
        let mut parameters = P::default();
        let outcome = written.split(' ').try_for_each(|parameter| match parameter.split_once('=') {
            Some((keyword, value)) => set(&mut parameters, keyword, Some(value)),
            None => set(&mut parameters, parameter, None),
        });
        let rewritten = outcome.ok().map(|()| parameters.to_string());
        assert_eq!(rewritten.as_deref().map(str::trim_start), *expected, "{written}");
    }
}

#[test]
fn parameters_of_mail() {
    let long = format!("ENVID={}", "a".repeat(100));
    let longer = format!("ENVID={}", "a".repeat(101));
    check::<MailParameters>(
        &[
            ("size=10 body=8bitmime", Some("SIZE=10 BODY=8BITMIME")),
            ("BODY=7BIT", Some("BODY=7BIT")),
            ("BODY=BINARYMIME", None),
            ("BODY", None),
            ("SMTPUTF8", Some("SMTPUTF8")),
            ("smtputf8 BODY=8BITMIME", Some("BODY=8BITMIME SMTPUTF8")),
            ("SMTPUTF8=", None),
            ("SMTPUTF8=yes", None),
            ("SMTPUTF8 SMTPUTF8", None),
            ("RET=FULL", Some("RET=FULL")),
            ("ret=hdrs", Some("RET=HDRS")),
            ("RET", None),
            ("RET=", None),
            ("RET=HEADERS", None),
            ("RET=FULL RET=HDRS", None),
            ("ENVID=QQ314159", Some("ENVID=QQ314159")),
            ("ENVID=a+2Bb+3D+20c", Some("ENVID=a+2Bb+3D+20c")),
            (&long, Some(&long)),
            (&longer, None),
            ("ENVID=", None),
            ("ENVID", None),
            ("ENVID=a=b", None),
            ("ENVID=+0D+0A", None),
            ("ENVID=a ENVID=a", None),
            ("REQUIRETLS", Some("REQUIRETLS")),
            ("requiretls RET=HDRS", Some("RET=HDRS REQUIRETLS")),
            ("REQUIRETLS=NO", None),
            ("REQUIRETLS REQUIRETLS", None),
            ("NOTIFY=NEVER", None),
            ("AUTH=<>", Some("AUTH=<>")),
            ("auth=e+3Dmc2@example.com", Some("AUTH=e+3Dmc2@example.com")),
            ("AUTH", None),
            ("AUTH=", None),
            ("AUTH=<a@b>", None),
            ("AUTH=+C3+B6@x", Some("AUTH=<>")),
            ("AUTH=a", None),
            ("AUTH=<> AUTH=<>", None),
            ("X=1", None),
        ],
        MailParameters::set,
    );
}

#[test]
fn parameters_of_rcpt() {
    let long = format!("ORCPT=rfc822;{}", "a".repeat(493));
    let longer = format!("ORCPT=rfc822;{}", "a".repeat(494));
    check::<RecipientParameters>(
        &[
            ("NOTIFY=NEVER", Some("NOTIFY=NEVER")),
            ("notify=never", Some("NOTIFY=NEVER")),
            ("NOTIFY=SUCCESS", Some("NOTIFY=SUCCESS")),
            ("NOTIFY=delay,failure,SUCCESS", Some("NOTIFY=SUCCESS,FAILURE,DELAY")),
            ("NOTIFY=FAILURE,FAILURE", Some("NOTIFY=FAILURE")),
            ("NOTIFY=NEVER,FAILURE", None),
            ("NOTIFY=FAILURE,", None),
            ("NOTIFY=", None),
            ("NOTIFY", None),
            ("NOTIFY=SUCCESS NOTIFY=SUCCESS", None),
            ("ORCPT=rfc822;Dana@Ivory.EDU", Some("ORCPT=rfc822;Dana@Ivory.EDU")),
            ("ORCPT=rfc822;a+2Bb@c NOTIFY=NEVER", Some("NOTIFY=NEVER ORCPT=rfc822;a+2Bb@c")),
            ("ORCPT=X400;/O=x", None),
            ("ORCPT=X400;/O+3Dx", Some("ORCPT=X400;/O+3Dx")),
            ("ORCPT=utf-8;d\\x{F6}rte@x", Some("ORCPT=utf-8;d\\x{F6}rte@x")),
            ("ORCPT=utf-8;dörte@x", Some("ORCPT=utf-8;d\\x{F6}rte@x")),
            ("ORCPT=UTF-8;a\\x{20}\\x{2b}\\x{1F600}", Some("ORCPT=UTF-8;a\\x{20}\\x{2B}\\x{1F600}")),
            ("ORCPT=utf-8;a\\x{0A}", None),
            ("ORCPT=utf-8;a\\x{D800}", None),
            ("ORCPT=utf-8;a\\x{+41}", None),
            ("ORCPT=utf-8;a\\", None),
            ("ORCPT=utf-8;a+2Bb", None),
            ("ORCPT=rfc822;dörte@x", None),
            ("ORCPT=rfc822;d+C3+B6rte@x", Some("ORCPT=utf-8;d\\x{F6}rte@x")),
            ("ORCPT=X400;+C3+B6", None),
            ("ORCPT=rfc822;+C3", None),
            ("ORCPT=rfc822;+C2+85", None),
            ("ORCPT=rfc822;a+0Ab", None),
            (&long, Some(&long)),
            (&longer, None),
            ("ORCPT=rfc822;", None),
            ("ORCPT=;a@b", None),
            ("ORCPT=rfc(822;a@b", None),
            ("ORCPT=a@b", None),
            ("ORCPT", None),
            ("ORCPT=rfc822;a ORCPT=rfc822;a", None),
            ("RET=FULL", None),
        ],
        RecipientParameters::set,
    );
}

#[test]
fn texts_without_xtext_are_what_the_store_keeps() {
    let original: OriginalRecipient = "rfc822;a+b=c@d".parse().unwrap();
    assert_eq!((original.kind(), original.address()), ("rfc822", "a+b=c@d"));
    assert_eq!(original.to_parameter(), "rfc822;a+2Bb+3Dc@d");
    assert_eq!("utf-8;dörte@x".parse::<OriginalRecipient>().unwrap().address(), "dörte@x");
    for text in ["", "a@b", "rfc822;", "rfc822;ö", "utf-8;\u{85}", "a b;c"] {
        assert!(text.parse::<OriginalRecipient>().is_err(), "{text}");
    }
    assert_eq!("a + b".parse::<EnvelopeId>().unwrap().as_str(), "a + b");
    for text in ["", "a\r\n", "ö", &"a".repeat(101)] {
        assert!(text.parse::<EnvelopeId>().is_err(), "{text}");
    }
}

/// Each `+` takes three octets as a parameter.
#[test]
fn an_address_too_long_for_orcpt_is_no_original_recipient() {
    let address = |pluses: usize| format!("{}@b.test", "+".repeat(pluses)).parse().unwrap();
    assert_eq!(OriginalRecipient::of(&address(1)).unwrap().to_parameter(), "rfc822;+2B@b.test");
    assert_eq!(OriginalRecipient::of(&address(162)).unwrap().to_parameter().len(), 500);
    assert_eq!(OriginalRecipient::of(&address(163)), None);
}

#[test]
fn size_alone_leaves_nothing() {
    assert!(MailParameters { size_octets: Some(7), ..MailParameters::default() }.leave_nothing());
    assert!(!MailParameters { requiretls: true, ..MailParameters::default() }.leave_nothing());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        envid in "[ -~]{1,30}",
        kind in "(rfc822|x400|utf-8)",
        ascii in "[ -~]{1,40}",
        unicode in "[^\\p{Cc}]{1,20}",
        flags in any::<[bool; 5]>(),
    ) {
        let address = if kind == "utf-8" { unicode } else { ascii };
        let original: OriginalRecipient = format!("{kind};{address}").parse().unwrap();
        prop_assert_eq!(OriginalRecipient::from_parameter(&original.to_parameter()), Ok(original.clone()));
        prop_assert_eq!(original.to_string().parse(), Ok(original));
        let envid: EnvelopeId = envid.parse().unwrap();
        prop_assert_eq!(EnvelopeId::from_xtext(&xtext::encode(envid.as_str())), Ok(envid));
        let [success, failure, delay, ..] = flags;
        if success || failure || delay {
            let notify = Notify::Of(Occasions { success, failure, delay });
            prop_assert_eq!(notify.to_string().parse(), Ok(notify));
        }
    }
}

/// A reply never repeats a value, and is one short line of ASCII.
#[test]
fn a_refused_parameter_is_named_in_few_printable_characters() {
    let long = "A".repeat(40);
    let longer = format!("{long}...");
    for (written, expected) in
        [("foo", "FOO"), ("x-\u{e9}\u{7f}", "X-??"), ("", ""), (&long, &long), (&"a".repeat(41), &longer)]
    {
        assert_eq!(ParameterName::from(written).to_string(), expected, "{written}");
    }
    let mut asked = MailParameters { size_octets: Some(7), ..MailParameters::default() };
    asked.set("ENVID", Some("secret")).unwrap();
    let permitted = MailParameters { envid: None, ..asked.clone() };
    assert_eq!(ParameterName::of_refused(&asked, &permitted).to_string(), "ENVID");
}
