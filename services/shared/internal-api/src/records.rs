//! What a service has seen on its sockets: sessions, the octets of their dialogues, and what was decided meanwhile.
//!
//! Records live in memory and are bounded. They are gone after a restart.

use crate::{MessageId, SessionId, text};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use jiff::Timestamp;
use mail_proto::{Domain, Mailbox};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, net::SocketAddr};
use utoipa::ToSchema;

/// One page of `GET /v1/sessions`, the newest session first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// The sessions of this page.
    pub sessions: Vec<RecordedSession>,
    /// Pass this as `before` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<SessionId>,
}

/// The answer to `GET /v1/sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionRecords {
    /// The session.
    pub session: RecordedSession,
    /// What was seen of it, in order.
    pub records: Vec<Record>,
}

/// One page of `GET /v1/trace`: what was seen of all sessions, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracePage {
    /// The records of this page.
    pub records: Vec<TracedRecord>,
    /// Pass this as `after` to read on; present on every page, also on an empty one. A service that has restarted
    /// takes it for the beginning.
    pub next_after: String,
    /// How many sessions were forgotten for want of memory since the service started, and how many records were never
    /// kept.
    pub dropped: Dropped,
    /// Whether new sessions are recorded. The configuration may say no.
    pub recording: bool,
}

/// What is missing for want of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// Closed sessions that were forgotten.
    pub sessions: u64,
    /// Records of sessions that are known, which were not kept.
    pub records: u64,
}

/// A record, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracedRecord {
    /// The session.
    pub session: SessionId,
    /// What was seen of it.
    #[serde(flatten)]
    pub record: Record,
}

/// A connection, or the attempt to make one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordedSession {
    /// Its name.
    pub id: SessionId,
    /// The same connection in the logs: 12 hexadecimal digits.
    pub connection: String,
    /// The server name of the stack.
    #[schema(value_type = text::Domain)]
    pub stack: Domain,
    /// The service that has seen it: `smtp-gateway`, `pop3-gateway` or `pseudo-dns`.
    #[schema(value_type = String)]
    pub service: Cow<'static, str>,
    /// Which end the service was.
    pub role: Role,
    /// What was spoken.
    pub protocol: Protocol,
    /// The service's own address; absent until there is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "127.0.0.1:1025")]
    pub local: Option<SocketAddr>,
    /// The address of the other end; absent where a name was not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "127.0.0.1:50312")]
    pub remote: Option<SocketAddr>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it ended; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub closed_at: Option<Timestamp>,
    /// Why it ended, or is about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Whether it broke off: no connection, a connection that was lost or hung, TLS that failed, a fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
    /// The version of TLS and the cipher suite; absent in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "TLS 1.3, TLS13_AES_256_GCM_SHA384")]
    pub tls: Option<String>,
    /// Who is logged in, as the store spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The messages that were taken in, sent or fetched over it, in order. At most 100.
    pub messages: Vec<MessageId>,
    /// Octets that came in, in the dialogue: without TLS.
    pub octets_received: u64,
    /// Octets that went out, likewise.
    pub octets_sent: u64,
    /// How many replies refused something: 4xx, 5xx or `-ERR`.
    pub refusals: u64,
    /// The last of these replies; its last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<String>,
    /// How many records are missing, because the session had too many.
    pub missing_records: u64,
}

impl RecordedSession {
    /// A session that has just begun: nothing was said, and there may be no connection.
    pub fn opened(
        (id, opened_at): (SessionId, Timestamp),
        (stack, service): (Domain, Cow<'static, str>),
        (role, protocol): (Role, Protocol),
    ) -> Self {
        Self {
            id,
            connection: id.connection(),
            stack,
            service,
            role,
            protocol,
            local: None,
            remote: None,
            opened_at,
            closed_at: None,
            ended: None,
            broken: false,
            tls: None,
            user: None,
            messages: Vec::new(),
            octets_received: 0,
            octets_sent: 0,
            refusals: 0,
            last_refusal: None,
            missing_records: 0,
        }
    }

    /// Notes that it breaks off, and why. Only the first such reason counts.
    pub fn break_off(&mut self, reason: String) {
        if !self.broken {
            (self.broken, self.ended) = (true, Some(reason));
        }
    }

    /// Whether something was refused in it, or it broke off, or nobody said anything.
    pub fn has_failed(&self) -> bool {
        let is_silent = self.octets_received == 0 && self.octets_sent == 0;
        self.refusals > 0 || self.broken || (self.closed_at.is_some() && is_silent)
    }

    /// What went wrong in it: the last refusal, or why it ended.
    pub fn failure(&self) -> Option<&str> {
        let (refusal, end) = (self.last_refusal.as_deref(), self.ended.as_deref());
        let reason = if self.broken { end.or(refusal) } else { refusal.or(end) };
        reason.filter(|_| self.has_failed())
    }
}

/// Which end of a connection a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It was called.
    Server,
    /// It has called.
    Client,
}

/// What is spoken in a session, as the port says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// SMTP between servers, and from agents (RFC 5321).
    Smtp,
    /// Submission (RFC 6409).
    Submission,
    /// Submission over TLS from the first octet on (RFC 8314 §3.3).
    Submissions,
    /// POP3 (RFC 1939).
    Pop3,
    /// POP3 over TLS from the first octet on (RFC 8314 §3.2).
    Pop3s,
    /// DNS over UDP (RFC 1035 §4.2.1). Each record is a datagram.
    DnsUdp,
    /// DNS over TCP (RFC 1035 §4.2.2). Each record is a message with its length.
    DnsTcp,
}

/// Something that was seen of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// Its place among all records of the process, from 1.
    pub sequence: u64,
    /// When, in nanoseconds.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: Seen,
}

/// What a record tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Seen {
    /// The session began. Only in the trace.
    Opened {
        /// As it is now.
        state: Box<RecordedSession>,
    },
    /// Octets were received or sent.
    Octets(SeenOctets),
    /// Something was understood or decided.
    Mark(Mark),
    /// The session ended. Only in the trace.
    Closed {
        /// As it was.
        state: Box<RecordedSession>,
    },
}

/// Octets of a dialogue, all of one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeenOctets {
    /// Where they went, seen from the service.
    pub direction: Flow,
    /// What they are a part of.
    pub form: Form,
    /// How many octets follow these and were not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// The octets themselves.
    #[serde(flatten)]
    pub octets: Octets,
}

/// Where octets go, seen from the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// From the other end.
    Received,
    /// To the other end.
    Sent,
}

/// What octets are a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A command or a line of a reply, with its CRLF.
    Line,
    /// A message or a listing, as it travels: with its dots.
    Body,
    /// A line with a password. Each octet of the password is `*`, unless the configuration says otherwise.
    Secret,
}

/// Octets: as text where they are ASCII, and in base 64 (RFC 4648 §4) where they are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Octets {
    /// ASCII.
    Text(String),
    /// Anything.
    Base64(String),
}

/// What was understood or decided in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum Mark {
    /// The relay knows where a domain's mail goes: MX, then the address of the exchange.
    Resolved {
        /// The domain of the recipients; the smarthost, where all mail goes there.
        domain: String,
        /// The exchange that is tried.
        exchange: String,
        /// Where it listens, `host:port`.
        address: String,
    },
    /// There is a connection.
    Connected {
        /// The service's own address.
        #[schema(value_type = String)]
        local: SocketAddr,
        /// The other end's.
        #[schema(value_type = String)]
        remote: SocketAddr,
    },
    /// TLS begins: the octets from here on were encrypted.
    Encrypted {
        /// The version of TLS and the cipher suite.
        tls: String,
    },
    /// A login has succeeded.
    LoggedIn {
        /// Who.
        user: String,
    },
    /// A login was refused.
    LoginRefused {
        /// Why.
        reason: String,
    },
    /// What the server's policy says of a client, a sender, a recipient or a message.
    Verdict {
        /// About what: `CONNECT`, `MAIL`, `RCPT`, `DATA` or `BDAT`.
        about: String,
        /// Whether it was accepted.
        accepted: bool,
        /// The reply that says so.
        reply: String,
    },
    /// A maildrop was locked.
    Locked {
        /// Whose.
        #[schema(value_type = text::Mailbox)]
        mailbox: Mailbox,
        /// How many messages it has.
        messages: u64,
    },
    /// The lock of the maildrop was lost.
    LockLost,
    /// Messages were deleted from the maildrop (RFC 1939 §6).
    Deleted {
        /// The messages. At most 100.
        messages: Vec<MessageId>,
    },
    /// A message was handled.
    Message {
        /// The message.
        message: MessageId,
        /// How.
        how: Handled,
        /// Which transaction of the session, from 1. 0 in POP3.
        transaction: u32,
        /// For whom it was taken, or to whom it was sent. At most 100.
        #[schema(value_type = Vec<text::Mailbox>)]
        recipients: Vec<Mailbox>,
    },
    /// Something goes wrong on purpose.
    Fault {
        /// The fault's name.
        name: String,
        /// What it does.
        what: String,
    },
    /// A neighbour was called over the internal API.
    Called {
        /// Which: `mailbox-store` or `pseudo-dns`.
        service: String,
        /// The method and the path.
        request: String,
        /// The HTTP status; absent where there was no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// How long it took until its answer began, in microseconds.
        microseconds: u64,
    },
}

/// How a session has handled a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handled {
    /// The server has taken it.
    Accepted,
    /// The client begins to send it.
    Sending,
    /// The other end has taken it from the client.
    Relayed,
    /// The user of a maildrop has read it with RETR.
    Fetched,
    /// The user of a maildrop has read the beginning with TOP.
    Looked,
}

impl Octets {
    /// These octets.
    pub fn of(octets: &[u8]) -> Self {
        match str::from_utf8(octets) {
            Ok(text) if text.is_ascii() => Self::Text(text.to_owned()),
            _ => Self::Base64(BASE64.encode(octets)),
        }
    }

    /// The octets themselves; `None` where the text is no base 64.
    pub fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Base64(text) => BASE64.decode(text).ok().map(Cow::Owned),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_text_where_they_can_be() {
        let line = Octets::of(b"EHLO gmail.com\r\n");
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"text":"EHLO gmail.com\r\n"}"#);
        let binary = Octets::of(b"\xff\0");
        assert_eq!(serde_json::to_string(&binary).unwrap(), r#"{"base64":"/wA="}"#);
        for octets in [line, binary] {
            let text = serde_json::to_string(&octets).unwrap();
            assert_eq!(serde_json::from_str::<Octets>(&text).unwrap(), octets);
        }
        assert_eq!(Octets::of(b"\xff\0").bytes().unwrap(), &b"\xff\0"[..]);
        assert_eq!(Octets::Base64("*".to_owned()).bytes(), None);
    }

    #[test]
    fn a_session_fails_by_a_refusal_by_a_break_and_by_silence() {
        let at = Timestamp::UNIX_EPOCH;
        let id = SessionId::new(at, &crate::ConnectionId::random());
        let owner = ("a.test".parse().unwrap(), "smtp-gateway".into());
        let open = RecordedSession::opened((id, at), owner, (Role::Server, Protocol::Smtp));
        assert_eq!((open.has_failed(), open.failure()), (false, None), "it has just begun");
        let ended = Some("the connection was closed".to_owned());
        let silent = RecordedSession { closed_at: Some(at), ended, ..open };
        assert_eq!((silent.has_failed(), silent.failure()), (true, Some("the connection was closed")));
        let fine = RecordedSession { octets_sent: 24, ..silent };
        assert_eq!((fine.has_failed(), fine.failure()), (false, None));
        let refused = RecordedSession { refusals: 1, last_refusal: Some("550 no".to_owned()), ..fine };
        assert_eq!((refused.has_failed(), refused.failure()), (true, Some("550 no")));
        let broken = RecordedSession { broken: true, ..refused };
        assert_eq!((broken.has_failed(), broken.failure()), (true, Some("the connection was closed")));
    }

    #[test]
    fn a_record_is_flat() {
        let octets = Octets::Text("QUIT\r\n".to_owned());
        let seen = SeenOctets { direction: Flow::Received, form: Form::Line, missing: 0, octets };
        let record = Record { sequence: 7, at: Timestamp::UNIX_EPOCH, what: Seen::Octets(seen) };
        let text = serde_json::to_string(&record).unwrap();
        let expected = r#"{"sequence":7,"at":"1970-01-01T00:00:00Z","kind":"octets","direction":"received","form":"line","text":"QUIT\r\n"}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);

        let what = Seen::Mark(Mark::LoggedIn { user: "usr1@gmail.com".to_owned() });
        let record = Record { what, ..record };
        let text = serde_json::to_string(&record).unwrap();
        let expected =
            r#"{"sequence":7,"at":"1970-01-01T00:00:00Z","kind":"mark","mark":"logged_in","user":"usr1@gmail.com"}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
