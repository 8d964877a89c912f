//! What both sides send while a dialogue is played, and what there is to remark on it.

use dialogue::{Dialogue, Peer, Volatile};
use mail_proto::{
    Protocol, Side,
    remark::{Breach, Form, Remark, Remarks, Weight},
};
use std::{collections::BTreeSet, fs, path::Path};

/// Something that happened on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Octets(Side, Vec<u8>),
    Tls,
    Closed(Side),
}

/// A server, and what it was told and said.
pub(crate) struct Recorder<P> {
    peer: P,
    events: Vec<Event>,
}

impl<P: Peer> Recorder<P> {
    pub(crate) fn new(peer: P) -> Self {
        Self { peer, events: Vec::new() }
    }

    /// All that has happened. Both ends have closed.
    pub(crate) fn events(self) -> Vec<Event> {
        self.events
    }

    fn sent(&mut self, output: &[u8]) {
        if !output.is_empty() {
            self.events.push(Event::Octets(Side::Server, output.to_vec()));
        }
        if self.peer.is_closed() && !matches!(self.events.last(), Some(Event::Closed(_))) {
            self.events.push(Event::Closed(Side::Server));
        }
    }
}

impl<P: Peer> Peer for Recorder<P> {
    fn connect(&mut self) -> Vec<u8> {
        let output = self.peer.connect();
        self.sent(&output);
        output
    }

    fn receive(&mut self, input: &[u8]) -> Vec<u8> {
        self.events.push(Event::Octets(Side::Client, input.to_vec()));
        let output = self.peer.receive(input);
        self.sent(&output);
        output
    }

    fn end_of_input(&mut self) -> Vec<u8> {
        self.events.push(Event::Closed(Side::Client));
        self.peer.end_of_input()
    }

    fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }

    fn start_tls(&mut self) -> Vec<u8> {
        self.events.push(Event::Tls);
        let output = self.peer.start_tls();
        self.sent(&output);
        output
    }
}

/// What was recorded as dialogues: once with the very octets of the server, once with gaps for what changes.
pub(crate) fn written(dialogue: &Dialogue, events: &[Event], settings: &[&str]) -> [Dialogue; 2] {
    [Volatile::Kept, Volatile::Gaps].map(|volatile| {
        let header: Vec<_> = settings.iter().filter_map(|key| Some((*key, dialogue.setting(key)?))).collect();
        let seen = events.iter().map(|event| match event {
            Event::Octets(Side::Client, octets) => dialogue::Event::Client(octets),
            Event::Octets(Side::Server, octets) => dialogue::Event::Server(octets),
            Event::Tls => dialogue::Event::Tls,
            Event::Closed(Side::Client) => dialogue::Event::ClientCloses,
            Event::Closed(Side::Server) => dialogue::Event::ServerCloses,
        });
        let text = dialogue::write(dialogue.rule(), &header, seen, volatile);
        Dialogue::parse(dialogue.file(), &text, settings).unwrap_or_else(|error| panic!("{error}\n{text}"))
    })
}

/// The remarks on all dialogues of a directory, compared with the list of those that are meant.
pub(crate) struct Verdicts {
    directory: &'static str,
    protocol: Protocol,
    found: BTreeSet<String>,
    only_octet_by_octet: BTreeSet<String>,
}

/// Which dialogue breaks what on purpose.
const LIST: &str = "../../../tests/dialogues/remarks.txt";

impl Verdicts {
    pub(crate) fn of(directory: &'static str, protocol: Protocol) -> Self {
        Self { directory, protocol, found: BTreeSet::new(), only_octet_by_octet: BTreeSet::new() }
    }

    pub(crate) fn judge(&mut self, dialogue: &Dialogue, chunk_octets: usize, events: Vec<Event>) {
        let name = Path::new(dialogue.file()).file_stem().unwrap().to_string_lossy();
        let name = format!("{}/{name}", self.directory);
        let remarks = remarks(self.protocol, events);
        for Remark { what, by, weight, .. } in remarks {
            if weight == Weight::Advice {
                // All of them log in in clear.
                assert_eq!((by, what), (Side::Client, Breach::PasswordInClear), "{name}");
                continue;
            }
            let line = format!("{name}: {by} {what}");
            if chunk_octets != usize::MAX && what == Breach::OutOfSequence {
                // A client that pipelines has seen the refusal before it goes on.
                continue;
            }
            if chunk_octets == usize::MAX {
                self.found.insert(line);
            } else if !self.found.contains(&line) {
                self.only_octet_by_octet.insert(line);
            }
        }
    }

    /// No remark is missing, and none is a false alarm. In small pieces nothing else is found than in whole turns.
    pub(crate) fn are_those_of_the_list(&self) {
        let list = fs::read_to_string(LIST).unwrap();
        let prefix = format!("{}/", self.directory);
        let expected: BTreeSet<String> = list.lines().filter(|it| it.starts_with(&prefix)).map(str::to_owned).collect();
        let lines = |some: &BTreeSet<String>, other: &BTreeSet<String>| {
            some.difference(other).cloned().collect::<Vec<_>>().join("\n")
        };
        let (missing, superfluous) = (lines(&expected, &self.found), lines(&self.found, &expected));
        assert!(
            missing.is_empty() && superfluous.is_empty(),
            "{LIST} has, and nobody remarks:\n{missing}\nremarked, and not in the list:\n{superfluous}"
        );
        assert!(self.only_octet_by_octet.is_empty(), "octet by octet: {:#?}", self.only_octet_by_octet);
    }
}

fn remarks(protocol: Protocol, events: Vec<Event>) -> Vec<Remark> {
    let mut machine = Remarks::new(protocol);
    let mut remarks = Vec::new();
    for event in events {
        match event {
            Event::Octets(side, octets) => remarks.extend(machine.saw(side, Form::Line, &octets)),
            Event::Tls => machine.encrypted(),
            Event::Closed(by) => remarks.extend(machine.closed(Some(by))),
        }
    }
    remarks
}
