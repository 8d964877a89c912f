//! The extensions of SMTP that this town knows, in one table for servers and clients.

use super::{MailParameters, RecipientParameters};
use crate::sasl::Mechanisms;

/// What a server announces in its reply to EHLO (RFC 5321 §4.1.1.1). The default is a server without extensions, as one
/// that was greeted with HELO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): the largest message in octets, or 0 where the server names no limit.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// EXPN (RFC 5321 §4.1.1.7).
    pub expn: bool,
    /// LIMITS (RFC 9422).
    pub limits: AnnouncedLimits,
    /// AUTH (RFC 4954): the mechanisms; none where it is not announced.
    pub auth: Mechanisms,
}

/// How much a server takes (RFC 9422 §4). What it does not tell is `None`. Transactions here have recipients of one domain
/// only, so RCPTDOMAINMAX is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnnouncedLimits {
    /// MAILMAX: transactions of one connection; at least 1.
    pub transactions: Option<u32>,
    /// RCPTMAX: recipients of one transaction; at least 1.
    pub recipients: Option<u32>,
}

impl AnnouncedLimits {
    /// A value that is no number, or 0, is no limit (RFC 9422 §3).
    fn parse(parameters: &str) -> Self {
        let mut limits = Self::default();
        for (name, value) in parameters.split(' ').filter_map(|limit| limit.split_once('=')) {
            // Six digits at most.
            let value = Some(value).filter(|value| value.len() <= 6 && value.bytes().all(|it| it.is_ascii_digit()));
            let value = value.and_then(|value| value.parse().ok()).filter(|value| *value > 0);
            if name.eq_ignore_ascii_case("MAILMAX") {
                limits.transactions = value;
            } else if name.eq_ignore_ascii_case("RCPTMAX") {
                limits.recipients = value;
            }
        }
        limits
    }

    fn announced(self) -> Option<String> {
        let limits = [("MAILMAX", self.transactions), ("RCPTMAX", self.recipients)];
        let limits = limits.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        Some(limits.collect::<Vec<_>>().join(" ")).filter(|limits| !limits.is_empty())
    }
}

/// One extension: its keyword, and its place in [`Extensions`].
struct Extension {
    keyword: &'static str,
    /// What follows the keyword, when the extension is announced; mostly nothing.
    announced: fn(&Extensions) -> Option<String>,
    /// Takes what follows the keyword of a server that announces it.
    take: fn(&mut Extensions, &str),
}

/// An extension without parameters: it is announced, or it is not.
macro_rules! flag {
    ($keyword:literal, $field:ident) => {
        Extension {
            keyword: $keyword,
            announced: |extensions| extensions.$field.then(String::new),
            take: |extensions, _| extensions.$field = true,
        }
    };
}

/// In the order in which they are announced.
const TABLE: [Extension; 12] = [
    flag!("PIPELINING", pipelining),
    Extension {
        keyword: "SIZE",
        announced: |extensions| extensions.size.map(|octets| octets.to_string()),
        // A limit that is no number is none.
        take: |extensions, limit| extensions.size = Some(limit.trim().parse().unwrap_or(0)),
    },
    flag!("8BITMIME", eight_bit_mime),
    flag!("ENHANCEDSTATUSCODES", enhanced_status_codes),
    flag!("STARTTLS", starttls),
    flag!("CHUNKING", chunking),
    flag!("SMTPUTF8", smtputf8),
    flag!("DSN", dsn),
    flag!("REQUIRETLS", requiretls),
    flag!("EXPN", expn),
    Extension {
        keyword: "LIMITS",
        announced: |extensions| extensions.limits.announced(),
        take: |extensions, limits| extensions.limits = AnnouncedLimits::parse(limits),
    },
    Extension {
        keyword: "AUTH",
        announced: |extensions| (!extensions.auth.is_empty()).then(|| extensions.auth.to_string()),
        // Mechanisms that are unknown here are of no use.
        take: |extensions, names| extensions.auth = names.split(' ').filter_map(|name| name.parse().ok()).collect(),
    },
];

impl Extensions {
    /// The keywords of all of them.
    #[cfg(test)]
    pub(crate) const KEYWORDS: [&str; TABLE.len()] = {
        let mut keywords = [""; TABLE.len()];
        let mut index = 0;
        while index < TABLE.len() {
            keywords[index] = TABLE[index].keyword;
            index += 1;
        }
        keywords
    };

    /// The lines that announce them.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        TABLE.iter().filter_map(|extension| {
            let parameters = (extension.announced)(self)?;
            Some(format!("{} {parameters}", extension.keyword).trim_end().to_owned())
        })
    }

    /// Reads the lines of a reply to EHLO, except the first, which is the server's name. Unknown keywords are ignored.
    pub fn parse<'l>(lines: impl IntoIterator<Item = &'l str>) -> Self {
        let mut extensions = Self::default();
        for line in lines {
            let (keyword, parameters) = line.split_once(' ').unwrap_or((line, ""));
            if let Some(extension) = TABLE.iter().find(|extension| extension.keyword.eq_ignore_ascii_case(keyword)) {
                (extension.take)(&mut extensions, parameters);
            }
        }
        extensions
    }

    /// Those of these parameters of MAIL whose extensions are announced.
    #[must_use]
    pub fn permitted(&self, parameters: MailParameters) -> MailParameters {
        let MailParameters { size_octets, body, smtputf8, ret, envid, requiretls, submitter } = parameters;
        MailParameters {
            size_octets: size_octets.filter(|_| self.size.is_some()),
            body: body.filter(|_| self.eight_bit_mime),
            smtputf8: smtputf8 && self.smtputf8,
            ret: ret.filter(|_| self.dsn),
            envid: envid.filter(|_| self.dsn),
            requiretls: requiretls && self.requiretls,
            submitter: submitter.filter(|_| !self.auth.is_empty()),
        }
    }

    /// Those of these parameters of RCPT whose extensions are announced.
    #[must_use]
    pub fn permitted_to_recipient(&self, parameters: RecipientParameters) -> RecipientParameters {
        if self.dsn { parameters } else { RecipientParameters::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Extensions {
        let mut all = Extensions::default();
        TABLE.iter().for_each(|extension| match extension.keyword {
            "AUTH" => (extension.take)(&mut all, "PLAIN X-NEW login"),
            "LIMITS" => (extension.take)(&mut all, "RCPTMAX=20 X=y mailmax=5"),
            _ => (extension.take)(&mut all, "1000"),
        });
        all
    }

    #[test]
    fn what_is_announced_is_read_back() {
        let size_alone = Extensions { size: Some(0), ..Extensions::default() };
        for extensions in [all(), Extensions::default(), size_alone] {
            let lines: Vec<_> = extensions.lines().collect();
            assert_eq!(Extensions::parse(lines.iter().map(String::as_str)), extensions, "{lines:?}");
        }
        assert_eq!(all().lines().count(), TABLE.len());
        assert_eq!(all().lines().last().as_deref(), Some("AUTH PLAIN LOGIN"));
        assert_eq!(Extensions::default().lines().count(), 0);
    }

    #[test]
    fn keywords_are_words_in_any_case() {
        let eight_bit_mime = Extensions { eight_bit_mime: true, ..Extensions::default() };
        assert_eq!(Extensions::parse(["PIPELININGS", "8bitmime", "", "X Y"]), eight_bit_mime);
        let table = [("size", 0), ("SIZE 70", 70), ("SIZE  70 ", 70), ("SIZE many", 0)];
        for (line, octets) in table {
            assert_eq!(Extensions::parse([line]).size, Some(octets), "{line}");
        }
    }

    #[test]
    fn limits_are_numbers() {
        let limits = |line: &str| {
            let AnnouncedLimits { transactions, recipients } = Extensions::parse([line]).limits;
            (transactions, recipients)
        };
        assert_eq!(limits("LIMITS MAILMAX=1 RCPTMAX=999999 RCPTDOMAINMAX=1"), (Some(1), Some(999_999)));
        for line in ["LIMITS", "LIMITS RCPTMAX", "LIMITS RCPTMAX=0 MAILMAX=-1", "LIMITS RCPTMAX=1000000 MAILMAX=+1"] {
            assert_eq!(limits(line), (None, None), "{line}");
        }
    }

    #[test]
    fn a_parameter_needs_its_extension() {
        let mut parameters = MailParameters::default();
        for (keyword, value) in [
            ("SIZE", Some("1")),
            ("BODY", Some("7BIT")),
            ("SMTPUTF8", None),
            ("RET", Some("HDRS")),
            ("ENVID", Some("e")),
            ("REQUIRETLS", None),
            ("AUTH", Some("<>")),
        ] {
            let before = all().permitted(parameters.clone());
            parameters.set(keyword, value).unwrap();
            assert_ne!(all().permitted(parameters.clone()), before, "{keyword}");
        }
        assert_eq!(all().permitted(parameters.clone()), parameters);
        assert_eq!(Extensions::default().permitted(parameters), MailParameters::default());
        let mut recipient = RecipientParameters::default();
        recipient.set("NOTIFY", Some("NEVER")).unwrap();
        assert_eq!(all().permitted_to_recipient(recipient.clone()), recipient);
        let nothing = RecipientParameters::default();
        assert_eq!(Extensions::default().permitted_to_recipient(recipient), nothing);
    }
}
