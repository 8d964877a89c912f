//! Deletes messages where they are: from maildrops, as their users would, and from the queue.

use crate::{api::App, follow::FollowedStore, index::Place, query::Query};
use internal_api::{ApiError, MaildropUpdate, MessageId, OpenSession, Problem, ProblemKind};
use mail_proto::Mailbox;
use serde::{Deserialize, Serialize};
use service_kit::telemetry;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use utoipa::ToSchema;

/// How long a maildrop is locked at most. The time is enough for one call.
const LEASE_SECONDS: u32 = 60;
/// How often a maildrop that a user has open is tried again, and the pauses in between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What a deletion has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Deletion {
    /// How many messages no store has any more.
    pub(crate) deleted: u64,
    /// Those that are somewhere still.
    pub(crate) not_deleted: Vec<NotDeleted>,
}

/// A message that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NotDeleted {
    /// The message.
    pub(crate) id: MessageId,
    /// Why.
    pub(crate) reason: String,
}

impl App {
    /// Where the messages are that match. Where all are meant, the stores say it: the index may have dropped some.
    pub(crate) async fn places(&self, query: &Query) -> Result<Vec<Place>, Problem> {
        if !query.is_empty() {
            return Ok(self.index.places(query).await?);
        }
        let mut places = Vec::new();
        let mut silent = BTreeSet::new();
        for store in self.town.stores() {
            match places_of(store).await {
                Ok(found) => places.extend(found),
                // What is known of it is told as not deleted.
                Err(_) => drop(silent.insert(store.stack.clone())),
            }
        }
        if !silent.is_empty() {
            let known = self.index.places(&Query::default()).await?;
            places.extend(known.into_iter().filter(|place| silent.contains(&place.stack)));
        }
        Ok(places)
    }

    /// Deletes messages from these places.
    pub(crate) async fn delete(&self, places: Vec<Place>) -> Result<Deletion, Problem> {
        let all: BTreeSet<_> = places.iter().map(|place| place.id).collect();
        let (mut maildrops, mut queued) = (BTreeMap::<_, Vec<MessageId>>::new(), BTreeSet::new());
        for Place { stack, id, address, in_maildrop } in places {
            if in_maildrop {
                maildrops.entry((stack, address)).or_default().push(id);
            } else {
                queued.insert((stack, id));
            }
        }
        let mut failed = BTreeMap::new();
        for ((stack, address), ids) in maildrops {
            if let Err(reason) = self.delete_from(&stack, &address, &ids).await {
                failed.extend(ids.into_iter().map(|id| (id, format!("{address}: {reason}"))));
            }
        }
        for (stack, id) in queued {
            let Some(store) = self.town.store(&stack) else { continue };
            match store.client.remove_queued(id).await {
                Err(error) if error.kind() != Some(ProblemKind::NotQueued) => {
                    failed.insert(id, error.to_string());
                }
                _ => {}
            }
        }
        self.caught_up().await;
        let not_deleted: Vec<_> = failed.into_iter().map(|(id, reason)| NotDeleted { id, reason }).collect();
        Ok(Deletion { deleted: (all.len() - not_deleted.len()) as u64, not_deleted })
    }

    async fn delete_from(&self, stack: &str, address: &str, ids: &[MessageId]) -> Result<(), ApiError> {
        let unknown = || ApiError::Problem(ProblemKind::MailboxUnknown.into());
        let store = &self.town.store(stack).ok_or_else(unknown)?.client;
        let mailbox: Mailbox = address.parse().map_err(|_| unknown())?;
        let open = OpenSession {
            password: String::new(),
            lease_seconds: LEASE_SECONDS,
            client: None,
            // The console has the token, which stands for every user.
            proved: true,
        };
        let mut tries = 0;
        loop {
            let (store, mailbox, open) = (store.clone(), mailbox.clone(), open.clone());
            let update = MaildropUpdate { delete: ids.to_vec() };
            // The caller may go away, which drops this call. Who has opened a maildrop closes it.
            let deleting = telemetry::spawn(async move {
                let session = store.open_session(&mailbox, &open).await?.session;
                let updated = store.update_maildrop(&mailbox, &session, &update).await;
                if updated.is_err() {
                    // The lock ends by itself, too.
                    let _ = store.close_session(&mailbox, &session).await;
                }
                updated
            });
            match deleting.await.unwrap_or_else(|_| Err(ApiError::Problem(ProblemKind::Internal.into()))) {
                Err(error) if error.kind() == Some(ProblemKind::MaildropInUse) && tries < TRIES => {
                    tries += 1;
                    self.clock.io.sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }
}

/// Where all messages of a store are.
async fn places_of(store: &FollowedStore) -> Result<Vec<Place>, ApiError> {
    let (mut places, mut after) = (Vec::new(), None);
    loop {
        let page = store.client.stored_messages(after).await?;
        for message in page.messages {
            let place = |mailbox: &Mailbox, in_maildrop| Place {
                stack: store.stack.clone(),
                id: message.id,
                address: mailbox.to_string(),
                in_maildrop,
            };
            places.extend(message.mailboxes.iter().map(|mailbox| place(mailbox, true)));
            places.extend(message.queued_for.iter().map(|mailbox| place(mailbox, false)));
        }
        after = page.next_after;
        if after.is_none() {
            return Ok(places);
        }
    }
}
