//! The text of a zone file into records; every fault with its line, its key and its remedy.

use super::{Port, ZoneError};
use crate::toml_file::{line_of, syntax};
use mail_proto::{Domain, MailExchange};
use std::{borrow::Cow, collections::BTreeMap, ops::Range, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The preference of an MX that is written as a name alone.
const DEFAULT_PREFERENCE: u16 = 10;
/// RFC 1035 §2.3.4 as text without the final dot: 255 octets on the wire.
const NAME_OCTETS: usize = 253;

type MailExchanges = BTreeMap<String, Vec<MailExchange>>;
type Ports = BTreeMap<String, Port>;
type Entry<'t, 'i> = (&'t Spanned<Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// What is wrong, and where in the text.
struct Fault {
    span: Range<usize>,
    text: String,
}

impl Fault {
    fn new(span: Range<usize>, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }
}

/// The records of a text, or everything that is wrong with it, in the order of the file: at least one fault.
pub(super) fn records(text: &str, path: &Path) -> Result<(MailExchanges, Ports), Vec<ZoneError>> {
    read(text).map_err(|mut faults| {
        faults.sort_by_key(|fault| fault.span.start);
        let error = |Fault { span, text: message }: Fault| ZoneError::Text {
            path: path.to_owned(),
            line: line_of(text.as_bytes(), span.start),
            message,
        };
        faults.into_iter().map(error).collect()
    })
}

fn read(text: &str) -> Result<(MailExchanges, Ports), Vec<Fault>> {
    let document = DeTable::parse(text).map_err(|error| {
        let message = syntax(text, &error);
        vec![Fault::new(error.span().unwrap_or_default(), format!("not TOML: {message}"))]
    })?;
    let mut faults = Vec::new();
    let mut mail_exchanges = None;
    let mut ports = None;
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("MX", DeValue::Table(table)) => mail_exchanges = Some(named(table, "MX", mail_exchange_list, &mut faults)),
            ("P", DeValue::Table(table)) => ports = Some(named(table, "P", port, &mut faults)),
            (name @ ("MX" | "P"), _) => {
                faults.push(Fault::new(key.span(), format!("{name:?} is a table; write [{name}]")))
            }
            (unknown, _) => faults
                .push(Fault::new(key.span(), format!("unknown table or key {unknown:?}; a zone has [MX] and [P]"))),
        }
    }
    // Both are demanded although either may be empty: a file that is half written is no zone.
    for title in ["MX", "P"].into_iter().filter(|title| !document.get_ref().contains_key(*title)) {
        faults.push(Fault::new(text.len()..text.len(), format!("no [{title}] table; add it, empty or not")));
    }
    match (mail_exchanges, ports) {
        (Some(mail_exchanges), Some(ports)) if faults.is_empty() => Ok((mail_exchanges, ports)),
        _ => Err(faults),
    }
}

/// Reads a table whose keys are names.
fn named<T>(
    table: &DeTable<'_>,
    title: &str,
    read: fn(&Spanned<DeValue<'_>>) -> Result<T, Fault>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, T> {
    let mut records = BTreeMap::new();
    for (key, value) in in_file_order(table) {
        let at_key = |text: String| Fault::new(key.span(), format!("[{title}] {:?}: {text}", key.get_ref()));
        if matches!(value.get_ref(), DeValue::Table(_)) {
            faults.push(at_key("a table; put the whole name in quotes, with its final dot".to_owned()));
            continue;
        }
        let record = read(value).map_err(|fault| Fault { span: fault.span, ..at_key(fault.text) });
        match (absolute(key.get_ref()).map_err(at_key), record) {
            (Ok(name), Ok(record)) => {
                if records.insert(name, record).is_some() {
                    faults.push(at_key("stands here twice, in different case; keep one".to_owned()));
                }
            }
            (Err(fault), _) | (_, Err(fault)) => faults.push(fault),
        }
    }
    records
}

fn port(value: &Spanned<DeValue<'_>>) -> Result<Port, Fault> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(Fault::new(value.span(), "not a string; write the port in quotes, like \"1025\""));
    };
    text.parse().map_err(|error| Fault::new(value.span(), format!("{text:?} is {error}")))
}

fn mail_exchange_list(value: &Spanned<DeValue<'_>>) -> Result<Vec<MailExchange>, Fault> {
    let mut exchanges = match value.get_ref() {
        DeValue::String(text) => {
            let exchange = exchange_name(text).map_err(|text| Fault::new(value.span(), text))?;
            let preference = if exchange == "." { 0 } else { DEFAULT_PREFERENCE };
            vec![MailExchange { preference, exchange }]
        }
        DeValue::Array(entries) => entries.iter().map(mail_exchange).collect::<Result<_, _>>()?,
        _ => return Err(Fault::new(value.span(), format!("no exchange; {EXCHANGE_FORMS}"))),
    };
    if exchanges.is_empty() {
        return Err(Fault::new(value.span(), "an empty list; name an exchange, or \".\" if the domain takes no mail"));
    }
    if exchanges.len() > 1 && exchanges.iter().any(|exchange| exchange.exchange == ".") {
        return Err(Fault::new(value.span(), "the null MX \".\" stands alone (RFC 7505); remove it or the others"));
    }
    exchanges.sort();
    Ok(exchanges)
}

const EXCHANGE_FORMS: &str = "write \"mx.example.\" or a list like [{ preference = 10, exchange = \"mx.example.\" }]";

fn mail_exchange(entry: &Spanned<DeValue<'_>>) -> Result<MailExchange, Fault> {
    let DeValue::Table(table) = entry.get_ref() else {
        return Err(Fault::new(entry.span(), format!("an entry that is no table; {EXCHANGE_FORMS}")));
    };
    let mut preference = None;
    let mut exchange = None;
    for (key, value) in in_file_order(table) {
        let at_value = |text: String| Fault::new(value.span(), text);
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("preference", DeValue::Integer(number)) => {
                let number = u16::from_str_radix(number.as_str(), number.radix());
                preference = Some(number.map_err(|_| at_value(PREFERENCE_RANGE.to_owned()))?);
            }
            ("preference", _) => return Err(at_value(PREFERENCE_RANGE.to_owned())),
            ("exchange", DeValue::String(text)) => exchange = Some(exchange_name(text).map_err(at_value)?),
            ("exchange", _) => return Err(at_value("exchange is not a string; write it in quotes".to_owned())),
            (unknown, _) => {
                let text = format!("unknown key {unknown:?}; an entry has preference and exchange");
                return Err(Fault::new(key.span(), text));
            }
        }
    }
    let missing = |key: &str| Fault::new(entry.span(), format!("an entry without {key}; {EXCHANGE_FORMS}"));
    Ok(MailExchange {
        preference: preference.ok_or_else(|| missing("preference"))?,
        exchange: exchange.ok_or_else(|| missing("exchange"))?,
    })
}

const PREFERENCE_RANGE: &str = "preference is no number from 0 to 65535; write one without quotes";

fn exchange_name(text: &str) -> Result<String, String> {
    match text {
        "." => Ok(".".to_owned()),
        _ => absolute(text).map_err(|fault| format!("exchange {text:?}: {fault}")),
    }
}

/// The name in lower case; what is wrong with it otherwise.
fn absolute(text: &str) -> Result<String, String> {
    let Some(name) = text.strip_suffix('.') else {
        return Err(match is_host_name(text) {
            // Clients of the file look names up with their final dot, and would not find this one.
            true => format!("no final dot; write {:?}", format!("{text}.")),
            false => bad_name(text),
        });
    };
    if is_host_name(name) { Ok(text.to_ascii_lowercase()) } else { Err(bad_name(name)) }
}

/// What is wrong with a name that is none. One in letters of another script has a form in ASCII (RFC 5890 §2.3.2.1).
fn bad_name(name: &str) -> String {
    match name.parse::<Domain>() {
        Ok(domain) if !name.is_ascii() && is_host_name(domain.as_str()) => {
            format!("a zone has names in ASCII; write {:?}", format!("{domain}."))
        }
        _ => BAD_NAME.to_owned(),
    }
}

const BAD_NAME: &str = "no domain name; write labels of letters, digits and inner hyphens, each with a dot after it";

/// Whether this is a domain name, without its final dot (RFC 1035 §2.3.1). Digits may come first (RFC 1123
/// §2.1), and underscores are in use.
pub(super) fn is_host_name(name: &str) -> bool {
    name.len() <= NAME_OCTETS
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// TOML tables come sorted by key, but the first fault to name is the first in the file.
fn in_file_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

#[cfg(test)]
mod tests {
    use crate::zone::Zone;
    use std::path::Path;

    #[test]
    fn faults_name_file_line_key_and_remedy() {
        let table: &[(&str, &str)] = &[
            ("[MX]\n[P]\n\"a.\" = \"0\"", r#"3: [P] "a.": "0" is no TCP port; write a number from 1 to 65535"#),
            (
                "[MX]\n[P]\n\n\"a.\" = \"70000\"",
                r#"4: [P] "a.": "70000" is no TCP port; write a number from 1 to 65535"#,
            ),
            (
                "[MX]\n[P]\n\"b\u{fc}cher.example.\" = \"1\"",
                r#"3: [P] "bücher.example.": a zone has names in ASCII; write "xn--bcher-kva.example.""#,
            ),
            (
                "[MX]\n\"a.\" = \"b\u{fc}cher.example\"\n[P]",
                r#"2: [MX] "a.": exchange "bücher.example": a zone has names in ASCII; write "xn--bcher-kva.example.""#,
            ),
            ("[MX]\n[P]\n\"a.\" = \"abc\"", r#"3: [P] "a.": "abc" is no TCP port; write a number from 1 to 65535"#),
            (
                "[MX]\n[P]\n\"a.\" = \"::1:25\"",
                r#"3: [P] "a.": "::1:25" is no host before the port; write "host:port", an IPv6 address in square brackets"#,
            ),
            ("[MX]\n[P]\n\"a.\" = 1025", r#"3: [P] "a.": not a string; write the port in quotes, like "1025""#),
            ("[MX]\n[P]\n\"a\" = \"1025\"", r#"3: [P] "a": no final dot; write "a.""#),
            (
                "[MX]\n[P]\n\"a b.\" = \"1025\"",
                r#"3: [P] "a b.": no domain name; write labels of letters, digits and inner hyphens, each with a dot after it"#,
            ),
            (
                "[MX]\n[P]\n\".\" = \"1025\"",
                r#"3: [P] ".": no domain name; write labels of letters, digits and inner hyphens, each with a dot after it"#,
            ),
            (
                "[P]\n[MX]\ngmail.com = \"a.\"",
                r#"3: [MX] "gmail": a table; put the whole name in quotes, with its final dot"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = \"b.\"\n\"A.\" = \"b.\"",
                r#"4: [MX] "A.": stands here twice, in different case; keep one"#,
            ),
            ("[P]\n[MX]\n\"a.\" = \"b\"", r#"3: [MX] "a.": exchange "b": no final dot; write "b.""#),
            (
                "[P]\n[MX]\n\"a.\" = 5",
                r#"3: [MX] "a.": no exchange; write "mx.example." or a list like [{ preference = 10, exchange = "mx.example." }]"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = []",
                r#"3: [MX] "a.": an empty list; name an exchange, or "." if the domain takes no mail"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [\n\"b.\"]",
                r#"4: [MX] "a.": an entry that is no table; write "mx.example." or a list like [{ preference = 10, exchange = "mx.example." }]"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ preference = 1, exchange = \"b.\" },\n{ preference = 2, exchange = \".\" }]",
                r#"3: [MX] "a.": the null MX "." stands alone (RFC 7505); remove it or the others"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ preference = 1, exchange = \"b.\" },\n{ priority = 2, exchange = \"c.\" }]",
                r#"4: [MX] "a.": unknown key "priority"; an entry has preference and exchange"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ preference = 65536, exchange = \"b.\" }]",
                r#"3: [MX] "a.": preference is no number from 0 to 65535; write one without quotes"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ preference = \"1\", exchange = \"b.\" }]",
                r#"3: [MX] "a.": preference is no number from 0 to 65535; write one without quotes"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ exchange = \"b.\" }]",
                r#"3: [MX] "a.": an entry without preference; write "mx.example." or a list like [{ preference = 10, exchange = "mx.example." }]"#,
            ),
            (
                "[P]\n[MX]\n\"a.\" = [{ preference = 1, exchange = 2 }]",
                r#"3: [MX] "a.": exchange is not a string; write it in quotes"#,
            ),
            ("[MX]\n[P]\n[A]\n", r#"3: unknown table or key "A"; a zone has [MX] and [P]"#),
            ("\nTTL = 5\n[MX]\n[P]", r#"2: unknown table or key "TTL"; a zone has [MX] and [P]"#),
            ("MX = \"a\"\n[P]", r#"1: "MX" is a table; write [MX]"#),
            ("[MX]\n\"a.\" = \"b.\"\n", "3: no [P] table; add it, empty or not"),
            ("", "1: no [MX] table; add it, empty or not"),
            // The first fault in the file, not in the alphabet.
            (
                "[P]\n\"z.\" = \"0\"\n\"a.\" = \"0\"\n[MX]",
                r#"2: [P] "z.": "0" is no TCP port; write a number from 1 to 65535"#,
            ),
        ];
        for (text, expected) in table {
            let error = Zone::parse(text, Path::new("data/fdns.toml")).unwrap_err().to_string();
            assert_eq!(error, format!("data/fdns.toml:{expected}"), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let text = "TTL = 5\n[P]\n\"b.\" = \"0\"\n\"a\" = \"1\"\n\"c.\" = \"2\"\n";
        let faults = Zone::check(text, Path::new("fdns.toml")).unwrap_err();
        let found: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                r#"fdns.toml:1: unknown table or key "TTL"; a zone has [MX] and [P]"#,
                r#"fdns.toml:3: [P] "b.": "0" is no TCP port; write a number from 1 to 65535"#,
                r#"fdns.toml:4: [P] "a": no final dot; write "a.""#,
                "fdns.toml:6: no [MX] table; add it, empty or not",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_one_line_too() {
        for (text, line) in
            [("[MX]\n\"a.\" = \n[P]", 2), ("[MX\n", 1), ("[MX]\n\n\"a.\" = \"b.\"\n\"a.\" = \"c.\"\n[P]", 4)]
        {
            let error = Zone::parse(text, Path::new("data/fdns.toml")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("data/fdns.toml:{line}: not TOML: ")), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn files_that_cannot_be_read() {
        let error = Zone::load(Path::new("no/such.toml")).unwrap_err().to_string();
        assert_eq!(
            error,
            "no/such.toml: No such file or directory (os error 2); check the path, or name another file with --zone"
        );
        let error = Zone::from_octets(b"[MX]\n# caf\xe9\n[P]", Path::new("fdns.toml")).unwrap_err().to_string();
        assert_eq!(error, "fdns.toml:2: not UTF-8; save the file as UTF-8");
    }
}
