//! Several messages or settlements in one request: what a gateway has waiting while the batch before is being
//! committed. All go to the store at once, so that it commits them at once.

use super::{
    Api,
    extract::{self, invalid},
};
use crate::store::MessageStream;
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::HeaderMap,
};
use bytes::{Bytes, BytesMut};
use futures_util::{future::join_all, stream};
use internal_api::{
    BatchItem, BatchOutcome, CONNECTION_HEADER, ClaimSettlement, ConnectionId, Problem, Settlement, SettlementOutcome,
    Submission, split_line, text,
};
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc};
use tracing::{Instrument, Span};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

/// 64 messages of 64 KiB with a thousand recipients each.
const BATCH_OCTETS: usize = 32 * 1024 * 1024;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(submit).layer(DefaultBodyLimit::max(BATCH_OCTETS)))
        .routes(routes!(settle).layer(DefaultBodyLimit::max(BATCH_OCTETS)))
}

/// Submits several messages, each for itself: a `BatchItem` as one line of JSON, a LF, as many octets as it says, and so
/// on. Returns their outcomes in their order; all that are accepted are durable then.
#[utoipa::path(
    post, path = "/v1/messages/batch", operation_id = "submit_messages", tag = "messages",
    request_body(content = text::Octets, content_type = "application/vnd.mailtown.batch",
        description = "For each message a BatchItem as one line of JSON, a LF, then its octets"),
    responses((status = 200, description = "What became of each", body = Vec<BatchOutcome>)),
)]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    extract::Batch(octets): extract::Batch,
) -> Result<Json<Vec<BatchOutcome>>, Problem> {
    let messages = parse(octets)?;
    let ids = headers.get(CONNECTION_HEADER).map(|ids| ConnectionId::list_from_header(ids.as_bytes(), messages.len()));
    let mut ids = ids.unwrap_or_default().into_iter();
    // All at once, so that the store commits them at once.
    let submitting = messages.into_iter().map(|(submission, message)| {
        let connection = ids.next().flatten();
        let span = connection.map_or_else(Span::none, |connection| tracing::error_span!("call", %connection));
        submit_one(&api, submission, message).instrument(span)
    });
    Ok(Json(join_all(submitting).await))
}

/// Settles several messages of claims, each for itself. Those with a failure message are settled by themselves.
#[utoipa::path(
    post, path = "/v1/queue/settlements", operation_id = "settle_messages", tag = "queue",
    request_body = Vec<ClaimSettlement>,
    responses((status = 200, description = "What became of each", body = Vec<SettlementOutcome>)),
)]
pub(super) async fn settle(
    State(api): State<Arc<Api>>,
    extract::JsonList(settlements): extract::JsonList<ClaimSettlement>,
) -> Json<Vec<SettlementOutcome>> {
    Json(join_all(settlements.into_iter().map(|settlement| settle_one(&api, settlement))).await)
}

async fn settle_one(api: &Api, ClaimSettlement { lease, message, outcomes }: ClaimSettlement) -> SettlementOutcome {
    let settlement = Settlement { message, outcomes, failure_message: None };
    match api.queue.settle(&lease, settlement, MessageStream::empty()).await {
        Ok(()) => SettlementOutcome::Settled,
        Err(error) => SettlementOutcome::Refused(error.into()),
    }
}

async fn submit_one(api: &Api, submission: Result<Submission, Problem>, message: Bytes) -> BatchOutcome {
    let submission = match submission {
        Ok(submission) => submission,
        Err(problem) => return BatchOutcome::Refused(problem),
    };
    let message = MessageStream::new(stream::iter([Ok::<_, Infallible>(message)]), api.message_octets());
    let transaction = submission.transaction.clone();
    match api.submit(submission, message).await {
        Ok(submitted) => {
            facts::StoreSubmitted { message_id: submitted.id, transaction, repeated: submitted.repeated }.log();
            BatchOutcome::Accepted(submitted.into())
        }
        Err(error) => BatchOutcome::Refused(error.into()),
    }
}

/// A message of a batch, and its envelope or why that cannot be decoded.
type Framed = (Result<Submission, Problem>, Bytes);

/// What must be known of a message to find the next one.
#[derive(Deserialize)]
struct Length {
    octets: u64,
}

/// The messages of a batch. One whose envelope cannot be decoded is refused by itself; of a batch that is empty, or whose
/// messages cannot be told apart to its end, nothing is submitted.
fn parse(body: Bytes) -> Result<Vec<Framed>, Problem> {
    if body.is_empty() {
        return Err(invalid("the batch is empty"));
    }
    let mut rest = BytesMut::from(body);
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let line = split_line(&mut rest).map_err(|error| invalid(error.to_string()))?;
        let line = line.ok_or_else(|| invalid("the batch ends within a head, which a LF ends"))?;
        let (submission, octets) = match serde_json::from_slice::<BatchItem>(&line) {
            Ok(BatchItem { submission, octets }) => (Ok(submission), octets),
            Err(error) => {
                let problem = invalid(error.to_string());
                let Ok(Length { octets }) = serde_json::from_slice(&line) else { return Err(problem) };
                (Err(problem), octets)
            }
        };
        let octets = usize::try_from(octets).ok().filter(|&octets| octets <= rest.len());
        let octets = octets.ok_or_else(|| invalid("the batch ends before its last message does"))?;
        messages.push((submission, rest.split_to(octets).freeze()));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(transaction: &str, octets: u64, message: &str) -> Vec<u8> {
        let submission = Submission::new(transaction, mail_proto::ReversePath::Null, ["a@b".parse().unwrap()]);
        [&internal_api::frame(&BatchItem { submission, octets })[..], message.as_bytes()].concat()
    }

    #[test]
    fn messages_are_told_apart_by_their_lengths() {
        let body = [frame("1", 3, "a\r\n"), frame("2", 0, ""), frame("3", 5, "{\n}\r\n")].concat();
        let parsed = parse(body.into()).unwrap();
        let parsed: Vec<_> = parsed
            .iter()
            .map(|(submission, message)| (submission.as_ref().unwrap().transaction.as_str(), &message[..]))
            .collect();
        assert_eq!(parsed, [("1", &b"a\r\n"[..]), ("2", b""), ("3", b"{\n}\r\n")]);
    }

    #[test]
    fn an_envelope_that_cannot_be_decoded_spoils_no_other() {
        let text = String::from_utf8(frame("2", 3, "a\r\n")).unwrap();
        let spoilt = text.replacen("<>", &format!("<{}@b.test>", "a".repeat(300)), 1);
        assert_ne!(spoilt, text);
        let body = [frame("1", 0, ""), spoilt.into_bytes(), frame("3", 3, "c\r\n")].concat();
        let parsed = parse(body.into()).unwrap();
        let refused = parsed[1].0.as_ref().unwrap_err();
        assert!(refused.detail.contains("address too long"), "{}", refused.detail);
        assert!(parsed[0].0.is_ok() && parsed[2].0.is_ok());
        assert_eq!((&parsed[1].1[..], &parsed[2].1[..]), (&b"a\r\n"[..], &b"c\r\n"[..]));
    }

    #[test]
    fn half_a_batch_is_none() {
        for body in [frame("1", 4, "a\r\n"), frame("1", u64::MAX, "a\r\n"), b"{}\n".to_vec(), b"{".to_vec()] {
            let body = [frame("0", 0, ""), body].concat();
            assert!(parse(body.clone().into()).is_err(), "{body:?}");
        }
    }
}
