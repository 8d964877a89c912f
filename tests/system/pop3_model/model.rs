//! What RFC 1939 says of maildrops, in the simplest words: lists of messages in memory.

use super::{action::Command, client::Reply};
use std::collections::{BTreeMap, BTreeSet};

/// A message by the number that the test gives it, which no other message ever has.
pub(super) type Serial = usize;

/// What a session sees.
#[derive(Debug)]
struct Session {
    maildrop: usize,
    /// The messages at login; number n is at index n - 1.
    snapshot: Vec<Serial>,
    marks: BTreeSet<usize>,
    /// Whether the lease may have ended, so that another session may hold the maildrop.
    may_be_lost: bool,
}

/// What a reply must not be.
pub(super) type Fault = String;

/// All maildrops and all sessions.
#[derive(Debug)]
pub(super) struct Model {
    /// How many octets more than its own each message is said to have.
    size_surplus: usize,
    contents: Vec<Vec<u8>>,
    maildrops: Vec<Vec<Serial>>,
    /// The session that holds each maildrop.
    holders: Vec<Option<usize>>,
    sessions: BTreeMap<usize, Session>,
    /// A copy in another maildrop may have the same.
    uids: BTreeMap<(usize, String), Serial>,
    uid_of: BTreeMap<Serial, String>,
}

impl Model {
    pub(super) fn new(maildrops: usize, size_surplus: usize) -> Self {
        Self {
            size_surplus,
            contents: Vec::new(),
            maildrops: vec![Vec::new(); maildrops],
            holders: vec![None; maildrops],
            sessions: BTreeMap::new(),
            uids: BTreeMap::new(),
            uid_of: BTreeMap::new(),
        }
    }

    /// A message arrives in each of these maildrops. Sessions do not see it.
    pub(super) fn arrives(&mut self, maildrops: &[usize], content: &[u8]) {
        for maildrop in maildrops {
            self.maildrops[*maildrop].push(self.contents.len());
            self.contents.push(content.to_vec());
        }
    }

    pub(super) fn has_session(&self, client: usize) -> bool {
        self.sessions.contains_key(&client)
    }

    /// Whether nobody holds it.
    pub(super) fn is_free(&self, maildrop: usize) -> bool {
        self.holders[maildrop].is_none()
    }

    /// A client without a session has given the right password.
    pub(super) fn logs_in(&mut self, client: usize, maildrop: usize, reply: &Reply) -> Result<(), Fault> {
        if !self.is_free(maildrop) {
            return if reply.line.starts_with("-ERR [IN-USE] ") { Ok(()) } else { Err(fault("in use", reply)) };
        }
        if !reply.is_ok() {
            return Err(fault("the maildrop is free", reply));
        }
        self.holders[maildrop] = Some(client);
        let snapshot = self.maildrops[maildrop].clone();
        self.sessions.insert(client, Session { maildrop, snapshot, marks: BTreeSet::new(), may_be_lost: false });
        Ok(())
    }

    /// The connection of a client has broken: its marks are forgotten. Returns the maildrop that it held.
    pub(super) fn breaks(&mut self, client: usize) -> Option<usize> {
        let session = self.sessions.remove(&client)?;
        (self.holders[session.maildrop] == Some(client)).then(|| {
            self.holders[session.maildrop] = None;
            session.maildrop
        })
    }

    /// All leases have ended: whoever comes next gets the maildrop.
    pub(super) fn leases_end(&mut self) {
        self.holders.fill(None);
        self.sessions.values_mut().for_each(|session| session.may_be_lost = true);
    }

    /// A client has got this reply to a command.
    pub(super) fn answers(&mut self, client: usize, command: &Command, reply: &Reply) -> Result<(), Fault> {
        if *command == Command::Quit {
            return self.quits(client, reply);
        }
        let Some(session) = self.sessions.get(&client) else {
            return if reply.is_error() { Ok(()) } else { Err(fault("nobody is logged in", reply)) };
        };
        match command {
            Command::Stat => {
                let (count, octets) = session
                    .listed()
                    .fold((0, 0), |(count, octets), (_, serial)| (count + 1, octets + self.size(serial)));
                self.expect(reply, &format!("+OK {count} {octets}"))
            }
            Command::List(None) => {
                let lines = session.listed().map(|(number, serial)| format!("{number} {}\r\n", self.size(serial)));
                expect_body(reply, lines.collect::<String>().as_bytes())
            }
            Command::List(Some(number)) => match session.message(*number) {
                Some(serial) => self.expect(reply, &format!("+OK {number} {}", self.size(serial))),
                None => expect_error(reply),
            },
            Command::Uidl(None) => {
                let (listed, maildrop) = (session.listed().collect::<Vec<_>>(), session.maildrop);
                self.uids_are(
                    maildrop,
                    &listed,
                    &String::from_utf8_lossy(reply.body.as_deref().unwrap_or_default()),
                    reply,
                )
            }
            Command::Uidl(Some(number)) => match session.message(*number) {
                Some(serial) if reply.is_ok() => {
                    let line = format!("{}\r\n", reply.line.trim_start_matches("+OK "));
                    self.uids_are(session.maildrop, &[(*number, serial)], &line, reply)
                }
                Some(_) => Err(fault("there is such a message", reply)),
                None => expect_error(reply),
            },
            Command::Retr(number) => self.is_read(session, *number, u64::MAX, reply),
            Command::Top(number, lines) => self.is_read(session, *number, *lines, reply),
            Command::Dele(number) => match session.message(*number) {
                Some(_) => self.marks(client, *number, reply),
                None => expect_error(reply),
            },
            Command::Rset => {
                expect_ok(reply)?;
                self.sessions.entry(client).and_modify(|session| session.marks.clear());
                Ok(())
            }
            Command::Noop => expect_ok(reply),
            Command::Quit => Ok(()),
        }
    }

    fn marks(&mut self, client: usize, number: u64, reply: &Reply) -> Result<(), Fault> {
        expect_ok(reply)?;
        let index = usize::try_from(number).map_err(|error| error.to_string())? - 1;
        self.sessions.entry(client).and_modify(|session| session.marks.extend([index]));
        Ok(())
    }

    /// UPDATE (RFC 1939 §6): all that is marked is deleted, or nothing.
    fn quits(&mut self, client: usize, reply: &Reply) -> Result<(), Fault> {
        let Some(session) = self.sessions.remove(&client) else { return expect_ok(reply) };
        let holds = self.holders[session.maildrop] == Some(client);
        if holds {
            self.holders[session.maildrop] = None;
        }
        let marked: BTreeSet<_> = session.marks.iter().map(|index| session.snapshot[*index]).collect();
        let maildrop = &mut self.maildrops[session.maildrop];
        if reply.is_ok() {
            // Another session may have deleted the same messages, and then nothing is left to do.
            let deletes = maildrop.iter().any(|serial| marked.contains(serial));
            if deletes && !holds && self.holders[session.maildrop].is_some() {
                return Err(fault("another session holds the maildrop", reply));
            }
            maildrop.retain(|serial| !marked.contains(serial));
        } else if !session.may_be_lost || !reply.is_error() {
            return Err(fault("nothing is in the way of QUIT", reply));
        }
        Ok(())
    }

    fn is_read(&self, session: &Session, number: u64, body_lines: u64, reply: &Reply) -> Result<(), Fault> {
        let Some(serial) = session.message(number) else { return expect_error(reply) };
        // Who has lost the lock may find that another session has deleted the message.
        if session.may_be_lost && !self.maildrops[session.maildrop].contains(&serial) {
            return expect_error(reply);
        }
        expect_body(reply, &top(&self.contents[serial], body_lines))
    }

    /// Each of these messages has the uid that it had before, and no other message has ever had it.
    fn uids_are(&mut self, maildrop: usize, listed: &[(u64, Serial)], lines: &str, reply: &Reply) -> Result<(), Fault> {
        let lines: Vec<_> = lines.split_terminator("\r\n").collect();
        if !reply.is_ok() || lines.len() != listed.len() {
            return Err(fault(&format!("{} uids", listed.len()), reply));
        }
        for (line, &(number, serial)) in lines.into_iter().zip(listed) {
            let Some(uid) = line.strip_prefix(&format!("{number} ")) else {
                return Err(fault(&format!("number {number} in {line}"), reply));
            };
            // RFC 1939 §7.
            if uid.is_empty() || uid.len() > 70 || !uid.bytes().all(|octet| (0x21..=0x7E).contains(&octet)) {
                return Err(format!("{uid:?} is no uid"));
            }
            let owner = *self.uids.entry((maildrop, uid.to_owned())).or_insert(serial);
            let before = self.uid_of.entry(serial).or_insert_with(|| uid.to_owned());
            if owner != serial || before != uid {
                return Err(format!("message {serial} has uid {uid}; it had {before}, and {uid} was of {owner}"));
            }
        }
        Ok(())
    }

    fn size(&self, serial: Serial) -> usize {
        self.contents[serial].len() + self.size_surplus
    }

    fn expect(&self, reply: &Reply, line: &str) -> Result<(), Fault> {
        if reply.line == line { Ok(()) } else { Err(fault(line, reply)) }
    }
}

impl Session {
    /// Numbers and messages, except what is marked.
    fn listed(&self) -> impl Iterator<Item = (u64, Serial)> {
        let all = self.snapshot.iter().enumerate().filter(|(index, _)| !self.marks.contains(index));
        all.map(|(index, serial)| (index as u64 + 1, *serial))
    }

    fn message(&self, number: u64) -> Option<Serial> {
        self.listed().find(|(listed, _)| *listed == number).map(|(_, serial)| serial)
    }
}

/// What RETR and TOP send: the headers, the empty line, n lines more; and a CRLF at the end, where it is missing.
fn top(content: &[u8], body_lines: u64) -> Vec<u8> {
    let (mut sent, mut rest, mut lines_left) = (Vec::new(), content, None);
    while !rest.is_empty() && lines_left != Some(0) {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        sent.extend_from_slice(&rest[..end]);
        lines_left = match lines_left {
            Some(lines) => Some(lines - 1),
            None if &rest[..end] == b"\r\n" => Some(body_lines),
            None => None,
        };
        rest = &rest[end..];
    }
    if !sent.is_empty() && !sent.ends_with(b"\r\n") {
        sent.extend_from_slice(b"\r\n");
    }
    sent
}

fn expect_ok(reply: &Reply) -> Result<(), Fault> {
    if reply.is_ok() { Ok(()) } else { Err(fault("+OK", reply)) }
}

fn expect_error(reply: &Reply) -> Result<(), Fault> {
    if reply.is_error() { Ok(()) } else { Err(fault("-ERR", reply)) }
}

fn expect_body(reply: &Reply, body: &[u8]) -> Result<(), Fault> {
    if reply.is_ok() && reply.body.as_deref() == Some(body) {
        return Ok(());
    }
    Err(fault(&body.escape_ascii().to_string(), reply))
}

fn fault(expected: &str, reply: &Reply) -> Fault {
    let body = reply.body.as_deref().unwrap_or_default();
    format!("expected {expected}, but was told {} {}", reply.line, body.escape_ascii())
}
