//! What the words of SMTP, POP3 and of a message's header mean: one sentence for each, with the RFC that says so.
//!
//! The tables of this module are the only source: what SMTP replies to HELP is made of them too.
//!
//! ```
//! use mail_proto::{Protocol, Side, explain};
//!
//! let parts = explain::line(Protocol::Smtp, Side::Server, b"550 5.1.1 no such mailbox here\r\n", None);
//! let texts: Vec<_> = parts.iter().map(|part| part.explanation.to_string()).collect();
//! assert_eq!(texts[1], "There is no such mailbox (RFC 3463 §3.2).");
//! assert_eq!(parts[1].octets, 4..9);
//! ```

mod auth;
mod codes;
mod fields;
mod line;
mod pop3;
mod report_fields;
mod smtp;
mod status;

use std::{fmt, ops::Range};

pub use line::line;
pub(crate) use smtp::usage;

/// One plain sentence about a word of a protocol, and where it is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The sentence, with its full stop.
    pub text: &'static str,
    /// The number of the RFC.
    pub rfc: u16,
    /// The section of it, such as `4.1.1.2`.
    pub section: &'static str,
}

/// A part of a line, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which octets of the line these are.
    pub octets: Range<usize>,
    /// What they mean.
    pub explanation: Explanation,
}

/// A row of a table: the word, the RFC, its section, and the sentence.
type Row = (&'static str, u16, &'static str, &'static str);

/// The sentence, and the RFC in parentheses.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, rfc, section } = self;
        write!(f, "{} (RFC {rfc} §{section}).", text.trim_end_matches('.'))
    }
}

/// What the header field of this name is for. The name is in any case, without its colon.
pub fn header_field(name: &str) -> Option<Explanation> {
    [fields::FIELDS, report_fields::FIELDS].into_iter().find_map(|table| find(table, name))
}

/// What an enhanced status code says, such as `5.1.1` (RFC 3463 §2). Of a detail that is not registered, the subject is
/// explained.
pub fn status_code(code: &str) -> Option<Explanation> {
    let mut numbers = code.split('.').map(|number| {
        let digits = (1..=3).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit());
        number.parse::<u16>().ok().filter(|_| digits)
    });
    match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
        [Some(Some(2 | 4 | 5)), Some(Some(subject)), Some(Some(detail)), None] => status::explain(subject, detail),
        _ => None,
    }
}

/// What an SMTP reply code says (RFC 5321 §4.2).
pub fn reply_code(code: u16) -> Option<Explanation> {
    codes::explain(code)
}

/// What a line of the reply to EHLO announces that begins with this keyword (RFC 5321 §4.1.1.1).
pub fn ehlo_keyword(keyword: &str) -> Option<Explanation> {
    find(smtp::KEYWORDS, keyword)
}

/// What a command of POP3 asks for (RFC 1939).
pub fn pop3_command(verb: &str) -> Option<Explanation> {
    find(pop3::COMMANDS, verb)
}

/// How a client proves who it is with this mechanism of SASL, named as in `AUTH PLAIN`.
pub fn mechanism(mechanism: &str) -> Option<Explanation> {
    find(auth::MECHANISMS, mechanism)
}

/// The row of a word, whatever its case is.
fn find(table: &[Row], word: &str) -> Option<Explanation> {
    let row = table.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word));
    row.map(|&(_, rfc, section, text)| Explanation { text, rfc, section })
}

#[cfg(test)]
mod tests;
