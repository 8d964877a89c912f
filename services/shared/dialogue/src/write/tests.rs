use super::*;
use crate::{Dialogue, Peer};
use std::collections::VecDeque;

fn text(events: &[Event<'_>]) -> String {
    write("r", &[], events.iter().copied(), Volatile::Kept)
}

#[test]
fn events_become_lines() {
    use Event::*;
    let table: [(&[Event<'_>], &str); 9] = [
        (&[Server(b"a\r\n"), Client(b"b\r\nc\r\n"), Server(b"\r\n")], "S: a\nC: b\nC: c\nS:\n"),
        (&[Server(b"a"), Server(b"\r"), Server(b"\nb \r\n")], "S: a\nS: b \n"),
        (&[Client(b" a\\ \r\n")], "C:  a\\ \n"),
        (&[Client(b"a\n\0\t\\\xe9\r\nb")], "C-RAW: a\\n\\0\\t\\\\\\xe9\\r\\n\nC-RAW: b\n"),
        (
            &[Server(b"{...} x\r\n"), Server("{…}\r\n".as_bytes())],
            "S-RAW: {...} x\\r\\n\nS-RAW: {\\xe2\\x80\\xa6}\\r\\n\n",
        ),
        (&[Server(b"half"), Client(b"a\r\n")], "S-RAW: half\nC: a\n"),
        (&[Tls, Server(b"a\r\n"), ClientCloses, Server(b"b\r\n"), Client(b"no")], "TLS\nS: a\nC-EOF\nS: b\n"),
        (&[Server(b"a\r\n"), ServerCloses, Client(b"no"), Server(b"no")], "S: a\nS-EOF\n"),
        (&[Client(b""), Server(b"")], ""),
    ];
    for (events, expected) in table {
        assert_eq!(text(events), format!("# r\n{expected}"));
    }
    let header = write("a rule:\nmore", &[("profile", "rfc"), ("pace", "whole")], [Client(b"a\r\n")], Volatile::Kept);
    assert_eq!(header, "# a rule: more\n# profile: rfc\n# pace: whole\nC: a\n");
    let gaps = write("r", &[], [Client(b"queued as 1\r\n"), Server(b"queued as 1\r\n")], Volatile::Gaps);
    assert_eq!(gaps, "# r\nC: queued as 1\nS: queued as {…}\n");
}

/// A server that says what was seen, when the client has said what was seen.
struct Script {
    /// What the client says, and what the server says then; whether either closes.
    turns: VecDeque<(Vec<u8>, Vec<u8>)>,
    received: Vec<u8>,
    closes: bool,
}

impl Script {
    fn new(events: &[Event<'_>]) -> Self {
        let mut turns = vec![(Vec::new(), Vec::new())];
        for event in events {
            match event {
                Event::Client(octets) => {
                    if !turns.last().unwrap().1.is_empty() {
                        turns.push((Vec::new(), Vec::new()));
                    }
                    turns.last_mut().unwrap().0.extend_from_slice(octets);
                }
                Event::Server(octets) => turns.last_mut().unwrap().1.extend_from_slice(octets),
                _ => {}
            }
        }
        let closes = events.last() == Some(&Event::ServerCloses);
        Self { turns: turns.into(), received: Vec::new(), closes }
    }

    fn next(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while let Some((client, _)) = self.turns.front()
            && self.received == *client
        {
            self.received.clear();
            output.extend(self.turns.pop_front().unwrap().1);
        }
        output
    }
}

impl Peer for Script {
    fn connect(&mut self) -> Vec<u8> {
        self.next()
    }

    fn receive(&mut self, input: &[u8]) -> Vec<u8> {
        self.received.extend_from_slice(input);
        self.next()
    }

    fn end_of_input(&mut self) -> Vec<u8> {
        assert!(self.turns.is_empty(), "not said: {:?}", self.turns);
        Vec::new()
    }

    fn is_closed(&self) -> bool {
        self.closes && self.turns.is_empty()
    }
}

/// Octets of a dialogue out of a number: every octet and each shape of line comes up.
fn octets(seed: u64) -> Vec<u8> {
    const PIECES: [&[u8]; 12] =
        [b"\r\n", b"\n", b"\r", b"a", b"C: ", b"\\", b"\\(x*3)", b"{...}", "{…}".as_bytes(), b"#", b" ", b"S-EOF"];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let mut octets = Vec::new();
    for _ in 0..1 + random() % 12 {
        match random() as usize % (PIECES.len() + 2) {
            piece if piece < PIECES.len() => octets.extend_from_slice(PIECES[piece]),
            _ => octets.push(random() as u8),
        }
    }
    octets
}

#[test]
fn what_is_written_is_read_and_played_again() {
    for seed in 0..2000 {
        let said: Vec<_> = (0..6).map(|turn| octets(seed * 6 + turn)).collect();
        let mut events: Vec<_> = said
            .iter()
            .enumerate()
            .map(|(index, octets)| if index % 2 == 0 { Event::Server(octets) } else { Event::Client(octets) })
            .collect();
        // The server has the last word.
        events.push(Event::Server(b"bye\r\n"));
        if seed % 2 == 0 {
            events.push(Event::ServerCloses);
        }
        let text = text(&events);
        let dialogue = Dialogue::parse("f", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
        dialogue.play(&mut Script::new(&events), usize::MAX).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        // Any other octet is noticed.
        let mut other = said.clone();
        other[4].push(b'!');
        let others: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(index, event)| match event {
                Event::Server(_) if index == 4 => Event::Server(&other[4]),
                event => *event,
            })
            .collect();
        assert!(dialogue.play(&mut Script::new(&others), usize::MAX).is_err(), "{text}");
    }
}
