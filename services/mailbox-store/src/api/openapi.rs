//! The API's description for machines. What every service's says is in `service_kit::description`.

use super::{batches, events, mailboxes, messages, queue, sessions, transactions};
use internal_api::{BatchItem, ProblemKind, Settlement, Submission};
use service_kit::description::{document, operations};
use utoipa::{Modify, OpenApi, openapi::OpenApi as Description};

/// The OpenAPI document.
pub(crate) fn description() -> Description {
    StoreApi::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "mailbox-store", description = "Accounts, messages, maildrops and the outbound queue of one stack"),
    paths(
        mailboxes::list, mailboxes::show, mailboxes::messages, mailboxes::raw,
        sessions::open, sessions::renew, sessions::update, sessions::close,
        messages::submit, batches::submit, messages::list, messages::show, messages::raw, transactions::show,
        events::list, events::of_message,
        queue::list, queue::flush, queue::claim, queue::renew, queue::settle, batches::settle,
    ),
    // The heads of frames, to which no schema can point.
    components(schemas(Submission, Settlement, BatchItem)),
    modifiers(&Storage),
)]
struct StoreApi;

/// Whatever is asked of the store, its storage or database may be busy or failing.
struct Storage;

impl Modify for Storage {
    fn modify(&self, description: &mut Description) {
        for operation in operations(description) {
            let kinds = [ProblemKind::Overloaded, ProblemKind::StorageUnavailable, ProblemKind::DatabaseUnavailable];
            document(operation, kinds);
        }
    }
}
