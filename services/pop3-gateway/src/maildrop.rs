//! An open maildrop of the store: opened at the login, read, and updated at QUIT.

use crate::{
    connection::{Broken, Connection},
    lease::{self, Lease},
};
use bytes::Bytes;
use internal_api::{ApiError, MessageId, OpenSession, ProblemKind, RawMessage};
use mail_net::{Kind, OUTPUT_OCTETS};
use mail_proto::{
    Mailbox,
    pop3::{Extent, OpenFailure, Proof, ReadFailure, SendMessage, Transfer, UpdateFailure},
};

impl Connection<'_> {
    /// Checks who the client is and locks the maildrop; counts the login, and how long it took.
    pub(crate) async fn open_timed(
        &mut self,
        user: Mailbox,
        proof: Proof,
    ) -> Result<Vec<(MessageId, u64)>, OpenFailure> {
        let clock = self.gateway.clock.io;
        let started = clock.instant();
        let outcome = self.open(user, proof).await;
        self.is_refused = matches!(outcome, Err(OpenFailure::Authentication));
        self.gateway.metrics.login(&outcome, clock.since(started));
        outcome
    }

    async fn open(&mut self, user: Mailbox, proof: Proof) -> Result<Vec<(MessageId, u64)>, OpenFailure> {
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
        match store.open_named_session(&user, &name, &request).await {
            Ok(maildrop) => {
                facts::Pop3Login { messages: maildrop.messages.len() }.log();
                self.lease =
                    Some(Lease::keep(store.clone(), user, maildrop.session, lease_seconds, self.gateway.clock.io));
                Ok(maildrop.messages.into_iter().map(|message| (message.id, message.octets)).collect())
            }
            Err(error) => Err(match error.kind() {
                Some(ProblemKind::AuthenticationFailed | ProblemKind::MailboxUnknown) => {
                    facts::Pop3LoginRefused {}.log();
                    OpenFailure::Authentication
                }
                Some(ProblemKind::MaildropInUse) => {
                    facts::Pop3MaildropInUse {}.log();
                    OpenFailure::InUse
                }
                _ => {
                    facts::Pop3OpenFailed { error: &error }.log();
                    if error.kind().is_none() {
                        lease::release_in_background(store.clone(), user, name, lease_seconds, self.gateway.clock.io);
                    }
                    OpenFailure::Unavailable
                }
            }),
        }
    }

    /// The inner error: nothing of the message was sent.
    pub(crate) async fn send(&mut self, message: SendMessage<MessageId>) -> Result<Result<(), ReadFailure>, Broken> {
        let (mut content, first) = match self.begin(message.uid).await {
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
        if message.extent == Extent::Whole {
            self.gateway.metrics.retrieved();
        }
        Ok(Ok(()))
    }

    /// The message with its first octets: until they are here, there is still a proper answer to a failure.
    async fn begin(&self, id: MessageId) -> Result<(RawMessage, Option<Bytes>), ReadFailure> {
        let Some(lease) = &self.lease else { return Err(ReadFailure::Gone) };
        let begun = async {
            let mut content = lease.message(id).await?;
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
        match lease.update(delete).await {
            Ok(()) => {
                self.gateway.metrics.deleted(messages);
                if messages > 0 {
                    facts::Pop3Deleted { messages }.log();
                }
                Ok(())
            }
            Err(error) => {
                facts::Pop3DeleteFailed { messages, error: &error }.log();
                let lost = error.kind() == Some(ProblemKind::LeaseLost);
                Err(if lost { UpdateFailure::LockLost } else { UpdateFailure::Unavailable })
            }
        }
    }
}
