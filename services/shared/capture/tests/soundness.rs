//! What is true of each file, whatever was recorded.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/script.rs"]
mod script;

use capture::{Capture, Live, Options};
use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use internal_api::{Dropped, Mark, Protocol, Record, RecordedSession, Role, Seen, SessionRecords, TracedRecord};
use jiff::SignedDuration;
use proptest::prelude::*;
use script::{Script, file, live, start};
use std::collections::{BTreeMap, HashSet};

/// The longest segment, in octets.
const SEGMENT_OCTETS: usize = 64_240;

/// Who says something, and where it goes: source, source port, destination, destination port.
type Ends = ([u8; 4], u16, [u8; 4], u16);

/// What is in a file: the octets of each direction of each connection, in the order of their SYN or first segment.
#[derive(Debug, Default, PartialEq)]
struct Read {
    streams: Vec<(Ends, Vec<u8>)>,
    packets: u64,
    /// What the statistics count.
    received: u64,
    dropped: u64,
}

/// How far the connections are.
#[derive(Default)]
struct State {
    /// The next sequence number of a side.
    next: BTreeMap<Ends, u32>,
    /// Up to where a side's octets are confirmed.
    confirmed: BTreeMap<Ends, u32>,
    opened: HashSet<Ends>,
}

impl Read {
    fn new(file: &[u8]) -> Self {
        let mut read = Self::default();
        let (mut state, mut interfaces) = (State::default(), 0);
        let mut rest = file;
        while !rest.is_empty() {
            let (kind, length) = (number(&rest[..4]), number(&rest[4..8]));
            assert_eq!(length % 4, 0);
            let (block, after) = rest.split_at(usize::try_from(length).unwrap());
            assert_eq!(number(&block[block.len() - 4..]), length);
            rest = after;
            match kind {
                1 => interfaces += 1,
                5 => {
                    let options = options(&block[20..block.len() - 4]);
                    read.received += number(&options[&4]);
                    read.dropped += number(&options[&5]);
                }
                6 => {
                    assert!(number(&block[8..12]) < interfaces);
                    let captured = number(&block[20..24]);
                    assert_eq!(captured, number(&block[24..28]));
                    let (packet, after) = block[28..block.len() - 4].split_at(usize::try_from(captured).unwrap());
                    let options = options(&after[packet.len().next_multiple_of(4) - packet.len()..]);
                    read.packets += 1;
                    assert_eq!(number(&options[&5]), read.packets);
                    assert!(matches!(number(&options[&2]), 1 | 2));
                    read.packet(packet, &mut state);
                }
                4 | 0x0a0d_0d0a => {}
                _ => panic!("a block of type {kind}"),
            }
        }
        read
    }

    fn packet(&mut self, octets: &[u8], State { next, confirmed, opened }: &mut State) {
        let packet = SlicedPacket::from_ip(octets).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
        let header = ip.header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!(usize::from(header.total_len), octets.len());
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
        assert_eq!(tcp.calc_checksum_ipv4(header.source, header.destination).unwrap(), tcp.checksum());
        let ends = (header.source, tcp.source_port(), header.destination, tcp.destination_port());
        let back = (header.destination, tcp.destination_port(), header.source, tcp.source_port());
        assert!(tcp.payload().len() <= SEGMENT_OCTETS);
        if tcp.syn() {
            assert!(opened.insert(ends), "{ends:?} is there twice");
            assert_eq!(tcp.ack(), opened.contains(&back));
        }
        if tcp.ack() {
            assert_eq!(next.get(&back), Some(&tcp.acknowledgment_number()), "what did not come is confirmed");
            confirmed.insert(back, tcp.acknowledgment_number());
        }
        // The window has room, as if nobody had to wait.
        let confirmed = confirmed.get(&ends).copied().unwrap_or(tcp.sequence_number());
        let under_way = tcp.sequence_number().wrapping_add(length(tcp)).wrapping_sub(confirmed);
        assert!(under_way <= u32::from(tcp.window_size()), "{under_way} octets are under way");
        let expected = next.entry(ends).or_insert(tcp.sequence_number());
        assert_eq!(*expected, tcp.sequence_number(), "octets are lost or come twice");
        *expected = expected.wrapping_add(length(tcp));
        match self.streams.iter_mut().find(|(stream, _)| *stream == ends) {
            Some((_, stream)) => stream.extend_from_slice(tcp.payload()),
            None => self.streams.push((ends, tcp.payload().to_vec())),
        }
    }

    /// What was said from a client's port, and to it.
    fn said(&self, port: u16) -> (Vec<u8>, Vec<u8>) {
        let of = |port_of: fn(&Ends) -> u16| {
            let streams = self.streams.iter().filter(|(ends, _)| port_of(ends) == port);
            streams.flat_map(|(_, octets)| octets.clone()).collect()
        };
        (of(|ends| ends.1), of(|ends| ends.3))
    }
}

/// How many sequence numbers a segment takes.
fn length(tcp: &TcpSlice<'_>) -> u32 {
    u32::try_from(tcp.payload().len()).unwrap() + u32::from(tcp.syn()) + u32::from(tcp.fin())
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn options(mut octets: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut options = BTreeMap::new();
    while number(&octets[..2]) != 0 {
        let length = usize::try_from(number(&octets[2..4])).unwrap();
        options.insert(number(&octets[..2]), octets[4..4 + length].to_vec());
        octets = &octets[4 + length.next_multiple_of(4)..];
    }
    assert_eq!(octets, [0; 4]);
    options
}

/// A part of a dialogue, whether it makes sense or not.
#[derive(Debug, Clone)]
enum Part {
    Client(String),
    Server(String),
    Body(bool, Vec<u8>, usize),
    Missing(bool, u64),
    Encrypted,
}

fn part() -> impl Strategy<Value = Part> {
    const COMMANDS: &[&str] =
        &["MAIL FROM:<a@b>", "DATA", "BDAT 70000 LAST", "BDAT 5", "RETR 1", "LIST", "UIDL", "TOP 1 0", "QUIT", ""];
    const REPLIES: &[&str] =
        &["250-more", "250 ok", "354 go on", "+OK", "+OK 5 octets", "+OK 70000 octets", "-ERR no", ".", ""];
    const WORDS: &[&str] = &["\r\n", ".", "+OK", "-ERR", "some words"];
    let line = |of: &'static [&'static str]| {
        let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")];
        (prop::sample::select(of), end).prop_map(|(text, end)| format!("{text}{end}"))
    };
    let end = prop::sample::select(&["\r\n.\r\n", "", ".\r\n"][..]);
    let text = (prop::collection::vec(prop::sample::select(WORDS), 0..40), 1..600_usize, end)
        .prop_map(|(words, times, end)| (words.concat().repeat(times) + end).into_bytes());
    let each = prop::sample::select(&[100, 8192, 70_000][..]);
    prop_oneof![
        4 => line(COMMANDS).prop_map(Part::Client),
        4 => line(REPLIES).prop_map(Part::Server),
        2 => (any::<bool>(), text, each).prop_map(|(from, octets, each)| Part::Body(from, octets, each)),
        1 => (any::<bool>(), prop_oneof![0..10_u64, 0..200_000_u64]).prop_map(|(from, octets)| Part::Missing(from, octets)),
        1 => Just(Part::Encrypted),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(
        &[
            Protocol::Smtp,
            Protocol::Submission,
            Protocol::Submissions,
            Protocol::Pop3,
            Protocol::Pop3s,
            Protocol::DnsTcp,
        ][..],
    )
}

/// A session of these parts, with what each end said and how many octets of it are missing.
struct Played {
    session: SessionRecords,
    port: u16,
    said: [Vec<u8>; 2],
    missing: [u64; 2],
}

fn play(protocol: Protocol, parts: &[Part], port: u16, begin: i64) -> Played {
    let script = Script::at(protocol, Role::Server, port, start() + SignedDuration::from_millis(begin));
    let mut missing = [0, 0];
    let script = parts.iter().fold(script, |script, part| match part {
        Part::Client(line) => script.c(line),
        Part::Server(line) => script.s(line),
        Part::Body(from_client, octets, each) => script.body(*from_client, octets, *each),
        Part::Missing(from_client, octets) => {
            // DNS has no lines that could stand for them.
            missing[usize::from(!*from_client)] += if protocol == Protocol::DnsTcp { 0 } else { *octets };
            script.missing(*from_client, *octets)
        }
        Part::Encrypted => script.mark(Mark::Encrypted { tls: "TLS".to_owned() }),
    });
    let said = [script.client.clone(), script.server.clone()];
    Played { session: script.end("quit"), port, said, missing }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_octet_is_in_the_file_once(
        sessions in prop::collection::vec((protocol(), prop::collection::vec(part(), 0..12)), 1..4),
    ) {
        let played: Vec<_> = (0..).zip(&sessions).map(|(number, (protocol, parts))| {
            play(*protocol, parts, 50_000 + number, i64::from(number) * 3)
        }).collect();
        let all: Vec<_> = played.iter().map(|played| played.session.clone()).collect();
        let read = Read::new(&file(Options::default(), all.clone()));
        prop_assert_eq!(read.received, read.packets);
        for Played { port, said, missing, .. } in &played {
            let (client, server) = read.said(*port);
            for (shown, said, missing) in [(client, &said[0], missing[0]), (server, &said[1], missing[1])] {
                prop_assert_eq!(shown.len() as u64, said.len() as u64 + missing);
                prop_assert!(missing > 0 || shown == *said);
            }
        }
        // The same octets, live. The packets of a session may come later than those of another.
        let live = Read::new(&live(Options::default(), &all));
        prop_assert_eq!(live.packets, read.packets);
        for Played { port, .. } in &played {
            prop_assert_eq!(live.said(*port), read.said(*port));
        }
    }

    #[test]
    fn a_port_that_comes_again_is_another_client(count in 1..20_i64) {
        let sessions = (0..count).map(|number| play(Protocol::Smtp, &[Part::Encrypted], 50_000, number).session);
        let sessions = sessions.chain((0..count).map(|number| {
            play(Protocol::Smtp, &[Part::Server("220 hi\r\n".to_owned()), Part::Encrypted], 50_000, count + number).session
        }));
        // Fails where a SYN comes again.
        let read = Read::new(&file(Options::default(), sessions));
        prop_assert_eq!(read.streams.len() as i64, count * 6);
    }
}

#[test]
fn what_was_dropped_is_counted_once() {
    let sessions = [Protocol::Smtp, Protocol::Pop3].map(|protocol| play(protocol, &[], 50_000, 0).session);
    let mut octets = Vec::new();
    let mut capture = Capture::new(Options::default());
    for session in sessions {
        capture.add(session, &mut octets).unwrap();
    }
    capture.finish(Dropped { sessions: 3, records: 4 }, &mut octets).unwrap();
    let read = Read::new(&octets);
    assert_eq!((read.dropped, read.received), (7, read.packets));
}

#[test]
fn a_session_that_lasts_has_no_end() {
    let mut session = play(Protocol::Smtp, &[Part::Server("220 half".to_owned())], 50_000, 0).session;
    (session.session.closed_at, session.session.ended) = (None, None);
    let read = Read::new(&file(Options::default(), [session]));
    // The handshake, and what was held back.
    assert_eq!((read.packets, read.said(50_000).1), (4, b"220 half".to_vec()));
}

#[test]
fn sessions_without_an_end_do_not_fill_the_memory() {
    let mut octets = Vec::new();
    let mut live = Live::new(Options::default());
    let push = |live: &mut Live, octets: &mut Vec<u8>, port, what: fn(&RecordedSession) -> Seen| {
        let session = play(Protocol::Smtp, &[Part::Server("220 half".to_owned())], port, 0).session;
        let mut records = vec![Record { sequence: 0, at: start(), what: what(&session.session) }];
        records.extend(session.records);
        for record in records {
            live.push(&TracedRecord { session: session.session.id, record }, octets).unwrap();
        }
    };
    let opened = |session: &RecordedSession| Seen::Opened { state: Box::new(session.clone()) };
    for port in 1..=4096 {
        push(&mut live, &mut octets, port, opened);
    }
    assert_eq!(Read::new(&octets).said(1).1, b"");
    // One too many: what was held back of the first one is written.
    push(&mut live, &mut octets, 5000, opened);
    assert_eq!(Read::new(&octets).said(1).1, b"220 half");
    assert_eq!(Read::new(&octets).said(2).1, b"");
    // It is not known any more.
    push(&mut live, &mut octets, 1, |_| Seen::Mark(Mark::LockLost));
    live.finish(Dropped::default(), &mut octets).unwrap();
    assert_eq!(Read::new(&octets).said(1).1, b"220 half");
    assert_eq!(Read::new(&octets).said(2).1, b"220 half");
}
