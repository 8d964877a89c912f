//! Writes sessions down as a service would have recorded them.

#![allow(dead_code, reason = "no test program needs all of it")]

use capture::{Capture, Live, Options};
use internal_api::{
    ConnectionId, Dropped, Flow, Form, Handled, Mark, MessageId, Octets, Protocol, Record, RecordedSession, Role, Seen,
    SeenOctets, SessionId, SessionRecords, TracedRecord,
};
use jiff::{SignedDuration, Timestamp};

/// The message ids of the tests are of this number and up.
pub(crate) const FIRST_MESSAGE: u64 = 0x1234_5678;

/// A session that is being written down. Each record is a millisecond later than the one before.
pub(crate) struct Script {
    session: RecordedSession,
    records: Vec<Record>,
    at: Timestamp,
    /// What each end has said, with what was not kept as it shows in the file.
    pub(crate) client: Vec<u8>,
    pub(crate) server: Vec<u8>,
}

/// The beginning of all tests.
pub(crate) fn start() -> Timestamp {
    "2026-05-04T08:00:00.123456789Z".parse().unwrap()
}

impl Script {
    /// A session of a server.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self::at(protocol, Role::Server, 50_312, start())
    }

    pub(crate) fn at(protocol: Protocol, role: Role, client_port: u16, at: Timestamp) -> Self {
        let (service, listener) = match protocol {
            Protocol::Smtp => ("smtp-gateway", 1025),
            Protocol::Submission => ("smtp-gateway", 1587),
            Protocol::Submissions => ("smtp-gateway", 1465),
            Protocol::Pop3 => ("pop3-gateway", 1110),
            Protocol::Pop3s => ("pop3-gateway", 1995),
            Protocol::DnsUdp | Protocol::DnsTcp => ("pseudo-dns", 1053),
        };
        let client = Some(([127, 0, 0, 1], client_port).into());
        let server = Some(([127, 0, 0, 1], listener).into());
        let connection = ConnectionId::from_header(
            format!("{:012x}", u32::from(client_port) + u32::from(role == Role::Client) * 0x10_0000).as_bytes(),
        )
        .unwrap();
        let (local, remote) = match role {
            Role::Server => (server, client),
            Role::Client => (None, server),
        };
        let session = RecordedSession {
            local,
            remote,
            ..RecordedSession::opened(
                (SessionId::new(at, &connection), at),
                ("gmail.com".parse().unwrap(), service.into()),
                (role, protocol),
            )
        };
        Self { session, records: Vec::new(), at, client: Vec::new(), server: Vec::new() }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.session.id
    }

    /// Lines of the client, a record each.
    pub(crate) fn c(self, lines: &str) -> Self {
        lines.split_inclusive('\n').fold(self, |script, line| script.octets(true, Form::Line, line.as_bytes(), 0))
    }

    /// Lines of the server, a record each.
    pub(crate) fn s(self, lines: &str) -> Self {
        lines.split_inclusive('\n').fold(self, |script, line| script.octets(false, Form::Line, line.as_bytes(), 0))
    }

    /// A password of the client.
    pub(crate) fn secret(self, line: &str) -> Self {
        self.octets(true, Form::Secret, line.as_bytes(), 0)
    }

    /// A body, in records of so many octets.
    pub(crate) fn body(self, from_client: bool, octets: &[u8], each: usize) -> Self {
        octets.chunks(each).fold(self, |script, octets| script.octets(from_client, Form::Body, octets, 0))
    }

    /// So many octets of a body were not kept.
    pub(crate) fn missing(self, from_client: bool, octets: u64) -> Self {
        self.octets(from_client, Form::Body, b"", octets)
    }

    /// EHLO and its reply.
    pub(crate) fn hello(self) -> Self {
        self.c("EHLO client.test\r\n").s("250-gmail.com\r\n250-PIPELINING\r\n250 SIZE 26214400\r\n")
    }

    /// A message that is sent to these recipients with DATA and is accepted.
    pub(crate) fn transaction(self, number: u64, recipients: &[&str], message: &[u8]) -> Self {
        let script = self.c("MAIL FROM:<a@gmail.com>\r\n").s("250 sender ok\r\n");
        let script = recipients.iter().fold(script, |script, recipient| {
            script.c(&format!("RCPT TO:<{recipient}>\r\n")).s("250 recipient ok\r\n")
        });
        let transaction = u32::try_from(number).unwrap() + 1;
        script
            .c("DATA\r\n")
            .s("354 go on\r\n")
            .body(true, message, 8192)
            .body(true, b".\r\n", 8192)
            .message(number, Handled::Accepted, transaction)
            .s("250 queued\r\n")
    }

    pub(crate) fn quit(self) -> Self {
        self.c("QUIT\r\n").s("221 bye\r\n")
    }

    pub(crate) fn mark(self, mark: Mark) -> Self {
        self.record(Seen::Mark(mark))
    }

    /// The client's connection was made.
    pub(crate) fn connected(mut self, client_port: u16) -> Self {
        self.session.local = Some(([127, 0, 0, 1], client_port).into());
        let (local, remote) = (self.session.local.unwrap(), self.session.remote.unwrap());
        self.mark(Mark::Connected { local, remote })
    }

    pub(crate) fn message(mut self, number: u64, how: Handled, transaction: u32) -> Self {
        let message = MessageId::from(FIRST_MESSAGE + number);
        self.session.messages.push(message);
        self.mark(Mark::Message { message, how, transaction, recipients: Vec::new() })
    }

    pub(crate) fn wait(mut self, time: SignedDuration) -> Self {
        self.at += time;
        self
    }

    /// The session ends.
    pub(crate) fn end(mut self, reason: &str) -> SessionRecords {
        self.at += SignedDuration::from_millis(1);
        self.session.closed_at = Some(self.at);
        self.session.ended = Some(reason.to_owned());
        SessionRecords { session: self.session, records: self.records }
    }

    fn octets(mut self, from_client: bool, form: Form, octets: &[u8], missing: u64) -> Self {
        if from_client { &mut self.client } else { &mut self.server }.extend_from_slice(octets);
        let direction = match from_client == (self.session.role == Role::Server) {
            true => Flow::Received,
            false => Flow::Sent,
        };
        self.record(Seen::Octets(SeenOctets { direction, form, missing, octets: Octets::of(octets) }))
    }

    fn record(mut self, what: Seen) -> Self {
        self.at += SignedDuration::from_millis(1);
        self.records.push(Record { sequence: self.records.len() as u64 + 1, at: self.at, what });
        self
    }
}

/// The file of these sessions.
pub(crate) fn file(options: Options, sessions: impl IntoIterator<Item = SessionRecords>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut capture = Capture::new(options);
    for session in sessions {
        capture.add(session, &mut file).unwrap();
    }
    capture.finish(Dropped::default(), &mut file).unwrap();
    file
}

/// The file of these sessions, made of their records as they would have come.
pub(crate) fn live(options: Options, sessions: &[SessionRecords]) -> Vec<u8> {
    let mut trace = Vec::new();
    for SessionRecords { session, records } in sessions {
        let opened = RecordedSession { closed_at: None, ended: None, messages: Vec::new(), ..session.clone() };
        let opened = Seen::Opened { state: Box::new(opened) };
        let closed = Seen::Closed { state: Box::new(session.clone()) };
        let mut push = |at, what| {
            trace.push(TracedRecord { session: session.id, record: Record { sequence: 0, at, what } });
        };
        push(session.opened_at, opened);
        records.iter().for_each(|record| push(record.at, record.what.clone()));
        push(session.closed_at.unwrap(), closed);
    }
    trace.sort_by_key(|record| record.record.at);
    let mut file = Vec::new();
    let mut live = Live::new(options);
    live.begin(&mut file).unwrap();
    for record in &trace {
        live.push(record, &mut file).unwrap();
    }
    live.finish(Dropped::default(), &mut file).unwrap();
    file
}

/// A message of so many octets, in lines of 80 octets.
pub(crate) fn big_message(octets: usize) -> Vec<u8> {
    let mut message = b"Subject: big\r\n\r\n".to_vec();
    let mut line = 0_u64;
    while message.len() + 80 < octets {
        message.extend_from_slice(format!("{line:<78}\r\n").as_bytes());
        line += 1;
    }
    message.resize(octets - 2, b'x');
    message.extend_from_slice(b"\r\n");
    message
}
