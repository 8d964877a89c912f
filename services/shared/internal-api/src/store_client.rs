//! The calls a gateway makes to its mailbox store.

mod events;
mod maildrop;
mod queue;
mod snapshots;

pub use maildrop::OpenedMaildrop;

use crate::{
    Accepted, AccountChange, AccountPage, ApiError, BATCH_MEDIA_TYPE, BatchItem, BatchOutcome, CONNECTION_HEADER, Call,
    Claim, ClaimRequest, ClaimSettlement, ConnectionId, Endpoint, FRAME_MEDIA_TYPE, LoggedIn, Login, LoginSupport,
    MAILDROP_MEDIA_TYPE, MailboxSummary, MaildropEntry, MaildropSession, MaildropUpdate, MessageId, NewAccount,
    OpenSession, Problem, ProblemKind, ProofOutcome, Renewal, Resolved, SESSION_NAME_HEADER, Settlement,
    SettlementOutcome, Submission, UserVerifier, VerifierRequest,
    frame::{frame, split_whole},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use mail_net::IoClock;
use mail_proto::Mailbox;
use maildrop::{LISTING_TIMEOUT, delivered};
use reqwest::{Body, Method, StatusCode, header};
use std::{collections::HashMap, time::Duration};

/// How long a whole frame, already in memory, may take to be committed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the store may take to delete messages. The call can be repeated.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the store may take to open a maildrop. It checks a password first.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the store may fall silent while it sends a message.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls a mailbox store.
#[derive(Debug, Clone)]
pub struct StoreClient {
    endpoint: Endpoint,
    io: IoClock,
}

impl StoreClient {
    /// A client of the store at this endpoint. `io` limits how long it waits.
    pub fn new(endpoint: Endpoint, io: IoClock) -> Self {
        Self { endpoint, io }
    }

    /// The same client; `observer` is told of each call, except those that wait for mail or for a client.
    pub fn observed(self, observer: impl Fn(Call<'_>) + Send + Sync + 'static) -> Self {
        Self { endpoint: self.endpoint.observed(observer), ..self }
    }

    /// What this address means to the store. A store of the version before knows mailboxes only, and is asked for the
    /// mailbox.
    ///
    /// # Errors
    /// [`ApiError`] when the store gives no usable answer.
    pub async fn resolve(&self, address: &Mailbox) -> Result<Resolved, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "addresses", &address.to_string()]);
        match self.send(request).await {
            Ok(response) => Ok(response.json().await?),
            // There is no such route. An address that means nothing is an answer, not a problem.
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => {
                Ok(self.mailbox(address).await?.map_or(Resolved::Unknown, Resolved::Mailbox))
            }
            Err(error) => Err(error),
        }
    }

    /// The mailbox, or `None` when there is no such mailbox here.
    ///
    /// # Errors
    /// [`ApiError`] when the store gives no usable answer.
    pub async fn mailbox(&self, address: &Mailbox) -> Result<Option<MailboxSummary>, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "mailboxes", &address.to_string()]);
        match self.send(request).await {
            Ok(response) => Ok(Some(response.json().await?)),
            Err(error) if error.kind() == Some(ProblemKind::MailboxUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Submits a message that is all in memory.
    ///
    /// # Errors
    /// [`ApiError`]; after [`ApiError::Unavailable`] it is unknown whether the message was committed, and
    /// the same submission may be repeated.
    pub async fn submit(&self, submission: &Submission, message: Bytes) -> Result<Accepted, ApiError> {
        let body = [frame(submission), message].concat();
        let request = self.endpoint.streaming(Method::POST, &["v1", "messages"]).timeout(COMMIT_TIMEOUT);
        self.send_frame(request, body.into()).await
    }

    /// Submits messages that are all in memory, each for itself, in one round trip; returns the results in their order.
    /// Each may come with the connection that it was received over.
    ///
    /// # Errors
    /// As [`StoreClient::submit`], for all of them.
    pub async fn submit_batch<'a, I>(&self, messages: I) -> Result<Vec<BatchOutcome>, ApiError>
    where
        I: IntoIterator<Item = (&'a Submission, &'a Bytes, Option<&'a ConnectionId>)>,
    {
        let (mut body, mut connections) = (BytesMut::new(), Vec::new());
        for (submission, message, connection) in messages {
            connections.push(connection.map_or("", ConnectionId::as_str));
            let item = BatchItem { submission: submission.clone(), octets: message.len() as u64 };
            body.extend_from_slice(&frame(&item));
            body.extend_from_slice(message);
        }
        let request = self.endpoint.streaming(Method::POST, &["v1", "messages", "batch"]).timeout(COMMIT_TIMEOUT);
        let request = request.header(header::CONTENT_TYPE, BATCH_MEDIA_TYPE).body(body.freeze());
        let request = request.header(CONNECTION_HEADER, connections.join(","));
        Ok(self.send(request).await?.json().await?)
    }

    /// Submits a message that is still arriving. An error from `message` abandons it: nothing is stored.
    /// The call takes as long as `message` does; bound the time from its end to the answer.
    ///
    /// # Errors
    /// As [`StoreClient::submit`].
    pub async fn submit_stream<S, E>(&self, submission: &Submission, message: S) -> Result<Accepted, ApiError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let head = frame(submission);
        let body = Body::wrap_stream(stream::once(async move { Ok(head) }).chain(message));
        self.send_frame(self.endpoint.streaming(Method::POST, &["v1", "messages"]), body).await
    }

    async fn send_frame(&self, request: reqwest::RequestBuilder, body: Body) -> Result<Accepted, ApiError> {
        // It takes as long as its message does.
        let request = request.header(header::CONTENT_TYPE, FRAME_MEDIA_TYPE).body(body);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }

    /// The outcome of a submission by the name of its transaction; `None` when none of this name was committed.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn transaction(&self, name: &str) -> Result<Option<Accepted>, ApiError> {
        match self.send(self.endpoint.request(Method::GET, &["v1", "transactions", name])).await {
            Ok(response) => Ok(Some(response.json().await?)),
            Err(error) if error.kind() == Some(ProblemKind::TransactionUnknown) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A message as it was received.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn message(&self, id: MessageId) -> Result<RawMessage, ApiError> {
        self.raw(&["v1", "messages", &id.to_string(), "raw"]).await
    }

    /// A message as a reader of this maildrop gets it.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delivered_message(&self, address: &Mailbox, id: MessageId) -> Result<RawMessage, ApiError> {
        self.raw(&["v1", "mailboxes", &address.to_string(), "messages", &id.to_string(), "raw"]).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ApiError> {
        self.endpoint.observed_call(request, self.io).await
    }

    async fn raw(&self, path: &[&str]) -> Result<RawMessage, ApiError> {
        let answer = self.io.timeout(READ_TIMEOUT, self.send(self.endpoint.streaming(Method::GET, path)));
        match answer.await {
            Ok(response) => Ok(RawMessage(Octets::Arriving(response?, self.io))),
            Err(_) => Err(silent()),
        }
    }

    /// A page of the accounts, by address, after `after`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn accounts(&self, after: &str) -> Result<AccountPage, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "accounts"]).query(&[("after", after)]);
        Ok(self.send(request).await?.json().await?)
    }

    /// Adds an account.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::AccountExists`] or [`ProblemKind::AccountConfigured`] among others.
    pub async fn add_account(&self, account: &NewAccount) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::POST, &["v1", "accounts"]).json(account)).await.map(drop)
    }

    /// Changes an account.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::MailboxUnknown`] or [`ProblemKind::AccountConfigured`] among others.
    pub async fn change_account(&self, address: &Mailbox, change: &AccountChange) -> Result<(), ApiError> {
        let request = self.endpoint.request(Method::PATCH, &["v1", "accounts", &address.to_string()]);
        self.send(request.json(change)).await.map(drop)
    }

    /// Removes an account with its messages.
    ///
    /// # Errors
    /// As [`StoreClient::change_account`]; also [`ProblemKind::MaildropInUse`].
    pub async fn remove_account(&self, address: &Mailbox) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::DELETE, &["v1", "accounts", &address.to_string()])).await.map(drop)
    }

    /// What logins the store can check; `None` when it is of the version before, and checks none.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn login_support(&self) -> Result<Option<LoginSupport>, ApiError> {
        match self.send(self.endpoint.request(Method::GET, &["v1", "logins"])).await {
            Ok(response) => Ok(Some(response.json().await?)),
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whose user name and password these are.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::AuthenticationFailed`] when they are nobody's, among others.
    pub async fn log_in(&self, login: &Login) -> Result<Mailbox, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "logins"]);
        let LoggedIn { mailbox } = self.send(request.json(login)).await?.json().await?;
        Ok(mailbox)
    }

    /// What is known of a user's password, for SCRAM.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn verifier(&self, request: &VerifierRequest) -> Result<UserVerifier, ApiError> {
        let call = self.endpoint.request(Method::POST, &["v1", "verifiers"]);
        Ok(self.send(call.json(request)).await?.json().await?)
    }

    /// Tells the store whether a proof by SCRAM was right. A store of the version before does not count failures, and is
    /// not told.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn report_proof(&self, outcome: &ProofOutcome) -> Result<(), ApiError> {
        let call = self.endpoint.request(Method::POST, &["v1", "verifiers", "outcomes"]);
        match self.send(call.json(outcome)).await {
            Err(error) if error.kind() != Some(ProblemKind::NotFound) => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens and locks a maildrop.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::AuthenticationFailed`] or [`ProblemKind::MaildropInUse`] among others.
    pub async fn open_session(&self, address: &Mailbox, open: &OpenSession) -> Result<MaildropSession, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "mailboxes", &address.to_string(), "sessions"]);
        Ok(self.send(request.json(open)).await?.json().await?)
    }

    /// Opens and locks a maildrop for a session of this name.
    ///
    /// # Errors
    /// As [`StoreClient::open_session`]. After [`ApiError::Unavailable`] it is unknown whether the maildrop is locked:
    /// repeat the call, or close the session.
    pub async fn open_named_session(
        &self,
        address: &Mailbox,
        name: &str,
        open: &OpenSession,
    ) -> Result<MaildropSession, ApiError> {
        let request = self.endpoint.request(Method::POST, &["v1", "mailboxes", &address.to_string(), "sessions"]);
        Ok(self.send(request.header(SESSION_NAME_HEADER, name).json(open)).await?.json().await?)
    }

    /// Opens and locks a maildrop for a session of this name, and lists it bit by bit, within a minute in total.
    ///
    /// # Errors
    /// As [`StoreClient::open_named_session`]; [`ApiError::Late`] is one more that leaves it unknown.
    pub async fn open_maildrop(
        &self,
        address: &Mailbox,
        name: &str,
        open: &OpenSession,
    ) -> Result<OpenedMaildrop, ApiError> {
        let path = ["v1", "mailboxes", &address.to_string(), "sessions"];
        let request = self.endpoint.streaming(Method::POST, &path).header(SESSION_NAME_HEADER, name);
        let request = request.header(header::ACCEPT, MAILDROP_MEDIA_TYPE).json(open);
        let listed_by = self.io.instant() + LISTING_TIMEOUT;
        let answer = self.io.timeout(OPEN_TIMEOUT, self.send(request)).await;
        let response = answer.map_err(|_| ApiError::Late(OPEN_TIMEOUT))??;
        OpenedMaildrop::read(response, self.io, listed_by).await
    }

    /// Several messages of this maildrop, as they are listed: in this order, up to the first that must be asked for alone,
    /// or has another number of octets. A store of the version before brings none.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delivered_messages(
        &self,
        address: &Mailbox,
        listed: &[MaildropEntry],
    ) -> Result<Vec<(MessageId, Bytes)>, ApiError> {
        let ids = listed.iter().map(|entry| entry.id.to_string()).collect::<Vec<_>>().join(",");
        let request = self.endpoint.request(Method::GET, &["v1", "mailboxes", &address.to_string(), "raw"]);
        match self.send(request.query(&[("ids", ids)])).await {
            Ok(response) => delivered(response, listed).await,
            Err(error) if error.kind() == Some(ProblemKind::NotFound) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Keeps the lock of a maildrop.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::LeaseLost`] once another may have it.
    pub async fn renew_session(&self, address: &Mailbox, session: &str, renewal: Renewal) -> Result<(), ApiError> {
        let path = ["v1", "mailboxes", &address.to_string(), "sessions", session];
        self.send(self.endpoint.request(Method::PUT, &path).json(&renewal)).await.map(drop)
    }

    /// Deletes all of these messages or none, and unlocks the maildrop.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::LeaseLost`] when the lock was lost: nothing is deleted then. After
    /// [`ApiError::Unavailable`] it is unknown whether they are deleted: repeat the call.
    pub async fn update_maildrop(
        &self,
        address: &Mailbox,
        session: &str,
        update: &MaildropUpdate,
    ) -> Result<(), ApiError> {
        let path = ["v1", "mailboxes", &address.to_string(), "sessions", session, "update"];
        let request = self.endpoint.streaming(Method::POST, &path).timeout(UPDATE_TIMEOUT);
        self.send(request.json(update)).await.map(drop)
    }

    /// Unlocks a maildrop and deletes nothing.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn close_session(&self, address: &Mailbox, session: &str) -> Result<(), ApiError> {
        let path = ["v1", "mailboxes", &address.to_string(), "sessions", session];
        self.send(self.endpoint.request(Method::DELETE, &path)).await.map(drop)
    }

    /// Claims queued messages of one domain that are due; `None` when none were within the time asked for.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn claim(&self, claim: &ClaimRequest) -> Result<Option<BroughtClaim>, ApiError> {
        let request = self
            .endpoint
            .request(Method::POST, &["v1", "queue", "claims"])
            .timeout(Duration::from_secs(u64::from(claim.wait_seconds)) + READ_TIMEOUT);
        // It waits for mail, so its time says nothing.
        let response = self.endpoint.call(request.json(claim), self.io).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        BroughtClaim::read(response.bytes().await?.into()).map(Some)
    }

    /// Keeps a claim.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::LeaseLost`] once another may have it.
    pub async fn renew_claim(&self, lease: &str, renewal: Renewal) -> Result<(), ApiError> {
        self.send(self.endpoint.request(Method::PUT, &["v1", "queue", "claims", lease]).json(&renewal)).await.map(drop)
    }

    /// Says what became of claimed recipients of one message. `failure_message` holds the octets that go
    /// with [`Settlement::failure_message`], and is empty without one.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::LeaseLost`] when the claim is not ours any more.
    pub async fn settle(&self, lease: &str, settlement: &Settlement, failure_message: &[u8]) -> Result<(), ApiError> {
        let body = [&frame(settlement), failure_message].concat();
        let request = self
            .endpoint
            .streaming(Method::POST, &["v1", "queue", "claims", lease, "settlements"])
            .timeout(COMMIT_TIMEOUT)
            .header(header::CONTENT_TYPE, FRAME_MEDIA_TYPE);
        self.send(request.body(body)).await.map(drop)
    }

    /// Settles several messages, each for itself, in one round trip; returns the results in their order.
    ///
    /// # Errors
    /// [`ApiError`], for all of them.
    pub async fn settle_batch(&self, settlements: &[ClaimSettlement]) -> Result<Vec<SettlementOutcome>, ApiError> {
        let request = self.endpoint.streaming(Method::POST, &["v1", "queue", "settlements"]).timeout(COMMIT_TIMEOUT);
        Ok(self.send(request.json(settlements)).await?.json().await?)
    }
}

fn silent() -> ApiError {
    Problem::new(ProblemKind::Overloaded, "the store fell silent").into()
}

fn broken(reason: &str) -> ApiError {
    Problem::new(ProblemKind::Internal, format!("the store's answer {reason}")).into()
}

/// A claim, and what came along with it.
#[derive(Debug, PartialEq, Eq)]
pub struct BroughtClaim {
    /// What is claimed.
    pub claim: Claim,
    /// The octets of those of its messages that are [`inline`](crate::ClaimedMessage::inline).
    pub bodies: HashMap<MessageId, Bytes>,
}

impl BroughtClaim {
    fn read(mut frame: BytesMut) -> Result<Self, ApiError> {
        let broken = |reason: String| Problem::new(ProblemKind::Internal, format!("the claim is no frame: {reason}"));
        let claim: Option<Claim> = split_whole(&mut frame).map_err(|error| broken(error.to_string()))?;
        let claim = claim.ok_or_else(|| broken("it ends within its head".to_owned()))?;
        let mut rest = frame.freeze();
        let mut bodies = HashMap::new();
        for message in claim.messages.iter().filter(|message| message.inline) {
            let octets = usize::try_from(message.octets).ok().filter(|&octets| octets <= rest.len());
            let octets = octets.ok_or_else(|| broken(format!("it ends within message {}", message.id)))?;
            bodies.insert(message.id, rest.split_to(octets));
        }
        Ok(Self { claim, bodies })
    }
}

/// A message that is being read from the store, or was.
#[derive(Debug)]
pub struct RawMessage(Octets);

#[derive(Debug)]
enum Octets {
    Arriving(reqwest::Response, IoClock),
    Arrived(Option<Bytes>),
}

impl RawMessage {
    /// The next octets; `None` at the end.
    ///
    /// # Errors
    /// [`ApiError`] when the rest cannot be had.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let (response, io) = match &mut self.0 {
            Octets::Arriving(response, io) => (response, io),
            Octets::Arrived(octets) => return Ok(octets.take()),
        };
        match io.timeout(READ_TIMEOUT, response.chunk()).await {
            Ok(chunk) => Ok(chunk?),
            Err(_) => Err(silent()),
        }
    }
}

impl From<Bytes> for RawMessage {
    fn from(octets: Bytes) -> Self {
        Self(Octets::Arrived(Some(octets)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClaimedMessage, ClaimedRecipient};
    use mail_proto::smtp::MailParameters;

    #[test]
    fn a_claim_may_have_as_many_recipients_as_messages_may_have() {
        let recipient = |number| {
            let mailbox = format!("{number}-{}@a-domain-of-some-length.test", "x".repeat(59));
            ClaimedRecipient::new(mailbox.parse::<Mailbox>().unwrap().into(), 1)
        };
        let message = |number| ClaimedMessage {
            id: MessageId::from_number(number),
            reverse_path: "<>".parse().unwrap(),
            octets: 3,
            queued_at: jiff::Timestamp::UNIX_EPOCH,
            age_seconds: Some(7),
            parameters: MailParameters::default(),
            recipients: (0..2000).map(recipient).collect(),
            inline: number == 7,
        };
        let messages = (0..20).map(message).collect();
        let claim =
            Claim { lease: "lease".to_owned(), domain: "a-domain-of-some-length.test".parse().unwrap(), messages };
        let octets = [&frame(&claim)[..], b"a\r\n"].concat();
        assert!(octets.len() > 4 * 1024 * 1024, "a head could be as long");
        let brought = BroughtClaim::read(octets[..].into()).unwrap();
        assert_eq!(brought.claim, claim);
        assert_eq!(brought.bodies, HashMap::from([(MessageId::from_number(7), Bytes::from_static(b"a\r\n"))]));
        assert!(BroughtClaim::read(octets[..octets.len() - 1].into()).is_err());
    }
}
