//! A message streams from the client to the store.

use crate::{
    commit::await_commit,
    gateway::Gateway,
    listeners::Port,
    received,
    submitter::{Submitter, out_of_time},
};
use bytes::Bytes;
use futures_util::stream;
use internal_api::{Accepted, ApiError, Handled, Mark, StoreClient, Submission};
use mail_net::{Closed, IoClock, LineStream};
use mail_proto::{
    ReversePath,
    chunk::ChunkDecoder,
    dot::DotDecoder,
    header::{Completion, separator},
    smtp::{
        Envelope, Framing, MailParameters, Reply,
        session::{TRACE_OCTETS, bare_line_ending, too_large},
    },
};
use records::{LISTED, Recording};
use service_kit::telemetry;
use std::{net::SocketAddr, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};
use town_config::{Auth, Profile};

/// A message up to this size is sent to the store in one piece; a larger one streams.
const INLINE_OCTETS: usize = 32 * 1024;
/// The least that a client sends of a message, in octets, in the time that it may be idle; or all that is left.
const PACE_OCTETS: usize = 1024;
/// How long the store may leave octets of a message unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(55);

/// A message that is being received, in one piece or in chunks.
pub(crate) struct Incoming {
    /// The most octets of the message, the trace fields of other hops aside.
    limit: u64,
    octets: u64,
    dots: DotDecoder,
    chunks: ChunkDecoder,
    sink: Sink,
}

impl Incoming {
    /// The message of an envelope that a client begins to send.
    pub(crate) fn new(gateway: &Gateway, envelope: Envelope, client: (Port, SocketAddr)) -> Self {
        let stack = gateway.stack.current();
        let completes_lf = stack.tolerance().bare_lf_in_data;
        Self {
            limit: stack.limits.message_octets,
            octets: 0,
            dots: if completes_lf { DotDecoder::completing_lf() } else { DotDecoder::default() },
            chunks: ChunkDecoder::default(),
            sink: Sink::new(gateway, envelope, client),
        }
    }

    /// Reads the octets that follow and hands them to the store. Whatever happens, all of them are read, so that the
    /// dialogue stays in step.
    ///
    /// # Errors
    /// When the connection breaks before their end: nothing is stored then.
    pub(crate) async fn read(&mut self, stream: &mut LineStream, framing: Framing) -> Result<(), Closed> {
        if let Framing::Octets(octets) = framing {
            self.chunks.begin(octets);
        }
        let mut piece = Vec::new();
        let mut pace = stream.pace(PACE_OCTETS);
        loop {
            let read = match framing {
                Framing::Dots => stream.body(&mut self.dots, &mut pace, &mut piece).await,
                Framing::Octets(_) => stream.body(&mut self.chunks, &mut pace, &mut piece).await,
            };
            let ended = match read {
                Ok(ended) => ended,
                Err(closed) => {
                    self.abandon(Reply::new(451, (4, 2), "the message was cut off")).await;
                    return Err(closed);
                }
            };
            self.octets += piece.len() as u64;
            if self.octets > self.limit.saturating_add(self.sink.trace_octets) {
                self.abandon(too_large(self.limit)).await;
            } else if let Some(line) = self.dots.bare_line_ending() {
                self.abandon(bare_line_ending(line)).await;
            }
            self.sink.write(&mut piece).await;
            if ended {
                return Ok(());
            }
        }
    }

    /// Stores nothing of it; the first reason given stands.
    pub(crate) async fn abandon(&mut self, reply: Reply) {
        self.sink.abandon(reply).await;
    }

    /// Waits until the message of this transaction is durable; returns the reply to it.
    pub(crate) async fn commit(
        mut self: Box<Self>,
        gateway: &Gateway,
        (recording, transaction): (&Recording, u32),
    ) -> Reply {
        if let Some(line) = self.chunks.bare_line_ending() {
            self.abandon(bare_line_ending(line)).await;
        }
        let (started, recipients) = (gateway.clock.io.instant(), self.sink.submission.recipients.len());
        let listed = self.sink.submission.recipients.iter().map(|recipient| recipient.mailbox.clone());
        let listed: Vec<_> = if recording.is_on() { listed.take(LISTED).collect() } else { Vec::new() };
        match self.sink.finish().await {
            Ok(accepted) => {
                let took = gateway.clock.io.since(started);
                gateway.metrics.messages_accepted.inc();
                gateway.metrics.accept_seconds.observe(took.as_secs_f64());
                let octets = self.octets;
                let how = Handled::Accepted;
                recording.mark(|| Mark::Message { message: accepted.id, how, transaction, recipients: listed });
                facts::SmtpAccepted { message_id: accepted.id, recipients, octets, seconds: took }.log();
                Reply::new(250, (0, 0), format!("OK queued as {}", accepted.id))
            }
            Err(reply) => {
                gateway.metrics.messages_refused.inc();
                reply
            }
        }
    }
}

/// Reads this number of octets and drops them.
///
/// # Errors
/// When the connection breaks before their end.
pub(crate) async fn skip(stream: &mut LineStream, octets: u64) -> Result<(), Closed> {
    let (mut chunk, mut piece) = (ChunkDecoder::default(), Vec::new());
    chunk.begin(octets);
    let mut pace = stream.pace(PACE_OCTETS);
    while !stream.body(&mut chunk, &mut pace, &mut piece).await? {
        piece.clear();
    }
    Ok(())
}

/// Where the message goes while it arrives.
struct Sink {
    store: StoreClient,
    submitter: Submitter,
    io: IoClock,
    submission: Submission,
    /// The trace field of this hop, if one is added.
    head: String,
    /// Adds what the message lacks, where that is done.
    completion: Option<Completion>,
    /// How many of the message's first octets are trace fields of other hops, which do not count against the limit.
    /// A message that comes near the limit streams, and this is known from then on: at most a first piece.
    trace_octets: u64,
    state: SinkState,
}

enum SinkState {
    /// All of it so far.
    Inline(Vec<u8>),
    /// It is being sent to the store. Only [`Piece::End`] says that it is whole: whatever else ends the sender, a closed
    /// connection or a bug, breaks the request off, and nothing is stored.
    Streaming(mpsc::Sender<Piece>, JoinHandle<Result<Accepted, ApiError>>),
    /// Nobody wants it any more.
    Refused(Reply),
}

/// A part of a message on its way to the store.
enum Piece {
    Octets(Bytes),
    /// The message is whole.
    End,
}

/// Breaks the request to the store off, so that it stores nothing.
#[derive(Debug, thiserror::Error)]
#[error("the message was abandoned")]
struct Abandoned;

impl Sink {
    fn new(gateway: &Gateway, envelope: Envelope, (port, peer): (Port, SocketAddr)) -> Self {
        let transaction = uuid::Uuid::now_v7().simple().to_string();
        let stack = gateway.stack.current();
        let now = gateway.clock.wall.now();
        let (head, completion) = match stack.profile {
            Profile::Tutorial => (String::new(), None),
            Profile::Rfc => {
                let completion = port.is_for_submission().then(|| received::completion(&stack.name, now));
                (received::received(&envelope, peer, &stack.name, now), completion)
            }
        };
        let Envelope { identity, reverse_path, parameters, recipients, .. } = envelope;
        // BODY stays here: the relay declares 8BITMIME whatever the client said, and a store of the version before
        // refuses fields that it does not know.
        let mut parameters = MailParameters { body: None, ..parameters };
        if stack.auth == Auth::Any {
            // Nobody has proved a name.
            parameters.submitter = parameters.submitter.map(|_| ReversePath::Null);
        }
        let submission = Submission { transaction, reverse_path, recipients, identity, parameters };
        let (store, submitter, io) = (gateway.store.clone(), gateway.submitter.clone(), gateway.clock.io);
        let state = SinkState::Inline(Vec::new());
        Self { store, submitter, io, submission, head, completion, trace_octets: 0, state }
    }

    /// Takes the octets of `piece`, with what they lack, and leaves it empty.
    async fn write(&mut self, piece: &mut Vec<u8>) {
        if let Some(completion) = &mut self.completion {
            let mut completed = Vec::with_capacity(piece.len());
            completion.push(piece, &mut completed);
            *piece = completed;
        }
        self.pass(piece).await;
    }

    /// Passes the octets of `piece` on and leaves it empty.
    async fn pass(&mut self, piece: &mut Vec<u8>) {
        match &mut self.state {
            SinkState::Inline(message) => {
                message.append(piece);
                if message.len() > INLINE_OCTETS {
                    let message = std::mem::take(message);
                    self.trace_octets = (received::trace_octets(&message) as u64).min(TRACE_OCTETS);
                    self.stream(with_head(&self.head, message)).await;
                }
            }
            SinkState::Streaming(sender, _) => {
                // A closed channel means that the store has answered already; `finish` will tell what.
                let octets = Piece::Octets(std::mem::take(piece).into());
                if self.io.timeout(WRITE_TIMEOUT, sender.send(octets)).await.is_err() {
                    self.abandon(out_of_time()).await;
                }
            }
            SinkState::Refused(_) => {}
        }
        piece.clear();
    }

    async fn stream(&mut self, first: Bytes) {
        let (sender, receiver) = mpsc::channel(1);
        let pieces = stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Piece::Octets(octets)) => Some((Ok(octets), Some(receiver))),
                Some(Piece::End) => None,
                None => Some((Err(Abandoned), None)),
            }
        });
        let (store, submission) = (self.store.clone(), self.submission.clone());
        let upload = telemetry::spawn(async move { store.submit_stream(&submission, pieces).await });
        let _ = sender.send(Piece::Octets(first)).await;
        self.state = SinkState::Streaming(sender, upload);
    }

    /// Stores nothing of it; the first reason given stands.
    async fn abandon(&mut self, reply: Reply) {
        if matches!(self.state, SinkState::Refused(_)) {
            return;
        }
        if let SinkState::Streaming(_, upload) = std::mem::replace(&mut self.state, SinkState::Refused(reply)) {
            // Also where the store reads nothing.
            upload.abort();
        }
    }

    /// Waits until the message is durable, or tells why it is not.
    async fn finish(mut self) -> Result<Accepted, Reply> {
        if let Some(completion) = self.completion.take() {
            let mut rest = Vec::new();
            completion.finish(&mut rest);
            self.pass(&mut rest).await;
        }
        match self.state {
            SinkState::Refused(reply) => Err(reply),
            SinkState::Inline(message) => self.submitter.submit(self.submission, with_head(&self.head, message)).await,
            SinkState::Streaming(sender, upload) => {
                // A closed channel means that the store has answered already. One that is full for so long breaks off.
                let _ = self.io.timeout(WRITE_TIMEOUT, sender.send(Piece::End)).await;
                drop(sender);
                await_commit(&self.store, &self.submission.transaction, upload, self.io).await
            }
        }
    }
}

/// The message with our own field before it, if there is one.
fn with_head(head: &str, message: Vec<u8>) -> Bytes {
    if head.is_empty() {
        return message.into();
    }
    [head.as_bytes(), separator(&message), &message].concat().into()
}
