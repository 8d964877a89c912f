//! Which faults make sense.

use crate::{Cut, Fault, What, glob};
use mail_net::Hop;

/// The longest name of a fault, in octets.
const NAME_OCTETS: usize = 64;
/// What the relay can meet. EHLO is all that is said before the first MAIL.
const RELAY_VERBS: &[&str] = &["CONNECT", "EHLO", "HELO", "MAIL", "RCPT", "DATA", ".", "QUIT"];
/// What an SMTP server can meet. The end of a message is `.`, also of one that comes with BDAT.
const SMTP_VERBS: &[&str] = &[
    "CONNECT", "HELO", "EHLO", "STARTTLS", "AUTH", "MAIL", "SEND", "SOML", "SAML", "RCPT", "DATA", ".", "RSET", "NOOP",
    "VRFY", "EXPN", "HELP", "ETRN", "TURN", "QUIT",
];
/// What a POP3 server can meet.
const POP3_VERBS: &[&str] = &[
    "CONNECT", "CAPA", "STLS", "AUTH", "APOP", "USER", "PASS", "UTF8", "LANG", "STAT", "LIST", "UIDL", "RETR", "TOP",
    "DELE", "RSET", "NOOP", "QUIT",
];
/// The methods that the store knows.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The longest reply, in octets.
const TEXT_OCTETS: usize = 4096;

/// Why a fault makes no sense. The text names the key and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFault(String);

impl InvalidFault {
    /// The same, of the fault with this name.
    pub(crate) fn of(self, name: &str) -> Self {
        Self(format!("{name}: {}", self.0))
    }

    pub(crate) fn too_many(most: usize) -> Self {
        Self(format!("there are more than {most} faults"))
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidFault> {
    Err(InvalidFault(message.into()))
}

/// Checks the name of a fault: letters, digits, `-`, `_` and `.`, at most 64.
///
/// # Errors
/// [`InvalidFault`].
pub fn check_name(name: &str) -> Result<(), InvalidFault> {
    let is_plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    if is_plain && (1..=NAME_OCTETS).contains(&name.len()) {
        return Ok(());
    }
    invalid(format!("{name:?} is no name of a fault; take 1 to {NAME_OCTETS} letters, digits, \"-\", \"_\" or \".\""))
}

impl Fault {
    /// The edge of the town that it is for.
    ///
    /// # Errors
    /// [`InvalidFault`] when nothing tells it, or what is told does not fit.
    pub fn hop(&self) -> Result<Hop, InvalidFault> {
        let place = &self.place;
        let told = match (place.hop, place.service.as_deref()) {
            (Some(hop), _) => Some(hop),
            (None, Some("smtp-gateway")) if place.peer.is_some() => Some(Hop::SmtpToPeer),
            (None, Some("smtp-gateway")) => Some(Hop::AgentToSmtp),
            (None, Some("pop3-gateway")) => Some(Hop::ClientToPop3),
            (None, Some("mailbox-store")) => Some(Hop::GatewayToStore),
            (None, Some("pseudo-dns")) => Some(Hop::GatewayToDns),
            (None, Some(other)) => {
                return invalid(format!(
                    "where.service is {other:?}; give smtp-gateway, pop3-gateway, mailbox-store or pseudo-dns"
                ));
            }
            (None, None) if place.peer.is_some() => Some(Hop::SmtpToPeer),
            (None, None) => None,
        };
        let meant = match &self.what {
            What::Partition(_) => Some(Hop::SmtpToPeer),
            What::Dns(_) => Some(Hop::GatewayToDns),
            What::Status(_) => Some(Hop::GatewayToStore),
            _ => None,
        };
        match (told, meant) {
            // A partition is told with the stack alone, or with its gateway.
            (Some(Hop::AgentToSmtp), Some(Hop::SmtpToPeer)) if place.hop.is_none() => Ok(Hop::SmtpToPeer),
            (Some(told), Some(meant)) if told != meant => {
                invalid(format!("what is a fault of the hop {meant}, and where says {told}"))
            }
            (Some(hop), _) | (None, Some(hop)) => Ok(hop),
            (None, None) => invalid("where says neither service nor hop; give one of them, such as smtp-gateway"),
        }
    }

    /// The service that has the fault at this edge.
    pub fn service(&self) -> Result<&'static str, InvalidFault> {
        let service = match self.hop()? {
            Hop::AgentToSmtp | Hop::SmtpToPeer => "smtp-gateway",
            Hop::ClientToPop3 => "pop3-gateway",
            Hop::GatewayToStore => "mailbox-store",
            Hop::GatewayToDns => "pseudo-dns",
        };
        match self.place.service.as_deref() {
            Some(named) if named != service => {
                invalid(format!("where.hop is for {service}, and where.service says {named}"))
            }
            _ => Ok(service),
        }
    }

    /// Checks that the command can be met at this edge.
    fn check_verb(&self, hop: Hop) -> Result<(), InvalidFault> {
        let Some(verb) = self.place.verb.as_deref() else {
            let of_connections =
                matches!(self.what, What::Throttle(_) | What::Slice(_) | What::Refuse | What::Cut(Cut::AfterOctets(_)));
            if of_connections && (self.place.mail_from.is_some() || self.place.rcpt_to.is_some()) {
                return invalid(
                    "where has mail_from or rcpt_to, which a new connection does not know; give where.verb",
                );
            }
            return Ok(());
        };
        let known = match hop {
            Hop::AgentToSmtp => SMTP_VERBS,
            Hop::SmtpToPeer => RELAY_VERBS,
            Hop::ClientToPop3 => POP3_VERBS,
            Hop::GatewayToStore => METHODS,
            // There are more types of records than anybody would list.
            Hop::GatewayToDns => return Ok(()),
        };
        if !known.iter().any(|known| known.eq_ignore_ascii_case(verb)) {
            return invalid(format!("where.verb is {verb:?}; at the hop {hop} give one of {}", known.join(" ")));
        }
        if hop == Hop::SmtpToPeer && self.what == What::Cut(Cut::BeforeCommand) && verb != "CONNECT" {
            return invalid("what.cut before_command is for servers; at the hop smtp-peer take before_reply");
        }
        Ok(())
    }

    /// Checks that the stacks that it names are among these.
    ///
    /// # Errors
    /// [`InvalidFault`].
    pub fn check_stacks(&self, known: &[&str]) -> Result<(), InvalidFault> {
        let is_known = |pattern: &str| known.iter().any(|stack| glob::matches(pattern, stack));
        let other = if let What::Partition(other) = &self.what { Some(other) } else { None };
        let named = [("where.stack", self.place.stack.as_ref()), ("what.partition", other)];
        match named.into_iter().find_map(|(key, stack)| Some((key, stack.filter(|stack| !is_known(stack))?))) {
            Some((key, stack)) => {
                invalid(format!("{key} is {stack:?}, which is no server of this town; give {}", known.join(" or ")))
            }
            None => Ok(()),
        }
    }

    /// Checks that it can happen.
    ///
    /// # Errors
    /// [`InvalidFault`].
    pub fn check(&self) -> Result<(), InvalidFault> {
        let hop = self.hop()?;
        self.service()?;
        self.check_verb(hop)?;
        match &self.what {
            What::Reply(text) => check_reply(hop, text)?,
            What::Corrupt(text) if text.len() > TEXT_OCTETS => {
                return invalid(format!("what.corrupt has more than {TEXT_OCTETS} octets"));
            }
            What::Corrupt(_) if !has_dialogue(hop) => {
                return invalid(format!("what.corrupt is for SMTP and POP3, and this is the hop {hop}"));
            }
            What::Status(status) if !(400..=599).contains(status) => {
                return invalid(format!("what.status is {status}; give 400 to 599"));
            }
            What::Throttle(_) | What::Slice(_) | What::Refuse | What::Cut(Cut::AfterOctets(_))
                if !has_dialogue(hop) =>
            {
                return invalid(format!(
                    "throttle, slice, refuse and cut are for SMTP and POP3; at the hop {hop} take status, dns, delay or stall"
                ));
            }
            What::Cut(cut) if !has_dialogue(hop) => return invalid(format!("what.cut {cut:?} is for SMTP and POP3")),
            What::Cut(Cut::AfterDot) if !matches!(hop, Hop::AgentToSmtp | Hop::SmtpToPeer) => {
                return invalid("what.cut after_dot is for SMTP");
            }
            What::Cut(Cut::AfterDot) if self.place.verb.as_deref().is_some_and(|verb| verb != ".") => {
                return invalid("what.cut after_dot happens at the end of a message; leave where.verb out");
            }
            What::Partition(other) if self.place.stack.as_ref().is_some_and(|one| one.eq_ignore_ascii_case(other)) => {
                return invalid("what.partition and where.stack are one server; name two");
            }
            What::Throttle(0) | What::Slice(0) => return invalid("what.throttle and what.slice are 1 or more octets"),
            What::Partition(_) if self.place.stack.as_deref().is_none_or(|stack| stack.contains('*')) => {
                return invalid("what.partition names one stack; name the other as where.stack");
            }
            _ => {}
        }
        match self.when.probability {
            Some(probability) if !(0.0..=1.0).contains(&probability) => {
                invalid(format!("when.probability is {probability}; give 0 to 1"))
            }
            _ => Ok(()),
        }
    }
}

fn has_dialogue(hop: Hop) -> bool {
    matches!(hop, Hop::AgentToSmtp | Hop::SmtpToPeer | Hop::ClientToPop3)
}

/// A reply is one of the protocol. What is none can be sent with `corrupt`.
fn check_reply(hop: Hop, text: &str) -> Result<(), InvalidFault> {
    if text.len() > TEXT_OCTETS || text.bytes().any(|octet| octet.is_ascii_control()) {
        return invalid(format!(
            "what.reply is one line of at most {TEXT_OCTETS} octets without CR and LF; else take corrupt"
        ));
    }
    let is_reply = match hop {
        Hop::ClientToPop3 => text.starts_with("-ERR") || text.starts_with("+OK"),
        Hop::AgentToSmtp | Hop::SmtpToPeer => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            // 3xx would have the client send what nobody waits for.
            let in_range = text.bytes().next().is_some_and(|first| b"245".contains(&first));
            let is_code = digits == 3 && in_range && matches!(text.as_bytes().get(3), None | Some(b' '));
            is_code && has_fitting_status(text)
        }
        Hop::GatewayToStore | Hop::GatewayToDns => {
            return invalid("what.reply is for SMTP and POP3; take status for the store and dns for the name server");
        }
    };
    if is_reply {
        return Ok(());
    }
    let example = if hop == Hop::ClientToPop3 { "\"-ERR not today\"" } else { "\"451 4.7.1 greylisted\"" };
    invalid(format!("what.reply {text:?} is no reply such as {example}; what is none can be sent with corrupt"))
}

/// Whether an enhanced status code, if there is one, is of the class of the code (RFC 3463 §2).
fn has_fitting_status(reply: &str) -> bool {
    let status = reply.split(' ').nth(1).unwrap_or_default();
    let parts: Vec<_> = status.split('.').collect();
    let is_status = parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok());
    !is_status || status.as_bytes().first() == reply.as_bytes().first()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_edge_follows_from_what_is_said() {
        for (json, hop, service) in [
            (r#"{"where":{"service":"smtp-gateway"},"what":"stall"}"#, Hop::AgentToSmtp, "smtp-gateway"),
            (r#"{"where":{"service":"smtp-gateway","peer":"*"},"what":"refuse"}"#, Hop::SmtpToPeer, "smtp-gateway"),
            (r#"{"where":{"hop":"client-pop3"},"what":{"delay":"1s"}}"#, Hop::ClientToPop3, "pop3-gateway"),
            (r#"{"where":{"stack":"a"},"what":{"partition":"b"}}"#, Hop::SmtpToPeer, "smtp-gateway"),
            (
                r#"{"where":{"stack":"a","service":"smtp-gateway"},"what":{"partition":"b"}}"#,
                Hop::SmtpToPeer,
                "smtp-gateway",
            ),
            (r#"{"what":{"dns":"servfail"}}"#, Hop::GatewayToDns, "pseudo-dns"),
            (r#"{"what":{"status":503}}"#, Hop::GatewayToStore, "mailbox-store"),
        ] {
            let fault = fault(json);
            assert_eq!((fault.hop(), fault.service()), (Ok(hop), Ok(service)), "{json}");
            assert_eq!(fault.check(), Ok(()), "{json}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_key() {
        for (json, words) in [
            (r#"{"what":"stall"}"#, "neither service nor hop"),
            (r#"{"where":{"service":"smtp"},"what":"stall"}"#, "where.service is \"smtp\""),
            (
                r#"{"where":{"service":"pop3-gateway","hop":"smtp-peer"},"what":"stall"}"#,
                "where.hop is for smtp-gateway",
            ),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"reply":"-ERR"}}"#, "is no reply"),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"reply":"99 x"}}"#, "is no reply"),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"reply":"451 a\r\n"}}"#, "one line"),
            (r#"{"where":{"service":"pop3-gateway"},"what":{"reply":"451 x"}}"#, "\"-ERR not today\""),
            (r#"{"where":{"service":"pop3-gateway"},"what":{"cut":"after_dot"}}"#, "is for SMTP"),
            (r#"{"where":{"service":"mailbox-store"},"what":"refuse"}"#, "take status"),
            (r#"{"where":{"service":"mailbox-store"},"what":{"reply":"451 x"}}"#, "take status"),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"status":503}}"#, "gateway-store"),
            (r#"{"where":{"service":"smtp-gateway","verb":"DATA"},"what":{"reply":"354 go"}}"#, "is no reply"),
            (r#"{"where":{"hop":"smtp-peer","verb":"AUTH"},"what":"stall"}"#, "give one of CONNECT EHLO"),
            (r#"{"where":{"hop":"smtp-peer","verb":"MAIL"},"what":{"cut":"before_command"}}"#, "before_reply"),
            (r#"{"where":{"service":"smtp-gateway","verb":"RCTP"},"what":"stall"}"#, "\"RCTP\"; at the hop agent-smtp"),
            (r#"{"where":{"service":"smtp-gateway","verb":"BDAT"},"what":"stall"}"#, "give one of CONNECT HELO"),
            (r#"{"where":{"service":"pop3-gateway","verb":"MAIL"},"what":"stall"}"#, "give one of CONNECT CAPA"),
            (r#"{"where":{"service":"mailbox-store","verb":"RETR"},"what":{"status":503}}"#, "give one of GET"),
            (r#"{"where":{"service":"smtp-gateway","rcpt_to":"a@x"},"what":"refuse"}"#, "give where.verb"),
            (r#"{"what":{"status":200}}"#, "400 to 599"),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"reply":"451 5.7.1 no"}}"#, "is no reply"),
            (
                r#"{"where":{"service":"smtp-gateway","verb":"RCPT"},"what":{"cut":"after_dot"}}"#,
                "leave where.verb out",
            ),
            (r#"{"where":{"stack":"b"},"what":{"partition":"B"}}"#, "name two"),
            (r#"{"where":{"service":"smtp-gateway"},"what":{"slice":0}}"#, "1 or more"),
            (r#"{"what":{"partition":"b"}}"#, "name the other as where.stack"),
            (r#"{"what":{"status":503},"when":{"probability":1.5}}"#, "0 to 1"),
        ] {
            let error = fault(json).check().unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn stacks_are_those_of_the_town() {
        let known = ["exmail.qq.com", "gmail.com"];
        for (json, words) in [
            (
                r#"{"where":{"stack":"gmail.con","service":"smtp-gateway"},"what":"stall"}"#,
                "where.stack is \"gmail.con\"",
            ),
            (
                r#"{"where":{"stack":"*.org","service":"smtp-gateway"},"what":"stall"}"#,
                "give exmail.qq.com or gmail.com",
            ),
            (r#"{"where":{"stack":"gmail.com"},"what":{"partition":"exmail"}}"#, "what.partition is \"exmail\""),
        ] {
            let error = fault(json).check_stacks(&known).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
        for json in [
            r#"{"where":{"stack":"GMAIL.com","service":"smtp-gateway"},"what":"stall"}"#,
            r#"{"where":{"stack":"*.com","service":"smtp-gateway"},"what":"stall"}"#,
            r#"{"where":{"service":"smtp-gateway","peer":"elsewhere.test"},"what":"refuse"}"#,
        ] {
            assert_eq!(fault(json).check_stacks(&known), Ok(()), "{json}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_errors() {
        for (json, words) in [
            (r#"{"where":{"servce":"x"},"what":"stall"}"#, "servce"),
            (r#"{"where":{"hop":"x"},"what":"stall"}"#, "is no hop"),
            (r#"{"what":{"delay":"2h"}}"#, "one hour"),
            (r#"{"what":{"delay":"soon"}}"#, "no duration"),
            (r#"{"what":{"explode":1}}"#, "explode"),
            (r#"{"what":"stall","when":{"times":0}}"#, "nonzero"),
        ] {
            let error = serde_json::from_str::<Fault>(json).unwrap_err().to_string();
            assert!(error.contains(words), "{json}: {error}");
        }
        assert!(check_name("grey-1").is_ok());
        assert!(check_name("a b").is_err() && check_name("").is_err());
    }

    #[test]
    fn a_fault_is_written_as_it_was_read() {
        let json = r#"{"where":{"stack":"gmail.com","service":"smtp-gateway","verb":"RCPT"},"what":{"delay":"1m 5s"},"when":{"times":2}}"#;
        assert_eq!(serde_json::to_string(&fault(json)).unwrap(), json);
    }
}
