//! Faults in words, for people.

use crate::{Cut, DnsAnswer, Fault, Place, Way, What, When};
use std::fmt;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, &self.place.stack) {
            (What::Partition(other), Some(stack)) => write!(f, "partition between {stack} and {other}")?,
            (what, _) => write!(f, "{what}{}", self.place)?,
        }
        write!(f, "{}", self.when)
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

/// What stands at the end, with a comma before each part.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, after, every, first_per_recipient, above_per_minute, probability, seed, until } = self;
        match times.map(u64::from) {
            Some(1) => f.write_str(", once")?,
            Some(times) => write!(f, ", {times} times at most")?,
            None => {}
        }
        match after {
            Some(1) => f.write_str(", not the first time")?,
            Some(after) => write!(f, ", not the first {after} times")?,
            None => {}
        }
        if let Some(every) = every {
            write!(f, ", 1 of {every} times")?;
        }
        match first_per_recipient.map(u32::from) {
            Some(1) => f.write_str(", the first time for each recipient")?,
            Some(first) => write!(f, ", the first {first} times for each recipient")?,
            None => {}
        }
        if let Some(rate) = above_per_minute {
            write!(f, ", beyond {rate} in a minute")?;
        }
        if let Some(probability) = probability {
            write!(f, ", with probability {probability} (seed {})", seed.unwrap_or(0))?;
        }
        match until {
            Some(until) => write!(f, ", until {until}"),
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
            (
                r#"{"where": {"service": "smtp-gateway", "verb": "RCPT"}, "what": "stall", "when": {"first_per_recipient": 1}}"#,
                "stall at RCPT in the smtp-gateway, the first time for each recipient",
            ),
            (
                r#"{"what": {"status": 503}, "when": {"times": 3, "after": 1, "every": 2, "above_per_minute": 9}}"#,
                "status 503, 3 times at most, not the first time, 1 of 2 times, beyond 9 in a minute",
            ),
            (
                r#"{"what": {"status": 503}, "when": {"probability": 0.25, "until": "2026-01-01T00:00:00Z"}}"#,
                "status 503, with probability 0.25 (seed 0), until 2026-01-01T00:00:00Z",
            ),
        ] {
            let fault: Fault = serde_json::from_str(json).unwrap();
            assert_eq!(fault.to_string(), words);
        }
    }
}
