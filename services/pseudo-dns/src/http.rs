//! `GET /v1/resolve`: what the services of the stack ask.

use crate::{
    CurrentZone,
    faulted::{self, Wrong},
    metrics::{Metrics, Transport},
    served::JustLost,
};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use faults::Faults;
use internal_api::{Problem, ProblemKind, RecordType, Records, Resolution, ResolveQuery};
use mail_net::IoClock;
use town_config::zone::{Lookup, absolute_name};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(Clone)]
struct Resolver {
    zone: CurrentZone,
    metrics: Metrics,
    faults: (Faults, IoClock),
}

impl Resolver {
    /// What is answered instead, if anything is.
    async fn wrong(&self, name: &str, record_type: &str) -> Option<Wrong> {
        let (faults, io) = &self.faults;
        if !faults.is_on() {
            return None;
        }
        faulted::at_query((faults, *io), (name, record_type), None).await?.1
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "pseudo-dns", description = "MX and P records of the town"), components(schemas(RecordType)))]
struct Frame;

/// The route, and its description for machines.
pub(crate) fn api(zone: CurrentZone, metrics: Metrics, faults: (Faults, IoClock)) -> OpenApiRouter {
    OpenApiRouter::with_openapi(Frame::openapi()).routes(routes!(resolve)).with_state(Resolver {
        zone,
        metrics,
        faults,
    })
}

/// The records of one type under a name.
///
/// The list is empty when the name exists without any.
#[utoipa::path(
    get,
    path = "/v1/resolve",
    params(ResolveQuery),
    responses(
        (status = 200, description = "The name exists", body = Resolution),
        (status = 404, description = "The name does not exist"),
        (status = 503, description = "The name has just lost these records"),
    )
)]
async fn resolve(
    State(resolver): State<Resolver>,
    query: Result<Query<ResolveQuery>, QueryRejection>,
) -> Result<Json<Resolution>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::new(ProblemKind::InvalidRequest, rejection.body_text()))?;
    // Anything else may be asked for: what cannot be a domain name does not exist.
    if query.name.is_empty() {
        return Err(Problem::new(ProblemKind::InvalidRequest, "name is empty"));
    }
    let name = absolute_name(&query.name);
    let mut zone = resolver.zone.borrow().clone();
    let wrong = match query.record_type {
        RecordType::Mx => resolver.wrong(&name, "MX").await,
        RecordType::P => resolver.wrong(&name, "P").await,
    };
    match wrong {
        None => {}
        Some(Wrong::Failure) => return Err(Problem::new(ProblemKind::RecordJustLost, "a fault")),
        Some(Wrong::Unknown) => return Err(Problem::new(ProblemKind::NameUnknown, name)),
        // Whoever asked gives up in its own time.
        Some(Wrong::Silence) => std::future::pending().await,
        Some(Wrong::Zone(wrong)) => zone = wrong,
    }
    let (record_type, lookup) = match query.record_type {
        RecordType::Mx => ("MX", zone.look_up(|zone| zone.mail_exchanges(&name).map(Records::Mx))),
        RecordType::P => ("P", zone.look_up(|zone| zone.ports(&name).map(|port| Records::P(vec![port.to_string()])))),
    };
    let none = match query.record_type {
        RecordType::Mx => Records::Mx(Vec::new()),
        RecordType::P => Records::P(Vec::new()),
    };
    let (response, answer) = match lookup {
        Ok(Lookup::Found(records)) => ("NOERROR", Ok(records)),
        Ok(Lookup::NoRecords) => ("NOERROR", Ok(none)),
        Ok(Lookup::NameUnknown) => ("NXDOMAIN", Err(ProblemKind::NameUnknown)),
        Err(JustLost) => ("SERVFAIL", Err(ProblemKind::RecordJustLost)),
    };
    resolver.metrics.count(Transport::http, record_type, response);
    match answer {
        Ok(records) => Ok(Json(Resolution { name, records })),
        Err(kind) => Err(Problem::new(kind, name)),
    }
}
