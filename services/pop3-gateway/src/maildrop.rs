//! An open maildrop of the store: opened at the login, read, and updated at QUIT.

use crate::{
    connection::{Broken, Connection},
    lease::{self, Lease},
};
use bytes::Bytes;
use internal_api::{ApiError, Handled, Mark, MessageId, OpenSession, OpenedMaildrop, ProblemKind, RawMessage};
use mail_net::{Kind, OUTPUT_OCTETS};
use mail_proto::{
    Mailbox,
    pop3::{Extent, ListLines, Listing, OpenFailure, Proof, ReadFailure, Reply, SendMessage, Transfer, UpdateFailure},
};
use records::LISTED;

/// All that is in a maildrop.
async fn listed(mut maildrop: OpenedMaildrop) -> Result<Listing<MessageId>, ApiError> {
    let mut listing = Listing::default();
    while let page = maildrop.page().await?
        && !page.is_empty()
    {
        listing.extend(page.into_iter().map(|entry| (entry.id, entry.octets)));
    }
    Ok(listing)
}

impl Connection<'_> {
    /// Checks who the client is and locks the maildrop; counts the login, and how long it took.
    pub(crate) async fn open_timed(&mut self, user: Mailbox, proof: Proof) -> Result<Listing<MessageId>, OpenFailure> {
        let clock = self.gateway.clock.io;
        let started = clock.instant();
        let outcome = self.open(user, proof).await;
        self.is_refused = matches!(outcome, Err(OpenFailure::Authentication));
        self.gateway.metrics.login(&outcome, clock.since(started));
        outcome
    }

    async fn open(&mut self, user: Mailbox, proof: Proof) -> Result<Listing<MessageId>, OpenFailure> {
        tracing::Span::current().record("user", tracing::field::display(&user));
        let (store, lease_seconds) = (&self.gateway.store, self.lease_seconds);
        // One who guesses at an address that many share would delay all others.
        let client = self.gateway.logins.telling(self.peer.ip());
        let (password, proved) = match proof {
            Proof::Password(password) => (password.expose().to_owned(), false),
            Proof::Scram => (String::new(), true),
        };
        let request = OpenSession { password, lease_seconds, client, proved };
        let name = uuid::Uuid::new_v4().simple().to_string();
        match store.open_maildrop(&user, &name, &request).await {
            Ok(maildrop) => self.list(user, maildrop).await,
            Err(error) => Err(match error.kind() {
                // The proof was right: the account was removed a moment ago, or is not made yet.
                Some(ProblemKind::AuthenticationFailed | ProblemKind::MailboxUnknown) if proved => {
                    facts::Pop3OpenFailed { error: &error }.log();
                    OpenFailure::Unavailable
                }
                Some(ProblemKind::AuthenticationFailed | ProblemKind::MailboxUnknown) => {
                    facts::Pop3LoginRefused {}.log();
                    OpenFailure::Authentication
                }
                Some(ProblemKind::MaildropInUse) => {
                    facts::Pop3MaildropInUse {}.log();
                    OpenFailure::InUse
                }
                Some(ProblemKind::LoginTooSoon) => {
                    facts::Pop3LoginTooSoon {}.log();
                    OpenFailure::TooSoon
                }
                _ => {
                    facts::Pop3OpenFailed { error: &error }.log();
                    // The maildrop may be locked all the same.
                    lease::release_in_background(store.clone(), user, name, lease_seconds, self.gateway.clock.io);
                    OpenFailure::Unavailable
                }
            }),
        }
    }

    /// Keeps the lock from now on, and has the maildrop listed.
    async fn list(&mut self, user: Mailbox, mut maildrop: OpenedMaildrop) -> Result<Listing<MessageId>, OpenFailure> {
        let session = std::mem::take(&mut maildrop.session);
        self.recording.mark(|| Mark::LoggedIn { user: user.to_string() });
        let mailbox = user.clone();
        let lease = Lease::keep(self.gateway.store.clone(), user, session, self.lease_seconds, self.gateway.clock.io);
        match listed(maildrop).await {
            Ok(listing) => {
                facts::Pop3Login { messages: listing.len() }.log();
                self.recording.mark(|| Mark::Locked { mailbox, messages: listing.len() as u64 });
                self.lease = Some(lease);
                Ok(listing)
            }
            Err(error) => {
                facts::Pop3OpenFailed { error: &error }.log();
                lease.release().await;
                Err(OpenFailure::Unavailable)
            }
        }
    }

    /// The inner error: nothing of the message was sent.
    pub(crate) async fn send(&mut self, message: SendMessage<MessageId>) -> Result<Result<(), ReadFailure>, Broken> {
        let (mut content, first) = match self.begin_message(&message).await {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        self.stream.push(&message.reply);
        let mut transfer = Transfer::new(message.octets, message.extent);
        let mut piece = first;
        while let Some(octets) = piece {
            self.send_piece(&octets, &mut transfer).await?;
            piece = if transfer.is_complete() { None } else { content.chunk().await? };
        }
        self.stream.write(Kind::Body, |output| transfer.finish(output))?;
        let how = match message.extent {
            Extent::Whole => {
                self.gateway.metrics.retrieved();
                Handled::Fetched
            }
            Extent::Top(_) => Handled::Looked,
        };
        let message = message.uid;
        self.recording.mark(|| Mark::Message { message, how, transaction: 0, recipients: Vec::new() });
        Ok(Ok(()))
    }

    /// The message with its first octets: until they are here, there is still a proper answer to a failure.
    async fn begin_message(
        &mut self,
        message: &SendMessage<MessageId>,
    ) -> Result<(RawMessage, Option<Bytes>), ReadFailure> {
        let id = message.uid;
        let Some(lease) = &self.lease else { return Err(ReadFailure::Gone) };
        let begun = async {
            let known = match message.extent {
                Extent::Whole => self.ahead.take(id),
                // RETR of the same message mostly follows.
                Extent::Top(_) => self.ahead.see(id),
            };
            let fetched = match known {
                None if message.is_in_sequence => self.ahead.fetch(lease, &self.session, message.number).await?,
                fetched => fetched,
            };
            let mut content = match fetched {
                Some(octets) => octets.into(),
                None => lease.message(id).await?,
            };
            let first = content.chunk().await?;
            Ok((content, first))
        };
        begun.await.map_err(|error: ApiError| match error.kind() {
            Some(ProblemKind::MessageUnknown) => ReadFailure::Gone,
            Some(ProblemKind::MessageDamaged) => ReadFailure::Damaged,
            _ => {
                facts::Pop3ReadFailed { message_id: id, error }.log();
                ReadFailure::Unavailable
            }
        })
    }

    /// Sends a list of all messages, bit by bit.
    pub(crate) async fn send_list(&mut self, reply: &Reply, mut lines: ListLines) -> Result<(), Broken> {
        self.stream.push(reply);
        while self.stream.write(Kind::Line, |output| self.session.list(&mut lines, output)) {
            self.stream.flush_if_full().await?;
        }
        Ok(())
    }

    /// Sends what was had from the store, in portions that keep the output small.
    async fn send_piece(&mut self, octets: &[u8], transfer: &mut Transfer) -> Result<(), Broken> {
        for portion in octets.chunks(OUTPUT_OCTETS) {
            let octets = self.stream.write(Kind::Body, |output| {
                let before = output.len();
                transfer.piece(portion, output).map(|()| output.len() - before)
            })?;
            self.gateway.metrics.sent(octets);
            self.stream.flush_if_full().await?;
        }
        Ok(())
    }

    pub(crate) async fn update(&mut self, delete: Vec<MessageId>) -> Result<(), UpdateFailure> {
        let Some(lease) = self.lease.take() else { return Err(UpdateFailure::LockLost) };
        let messages = delete.len();
        let deleted = if self.recording.is_on() { delete.iter().take(LISTED).copied().collect() } else { Vec::new() };
        match lease.update(delete).await {
            Ok(()) => {
                self.gateway.metrics.deleted(messages);
                if messages > 0 {
                    facts::Pop3Deleted { messages }.log();
                    self.recording.mark(|| Mark::Deleted { messages: deleted });
                }
                Ok(())
            }
            Err(error) => {
                facts::Pop3DeleteFailed { messages, error: &error }.log();
                let lost = error.kind() == Some(ProblemKind::LeaseLost);
                if lost {
                    self.recording.mark(|| Mark::LockLost);
                }
                Err(if lost { UpdateFailure::LockLost } else { UpdateFailure::Unavailable })
            }
        }
    }
}
