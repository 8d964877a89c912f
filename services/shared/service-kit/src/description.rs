//! What every service's OpenAPI document says besides its own routes.

use crate::http;
use internal_api::{PROBLEM_MEDIA_TYPE, Problem, ProblemKind};
use utoipa::{
    OpenApi as _, ToSchema as _,
    openapi::{
        Content, Header, OpenApi, Ref, RefOr, Response,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// Health and metrics, which no token guards, and the description itself.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "", version = ""),
    paths(http::index_page, http::livez, http::readyz, http::metrics, http::openapi_json),
    components(schemas(Problem))
)]
struct Everywhere;

/// The description of a service with these routes of its own and those of its clock, which are all behind the token.
pub(crate) fn complete(mut description: OpenApi) -> OpenApi {
    description.merge(http::ClockDescription::openapi());
    with_everywhere(description)
}

fn with_everywhere(mut description: OpenApi) -> OpenApi {
    description.merge(Everywhere::openapi());
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    description.components.get_or_insert_default().add_security_scheme("token", scheme);
    description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    for operation in operations(&mut description) {
        document(operation, [ProblemKind::ForeignHost, ProblemKind::CrossSite]);
    }
    for operation in operations(&mut description).filter(|operation| operation.security.is_none()) {
        let problems = problems_of_its_shape(operation);
        document(operation, problems);
    }
    description
}

/// The same for a service with pages for people, which a password guards and no token.
pub(crate) fn complete_for_pages(description: OpenApi) -> OpenApi {
    let mut description = with_everywhere(description);
    let components = description.components.get_or_insert_default();
    components.security_schemes.clear();
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Basic).build());
    components.add_security_scheme("password", scheme);
    description.security = Some(vec![SecurityRequirement::new("password", Vec::<String>::new())]);
    description
}

/// Every operation that may be called.
pub fn operations(description: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    description.paths.paths.values_mut().flat_map(|path: &mut PathItem| {
        [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
    })
}

/// What may be wrong with a call whatever it is for.
fn problems_of_its_shape(operation: &Operation) -> Vec<ProblemKind> {
    let mut problems = vec![ProblemKind::Unauthorized, ProblemKind::Internal];
    if operation.parameters.is_some() || operation.request_body.is_some() {
        problems.push(ProblemKind::InvalidRequest);
    }
    if operation.request_body.is_some() {
        problems.extend([ProblemKind::UnsupportedMediaType, ProblemKind::RequestTooLarge]);
    }
    problems
}

/// Adds that an operation may answer with these problems, and that what it documents of errors itself are problems.
pub fn document(operation: &mut Operation, problems: impl IntoIterator<Item = ProblemKind>) {
    let responses = &mut operation.responses.responses;
    for problem in problems {
        let status = problem.status().as_str().to_owned();
        match responses.get_mut(&status) {
            Some(RefOr::T(response)) => {
                response.description = format!("{}; {}", response.description, problem.title());
            }
            _ => {
                responses.insert(status, RefOr::T(Response::new(problem.title())));
            }
        }
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        // What has another body of its own, such as the reason of /readyz, is no problem.
        let has_own_body = !response.content.is_empty() && !response.content.contains_key(PROBLEM_MEDIA_TYPE);
        if !status.starts_with(['4', '5']) || has_own_body {
            continue;
        }
        let schema = RefOr::Ref(Ref::from_schema_name(Problem::name()));
        response.content.insert(PROBLEM_MEDIA_TYPE.to_owned(), RefOr::T(Content::new(Some(schema))));
        let header = match status.as_str() {
            "401" => "WWW-Authenticate",
            "503" | "507" => "Retry-After",
            _ => continue,
        };
        response.headers.insert(header.to_owned(), RefOr::T(Header::default()));
    }
}
