//! The description of the store's API.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use std::collections::BTreeSet;
use support::Server;

/// What the store can be asked, as its description has it.
const OPERATIONS: [&str; 56] = [
    "delete /v1/accounts/{address}",
    "delete /v1/holds/{holder}",
    "delete /v1/mailboxes/{address}/sessions/{session}",
    "delete /v1/queue/{id}",
    "delete /v1/snapshots/{name}",
    "get /",
    "get /livez",
    "get /metrics",
    "get /readyz",
    "get /v1/accounts",
    "get /v1/addresses/{address}",
    "get /v1/clock",
    "get /v1/events",
    "get /v1/faults",
    "get /v1/faults/counts",
    "get /v1/logins",
    "get /v1/mailboxes",
    "get /v1/mailboxes/{address}",
    "get /v1/mailboxes/{address}/messages",
    "get /v1/mailboxes/{address}/messages/{id}/raw",
    "get /v1/mailboxes/{address}/raw",
    "get /v1/messages",
    "get /v1/messages/{id}",
    "get /v1/messages/{id}/events",
    "get /v1/messages/{id}/raw",
    "get /v1/openapi.json",
    "get /v1/queue",
    "get /v1/queue/{id}",
    "get /v1/snapshots",
    "get /v1/snapshots/{name}",
    "get /v1/transactions/{name}",
    "patch /v1/accounts/{address}",
    "post /v1/accounts",
    "post /v1/logins",
    "post /v1/mailboxes/{address}/sessions",
    "post /v1/mailboxes/{address}/sessions/{session}/update",
    "post /v1/messages",
    "post /v1/messages/batch",
    "post /v1/queue/claims",
    "post /v1/queue/claims/{lease}/settlements",
    "post /v1/queue/flush",
    "post /v1/queue/settlements",
    "post /v1/queue/{id}/give-up",
    "post /v1/queue/{id}/hold",
    "post /v1/queue/{id}/release",
    "post /v1/queue/{id}/retry",
    "post /v1/snapshots/{name}",
    "post /v1/snapshots/{name}/restore",
    "post /v1/verifiers",
    "post /v1/verifiers/outcomes",
    "put /v1/clock",
    "put /v1/faults",
    "put /v1/faults/counts",
    "put /v1/holds/{holder}",
    "put /v1/mailboxes/{address}/sessions/{session}",
    "put /v1/queue/claims/{lease}",
];

/// The description holds every route, names it once, and says what each of its answers is.
#[tokio::test]
async fn the_api_describes_itself() {
    let server = Server::start().await;
    let description: serde_json::Value = server.get("/v1/openapi.json").await.json().await.unwrap();
    let mut operations = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push(format!("{method} {path}"));
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{method} {path} {status}");
                let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = problem == "#/components/schemas/Problem";
                let is_unready = (path.as_str(), status.as_str()) == ("/readyz", "503");
                assert_eq!(is_problem, status.as_str() >= "400" && !is_unready, "{method} {path} {status}");
            }
        }
    }
    operations.sort();
    assert_eq!(operations, OPERATIONS);
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let text = description.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for link in text.split("\"operationId\":\"").skip(1) {
        let id = link.split('"').next().unwrap();
        assert!(ids.contains(id), "{id}");
    }
}
