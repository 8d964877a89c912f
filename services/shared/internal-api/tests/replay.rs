//! Requests and answers as they were before envelopes had parameters (`tests/recorded/before_envelopes.json`). A gateway
//! and a store of two versions understand each other as long as this passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

use bytes::BytesMut;
use internal_api::{
    Accepted, BatchItem, BatchOutcome, Claim, ClaimRequest, ClaimSettlement, Flushed, FrameHead, LoggedIn, Login,
    LoginSupport, MailboxPage, MailboxSummary, MaildropPage, MaildropSession, MaildropUpdate, Message, MessagePage,
    OpenSession, Problem, ProofOutcome, QueuePage, Renewal, Resolution, Resolved, Settlement, SettlementOutcome,
    Submission, UserVerifier, VerifierRequest, frame, split_head,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One request and its answer.
#[derive(Deserialize)]
struct Exchange {
    method: String,
    path: String,
    #[serde(default)]
    request: String,
    status: u16,
    #[serde(default)]
    answer: String,
}

fn recorded() -> Vec<Exchange> {
    serde_json::from_str(include_str!("../../../../tests/recorded/before_envelopes.json")).unwrap()
}

impl Exchange {
    /// Its path, with `*` for what differs from case to case.
    fn route(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let is_variable = |part: &str| part.contains('@') || part.len() == 32 || part.len() == 13 || part == "none";
        let parts: Vec<_> = path.split('/').map(|part| if is_variable(part) { "*" } else { part }).collect();
        format!("{} {}", self.method, parts.join("/"))
    }
}

/// Reads it as a `T`, and writes it back octet for octet.
fn both_ways<T: DeserializeOwned + Serialize>(text: &str) {
    let value: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(serde_json::to_string(&value).unwrap(), text.trim_end_matches('\n'));
}

/// The same for what begins with heads of frames; `octets` says how much follows each.
fn frames_both_ways<H: FrameHead>(text: &str, octets: impl Fn(&H, usize) -> usize) {
    let (mut rest, mut written) = (BytesMut::from(text), Vec::new());
    while !rest.is_empty() {
        let head: H = split_head(&mut rest).unwrap().unwrap();
        written.extend_from_slice(&frame(&head));
        let length = octets(&head, rest.len());
        written.extend_from_slice(&rest.split_to(length));
    }
    assert_eq!(String::from_utf8(written).unwrap(), text);
}

#[test]
fn requests_and_answers_are_what_they_were() {
    let mut unknown = Vec::new();
    for exchange in recorded() {
        let Exchange { request, status, answer, .. } = &exchange;
        if *status >= 400 {
            both_ways::<Problem>(answer);
        }
        match (exchange.route().as_str(), status) {
            ("POST /v1/messages", 201) => {
                frames_both_ways::<Submission>(request, |_, rest| rest);
                both_ways::<Accepted>(answer);
            }
            ("POST /v1/messages/batch", 200) => {
                frames_both_ways::<BatchItem>(request, |item, _| item.octets as usize);
                both_ways::<Vec<BatchOutcome>>(answer);
            }
            ("POST /v1/queue/claims", 200) => {
                both_ways::<ClaimRequest>(request);
                frames_both_ways::<Claim>(answer, |_, rest| rest);
            }
            ("POST /v1/queue/claims", 204) => both_ways::<ClaimRequest>(request),
            ("PUT /v1/queue/claims/*" | "PUT /v1/mailboxes/*/sessions/*", 204) => both_ways::<Renewal>(request),
            ("POST /v1/queue/claims/*/settlements", 204) => frames_both_ways::<Settlement>(request, |_, rest| rest),
            ("POST /v1/queue/settlements", 200) => {
                both_ways::<Vec<ClaimSettlement>>(request);
                both_ways::<Vec<SettlementOutcome>>(answer);
            }
            ("POST /v1/mailboxes/*/sessions", 201) => {
                both_ways::<OpenSession>(request);
                both_ways::<MaildropSession>(answer);
            }
            ("POST /v1/mailboxes/*/sessions", 403) => both_ways::<OpenSession>(request),
            ("POST /v1/mailboxes/*/sessions/*/update", 204) => both_ways::<MaildropUpdate>(request),
            ("GET /v1/mailboxes", 200) => both_ways::<MailboxPage>(answer),
            ("GET /v1/mailboxes/*", 200) => both_ways::<MailboxSummary>(answer),
            ("GET /v1/mailboxes/*/messages", 200) => both_ways::<MaildropPage>(answer),
            ("GET /v1/messages", 200) => both_ways::<MessagePage>(answer),
            ("GET /v1/messages/*", 200) => both_ways::<Message>(answer),
            ("GET /v1/queue", 200) => both_ways::<QueuePage>(answer),
            ("POST /v1/queue/flush", 200) => both_ways::<Flushed>(answer),
            ("GET /v1/transactions/*", 200) => both_ways::<Accepted>(answer),
            ("GET /v1/resolve", 200) => both_ways::<Resolution>(answer),
            // Octets, or nothing.
            ("GET /v1/messages/*/raw" | "GET /v1/mailboxes/*/messages/*/raw", 200)
            | ("DELETE /v1/mailboxes/*/sessions/*", 204)
            | ("GET /v1/mailboxes/*" | "GET /v1/transactions/*", 404) => {}
            (route, status) => unknown.push(format!("{route} {status}")),
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

/// What an address means, and that fields of a later version are no obstacle.
#[test]
fn what_an_address_means_is_tagged() {
    both_ways::<Resolved>(r#"{"kind":"mailbox","address":"a@b","messages":1,"octets":2,"quota_messages":3}"#);
    both_ways::<Resolved>(r#"{"kind":"unknown"}"#);
    let later = r#"{"kind":"mailbox","address":"a@b","messages":0,"octets":0,"later":{"x":[1]}}"#;
    assert!(matches!(serde_json::from_str(later), Ok(Resolved::Mailbox(_))));
    assert!(matches!(serde_json::from_str(r#"{"kind":"unknown","later":1}"#), Ok(Resolved::Unknown)));
}

/// Logins, and that an unknown user's verifier names no mailbox.
#[test]
fn logins_travel() {
    both_ways::<LoginSupport>(r#"{"scram":true}"#);
    // Since a proof opens a maildrop.
    both_ways::<LoginSupport>(r#"{"scram":true,"proved_sessions":true}"#);
    both_ways::<OpenSession>(r#"{"password":"","lease_seconds":60,"proved":true}"#);
    both_ways::<Login>(r#"{"user":"a","password":"p"}"#);
    both_ways::<LoggedIn>(r#"{"mailbox":"a@b"}"#);
    both_ways::<VerifierRequest>(r#"{"user":"a"}"#);
    // Since failures are counted, with the address of the client.
    both_ways::<Login>(r#"{"user":"a","password":"p","client":"192.0.2.1"}"#);
    both_ways::<VerifierRequest>(r#"{"user":"a","client":"2001:db8::1"}"#);
    both_ways::<OpenSession>(r#"{"password":"p","lease_seconds":60,"client":"192.0.2.1"}"#);
    both_ways::<ProofOutcome>(r#"{"user":"a","client":"192.0.2.1","proved":false}"#);
    let key = format!("{}=", "A".repeat(43));
    both_ways::<UserVerifier>(&format!(r#"{{"mailbox":"a@b","verifier":"SCRAM-SHA-256$4096:AAAA${key}:{key}"}}"#));
    let nobody = format!(r#"{{"verifier":"SCRAM-SHA-256$4096:AAAA${key}:{key}"}}"#);
    both_ways::<UserVerifier>(&nobody);
    let error = serde_json::from_str::<UserVerifier>(&nobody.replace("4096", "x")).unwrap_err().to_string();
    assert!(!error.contains(&key), "{error}");
}

/// The form of a submission with parameters, and that fields of a later version are no obstacle.
#[test]
fn parameters_are_added_to_what_there_was() {
    let rich = r#"{"transaction":"t","reverse_path":"<a@b>","recipients":["c@d",{"mailbox":"e@f","original":"rfc822;g@h","notify":"NEVER"}],"identity":"a@b","parameters":{"body":"8BITMIME","smtputf8":true,"ret":"HDRS","envid":"an id","requiretls":true}}"#;
    both_ways::<Submission>(rich);
    let later = rich
        .replace("\"transaction\"", "\"later\":{\"x\":[1]},\"transaction\"")
        .replace("\"notify\"", "\"new\":1,\"notify\"");
    let (rich, later): (Submission, Submission) =
        (serde_json::from_str(rich).unwrap(), serde_json::from_str(&later).unwrap());
    assert_eq!(later, rich);
    for wrong in [r#"["c"]"#, r#"[{"original":"rfc822;g@h"}]"#, "[7]", "[]", r#"[{"mailbox":"c@d","notify":"SOON"}]"#] {
        let text = format!(r#"{{"transaction":"t","reverse_path":"<a@b>","recipients":{wrong}}}"#);
        assert!(serde_json::from_str::<Submission>(&text).is_err(), "{text}");
    }
    let claimed = r#"{"mailbox":"e@f","attempts":1,"original":"rfc822;g@h","notify":"FAILURE"}"#;
    both_ways::<internal_api::ClaimedRecipient>(claimed);
}
