//! Faults in words, for people.

use crate::{Cut, DnsAnswer, Fault, Place, Way, What};
use std::fmt;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, &self.place.stack) {
            (What::Partition(other), Some(stack)) => write!(f, "partition between {stack} and {other}"),
            (what, _) => write!(f, "{what}{}", self.place),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stall => f.write_str("stall"),
            Self::Refuse => f.write_str("refuse"),
            Self::Reply(text) => write!(f, "reply {text}"),
            Self::Delay(pause) => write!(f, "delay {pause}"),
            Self::Throttle(rate) => write!(f, "throttle {rate} octets/s"),
            Self::Slice(octets) => write!(f, "slice {octets} octets"),
            Self::Cut(cut) => write!(f, "cut {cut}"),
            Self::Partition(stack) => write!(f, "partition from {stack}"),
            Self::Dns(answer) => write!(f, "{answer}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Corrupt(octets) => write!(f, "corrupt reply {octets:?}"),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeCommand => f.write_str("before the command"),
            Self::BeforeReply => f.write_str("before the reply"),
            Self::AfterReply => f.write_str("after the reply"),
            Self::AfterDot => f.write_str("after the dot"),
            Self::AfterOctets(octets) => write!(f, "after {octets} octets"),
        }
    }
}

impl fmt::Display for DnsAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Servfail => f.write_str("SERVFAIL"),
            Self::Nxdomain => f.write_str("NXDOMAIN"),
            Self::Timeout => f.write_str("no answer"),
            Self::Wrong(record) => write!(f, "wrong answer {record}"),
        }
    }
}

/// What stands behind the words of a [`What`], with a space before it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |word: &str, text: Option<&dyn fmt::Display>| match text {
            Some(text) => write!(f, " {word} {text}"),
            None => Ok(()),
        };
        fn shown(text: &Option<impl fmt::Display>) -> Option<&dyn fmt::Display> {
            text.as_ref().map(|text| text as &dyn fmt::Display)
        }
        part("at", shown(&self.verb))?;
        part("for", shown(&self.name))?;
        part("from", shown(&self.mail_from))?;
        part("to", shown(&self.rcpt_to))?;
        part("of client", shown(&self.client))?;
        part("with", shown(&self.peer))?;
        part("in the", shown(&self.service))?;
        part("of", shown(&self.stack))?;
        match self.direction {
            Some(Way::Received) => f.write_str(", what is received"),
            Some(Way::Sent) => f.write_str(", what is sent"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_words() {
        for (json, words) in [
            (
                r#"{"where": {"stack": "a.test", "service": "smtp-gateway", "verb": "RCPT", "rcpt_to": "*@a.test"},
                    "what": {"reply": "451 4.7.1 later"}}"#,
                "reply 451 4.7.1 later at RCPT to *@a.test in the smtp-gateway of a.test",
            ),
            (
                r#"{"where": {"stack": "a.test"}, "what": {"partition": "b.test"}}"#,
                "partition between a.test and b.test",
            ),
            (
                r#"{"where": {"service": "pseudo-dns", "verb": "MX", "name": "b.test."}, "what": {"dns": "servfail"}}"#,
                "SERVFAIL at MX for b.test. in the pseudo-dns",
            ),
            (
                r#"{"where": {"service": "pop3-gateway", "direction": "sent"}, "what": {"throttle": 100}}"#,
                "throttle 100 octets/s in the pop3-gateway, what is sent",
            ),
            (
                r#"{"where": {"service": "smtp-gateway", "peer": "b.test"}, "what": {"cut": {"after_octets": 9}}}"#,
                "cut after 9 octets with b.test in the smtp-gateway",
            ),
        ] {
            let fault: Fault = serde_json::from_str(json).unwrap();
            assert_eq!(fault.to_string(), words);
        }
    }
}
