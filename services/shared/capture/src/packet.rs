//! IPv4 packets with TCP segments and UDP datagrams, and the state of a TCP connection between two ends that never lose
//! anything.

use crate::segment::{SEGMENT_OCTETS, Side};
use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};
use std::net::SocketAddrV4;

/// The window of both ends, in octets.
const WINDOW: u16 = u16::MAX;
/// How much may be under way before the other end confirms it: less than the window, which is never full.
const UNCONFIRMED_OCTETS: u32 = 65_000;
const TIME_TO_LIVE: u8 = 64;
const INITIAL: Pair<u32> = Pair { client: 0x1000_0000, server: 0x2000_0000 };

/// A packet from its IPv4 header on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) from: Side,
    /// Whether it only confirms.
    pub(crate) is_acknowledgement: bool,
    pub(crate) octets: Vec<u8>,
}

/// Where a conversation takes place. No two of a file have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) client: SocketAddrV4,
    pub(crate) server: SocketAddrV4,
}

impl Path {
    fn ends(&self, from: Side) -> (SocketAddrV4, SocketAddrV4) {
        match from {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        }
    }

    /// A UDP datagram.
    pub(crate) fn datagram(&self, from: Side, octets: &[u8]) -> Ip {
        let (source, destination) = self.ends(from);
        let builder = PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), TIME_TO_LIVE)
            .udp(source.port(), destination.port());
        let mut packet = Vec::with_capacity(builder.size(octets.len()));
        builder.write(&mut packet, octets).expect("no datagram is longer than a packet");
        Ip { from, is_acknowledgement: false, octets: packet }
    }
}

/// A value for each end.
#[derive(Debug, Clone, Copy)]
struct Pair<T> {
    client: T,
    server: T,
}

impl<T: Copy> Pair<T> {
    fn of(&self, side: Side) -> T {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// A TCP connection (RFC 9293).
#[derive(Debug)]
pub(crate) struct Connection {
    path: Path,
    /// The next sequence number of each end.
    next: Pair<u32>,
    /// Up to where each end's octets are confirmed.
    confirmed: Pair<u32>,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    push: bool,
    fin: bool,
    reset: bool,
    ack: bool,
}

impl Connection {
    pub(crate) fn new(path: Path) -> Self {
        Self { path, next: INITIAL, confirmed: INITIAL }
    }

    /// SYN, SYN-ACK, ACK.
    pub(crate) fn open(&mut self) -> [Ip; 3] {
        [
            self.syn(),
            self.packet(Side::Server, Flags { syn: true, ack: true, ..Flags::default() }, &[]),
            self.acknowledgement(Side::Client),
        ]
    }

    /// The SYN alone.
    pub(crate) fn syn(&mut self) -> Ip {
        self.packet(Side::Client, Flags { syn: true, ..Flags::default() }, &[])
    }

    /// A segment with octets, after an ACK of the other end where it is due.
    pub(crate) fn data(&mut self, from: Side, octets: &[u8]) -> Vec<Ip> {
        let under_way = self.next.of(from).wrapping_sub(self.confirmed.of(from)) as usize;
        let mut packets = Vec::with_capacity(2);
        if under_way > 0 && under_way + octets.len() > UNCONFIRMED_OCTETS as usize {
            packets.push(self.acknowledgement(from.other()));
        }
        packets.push(self.packet(from, Flags { push: true, ack: true, ..Flags::default() }, octets));
        packets
    }

    /// FIN of both ends, and the last ACK.
    pub(crate) fn finish(&mut self, first: Side) -> [Ip; 3] {
        let fin = Flags { fin: true, ack: true, ..Flags::default() };
        [self.packet(first, fin, &[]), self.packet(first.other(), fin, &[]), self.acknowledgement(first)]
    }

    /// RST: the connection is over, or it is refused.
    pub(crate) fn reset(&mut self, from: Side) -> Ip {
        self.packet(from, Flags { reset: true, ack: true, ..Flags::default() }, &[])
    }

    fn acknowledgement(&mut self, from: Side) -> Ip {
        self.packet(from, Flags { ack: true, ..Flags::default() }, &[])
    }

    fn packet(&mut self, from: Side, flags: Flags, octets: &[u8]) -> Ip {
        let (source, destination) = self.path.ends(from);
        let mut header = TcpHeader::new(source.port(), destination.port(), self.next.of(from), WINDOW);
        (header.syn, header.psh, header.fin, header.rst) = (flags.syn, flags.push, flags.fin, flags.reset);
        if flags.ack {
            header.ack = true;
            header.acknowledgment_number = self.next.of(from.other());
            *self.confirmed.of_mut(from.other()) = self.next.of(from.other());
        }
        if flags.reset && self.next.of(from) == INITIAL.of(from) {
            // The answer to a SYN (RFC 9293 §3.10.7.1).
            header.sequence_number = 0;
        }
        if flags.reset {
            header.window_size = 0;
        }
        if flags.syn {
            let largest = TcpOptionElement::MaximumSegmentSize(SEGMENT_OCTETS as u16);
            header.set_options(&[largest]).expect("one option has room");
        }
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX) + u32::from(flags.syn) + u32::from(flags.fin);
        *self.next.of_mut(from) = self.next.of(from).wrapping_add(length);

        let builder = PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), TIME_TO_LIVE);
        let builder = builder.tcp_header(header);
        let mut packet = Vec::with_capacity(builder.size(octets.len()));
        builder.write(&mut packet, octets).expect("no segment is longer than a packet");
        let is_acknowledgement = length == 0 && !flags.reset;
        Ip { from, is_acknowledgement, octets: packet }
    }
}
