//! What happens in the town, in the order in which the console learns of it: the newest part, in memory.

mod ring;
mod words;

pub(crate) use ring::{Happenings, InvalidPlace, Item, Place};

use crate::{api::App, index::IndexError};
use internal_api::{MessageId, RecordedSession, SessionId, TracedRecord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;

/// How many items are looked at in one step.
const STEP: usize = 1000;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// Pass this as `after` to get what comes later. The lines of one record have the same.
    pub cursor: String,
    /// When, by the clock of the service.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The server name of the stack.
    pub stack: String,
    /// The service that has seen or done it.
    pub service: String,
    /// What it is.
    pub kind: HappeningKind,
    /// The session in which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The message that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// A line of the dialogue without its line end, or a sentence.
    pub text: String,
    /// Whether it tells of a refusal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HappeningKind {
    /// A session has begun.
    Opened,
    /// A session has ended.
    Closed,
    /// A client has said something.
    Client,
    /// A server has said something.
    Server,
    /// A service has understood or decided something in a session.
    Mark,
    /// Something has happened to a message.
    Event,
}

/// Which happenings.
#[derive(Debug, Clone, Default)]
pub(crate) struct HappeningFilter {
    /// Only those of this stack.
    pub(crate) stack: Option<String>,
    /// Only those that this service has seen.
    pub(crate) service: Option<String>,
    /// Only those in this session.
    pub(crate) session: Option<SessionId>,
    /// Only those that name this message.
    pub(crate) message: Option<MessageId>,
}

/// Some happenings, and how to read on.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) happenings: Vec<Happening>,
    pub(crate) next: Place,
    /// How many items were dropped before they could be read.
    pub(crate) missed: u64,
}

impl HappeningFilter {
    fn takes(&self, happening: &Happening) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, given: Option<&T>) -> bool {
            wanted.is_none() || wanted == given
        }
        is(self.stack.as_ref(), Some(&happening.stack))
            && is(self.service.as_ref(), Some(&happening.service))
            && is(self.session.as_ref(), happening.session.as_ref())
            && is(self.message.as_ref(), happening.message.as_ref())
    }
}

impl App {
    /// The newest happenings, in the order of their time.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn newest_happenings(&self, filter: &HappeningFilter, most: usize) -> Result<Found, IndexError> {
        let (mut items, next) = self.index.happenings().all();
        items.sort_by_key(|(number, item)| (item.at(), *number));
        let mut happenings = Vec::new();
        while !items.is_empty() && happenings.len() < most {
            let step = items.split_off(items.len().saturating_sub(STEP));
            let mut before = self.told(step, filter).await?;
            before.append(&mut happenings);
            happenings = before;
        }
        happenings.drain(..happenings.len().saturating_sub(most));
        Ok(Found { happenings, next, missed: 0 })
    }

    /// The happenings after a place, in the order in which the console has learned of them. There may be some more than
    /// `most`: the lines of one record are not parted.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn happenings_after(
        &self,
        place: Place,
        filter: &HappeningFilter,
        most: usize,
    ) -> Result<Found, IndexError> {
        let (mut next, mut missed, mut happenings) = (place, 0, Vec::new());
        while happenings.len() < most {
            let slice = self.index.happenings().after(next, STEP.min(most - happenings.len()));
            (next, missed) = (slice.next, missed + slice.missed);
            if slice.items.is_empty() {
                break;
            }
            happenings.extend(self.told(slice.items, filter).await?);
        }
        Ok(Found { happenings, next, missed })
    }

    /// What items tell, as far as it is wanted. Of a session that the index has dropped, nothing is told.
    async fn told(&self, items: Vec<(u64, Item)>, filter: &HappeningFilter) -> Result<Vec<Happening>, IndexError> {
        let sessions: BTreeSet<SessionId> = items.iter().filter_map(|(_, item)| item.session()).collect();
        let sessions: HashMap<SessionId, RecordedSession> =
            self.index.states(sessions.into_iter().collect()).await?.into_iter().map(|it| (it.id, it)).collect();
        let happenings = self.index.happenings();
        let told = items.iter().flat_map(|(number, item)| {
            let cursor = happenings.place(*number).to_string();
            match item {
                Item::Event(stack, event) => vec![words::event(cursor, stack, event)],
                Item::Record(records, place) => {
                    let TracedRecord { session, record } = &records[*place];
                    sessions.get(session).map_or_else(Vec::new, |session| words::record(&cursor, session, record))
                }
            }
        });
        Ok(told.filter(|happening| filter.takes(happening)).collect())
    }
}
