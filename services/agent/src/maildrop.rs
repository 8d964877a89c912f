//! Reads a maildrop by POP3.

use crate::connection::{Connection, Location};
use mail_proto::{
    Mailbox,
    pop3::{Command, Password, ReplyDecoder, ServerReply},
};

/// A POP3 session.
#[derive(Debug)]
pub(crate) struct Maildrop {
    connection: Connection,
}

impl Maildrop {
    /// Connects; the greeting is answered too.
    pub(crate) fn connect(location: &Location) -> anyhow::Result<(Self, ServerReply)> {
        let mut connection = Connection::open(location)?;
        let greeting = receive(&mut connection, ReplyDecoder::greeting())?;
        Ok((Self { connection }, greeting))
    }

    /// Sends a command and waits for the whole reply.
    pub(crate) fn ask(&mut self, command: &Command) -> anyhow::Result<ServerReply> {
        self.connection.send(command.to_wire().as_bytes())?;
        receive(&mut self.connection, ReplyDecoder::for_command(command))
    }
}

fn receive(connection: &mut Connection, mut decoder: ReplyDecoder) -> anyhow::Result<ServerReply> {
    // Its text holds that of its cause, so the cause is left out.
    connection.receive(|input| decoder.decode(input).map_err(|error| anyhow::anyhow!("{error}")))
}

/// The commands that log in, in their order.
pub(crate) fn login(address: &Mailbox, password: &str) -> anyhow::Result<[Command; 2]> {
    let password: Password = password.parse()?;
    Ok([Command::User(address.to_string().parse()?), Command::Pass(password)])
}

/// A failure in the server's own words.
pub(crate) fn refusal(reply: &ServerReply) -> String {
    crate::printable(&String::from_utf8_lossy(reply.status.as_bytes()))
}
