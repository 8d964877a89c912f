//! The API's description for machines.

use super::{batches, mailboxes, messages, queue, sessions};
use mail_api::{BatchItem, PROBLEM_MEDIA_TYPE, Problem, Settlement, Submission};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, OpenApi as Description, Ref, RefOr, Response,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

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
        messages::submit, batches::submit, messages::list, messages::show, messages::raw,
        queue::list, queue::flush, queue::claim, queue::renew, queue::settle, batches::settle,
    ),
    components(schemas(Problem, Submission, Settlement, BatchItem)),
    modifiers(&Problems, &Bearer),
)]
struct StoreApi;

/// Every operation may answer with a problem.
struct Problems;

impl Modify for Problems {
    fn modify(&self, description: &mut Description) {
        for operation in description.paths.paths.values_mut().flat_map(operations) {
            let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
            let mut response = Response::new("Problem details (RFC 9457)");
            response.content.insert(PROBLEM_MEDIA_TYPE.to_owned(), RefOr::T(Content::new(Some(schema))));
            operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
}

/// Everything is behind the stack's token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut Description) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("token", scheme);
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}
