//! Small requests to the store, several in one round trip when several are waiting.
//!
//! The store commits everything that waits at once; this does the same for the way there. A request that
//! comes alone is sent at once. While batches are under way the next one gathers.

use futures_util::{StreamExt, stream};
use service_kit::telemetry;
use std::{fmt, future::Future};
use tokio::sync::{mpsc, oneshot};

/// How many requests a batch has at most.
const BATCH_REQUESTS: usize = 64;
/// How many batches are under way at once: while the store commits one, the other travels. More would only make
/// all of them smaller.
const BATCHES: usize = 2;

/// Sends requests of one kind. Cheap to clone; ends with its last clone.
pub(crate) struct Batcher<Q, A> {
    waiting: mpsc::Sender<Pending<Q, A>>,
}

type Pending<Q, A> = (Q, oneshot::Sender<A>);

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Sends each batch with `send`, which answers for each request in their order.
    pub(crate) fn start<S, F>(send: S) -> Self
    where
        S: Fn(Vec<Q>) -> F + Send + 'static,
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(BATCH_REQUESTS);
        telemetry::spawn(gather(receiver, send));
        Self { waiting: sender }
    }

    /// The answer to this request; `None` when the batch it was in got none. A request that is dropped before its
    /// batch is sent is not sent.
    pub(crate) async fn request(&self, request: Q) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.waiting.send((request, answer)).await.ok()?;
        answered.await.ok()
    }
}

async fn gather<Q, A, S, F>(waiting: mpsc::Receiver<Pending<Q, A>>, send: S)
where
    S: Fn(Vec<Q>) -> F,
    F: Future<Output = Vec<A>>,
{
    let batches = stream::unfold(waiting, |mut waiting| async {
        let mut batch = Vec::new();
        while batch.is_empty() {
            if waiting.recv_many(&mut batch, BATCH_REQUESTS).await == 0 {
                return None;
            }
            // Who has given up is not to hear of it, and will ask again.
            batch.retain(|(_, asker): &Pending<Q, A>| !asker.is_closed());
        }
        Some((batch, waiting))
    });
    let answer = move |batch: Vec<Pending<Q, A>>| {
        let (requests, askers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let answers = send(requests);
        async move {
            for (asker, answer) in askers.into_iter().zip(answers.await) {
                // Who asked may be gone.
                let _ = asker.send(answer);
            }
        }
    };
    batches.for_each_concurrent(BATCHES, answer).await;
}

impl<Q, A> Clone for Batcher<Q, A> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

impl<Q, A> fmt::Debug for Batcher<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batcher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn what_comes_meanwhile_goes_together() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let batcher = Batcher::start(move |requests: Vec<usize>| {
            seen.lock().unwrap().push(requests.len());
            async move { requests.into_iter().map(|request| request * 2).collect() }
        });
        let answers = join_all((0..100).map(|request| batcher.request(request))).await;
        assert_eq!(answers, (0..100).map(|request| Some(request * 2)).collect::<Vec<_>>());
        let sizes = sizes.lock().unwrap();
        assert!(sizes.len() < 20, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= BATCH_REQUESTS), "{sizes:?}");
    }

    #[tokio::test]
    async fn one_batch_travels_while_another_is_committed_and_the_rest_waits() {
        let (committed, mut commits) = mpsc::unbounded_channel();
        let batcher = Batcher::start(move |requests: Vec<usize>| {
            let (commit, outcome) = oneshot::channel::<()>();
            committed.send((requests.clone(), commit)).unwrap();
            async move {
                outcome.await.unwrap();
                requests
            }
        });
        let ask = |request| {
            telemetry::spawn({
                let batcher = batcher.clone();
                async move { batcher.request(request).await }
            })
        };
        let mut under_way = Vec::new();
        let mut asked = Vec::new();
        for request in 0..BATCHES {
            asked.push(ask(request));
            let (requests, commit) = commits.recv().await.unwrap();
            assert_eq!(requests, [request]);
            under_way.push(commit);
        }
        asked.extend([ask(BATCHES), ask(BATCHES + 1)]);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(commits.try_recv().is_err(), "more than {BATCHES} batches under way");
        under_way.pop().unwrap().send(()).unwrap();
        let (requests, commit) = commits.recv().await.unwrap();
        assert_eq!(requests, [BATCHES, BATCHES + 1]);
        under_way.push(commit);
        under_way.into_iter().for_each(|commit| commit.send(()).unwrap());
        for (request, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.unwrap(), Some(request));
        }
    }

    #[tokio::test]
    async fn an_answer_that_never_comes_is_known() {
        let batcher = Batcher::start(|_: Vec<()>| async { Vec::<()>::new() });
        assert_eq!(batcher.request(()).await, None);
    }
}
