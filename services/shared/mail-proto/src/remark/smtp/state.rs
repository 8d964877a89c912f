//! What a server has accepted so far, and what it has announced.

use crate::explain;

/// A command by what it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// No command: the server speaks first.
    Greeting,
    Hello {
        extended: bool,
    },
    Mail {
        smtputf8: bool,
        eight_bit: bool,
        binary: bool,
    },
    Rcpt,
    Data,
    /// The message that follows DATA.
    Message,
    Chunk {
        is_last: bool,
    },
    StartTls,
    /// AUTH, or a response of its exchange.
    Auth,
    Rset,
    Quit,
    Vrfy {
        smtputf8: bool,
    },
    Expn {
        smtputf8: bool,
    },
    Help,
    Noop,
    /// What changes nothing.
    Other {
        is_last: bool,
    },
}

impl What {
    /// Whether the reply decides how the client's next octets are to be read.
    pub(super) fn holds(self) -> bool {
        matches!(self, Self::Greeting | Self::Hello { .. } | Self::Data | Self::StartTls | Self::Auth | Self::Quit)
    }

    /// Whether a client has to wait for the reply even with PIPELINING (RFC 2920 §3.1).
    pub(super) fn is_last(self) -> bool {
        self.holds()
            || matches!(self, Self::Vrfy { .. } | Self::Expn { .. } | Self::Noop | Self::Other { is_last: true })
    }

    /// Whether the server may say this when it does what was asked (RFC 5321 §4.3.2).
    pub(super) fn may_be_answered(self, code: u16) -> bool {
        match self {
            _ if code >= 400 => true,
            Self::Greeting | Self::StartTls => code == 220,
            Self::Data => code == 354,
            Self::Rcpt => matches!(code, 250 | 251),
            Self::Auth => matches!(code, 235 | 334),
            Self::Quit => code == 221,
            Self::Vrfy { .. } | Self::Expn { .. } => matches!(code, 250..=252),
            Self::Help => matches!(code, 211 | 214),
            Self::Other { .. } => code < 300,
            _ => code == 250,
        }
    }

    /// Whether the reply may be in UTF-8 whatever the transaction is.
    pub(super) fn permits_utf8(self) -> bool {
        matches!(
            self,
            Self::Vrfy { smtputf8: true } | Self::Expn { smtputf8: true } | Self::Mail { smtputf8: true, .. }
        )
    }
}

/// What counts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// Whether HELO or EHLO was accepted.
    pub(super) hello: bool,
    /// Whether a MAIL was accepted, and the transaction goes on.
    pub(super) is_open: bool,
    pub(super) recipients: u32,
    /// Whether the message comes in chunks.
    pub(super) has_chunks: bool,
    pub(super) is_logged_in: bool,
    pub(super) smtputf8: bool,
    pub(super) eight_bit: bool,
    pub(super) binary: bool,
}

impl State {
    /// What counts after the reply to a command.
    pub(super) fn after(self, what: What, is_accepted: bool) -> Self {
        let closed = Self { hello: self.hello, is_logged_in: self.is_logged_in, ..Self::default() };
        match what {
            What::Message | What::Chunk { is_last: true } => closed,
            What::Chunk { .. } if is_accepted => Self { has_chunks: true, ..self },
            // RFC 3030 §2: only RSET helps.
            What::Chunk { .. } => closed,
            _ if !is_accepted => self,
            What::Hello { .. } => Self { hello: true, ..closed },
            What::Mail { smtputf8, eight_bit, binary } => {
                Self { is_open: true, smtputf8, eight_bit: eight_bit || smtputf8, binary, ..closed }
            }
            What::Rcpt if self.is_open => Self { recipients: self.recipients + 1, ..self },
            What::Auth => Self { is_logged_in: true, ..self },
            What::Rset => closed,
            What::StartTls => Self::default(),
            _ => self,
        }
    }
}

/// What the reply to EHLO says.
#[derive(Debug, Default)]
pub(super) struct Announced {
    /// Each line but the first, in capitals.
    lines: Vec<String>,
}

impl Announced {
    /// Takes the lines of a reply to EHLO, without their codes.
    pub(super) fn new(lines: &[String]) -> Self {
        Self { lines: lines.iter().skip(1).map(|line| line.trim_end().to_ascii_uppercase()).collect() }
    }

    fn words(&self) -> impl Iterator<Item = (&str, &str)> {
        // `AUTH=LOGIN` is from before RFC 4954, and still there.
        self.lines.iter().map(|line| line.split_once([' ', '=']).unwrap_or((line, "")))
    }

    /// Whether this keyword is there.
    pub(super) fn has(&self, keyword: &str) -> bool {
        self.words().any(|(word, _)| word == keyword)
    }

    /// Whether AUTH names this mechanism.
    pub(super) fn has_mechanism(&self, mechanism: &str) -> bool {
        let mut mechanisms = self.words().filter(|(word, _)| *word == "AUTH").flat_map(|(_, names)| names.split(' '));
        mechanisms.any(|name| name.eq_ignore_ascii_case(mechanism))
    }

    /// Whether a parameter of MAIL or RCPT may be used. One that nobody knows may belong to a keyword that nobody
    /// knows.
    pub(super) fn has_parameter(&self, parameter: &str) -> bool {
        let keyword = match parameter {
            "SIZE" | "SMTPUTF8" | "REQUIRETLS" | "AUTH" => parameter,
            "BODY" => "8BITMIME",
            "BODY=BINARYMIME" => "BINARYMIME",
            "RET" | "ENVID" | "ORCPT" | "NOTIFY" => "DSN",
            _ => return self.words().any(|(word, _)| explain::ehlo_keyword(word).is_none()),
        };
        self.has(keyword)
    }

    /// How long a command may be: more with extensions (RFC 5321 §4.5.3.1.4).
    pub(super) fn most_octets(&self, verb: &str) -> usize {
        /// The keyword, what it adds to MAIL, and what to RCPT.
        const MORE: [(&str, usize, usize); 6] = [
            ("SIZE", 26, 0),
            ("8BITMIME", 17, 0),
            ("AUTH", 500, 0),
            ("SMTPUTF8", 10, 0),
            ("DSN", 100, 500),
            ("REQUIRETLS", 11, 0),
        ];
        let announced = MORE.iter().filter(|(keyword, ..)| self.has(keyword));
        512 + match verb {
            "MAIL" => announced.map(|(_, mail, _)| mail).sum::<usize>(),
            "RCPT" => announced.map(|(.., rcpt)| rcpt).sum::<usize>(),
            "VRFY" | "EXPN" => 10,
            // RFC 4954 §4: a message of an exchange.
            "AUTH" => 12_288 - 512,
            _ => 0,
        }
    }
}
