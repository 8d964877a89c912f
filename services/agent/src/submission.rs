//! Sends a message by SMTP.

use crate::{
    connection::{Connection, Location, REPLY_TIMEOUT, words},
    transcript::Transcript,
};
use anyhow::{Context, bail};
use mail_net::{Clock, Hop};
use mail_proto::{
    Mailbox, ReversePath,
    smtp::{
        ClientName, MailParameters, Recipient, Reply, ReplyReader,
        client::{Client, Step, Transaction, Verdict, Wording},
    },
};
use std::net::SocketAddr;
use town_config::Profile;

/// What goes to a server in one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission<'a> {
    pub(crate) profile: Profile,
    pub(crate) from: &'a Mailbox,
    pub(crate) recipients: &'a [Mailbox],
    pub(crate) message: &'a [u8],
}

/// Sends a message and returns the verdict on each recipient, in their order.
pub(crate) fn submit(
    location: &Location,
    transcript: Transcript,
    submission: Submission<'_>,
    clock: Clock,
) -> anyhow::Result<Vec<Reply>> {
    match converse(location, transcript, submission, clock).with_context(|| location.to_string())? {
        Ok(verdicts) => Ok(verdicts),
        Err(refusal) => bail!("{}", refusal.on_one_line()),
    }
}

/// The verdicts, or the reply by which the server refuses all dialogue.
fn converse(
    location: &Location,
    transcript: Transcript,
    Submission { profile, from, recipients, message }: Submission<'_>,
    clock: Clock,
) -> anyhow::Result<Result<Vec<Reply>, Reply>> {
    let mut connection = Connection::open(Hop::AgentToSmtp, location, transcript, clock)?;
    let wording = match profile {
        Profile::Tutorial => Wording::HandOut,
        Profile::Rfc => Wording::Standard,
    };
    let mut client = Client::new(client_name(connection.local_address()?)?).with_wording(wording);
    let transaction = Transaction {
        reverse_path: ReversePath::Mailbox(from.clone()),
        parameters: MailParameters { smtputf8: needs_smtputf8(from, recipients), ..MailParameters::default() },
        recipients: recipients.iter().cloned().map(Recipient::from).collect(),
        octets: message.len() as u64,
    };
    let mut step = Step::Await;
    loop {
        match step {
            Step::Await => {}
            Step::Send(octets) => connection.send(octets.as_slice())?,
            Step::SendBody => connection.send_message(message)?,
            Step::Ready if transaction.parameters.smtputf8 && !client.extensions().smtputf8 => {
                bail!("the server takes no addresses beyond ASCII: it does not announce SMTPUTF8 (RFC 6531)")
            }
            Step::Ready => {
                step = client.begin(&transaction);
                continue;
            }
            Step::Finished(verdicts) => {
                // The verdicts stand, whether or not there is a goodbye.
                if let Step::Send(quit) = client.quit() {
                    let _ = connection.send(quit.as_slice()).and_then(|()| next_reply(&mut connection));
                }
                return Ok(Ok(verdicts.into_iter().filter_map(Verdict::into_reply).collect()));
            }
            Step::Refused(reply) | Step::Unexpected(reply) => return Ok(Err(reply)),
            // None of this was asked for.
            Step::StartTls
            | Step::SendChunk
            | Step::SendSecret(_)
            | Step::LoginFailed(_)
            | Step::InTheClear
            | Step::Closed => {
                bail!("the server ended the dialogue early")
            }
        }
        step = client.reply(next_reply(&mut connection)?);
    }
}

/// Whether the sender or a recipient goes beyond ASCII (RFC 6531 §3.4). The header of the message does only then.
fn needs_smtputf8(from: &Mailbox, recipients: &[Mailbox]) -> bool {
    std::iter::once(from).chain(recipients).any(|mailbox| !mailbox.is_ascii())
}

/// The id under which the server has queued the message, or else all of its reply.
pub(crate) fn queued_as(reply: &Reply) -> String {
    let id = reply.lines().last().and_then(|line| line.split_once("queued as ")).map(|(_, id)| id.trim());
    id.map_or_else(|| reply.on_one_line(), |id| format!("queued as {id}"))
}

fn next_reply(connection: &mut Connection) -> anyhow::Result<Reply> {
    let deadline = connection.deadline_after(REPLY_TIMEOUT);
    let mut reader = ReplyReader::default();
    loop {
        let line = connection.line(deadline)?;
        let reply = reader.line(&line);
        if let Some(reply) = reply.with_context(|| format!("the server said {:?}", words(&line)))? {
            return Ok(reply);
        }
    }
}

/// A client without a name of its own gives its address (RFC 5321 §4.1.4).
fn client_name(address: SocketAddr) -> anyhow::Result<ClientName> {
    let literal = match address {
        SocketAddr::V4(address) => format!("[{}]", address.ip()),
        SocketAddr::V6(address) => format!("[IPv6:{}]", address.ip()),
    };
    Ok(literal.parse()?)
}
