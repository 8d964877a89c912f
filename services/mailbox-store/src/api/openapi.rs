//! What the API's description says besides its routes. What every service's says is in `service_kit::description`.

use internal_api::{BatchItem, DeliveredHead, MaildropHead, ProblemKind, Settlement, Submission};
use service_kit::description::{document, operations};
use utoipa::{OpenApi, openapi::OpenApi as Description};

#[derive(OpenApi)]
#[openapi(
    info(title = "mailbox-store", description = "Accounts, messages, maildrops and the outbound queue of one stack"),
    // The heads of frames, to which no schema can point.
    components(schemas(Submission, Settlement, BatchItem, MaildropHead, DeliveredHead)),
)]
struct Frame;

/// The description before it has routes.
pub(super) fn frame() -> Description {
    Frame::openapi()
}

/// The same description with what may happen on every route: the store, its storage or database may be busy or failing.
pub(super) fn complete(mut description: Description) -> Description {
    for operation in operations(&mut description) {
        let kinds = [ProblemKind::Overloaded, ProblemKind::StorageUnavailable, ProblemKind::DatabaseUnavailable];
        document(operation, kinds);
    }
    description
}
