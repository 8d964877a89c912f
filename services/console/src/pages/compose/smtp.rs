//! The dialogue with a server.

use crate::mail_servers::MailServer;
use internal_api::MessageId;
use mail_net::{Clock, Closed, Dial, Hop, Kind, LineStream, StreamLimits, TcpDial};
use mail_proto::{
    Mailbox, ReversePath,
    dot::DotEncoder,
    smtp::{
        ClientName, MailParameters, Recipient, Reply, ReplyReader,
        client::{Client, Step, Transaction, Verdict, Wording},
    },
};
use std::{net::SocketAddr, time::Duration};
use town_config::Profile;

/// How long the server may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the whole dialogue may take. Somebody waits for the page.
const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 16 * 1024;
const LIMITS: StreamLimits = StreamLimits { line_octets: 4096, read_octets: PIECE, silence: PATIENCE, write: PATIENCE };

/// A line of the dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// What was said to the server.
    Sent(String),
    /// What it said, and whether that was no refusal.
    Received(String, bool),
}

/// What the server has said.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Where it is.
    pub(super) server: String,
    /// For each recipient, the reply that counts.
    pub(super) verdicts: Vec<(Mailbox, Reply)>,
    /// The reply with which it has refused all.
    pub(super) refusal: Option<Reply>,
    /// The whole dialogue. Of the message, only its size.
    pub(super) dialogue: Vec<Line>,
}

impl Sent {
    /// The id under which the server has queued it.
    pub(super) fn queued_as(&self) -> Option<MessageId> {
        let replies = self.verdicts.iter().filter(|(_, reply)| reply.is_positive());
        replies.flat_map(|(_, reply)| reply.lines().last()).find_map(|line| {
            let (_, id) = line.split_once("queued as ")?;
            id.trim().parse().ok()
        })
    }
}

/// Sends a message, and tells what the server has said.
///
/// # Errors
/// Why there was no dialogue, or none to its end.
pub(super) async fn send(
    server: &MailServer,
    from: &Mailbox,
    recipients: &[Mailbox],
    message: &[u8],
    clock: &Clock,
) -> Result<Sent, String> {
    let address = server.smtp.as_ref().ok_or_else(|| format!("{} has no port for SMTP", server.stack))?;
    let place = format!("{} ({address})", server.stack);
    let dial = TcpDial::default().with_limit_per_address(CONNECT, clock.io);
    let io = dial.dial(Hop::AgentToSmtp, address).await.map_err(|error| format!("{place}: {error}"))?;
    let stream = LineStream::new(io, LIMITS, clock.clone());
    let mut dialogue = Dialogue { stream, lines: Vec::new() };
    let said = clock.io.timeout(PATIENCE, dialogue.hold(server.profile, from, recipients, message)).await;
    let (verdicts, refusal) =
        said.unwrap_or_else(|_| Err("the server takes too long".to_owned())).map_err(|error| {
            let last = dialogue.lines.iter().rev().find_map(|line| match line {
                Line::Received(text, _) => Some(format!("; it said last: {text}")),
                Line::Sent(_) => None,
            });
            format!("{place}: {error}{}", last.unwrap_or_default())
        })?;
    let verdicts = recipients.iter().cloned().zip(verdicts).collect();
    Ok(Sent { server: place, verdicts, refusal, dialogue: dialogue.lines })
}

struct Dialogue {
    stream: LineStream,
    lines: Vec<Line>,
}

impl Dialogue {
    /// The verdicts, or the reply by which the server refuses all dialogue.
    async fn hold(
        &mut self,
        profile: Profile,
        from: &Mailbox,
        recipients: &[Mailbox],
        message: &[u8],
    ) -> Result<(Vec<Reply>, Option<Reply>), String> {
        let wording = match profile {
            Profile::Tutorial => Wording::HandOut,
            Profile::Rfc => Wording::Standard,
        };
        let local = self.stream.ends().map_err(|error| error.to_string())?.local;
        let mut client = Client::new(client_name(local)?).with_wording(wording);
        let smtputf8 = !from.is_ascii() || recipients.iter().any(|recipient| !recipient.is_ascii());
        let transaction = Transaction {
            reverse_path: ReversePath::Mailbox(from.clone()),
            parameters: MailParameters { smtputf8, ..MailParameters::default() },
            recipients: recipients.iter().cloned().map(Recipient::from).collect(),
            octets: message.len() as u64,
        };
        let mut step = Step::Await;
        loop {
            match step {
                Step::Await => {}
                Step::Send(octets) => self.say(&octets).await?,
                Step::SendBody => self.send_message(message).await?,
                Step::Ready if smtputf8 && !client.extensions().smtputf8 => {
                    return Err("the server takes no addresses beyond ASCII (RFC 6531)".to_owned());
                }
                Step::Ready => {
                    step = client.begin(&transaction);
                    continue;
                }
                Step::Finished(verdicts) => {
                    // The verdicts stand, whether or not there is a goodbye.
                    if let Step::Send(quit) = client.quit() {
                        let _ = self.say(&quit).await;
                        let _ = self.reply().await;
                    }
                    return Ok((verdicts.into_iter().filter_map(Verdict::into_reply).collect(), None));
                }
                Step::Refused(reply) | Step::Unexpected(reply) => return Ok((Vec::new(), Some(reply))),
                // None of this was asked for.
                Step::StartTls
                | Step::SendChunk
                | Step::SendSecret(_)
                | Step::LoginFailed(_)
                | Step::InTheClear
                | Step::Closed => return Err("the server ended the dialogue early".to_owned()),
            }
            step = client.reply(self.reply().await?);
        }
    }

    async fn say(&mut self, octets: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(octets);
        self.lines.extend(text.lines().map(|line| Line::Sent(line.to_owned())));
        self.stream.push(octets);
        self.stream.flush().await.map_err(broken)
    }

    async fn send_message(&mut self, message: &[u8]) -> Result<(), String> {
        self.lines.push(Line::Sent(format!("({} octets of the message)", message.len())));
        self.lines.push(Line::Sent(".".to_owned()));
        let mut dots = DotEncoder::default();
        for piece in message.chunks(PIECE) {
            self.stream.write(Kind::Body, |output| dots.encode(piece, output));
            self.stream.flush().await.map_err(broken)?;
        }
        self.stream.write(Kind::Body, |output| dots.finish(output));
        self.stream.flush().await.map_err(broken)
    }

    async fn reply(&mut self) -> Result<Reply, String> {
        let deadline = self.stream.deadline_after(PATIENCE);
        let mut reader = ReplyReader::default();
        loop {
            let line = self.stream.line(deadline).await.map_err(broken)?.map_err(|error| error.to_string())?;
            if let Some(reply) = reader.line(&line).map_err(|error| error.to_string())? {
                let is_good = reply.code() < 400;
                let text = reply.to_string();
                self.lines.extend(text.lines().map(|line| Line::Received(line.to_owned(), is_good)));
                return Ok(reply);
            }
        }
    }
}

fn broken(closed: Closed) -> String {
    match closed {
        Closed::End => "the server closed the connection".to_owned(),
        closed => format!("the connection broke: {closed}"),
    }
}

/// A client without a name of its own gives its address (RFC 5321 §4.1.4).
fn client_name(address: SocketAddr) -> Result<ClientName, String> {
    let literal = match address {
        SocketAddr::V4(address) => format!("[{}]", address.ip()),
        SocketAddr::V6(address) => format!("[IPv6:{}]", address.ip()),
    };
    literal.parse().map_err(|_| format!("{literal} is no name for a client"))
}
