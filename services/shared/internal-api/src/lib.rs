//! The internal HTTP contract between the services of a stack (version 1).
//!
//! Types that travel, the clients that send them, and the one error body that every service answers with.
//! Both sides of a call use the same types, so they cannot disagree.

mod accounts;
mod addresses;
mod client;
mod clock;
mod connection_id;
mod dns;
mod events;
mod faults;
mod fields;
mod frame;
mod id;
mod in_process;
mod logins;
mod mailboxes;
mod maildrops;
mod messages;
mod patience;
mod problem;
mod queue;
mod records;
mod records_client;
pub mod reports;
pub mod room;
mod session_id;
mod snapshots;
mod store_client;
pub mod text;

pub use accounts::{AccountChange, AccountPage, AccountSource, AccountSummary, NewAccount};
pub use addresses::Resolved;
pub use client::{ApiError, Call, Endpoint};
pub use clock::{ClockClient, ClockMove, ClockState};
pub use connection_id::{CALLER_HEADER, CONNECTION_HEADER, ConnectionId};
pub use dns::{DnsClient, RecordType, Records, Resolution, ResolveQuery};
pub use events::{DeletedBy, Event, EventKind, EventPage, EventPosition, InvalidEventPosition, MessageEvents};
pub use faults::{FaultsClient, ServiceFaults};
pub use frame::{BATCH_MEDIA_TYPE, FRAME_MEDIA_TYPE, FrameError, FrameHead, frame, split_head, split_line};
pub use id::MessageId;
pub use in_process::{InProcess, Served};
pub use logins::{LoggedIn, Login, LoginSupport, ProofOutcome, UserVerifier, VerifierRequest};
pub use mailboxes::{MailboxPage, MailboxSummary};
pub use maildrops::{
    DELIVERED_AT_ONCE, DELIVERED_MEDIA_TYPE, DeliveredHead, DeliveredMessage, MAILDROP_MEDIA_TYPE, MaildropEntry,
    MaildropHead, MaildropPage, MaildropSession, MaildropUpdate, OpenSession, Renewal, SESSION_NAME_HEADER,
    listing_lines,
};
pub use messages::{Accepted, BatchItem, BatchOutcome, Message, MessagePage, Submission};
pub use patience::{Patience, STALL, patient};
pub use problem::{PROBLEM_MEDIA_TYPE, Problem, ProblemKind};
pub use queue::{
    Claim, ClaimRequest, ClaimSettlement, ClaimedMessage, ClaimedRecipient, Ending, Flushed, Outcome, QueueEntry,
    QueuePage, QueuedMessage, QueuedRecipient, RecipientOutcome, Settlement, SettlementOutcome,
};
pub use records::{
    Dropped, Flow, Form, Handled, Mark, Octets, Protocol, Record, RecordedSession, Role, Seen, SeenOctets, SessionPage,
    SessionRecords, TracePage, TracedRecord,
};
pub use records_client::RecordsClient;
pub use session_id::{InvalidSessionId, SessionId};
pub use snapshots::{
    Held, HoldRequest, HoldStage, RestoreRequest, SNAPSHOT_MEDIA_TYPE, SNAPSHOT_NAMES, SNAPSHOT_NOTE_OCTETS,
    SnapshotRequest, StoreSnapshot, StoreSnapshots, is_snapshot_name,
};
pub use store_client::{BroughtClaim, OpenedMaildrop, RawMessage, StoreClient};
