//! A capture of records as they come.

use crate::{
    Options, Vantage,
    address::Addresses,
    conversation::{Conversation, Event},
    encoder::Encoder,
};
use internal_api::{Dropped, RecordedSession, Seen, SessionId, TracedRecord};
use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
};

/// How many sessions may be open. Each holds back at most two segments of each side.
const OPEN_SESSIONS: usize = 4096;

/// Writes the file of a trace while it goes on: the head at once, then the packets of each record.
///
/// A session is shown from its `opened` record on. To show one that is open already, push an `opened` record of it. The
/// packets are in the order of the records; a reply of several lines is one packet, once its last line is there.
///
/// ```
/// use capture::{Live, Options};
/// # let trace: Vec<internal_api::TracedRecord> = Vec::new();
/// let mut file = Vec::new();
/// let mut live = Live::new(Options::default());
/// live.begin(&mut file)?;
/// for record in trace {
///     live.push(&record, &mut file)?;
/// }
/// live.finish(Default::default(), &mut file)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Live {
    vantage: Vantage,
    addresses: Addresses,
    encoder: Encoder,
    open: HashMap<SessionId, Open>,
    /// The number of the next record.
    number: u64,
}

#[derive(Debug)]
struct Open {
    conversation: Conversation,
    /// The number of its last record.
    last: u64,
}

impl Live {
    /// A capture with these options.
    pub fn new(options: Options) -> Self {
        let addresses = Addresses::new(options.ports, &options.servers);
        let encoder = Encoder::new(&options, &addresses);
        Self { vantage: options.vantage, addresses, encoder, open: HashMap::new(), number: 0 }
    }

    /// Writes the head, so that a reader knows at once what comes. Without it, the head comes with the first packet.
    ///
    /// # Errors
    ///
    /// Fails where `to` fails. The file is then of no use.
    pub fn begin(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.encoder.begin(&self.addresses, to)
    }

    /// Writes the packets of a record. Records of unknown sessions are ignored.
    ///
    /// # Errors
    ///
    /// Fails where `to` fails. The file is then of no use.
    pub fn push(&mut self, record: &TracedRecord, to: &mut impl Write) -> io::Result<()> {
        self.number += 1;
        match &record.record.what {
            Seen::Opened { state } => self.open(state, to),
            Seen::Closed { state } => {
                self.step(record.session, Event::Closed(state), to)?;
                self.open.remove(&record.session);
                Ok(())
            }
            Seen::Octets(_) | Seen::Mark(_) => self.step(record.session, Event::Seen(&record.record), to),
        }
    }

    /// Writes what was held back of sessions that are open, and the number of what is missing for want of memory. They
    /// last: their connections do not end in the file.
    ///
    /// # Errors
    ///
    /// Fails where `to` fails. The file is then of no use.
    pub fn finish(mut self, dropped: Dropped, to: &mut impl Write) -> io::Result<()> {
        let mut open: Vec<_> = self.open.iter().map(|(id, open)| (open.last, *id)).collect();
        open.sort_unstable();
        for (_, id) in open {
            self.step(id, Event::Lasts, to)?;
        }
        self.encoder.finish(dropped, &self.addresses, to)
    }

    /// A session that was not open. One that is hidden takes no room.
    fn open(&mut self, session: &RecordedSession, to: &mut impl Write) -> io::Result<()> {
        if self.open.contains_key(&session.id) {
            return Ok(());
        }
        self.make_room(to)?;
        let mut packets = VecDeque::new();
        let messages = VecDeque::new();
        let conversation =
            Conversation::new(session.clone(), messages, self.vantage, &mut self.addresses, &mut packets);
        for packet in packets {
            self.encoder.packet(&packet, &self.addresses, to)?;
        }
        if !conversation.is_hidden() {
            self.open.insert(session.id, Open { conversation, last: self.number });
        }
        Ok(())
    }

    /// Forgets the session that has been silent for the longest, where there are too many. Its service may have ended
    /// without a word.
    fn make_room(&mut self, to: &mut impl Write) -> io::Result<()> {
        if self.open.len() < OPEN_SESSIONS {
            return Ok(());
        }
        let Some((_, id)) = self.open.iter().map(|(id, open)| (open.last, *id)).min() else { return Ok(()) };
        self.step(id, Event::Lasts, to)?;
        self.open.remove(&id);
        Ok(())
    }

    fn step(&mut self, id: SessionId, event: Event<'_>, to: &mut impl Write) -> io::Result<()> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.last = self.number;
        let mut packets = VecDeque::new();
        loop {
            let is_done = open.conversation.step(event, &mut self.addresses, &mut packets);
            for packet in packets.drain(..) {
                self.encoder.packet(&packet, &self.addresses, to)?;
            }
            if is_done {
                break;
            }
        }
        if open.conversation.is_hidden() {
            self.open.remove(&id);
        }
        Ok(())
    }
}
