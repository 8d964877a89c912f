//! SMTP to an exchange: the socket on one side, the client's state machine on the other.

use super::{Context, route::Exchange};
use bytes::{Bytes, BytesMut};
use mail_api::{ApiError, ClaimedMessage, ProblemKind, RawMessage};
use mail_proto::{
    dot::DotEncoder,
    line::LineDecoder,
    smtp::{
        ClientName, Reply, ReplyReader,
        client::{Client, Step, Transaction},
    },
};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// The longest reply line that is read (RFC 5321 §4.5.3.1.5 says 512).
const REPLY_LINE_OCTETS: usize = 4096;
/// How long the exchange may take over a message after its final dot (RFC 5321 §4.5.3.2.6).
const FINAL_REPLY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long an exchange that has closed the connection may take over its last reply.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);
const BUFFER_OCTETS: usize = 16 * 1024;

/// A connection to an exchange that is ready for transactions.
#[derive(Debug)]
pub(crate) struct Connection {
    exchange: Exchange,
    stream: TcpStream,
    client: Client,
    input: BytesMut,
    lines: LineDecoder,
    replies: ReplyReader,
    reply_timeout: Duration,
    transactions: u32,
}

/// Why a transaction, or the way to one, did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The exchange will not talk to us.
    #[error("{}", .0.on_one_line())]
    Refused(Reply),
    /// The connection failed, hung, or carried what is not SMTP.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// Our own store failed us.
    #[error("{0}")]
    Store(#[from] ApiError),
    /// The exchange is this very server.
    #[error("the exchange calls itself {0}, as this server does")]
    OurselvesAs(String),
}

/// A transaction that broke.
#[derive(Debug)]
pub(crate) struct BrokenTransaction {
    /// Why.
    pub(crate) broken: Broken,
    /// For each recipient, in their order, what decided: the exchange before it broke, or the break.
    pub(crate) replies: Vec<Reply>,
    /// Whether the connection had carried other messages before, and broke before this one was sent or refused.
    is_old_and_undecided: bool,
}

impl BrokenTransaction {
    /// Whether nothing is known about the message: the exchange has ended a connection that was in use for long
    /// enough.
    pub(crate) fn is_about_an_old_connection(&self) -> bool {
        match &self.broken {
            Broken::Store(_) => false,
            // It may hang on each, and takes its time.
            Broken::Connection(error) if error.kind() == io::ErrorKind::TimedOut => false,
            _ => self.is_old_and_undecided,
        }
    }
}

impl Broken {
    /// Whether the words are the exchange's own.
    pub(crate) fn is_said_by_exchange(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether it says nothing about other messages, or about the exchange.
    pub(crate) fn is_about_one_message(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == Some(ProblemKind::MessageDamaged))
    }

    /// The reply for messages that are not tried because of this: whatever was said, it was not about them.
    pub(crate) fn reply_to_the_untried(&self, exchange: &Exchange) -> Reply {
        if let Self::Store(_) = self {
            return self.reply(exchange);
        }
        let said = self.reply(exchange).on_one_line();
        Reply::new(451, (4, 2), format!("not tried, because {} broke off others: {said}", exchange.name))
    }

    /// The reply that stands for this in the queue and in failure messages.
    pub(crate) fn reply(&self, exchange: &Exchange) -> Reply {
        let Exchange { name, address } = exchange;
        match self {
            Self::Refused(reply) => reply.clone(),
            Self::Connection(error) => Reply::new(451, (4, 1), format!("{name} ({address}): {}", describe(error))),
            Self::Store(error) if error.kind() == Some(ProblemKind::MessageDamaged) => {
                Reply::new(554, (3, 0), "the message was damaged while it was queued")
            }
            Self::Store(_) => Reply::new(451, (3, 0), "the mailbox store is unavailable"),
            Self::OurselvesAs(_) => {
                Reply::new(554, (4, 6), format!("mail loops back: {name} ({address}) is this server"))
            }
        }
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects to `host:port`. Says what an unknown host means: a container's name is known only while it runs.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let unknown = |error| {
        let text = format!("there is no host of this name now ({error}); if it is a container, it is likely stopped");
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let addresses: Vec<_> = lookup_host(address).await.map_err(unknown)?.collect();
    TcpStream::connect(&addresses[..]).await
}

impl Connection {
    /// Connects and introduces us.
    ///
    /// # Errors
    /// [`Broken`].
    pub(crate) async fn open(context: &Context, exchange: &Exchange) -> Result<Self, Broken> {
        let stack = context.stack.current();
        let relay = &stack.relay;
        let stream = timeout(relay.connect_timeout, connect(&exchange.address)).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            exchange: exchange.clone(),
            stream,
            client: Client::new(ClientName::from(&stack.name)),
            input: BytesMut::new(),
            lines: LineDecoder::new(REPLY_LINE_OCTETS),
            replies: ReplyReader::default(),
            reply_timeout: relay.reply_timeout,
            transactions: 0,
        };
        loop {
            let reply = connection.reply(relay.reply_timeout).await?;
            match connection.client.reply(reply) {
                Step::Send(octets) => connection.send(&octets).await?,
                Step::Refused(reply) => return Err(Broken::Refused(reply)),
                Step::Closed => return Err(connection.closed().into()),
                Step::Ready | Step::Finished(_) => return connection.checked(context),
                Step::Await | Step::SendBody => {}
            }
        }
    }

    /// Whom this is a connection to.
    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// How many messages it has carried, or tried to.
    pub(crate) fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether the exchange has neither closed it nor said anything that nobody asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        self.input.is_empty() && nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whatever the zone says, mail to ourselves would come round for ever (RFC 5321 §5.1).
    fn checked(self, context: &Context) -> Result<Self, Broken> {
        let server_name = self.client.server_name();
        if server_name == context.stack.current().name.as_str() {
            return Err(Broken::OurselvesAs(server_name.to_owned()));
        }
        Ok(self)
    }

    /// Sends one message, of which the octets may be at hand; answers for each recipient, in their order, the reply
    /// that decided.
    ///
    /// # Errors
    /// [`BrokenTransaction`]; the connection is of no more use then.
    pub(crate) async fn transact(
        &mut self,
        context: &Context,
        message: &ClaimedMessage,
        body: Option<Bytes>,
    ) -> Result<Vec<Reply>, BrokenTransaction> {
        self.transactions += 1;
        match self.try_transact(context, message, body).await {
            Ok(replies) => Ok(replies),
            Err(broken) => {
                let is_old_and_undecided = self.transactions > 1 && self.client.is_at_commands();
                let reply = broken.reply(&self.exchange);
                let replies = self.client.give_up(&reply);
                let replies = replies.unwrap_or_else(|| vec![reply; message.recipients.len()]);
                Err(BrokenTransaction { broken, replies, is_old_and_undecided })
            }
        }
    }

    async fn try_transact(
        &mut self,
        context: &Context,
        message: &ClaimedMessage,
        body: Option<Bytes>,
    ) -> Result<Vec<Reply>, Broken> {
        let recipients: Vec<_> = message.recipients.iter().map(|recipient| recipient.mailbox.clone()).collect();
        let open = async || match &body {
            Some(octets) => Ok(RawMessage::from(octets.clone())),
            None => context.store.message(message.id).await,
        };
        if !self.client.extensions().eight_bit_mime && !is_seven_bit(open().await?).await? {
            // RFC 6152 §3; we do not convert.
            let name = &self.exchange.name;
            let reply = Reply::new(554, (6, 3), format!("{name} takes no 8-bit messages, and this is one"));
            return Ok(vec![reply; recipients.len()]);
        }
        let mut raw = Some(open().await?);
        let reverse_path = message.reverse_path.clone();
        let mut step = self.client.begin(&Transaction { reverse_path, recipients, octets: message.octets });
        let mut patience = self.reply_timeout;
        loop {
            let sent = match step {
                Step::Send(octets) => self.send(&octets).await.map_err(Broken::from),
                Step::SendBody => {
                    patience = FINAL_REPLY_TIMEOUT;
                    match raw.take() {
                        Some(raw) => self.send_body(raw).await,
                        None => Ok(()),
                    }
                }
                Step::Await | Step::Ready => Ok(()),
                Step::Finished(replies) => return Ok(replies),
                Step::Refused(reply) => return Err(Broken::Refused(reply)),
                Step::Closed => return Err(self.closed().into()),
            };
            let reply = match sent {
                Ok(()) => self.reply(patience).await?,
                Err(broken) => return Err(self.last_words(broken).await),
            };
            step = self.client.reply(reply);
        }
    }

    /// An exchange that stops listening may have said why.
    async fn last_words(&mut self, broken: Broken) -> Broken {
        match &broken {
            Broken::Connection(_) => match self.reply(LAST_WORDS_TIMEOUT).await {
                Ok(reply) if !reply.is_positive() => Broken::Refused(reply),
                _ => broken,
            },
            _ => broken,
        }
    }

    /// Says goodbye; whether the exchange hears it does not matter.
    pub(crate) async fn quit(mut self) {
        if let Step::Send(octets) = self.client.quit() {
            let goodbye = async {
                self.send(&octets).await?;
                self.reply(self.reply_timeout).await
            };
            let _ = timeout(Duration::from_secs(2), goodbye).await;
        }
    }

    /// The whole message and its final dot; without the dot when the store fails us on the way, so that the
    /// exchange cannot take a part for the whole.
    async fn send_body(&mut self, mut raw: RawMessage) -> Result<(), Broken> {
        if !self.input.is_empty() {
            // A reply to a message that was not sent yet: no later one could be told from it.
            return Err(io::Error::other("the exchange replied before it was asked").into());
        }
        let mut dots = DotEncoder::default();
        let mut output = Vec::with_capacity(BUFFER_OCTETS);
        while let Some(chunk) = raw.chunk().await? {
            // A chunk is as large as the store pleases; the wire gets it in bounded pieces.
            for piece in chunk.chunks(BUFFER_OCTETS) {
                dots.encode(piece, &mut output);
                if output.len() >= BUFFER_OCTETS {
                    self.send(&output).await?;
                    output.clear();
                }
            }
        }
        dots.finish(&mut output);
        Ok(self.send(&output).await?)
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(self.reply_timeout, self.stream.write_all(octets)).await?
    }

    async fn reply(&mut self, patience: Duration) -> io::Result<Reply> {
        let read = async {
            loop {
                while let Some(line) = self.lines.decode(&mut self.input) {
                    let line = line.map_err(io::Error::other)?;
                    if let Some(reply) = self.replies.line(&line).map_err(io::Error::other)? {
                        return Ok(reply);
                    }
                }
                self.input.reserve(BUFFER_OCTETS);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(self.closed());
                }
            }
        };
        timeout(patience, read).await?
    }

    fn closed(&self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was closed")
    }
}

async fn is_seven_bit(mut raw: RawMessage) -> Result<bool, ApiError> {
    while let Some(chunk) = raw.chunk().await? {
        if !chunk.is_ascii() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_api::Problem;

    fn store(kind: ProblemKind) -> Broken {
        Broken::Store(Problem::from(kind).into())
    }

    #[test]
    fn nothing_fails_for_good_by_what_was_said_of_another() {
        let exchange = Exchange { name: "mx.test".to_owned(), address: "127.0.0.1:25".to_owned() };
        let table = [
            (
                Broken::Refused(Reply::new(552, (3, 4), "too big")),
                "451 4.4.2 not tried, because mx.test broke off others: 552 5.3.4 too big",
            ),
            (
                Broken::Connection(io::ErrorKind::TimedOut.into()),
                "451 4.4.2 not tried, because mx.test broke off others: 451 4.4.1 mx.test (127.0.0.1:25): no answer in time",
            ),
            (store(ProblemKind::Overloaded), "451 4.3.0 the mailbox store is unavailable"),
        ];
        for (broken, reply) in table {
            assert_eq!(broken.reply_to_the_untried(&exchange).on_one_line(), reply);
        }
    }

    #[test]
    fn only_what_the_exchange_has_ended_at_once_goes_over_a_new_connection() {
        let is_new = |broken, is_old_and_undecided| {
            BrokenTransaction { broken, replies: Vec::new(), is_old_and_undecided }.is_about_an_old_connection()
        };
        let closed = || Broken::Connection(io::ErrorKind::ConnectionReset.into());
        assert!(is_new(closed(), true) && !is_new(closed(), false));
        assert!(is_new(Broken::Refused(Reply::new(421, (7, 0), "enough")), true));
        assert!(!is_new(Broken::Connection(io::ErrorKind::TimedOut.into()), true));
        assert!(!is_new(store(ProblemKind::MessageDamaged), true));
    }

    #[tokio::test]
    async fn an_unknown_host_is_explained() {
        let exchange = Exchange { name: "mx.invalid".to_owned(), address: "mx.invalid:25".to_owned() };
        let said = Broken::from(connect(&exchange.address).await.unwrap_err()).reply(&exchange).on_one_line();
        assert!(said.starts_with("451 4.4.1 mx.invalid (mx.invalid:25): there is no host of this name now"), "{said}");
    }
}
