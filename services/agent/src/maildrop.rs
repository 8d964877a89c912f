//! Reads a maildrop by POP3. Listings and messages are passed on piece by piece and never held.

use crate::{
    connection::{Connection, Location, REPLY_TIMEOUT, words},
    transcript::Transcript,
};
use anyhow::{Context, ensure};
use mail_net::{Clock, Hop};
use mail_proto::{
    Mailbox, Password,
    pop3::{Command, StatusLine},
};
use memchr::memmem;

/// The most lines of a listing.
const LISTING_LINES: u64 = 1_000_000;
/// The most octets of a listing.
const LISTING_OCTETS: u64 = 64 << 20;
/// The most octets of a message.
const MESSAGE_OCTETS: u64 = 1 << 30;
/// The longest line that the dialogue shows.
const LINE_OCTETS: usize = 1 << 20;

/// A POP3 session.
#[derive(Debug)]
pub(crate) struct Maildrop {
    connection: Connection,
    location: Location,
}

impl Maildrop {
    /// Connects, and returns the greeting too.
    pub(crate) fn connect(
        location: Location,
        transcript: Transcript,
        clock: Clock,
    ) -> anyhow::Result<(Self, StatusLine)> {
        let open = || {
            let mut connection = Connection::open(Hop::ClientToPop3, &location, transcript, clock)?;
            let greeting = status(&mut connection)?;
            Ok((connection, greeting))
        };
        let opened: anyhow::Result<_> = open();
        let (connection, greeting) = opened.with_context(|| location.to_string())?;
        Ok((Self { connection, location }, greeting))
    }

    /// Which server this is.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Sends a command and returns the first line of the reply. After `+OK`, [`Maildrop::lines`] or
    /// [`Maildrop::octets`] must read the rest of a command that is answered in lines.
    pub(crate) fn ask(&mut self, command: &Command) -> anyhow::Result<StatusLine> {
        let wire = command.to_wire();
        match command {
            Command::Pass(_) => self.connection.send_secret(wire.as_bytes())?,
            _ => self.connection.send(wire.as_bytes())?,
        }
        status(&mut self.connection)
    }

    /// Passes each line of a listing to `take`.
    pub(crate) fn listing(&mut self, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut lines = 0;
        self.lines(LISTING_OCTETS, |line| {
            lines += 1;
            ensure!(lines <= LISTING_LINES, "the server lists more than {LISTING_LINES} lines");
            take(line)
        })
    }

    /// Passes each line of a message to `take`.
    pub(crate) fn message_lines(&mut self, take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.lines(MESSAGE_OCTETS, take)
    }

    /// Passes the octets of a message to `take`, piece by piece.
    pub(crate) fn message(&mut self, take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.octets(MESSAGE_OCTETS, take)
    }

    fn lines(&mut self, limit: u64, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut pending = Vec::new();
        self.octets(limit, |octets| {
            // A CR may have come last, and its LF now.
            let scanned = pending.len().saturating_sub(1);
            pending.extend_from_slice(octets);
            let mut start = 0;
            while let Some(length) = memmem::find(&pending[start.max(scanned)..], b"\r\n") {
                let end = start.max(scanned) + length;
                take(&pending[start..end])?;
                start = end + 2;
            }
            pending.drain(..start);
            ensure!(
                pending.len() <= LINE_OCTETS,
                "a line of more than {LINE_OCTETS} octets; `agent fetch` can write it"
            );
            Ok(())
        })?;
        if pending.is_empty() { Ok(()) } else { take(&pending) }
    }

    fn octets(&mut self, limit: u64, mut take: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut body = self.connection.body();
        let mut total = 0;
        loop {
            let (piece, has_ended) = self.connection.next_piece(&mut body)?;
            total += piece.len() as u64;
            ensure!(total <= limit, "the server sends more than {limit} octets");
            take(&piece)?;
            if has_ended {
                return Ok(());
            }
        }
    }
}

fn status(connection: &mut Connection) -> anyhow::Result<StatusLine> {
    let line = connection.line(connection.deadline_after(REPLY_TIMEOUT))?;
    // Its text holds that of its cause, so the cause is left out.
    StatusLine::parse(line).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The commands that log in, in their order.
pub(crate) fn login(address: &Mailbox, password: &str) -> anyhow::Result<[Command; 2]> {
    let password: Password = password.parse()?;
    Ok([Command::User(address.to_string().parse()?), Command::Pass(password)])
}

/// A failure in the server's own words.
pub(crate) fn refusal(status: &StatusLine) -> String {
    words(status.as_bytes())
}
