//! The end of a message that was streamed to the store: its answer, or else what the store says later.

use crate::submitter::{ANSWER_WITHIN, REPEAT_PAUSES, out_of_time, refusal};
use internal_api::{Accepted, ApiError, StoreClient};
use mail_net::IoClock;
use mail_proto::smtp::Reply;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long the store may take to commit a message that has been sent to it. What is left of [`ANSWER_WITHIN`] is for
/// asking what became of it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(40);
/// How long to wait before asking a store again that gave no answer.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// Waits for the store's answer to a message that was streamed to it. When none comes, asks whether the message was
/// committed: a client that is told 451 after that would send it again.
pub(crate) async fn await_commit(
    store: &StoreClient,
    transaction: &str,
    mut upload: JoinHandle<Result<Accepted, ApiError>>,
    io: IoClock,
) -> Result<Accepted, Reply> {
    let deadline = io.instant() + ANSWER_WITHIN;
    let error = match io.timeout(COMMIT_TIMEOUT, &mut upload).await {
        Ok(Ok(Ok(accepted))) => return Ok(accepted),
        Ok(Ok(Err(error @ ApiError::Problem(_)))) => return Err(refusal(&error)),
        Ok(Ok(Err(error))) => Some(error),
        Ok(Err(_panicked)) => None,
        Err(_elapsed) => {
            upload.abort();
            None
        }
    };
    match io.timeout_at(deadline, committed(store, transaction, io)).await {
        Ok(Some(accepted)) => Ok(accepted),
        _ => Err(error.map_or_else(out_of_time, |error| refusal(&error))),
    }
}

/// The message that this transaction has submitted, or `None` when the store knows of none. A store that gives no
/// answer is asked again.
async fn committed(store: &StoreClient, transaction: &str, io: IoClock) -> Option<Accepted> {
    // The store may be about to commit what it has received; it notices at its own pace that the connection is gone.
    for pause in REPEAT_PAUSES {
        io.sleep(pause).await;
        loop {
            match store.transaction(transaction).await {
                Ok(Some(accepted)) => return Some(accepted),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, transaction, "cannot ask the store what it has committed");
                    io.sleep(ASK_PAUSE).await;
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        Json, Router,
        body::to_bytes,
        extract::{Path, Request, State},
        routing::{get, post},
    };
    use bytes::{Bytes, BytesMut};
    use futures_util::stream;
    use internal_api::{Endpoint, MessageId, Problem, ProblemKind, Submission, split_head};
    use mail_net::Clock;
    use std::{
        convert::Infallible,
        net::SocketAddr,
        sync::{Arc, Mutex},
    };
    use tokio::{
        io::{AsyncReadExt, copy_bidirectional},
        net::{TcpListener, TcpStream},
    };

    /// Transactions that were committed, or are refused to be.
    #[derive(Default)]
    struct Committed {
        names: Mutex<Vec<String>>,
        refuses: bool,
    }

    const ACCEPTED: u64 = 7;

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn store(committed: Arc<Committed>) -> SocketAddr {
        let submit = async |State(committed): State<Arc<Committed>>, request: Request| {
            let mut frame = BytesMut::from(&to_bytes(request.into_body(), usize::MAX).await.unwrap()[..]);
            let submission: Submission = split_head(&mut frame).unwrap().unwrap();
            if !committed.refuses {
                committed.names.lock().unwrap().push(submission.transaction);
            }
        };
        let show = async |State(committed): State<Arc<Committed>>, Path(name): Path<String>| {
            let known = committed.names.lock().unwrap().contains(&name);
            let accepted = Accepted { id: MessageId::from_number(ACCEPTED), repeated: true };
            known.then_some(Json(accepted)).ok_or(Problem::from(ProblemKind::TransactionUnknown))
        };
        let routes = Router::new()
            .route("/v1/messages", post(submit))
            .route("/v1/transactions/{name}", get(show))
            .with_state(committed);
        let (listener, address) = listen().await;
        tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
        address
    }

    /// Passes everything on, except that the first connection is cut when the store answers.
    async fn cutting_proxy(store: SocketAddr) -> SocketAddr {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut upstream = TcpStream::connect(store).await.unwrap();
            let (mut answers, mut questions) = upstream.split();
            let mut octet = [0];
            tokio::select! {
                _ = tokio::io::copy(&mut client, &mut questions) => {}
                _ = answers.read_exact(&mut octet) => {}
            }
            drop(client);
            while let Ok((mut client, _)) = listener.accept().await {
                let mut upstream = TcpStream::connect(store).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut upstream).await });
            }
        });
        address
    }

    async fn submit_through_a_cut(refuses: bool) -> (Result<Accepted, Reply>, usize) {
        let committed = Arc::new(Committed { refuses, ..Committed::default() });
        let proxy = cutting_proxy(store(Arc::clone(&committed)).await).await;
        let client = StoreClient::new(Endpoint::new(&format!("http://{proxy}"), None).unwrap(), Clock::system().io);
        let submission = Submission::new("t", "<>".parse().unwrap(), ["a@b".parse().unwrap()]);
        let (uploading, submitted) = (client.clone(), submission.clone());
        let octets = stream::iter((0..100).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1000]))));
        let upload = tokio::spawn(async move { uploading.submit_stream(&submitted, octets).await });
        let answer = await_commit(&client, &submission.transaction, upload, Clock::system().io).await;
        let commits = committed.names.lock().unwrap().len();
        (answer, commits)
    }

    #[tokio::test]
    async fn a_commit_whose_answer_was_cut_off_is_learned_of() {
        let (answer, commits) = submit_through_a_cut(false).await;
        assert_eq!(answer.unwrap().id, MessageId::from_number(ACCEPTED));
        assert_eq!(commits, 1);
    }

    #[tokio::test]
    async fn what_was_not_committed_is_to_be_sent_again() {
        let (answer, commits) = submit_through_a_cut(true).await;
        assert_eq!(answer.unwrap_err().code(), 451);
        assert_eq!(commits, 0);
    }
}
