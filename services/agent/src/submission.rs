//! Sends a message by SMTP.

use crate::connection::{Connection, Location};
use bytes::BytesMut;
use mail_proto::{
    Mailbox, ReversePath,
    dot::DotEncoder,
    line::LineDecoder,
    smtp::{
        ClientName, Reply, ReplyReader,
        client::{Client, Step, Transaction},
    },
};
use std::net::SocketAddr;

/// Far more than RFC 5321 §4.5.3.1.5 allows.
const REPLY_LINE_OCTETS: usize = 4096;

/// Sends `message` and answers the verdict on each recipient, in their order.
pub(crate) fn submit(
    location: &Location,
    from: &Mailbox,
    recipients: &[Mailbox],
    message: &[u8],
) -> anyhow::Result<Vec<Reply>> {
    let mut connection = Connection::open(location)?;
    let mut client = Client::new(client_name(connection.local_address()?)?);
    let mut replies = Replies { lines: LineDecoder::new(REPLY_LINE_OCTETS), reader: ReplyReader::default() };
    let transaction = Transaction {
        reverse_path: ReversePath::Mailbox(from.clone()),
        recipients: recipients.to_vec(),
        octets: message.len() as u64,
    };
    let mut step = Step::Await;
    loop {
        match step {
            Step::Await => {}
            Step::Send(octets) => connection.send(&octets)?,
            Step::SendBody => connection.send(&stuffed(message))?,
            Step::Ready => {
                step = client.begin(&transaction);
                continue;
            }
            Step::Finished(verdicts) => {
                // The verdicts stand, whether or not there is a goodbye.
                if let Step::Send(quit) = client.quit() {
                    let _ = connection.send(&quit).and_then(|()| replies.next(&mut connection));
                }
                return Ok(verdicts);
            }
            Step::Refused(reply) => anyhow::bail!("{}", reply.on_one_line()),
            Step::Closed => anyhow::bail!("the server ended the dialogue early"),
        }
        step = client.reply(replies.next(&mut connection)?);
    }
}

/// The id under which the server has queued the message, or else all it says.
pub(crate) fn queued_as(reply: &Reply) -> String {
    let id = reply.lines().last().and_then(|line| line.split_once("queued as ")).map(|(_, id)| id.trim());
    id.map_or_else(|| reply.on_one_line(), |id| format!("queued as {id}"))
}

struct Replies {
    lines: LineDecoder,
    reader: ReplyReader,
}

impl Replies {
    fn next(&mut self, connection: &mut Connection) -> anyhow::Result<Reply> {
        connection.receive(|input| self.decode(input))
    }

    fn decode(&mut self, input: &mut BytesMut) -> anyhow::Result<Option<Reply>> {
        while let Some(line) = self.lines.decode(input) {
            if let Some(reply) = self.reader.line(&line?)? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
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

fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = DotEncoder::default();
    encoder.encode(message, &mut octets);
    encoder.finish(&mut octets);
    octets
}
