//! A capture of sessions that are known.

use crate::{
    Options, Vantage,
    address::Addresses,
    conversation::{Conversation, Event, Packet, is_mail},
    encoder::Encoder,
};
use internal_api::{Dropped, Flow, Form, Mark, MessageId, Record, Role, Seen, SessionRecords};
use std::{
    collections::VecDeque,
    io::{self, Write},
    vec,
};

/// Writes the file of whole sessions, with the packets of all of them in the order of time.
///
/// Add the sessions in the order in which they began. In memory are those that overlap.
///
/// ```
/// use capture::{Capture, Options};
/// # let sessions: Vec<internal_api::SessionRecords> = Vec::new();
/// let mut file = Vec::new();
/// let mut capture = Capture::new(Options { query: "since=…".to_owned(), ..Options::default() });
/// for session in sessions {
///     capture.add(session, &mut file)?;
/// }
/// capture.finish(Default::default(), &mut file)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Capture {
    vantage: Vantage,
    addresses: Addresses,
    encoder: Encoder,
    /// Each has a packet that is not written.
    playing: Vec<Playing>,
}

/// A session that is being written.
#[derive(Debug)]
struct Playing {
    conversation: Conversation,
    records: vec::IntoIter<Record>,
    /// The record that is shown only in part.
    record: Option<Record>,
    end: Option<Box<internal_api::RecordedSession>>,
    is_over: bool,
    packets: VecDeque<Packet>,
}

impl Capture {
    /// A capture with these options.
    pub fn new(options: Options) -> Self {
        let addresses = Addresses::new(options.ports, &options.servers);
        let encoder = Encoder::new(&options, &addresses);
        Self { vantage: options.vantage, addresses, encoder, playing: Vec::new() }
    }

    /// Adds a session, and writes the packets of the earlier ones from before it began.
    ///
    /// # Errors
    ///
    /// Fails where `to` fails. The file is then of no use.
    pub fn add(&mut self, session: SessionRecords, to: &mut impl Write) -> io::Result<()> {
        self.encoder.begin(&self.addresses, to)?;
        self.write_until(crate::remark::nanoseconds(session.session.opened_at), to)?;
        let messages = messages(&session);
        let SessionRecords { session, records } = session;
        let mut packets = VecDeque::new();
        let end = session.closed_at.is_some().then(|| Box::new(session.clone()));
        let conversation = Conversation::new(session, messages, self.vantage, &mut self.addresses, &mut packets);
        let records = records.into_iter();
        let mut playing = Playing { conversation, records, record: None, end, is_over: false, packets };
        if playing.has_packet(&mut self.addresses) {
            self.playing.push(playing);
        }
        Ok(())
    }

    /// Writes what is left, and the number of what is missing for want of memory.
    ///
    /// # Errors
    ///
    /// Fails where `to` fails. The file is then of no use.
    pub fn finish(mut self, dropped: Dropped, to: &mut impl Write) -> io::Result<()> {
        self.write_until(u64::MAX, to)?;
        self.encoder.finish(dropped, &self.addresses, to)
    }

    /// Writes the packets from before this time, the earliest first.
    fn write_until(&mut self, end: u64, to: &mut impl Write) -> io::Result<()> {
        loop {
            // Of sessions that go on at the same time there are few.
            let next = self.playing.iter_mut().enumerate();
            let next = next.filter_map(|(index, playing)| Some((playing.packets.front()?.at, index))).min();
            let Some((_, index)) = next.filter(|(at, _)| *at < end) else { return Ok(()) };
            let playing = &mut self.playing[index];
            if let Some(packet) = playing.packets.pop_front() {
                self.encoder.packet(&packet, &self.addresses, to)?;
            }
            if !playing.has_packet(&mut self.addresses) {
                // The order stays: of packets with one time, those of the earlier session come first.
                self.playing.remove(index);
            }
        }
    }
}

impl Playing {
    /// Goes on until there is a packet to write. Says no when there is none any more.
    fn has_packet(&mut self, addresses: &mut Addresses) -> bool {
        while self.packets.is_empty() && !self.is_over && !self.conversation.is_hidden() {
            self.record = self.record.take().or_else(|| self.records.next());
            let event = match (&self.record, &self.end) {
                (Some(record), _) => Event::Seen(record),
                (None, Some(session)) => Event::Closed(session),
                (None, None) => Event::Lasts,
            };
            let is_last = self.record.is_none();
            if self.conversation.step(event, addresses, &mut self.packets) {
                self.record = None;
                self.is_over = is_last;
            }
        }
        !self.packets.is_empty()
    }
}

/// The messages of each transaction, from one MAIL command to the next.
fn messages(session: &SessionRecords) -> VecDeque<Vec<MessageId>> {
    let commands = match session.session.role {
        Role::Server => Flow::Received,
        Role::Client => Flow::Sent,
    };
    let mut transactions = VecDeque::new();
    for record in &session.records {
        match &record.what {
            Seen::Octets(seen) if seen.form == Form::Line && seen.direction == commands => {
                let octets = seen.octets.bytes().unwrap_or_default();
                let mails = octets.split_inclusive(|&octet| octet == b'\n').filter(|line| is_mail(line));
                transactions.extend(mails.map(|_| Vec::new()));
            }
            Seen::Mark(Mark::Message { message, .. }) => {
                if let Some(messages) = transactions.back_mut()
                    && !messages.contains(message)
                {
                    messages.push(*message);
                }
            }
            _ => {}
        }
    }
    transactions
}
