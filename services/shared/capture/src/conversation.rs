//! One recorded session as packets.

use crate::{
    Vantage,
    address::{Addresses, Kind},
    block::Direction,
    ending::Ending,
    packet::{Connection, Ip, Path},
    remark::{self, Remarks, nanoseconds},
    segment::{Cutter, Hole, Piece, Segment, Side},
};
use internal_api::{Flow, Form, Mark, MessageId, Protocol, Record, RecordedSession, Role, Seen, SeenOctets};
use jiff::Timestamp;
use std::collections::VecDeque;

/// A packet of the file.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The number of the server, which is that of the interface.
    pub(crate) server: usize,
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    pub(crate) direction: Direction,
    pub(crate) comment: String,
    pub(crate) octets: Vec<u8>,
}

/// What happens in a session.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// Something was seen.
    Seen(&'a Record),
    /// The session ended; this is all that is known of it.
    Closed(&'a RecordedSession),
    /// Nothing more is known, though the session lasts.
    Lasts,
}

/// What is kept of a session while it is shown.
#[derive(Debug)]
pub(crate) struct Conversation {
    session: RecordedSession,
    vantage: Vantage,
    stage: Stage,
    cutter: Cutter,
    hole: Option<Hole>,
    /// What is said with the next packet.
    remarks: Remarks,
    /// The exchange that is called, as far as it is known.
    exchange: Option<String>,
    /// The messages of the transactions to come, as far as they are known.
    messages: VecDeque<Vec<MessageId>>,
    transaction: u32,
    has_octets: bool,
    has_quit: bool,
    /// The time of the last packet. Time does not go backwards.
    at: u64,
}

/// How far a session has come.
#[derive(Debug)]
enum Stage {
    /// It is not shown: another end of it is.
    Hidden,
    /// There is no connection yet.
    Calling,
    Connected {
        server: usize,
        path: Path,
        /// None over UDP.
        tcp: Option<Connection>,
    },
}

impl Conversation {
    /// A session that begins. The `messages` are those of its transactions, where they are known before.
    pub(crate) fn new(
        session: RecordedSession,
        messages: VecDeque<Vec<MessageId>>,
        vantage: Vantage,
        addresses: &mut Addresses,
        out: &mut VecDeque<Packet>,
    ) -> Self {
        let is_other_end = match vantage {
            Vantage::Server => session.role == Role::Client && addresses.is_recorded(session.remote),
            Vantage::Client => session.role == Role::Server,
        };
        if is_other_end && session.role == Role::Server {
            // So that the client's end has the server's name.
            addresses.recorded(session.stack.as_str(), Kind::of(session.protocol), session.local);
        }
        let mut conversation = Self {
            stage: if is_other_end { Stage::Hidden } else { Stage::Calling },
            cutter: Cutter::new(session.protocol),
            hole: None,
            remarks: Remarks::default(),
            exchange: None,
            messages,
            transaction: 0,
            has_octets: false,
            has_quit: false,
            at: nanoseconds(session.opened_at),
            session,
            vantage,
        };
        if conversation.session.role == Role::Server {
            conversation.connect(conversation.session.opened_at, addresses, out);
        }
        conversation
    }

    /// Whether nothing of it is ever shown.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self.stage, Stage::Hidden)
    }

    /// Goes on with this event. If it says no, there is more to show before the event: call it again.
    #[must_use]
    pub(crate) fn step(&mut self, event: Event<'_>, addresses: &mut Addresses, out: &mut VecDeque<Packet>) -> bool {
        if self.is_hidden() {
            return true;
        }
        if let Some(is_whole) = self.hole_ends_with(event) {
            self.fill(is_whole, out);
            if self.hole.is_some() {
                return false;
            }
        }
        match event {
            Event::Seen(Record { at, what: Seen::Octets(octets), .. }) => {
                self.connect(*at, addresses, out);
                self.octets(*at, octets, out);
            }
            Event::Seen(Record { at, what: Seen::Mark(mark), .. }) => self.mark(*at, mark, addresses, out),
            Event::Seen(Record { what: Seen::Opened { .. } | Seen::Closed { .. }, .. }) => {}
            Event::Closed(session) => {
                // A mark may have told it, though the session never had a connection.
                let remote = session.remote.or(self.session.remote);
                self.session = RecordedSession { remote, ..session.clone() };
                self.close(addresses, out);
            }
            Event::Lasts => self.finish_segments(out),
        }
        true
    }

    /// Opens the connection, unless it is open.
    fn connect(&mut self, at: Timestamp, addresses: &mut Addresses, out: &mut VecDeque<Packet>) {
        if !matches!(self.stage, Stage::Calling) {
            return;
        }
        let is_seen_there = self.session.role == Role::Client && addresses.is_recorded(self.session.remote);
        if self.vantage == Vantage::Server && is_seen_there {
            self.stage = Stage::Hidden;
            return;
        }
        let server = self.server(addresses);
        let path = self.path(server, false, addresses);
        self.open(server, path, (self.session.opened_at, at), out);
    }

    fn server(&self, addresses: &mut Addresses) -> usize {
        let kind = Kind::of(self.session.protocol);
        match (self.session.role, self.session.remote) {
            (Role::Server, _) => addresses.recorded(self.session.stack.as_str(), kind, self.session.local),
            (Role::Client, Some(real)) => {
                let address = real.to_string();
                addresses.server_at(real, kind, self.exchange.as_deref().unwrap_or(&address))
            }
            (Role::Client, None) => addresses.server(self.exchange.as_deref().unwrap_or("unknown"), kind, None),
        }
    }

    fn path(&self, server: usize, is_second: bool, addresses: &mut Addresses) -> Path {
        let (local, remote) = (self.session.local, self.session.remote);
        let (client, listener) = match self.session.role {
            Role::Server => (remote, local),
            Role::Client => (local, remote),
        };
        let ports = (client.map(|address| address.port()), listener.map(|address| address.port()));
        addresses.path(server, self.session.protocol, ports, is_second)
    }

    /// The handshake: the SYN at the first of two times, the rest at the second.
    fn open(
        &mut self,
        server: usize,
        path: Path,
        (called, answered): (Timestamp, Timestamp),
        out: &mut VecDeque<Packet>,
    ) {
        self.introduce();
        let is_tcp = self.session.protocol != Protocol::DnsUdp;
        self.stage = Stage::Connected { server, path, tcp: is_tcp.then(|| Connection::new(path)) };
        if let Stage::Connected { tcp: Some(tcp), .. } = &mut self.stage {
            let [syn, syn_ack, ack] = tcp.open();
            self.emit(called, [syn], out);
            self.emit(answered, [syn_ack, ack], out);
        }
    }

    /// The next packet is the first one of a connection: it tells of the session before all else.
    fn introduce(&mut self) {
        let earlier = self.remarks.take();
        self.remarks.add(&remark::session(&self.session));
        self.remarks.add(&earlier);
    }

    fn mark(&mut self, at: Timestamp, mark: &Mark, addresses: &mut Addresses, out: &mut VecDeque<Packet>) {
        match mark {
            Mark::Connected { local, remote } => {
                (self.session.local, self.session.remote) = (Some(*local), Some(*remote));
                self.connect(at, addresses, out);
            }
            Mark::Resolved { exchange, address, .. } => {
                self.exchange = Some(exchange.clone());
                self.session.remote = self.session.remote.or_else(|| address.parse().ok());
            }
            Mark::Encrypted { tls } => self.encrypt(at, tls, addresses, out),
            _ => {}
        }
        self.remarks.add(&remark::mark(&self.session, mark));
    }

    /// TLS begins: the rest of the dialogue is on another connection, in clear.
    fn encrypt(&mut self, at: Timestamp, tls: &str, addresses: &mut Addresses, out: &mut VecDeque<Packet>) {
        self.finish_segments(out);
        self.session.tls = Some(tls.to_owned());
        let Stage::Connected { server, path, .. } = self.stage else { return };
        if !self.has_octets {
            self.remarks.add(&format!("encrypted from the first octet on: {tls}; shown in clear"));
            return;
        }
        let next = self.path(server, true, addresses);
        let (from, to) = (next.client, next.server);
        self.remarks.add(&format!(
            "TLS begins: {tls}\nthe dialogue goes on, in clear, from {from} to {to}; really it is the same connection"
        ));
        if let Stage::Connected { tcp: Some(tcp), .. } = &mut self.stage {
            let packets = tcp.finish(Side::Client);
            self.emit(at, packets, out);
        }
        self.remarks.add(&format!(
            "what follows was encrypted; before, the session is the connection from {} to {}",
            path.client, path.server
        ));
        self.cutter = Cutter::after_greeting(self.session.protocol);
        self.open(server, next, (at, at), out);
    }

    fn octets(&mut self, at: Timestamp, seen: &SeenOctets, out: &mut VecDeque<Packet>) {
        let Some(octets) = seen.octets.bytes() else { return };
        let from = self.side(seen.direction);
        self.has_octets = true;
        if from == Side::Client && seen.form == Form::Line {
            self.has_quit = octets.trim_ascii_end().eq_ignore_ascii_case(b"QUIT");
        }
        let mut segments = Vec::new();
        self.cutter.push(Piece { from, at, form: seen.form, octets: &octets }, &mut segments);
        self.send(segments, out);
        if seen.missing > 0 && self.cutter.has_lines() {
            self.hole = Some(Hole { from, at, octets: seen.missing, begun: false });
        } else if seen.missing > 0 {
            self.remarks.add(&remark::missing(seen.missing, false));
        }
    }

    /// Whether there is a hole that this event ends, and if so, whether the body came to its end.
    fn hole_ends_with(&self, event: Event<'_>) -> Option<bool> {
        let hole = self.hole?;
        match event {
            Event::Seen(Record { what: Seen::Octets(octets), .. }) => {
                let goes_on = octets.form == Form::Body && self.side(octets.direction) == hole.from;
                // The server does not wait for the rest: it closes (RFC 5321 §4.2.3).
                let is_given_up = octets.octets.bytes().is_some_and(|line| line.starts_with(b"421"));
                Some(!goes_on && !is_given_up)
            }
            Event::Seen(Record { what: Seen::Mark(Mark::Encrypted { .. }), .. }) => Some(true),
            Event::Seen(_) => None,
            Event::Closed(_) | Event::Lasts => Some(false),
        }
    }

    /// Shows a part of a hole.
    fn fill(&mut self, is_whole: bool, out: &mut VecDeque<Packet>) {
        let Some(mut hole) = self.hole.take() else { return };
        if !hole.begun {
            self.remarks.add(&remark::missing(hole.octets, true));
        }
        let mut segments = Vec::new();
        self.cutter.fill(&mut hole, is_whole, &mut segments);
        self.hole = (hole.octets > 0).then_some(hole);
        self.send(segments, out);
    }

    fn close(&mut self, addresses: &mut Addresses, out: &mut VecDeque<Packet>) {
        let at = self.session.closed_at.unwrap_or(self.session.opened_at);
        self.finish_segments(out);
        self.remarks.add(&remark::end(&self.session));
        let ending = Ending::of(&self.session, self.has_quit);
        match &mut self.stage {
            Stage::Hidden => {}
            Stage::Calling => self.show_attempt(at, ending, addresses, out),
            Stage::Connected { tcp, .. } => {
                let packets = match (tcp, ending) {
                    (Some(tcp), Ending::Finish(first)) => tcp.finish(first).to_vec(),
                    (Some(tcp), Ending::Reset(from)) => vec![tcp.reset(from)],
                    (None, _) => Vec::new(),
                };
                self.emit(at, packets, out);
            }
        }
        self.stage = Stage::Hidden;
    }

    /// There never was a connection.
    fn show_attempt(&mut self, at: Timestamp, ending: Ending, addresses: &mut Addresses, out: &mut VecDeque<Packet>) {
        let is_known = self.session.remote.is_some() || self.exchange.is_some();
        if self.session.protocol == Protocol::DnsUdp || !is_known {
            return;
        }
        self.introduce();
        let server = self.server(addresses);
        let path = self.path(server, false, addresses);
        let mut tcp = Connection::new(path);
        let syn = tcp.syn();
        let refusal = (ending == Ending::Reset(Side::Server)).then(|| tcp.reset(Side::Server));
        self.stage = Stage::Connected { server, path, tcp: Some(tcp) };
        self.emit(self.session.opened_at, [syn], out);
        self.emit(at, refusal, out);
    }

    fn finish_segments(&mut self, out: &mut VecDeque<Packet>) {
        let mut segments = Vec::new();
        self.cutter.finish(&mut segments);
        self.send(segments, out);
    }

    fn send(&mut self, segments: Vec<Segment>, out: &mut VecDeque<Packet>) {
        for segment in segments {
            if segment.is_command && Kind::of(self.session.protocol) == Kind::Smtp && is_mail(&segment.octets) {
                self.transaction += 1;
                let messages = self.messages.pop_front().unwrap_or_default();
                self.remarks.add(&remark::transaction(&self.session, self.transaction, &messages));
            }
            let packets = match &mut self.stage {
                Stage::Connected { tcp: Some(tcp), .. } => tcp.data(segment.from, &segment.octets),
                Stage::Connected { tcp: None, path, .. } => vec![path.datagram(segment.from, &segment.octets)],
                Stage::Calling | Stage::Hidden => return,
            };
            self.emit(segment.at, packets, out);
        }
    }

    /// Packets of one time. What is said goes to the first one that carries something, or begins or ends something.
    fn emit(&mut self, at: Timestamp, packets: impl IntoIterator<Item = Ip>, out: &mut VecDeque<Packet>) {
        let Stage::Connected { server, .. } = self.stage else { return };
        self.at = self.at.max(nanoseconds(at));
        for packet in packets {
            let direction = match packet.from == self.side(Flow::Received) {
                true => Direction::Inbound,
                false => Direction::Outbound,
            };
            let comment = if packet.is_acknowledgement { String::new() } else { self.remarks.take() };
            out.push_back(Packet { server, at: self.at, direction, comment, octets: packet.octets });
        }
    }

    fn side(&self, flow: Flow) -> Side {
        match (self.session.role, flow) {
            (Role::Server, Flow::Received) | (Role::Client, Flow::Sent) => Side::Client,
            (Role::Server, Flow::Sent) | (Role::Client, Flow::Received) => Side::Server,
        }
    }
}

/// Whether a line is SMTP's MAIL command, which begins a transaction.
pub(crate) fn is_mail(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL "))
}
