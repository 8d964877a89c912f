//! A user who reads and deletes mail, whatever happens meanwhile.

use super::ledger::{Ledger, message, number_of};
use internal_api::MessageId;
use mail_proto::pop3::Command;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;
use town_tests::{PATIENCE, Pop3Client, eventually};

/// How many messages are read in a session: few enough for many sessions to come to their end.
const SESSION_MESSAGES: usize = 100;
/// How long to wait before a maildrop is looked into again that was empty, locked or out of reach.
const PAUSE: Duration = Duration::from_millis(20);

/// The only reader of a maildrop.
pub(super) struct Reader {
    server: SocketAddr,
    password: &'static str,
    ledger: Arc<Ledger>,
    maildrop: Maildrop,
}

/// What is known of a maildrop.
#[derive(Default)]
pub(super) struct Maildrop {
    pub(super) address: &'static str,
    /// The number of each message that was ever read.
    pub(super) seen: BTreeMap<MessageId, usize>,
    /// What a QUIT answered with `+OK` has deleted.
    pub(super) deleted: BTreeSet<MessageId>,
    /// What a QUIT has deleted or not, because its answer did not come or was not `+OK`.
    pub(super) uncertain: BTreeSet<MessageId>,
    /// What stands in it at the end.
    pub(super) left: BTreeSet<MessageId>,
    /// The uncertain ones of the session before.
    undecided: Vec<MessageId>,
    /// Sessions that came to their end, and others.
    pub(super) sessions: [usize; 2],
    pub(super) faults: Vec<String>,
}

impl Reader {
    /// Of the maildrop at this address, by POP3 from `server`.
    pub(super) fn new(
        server: SocketAddr,
        (address, password): (&'static str, &'static str),
        ledger: Arc<Ledger>,
    ) -> Self {
        Self { server, password, ledger, maildrop: Maildrop { address, ..Maildrop::default() } }
    }

    /// Reads and deletes until told to stop.
    pub(super) async fn read_until(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let session = self.session().await;
            self.maildrop.sessions[usize::from(session.is_err())] += 1;
            if !matches!(session, Ok(1..)) {
                sleep(PAUSE).await;
            }
        }
        self
    }

    /// Reads what is left and deletes nothing.
    pub(super) async fn finish(mut self) -> Maildrop {
        let what = format!("a last look at all mail of {}", self.maildrop.address);
        let listing = eventually(&what, PATIENCE, async || self.last_session().await.ok()).await;
        self.maildrop.left.extend(listing.iter().map(|(_, id)| *id));
        self.maildrop
    }

    /// Reads some messages and deletes them; returns how many. What is read counts, whatever follows.
    async fn session(&mut self) -> io::Result<usize> {
        let (mut client, mut listing) = self.open().await?;
        listing.truncate(SESSION_MESSAGES);
        self.read(&mut client, &listing).await?;
        for (number, _) in &listing {
            client.command(Command::Dele(*number)).await?;
        }
        let ids: Vec<_> = listing.iter().map(|(_, id)| *id).collect();
        match client.command(Command::Quit).await {
            Ok(_) => self.maildrop.deleted.extend(&ids),
            Err(error) => {
                self.maildrop.uncertain.extend(&ids);
                self.maildrop.undecided = ids;
                return Err(error);
            }
        }
        Ok(listing.len())
    }

    async fn last_session(&mut self) -> io::Result<Vec<(u64, MessageId)>> {
        let (mut client, listing) = self.open().await?;
        self.read(&mut client, &listing).await?;
        client.command(Command::Quit).await?;
        Ok(listing)
    }

    /// Logs in; returns what is there.
    async fn open(&mut self) -> io::Result<(Pop3Client, Vec<(u64, MessageId)>)> {
        let mut client = Pop3Client::connect(self.server).await?;
        client.log_in(self.maildrop.address, self.password).await?;
        let reply = client.command(Command::Uidl(None)).await?;
        let listing = reply.lines().map(|line| {
            let (number, id) = str::from_utf8(line).unwrap().split_once(' ').unwrap();
            (number.parse().unwrap(), id.parse().unwrap())
        });
        let listing: Vec<_> = listing.collect();
        self.maildrop.listed(&listing.iter().map(|(_, id)| *id).collect());
        Ok((client, listing))
    }

    async fn read(&mut self, client: &mut Pop3Client, listing: &[(u64, MessageId)]) -> io::Result<()> {
        for &(number, id) in listing {
            let content = client.command(Command::Retr(number)).await?.body;
            if self.maildrop.read(id, &content) {
                self.ledger.read();
            }
        }
        Ok(())
    }
}

impl Maildrop {
    fn listed(&mut self, listing: &BTreeSet<MessageId>) {
        let address = self.address;
        let resurrected = listing.intersection(&self.deleted);
        self.faults.extend(resurrected.map(|id| format!("{id} was deleted by {address} and came back")));
        // QUIT deletes all that is marked or nothing (RFC 1939 §6).
        let undecided = std::mem::take(&mut self.undecided);
        let left = undecided.iter().filter(|id| listing.contains(id)).count();
        if left != 0 && left != undecided.len() {
            self.faults.push(format!("a QUIT of {address} deleted all but {left} of {}", undecided.len()));
        }
    }

    /// Returns whether this was not read before.
    fn read(&mut self, id: MessageId, content: &[u8]) -> bool {
        let Some(number) = number_of(content) else {
            let text = String::from_utf8_lossy(content);
            self.faults.push(format!("{} has got something else: {text}", self.address));
            return false;
        };
        if content != message(number) {
            self.faults.push(format!("message {number} has changed on its way to {}", self.address));
        }
        let before = self.seen.insert(id, number);
        if before.is_some_and(|before| before != number) {
            self.faults.push(format!("{id} of {} has become message {number}", self.address));
        }
        before.is_none()
    }
}
