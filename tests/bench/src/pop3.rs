//! POP3 clients: each is one user, who logs in again and again.

use anyhow::Context;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// A server that does not finish a session within this time has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much is read at once.
const INPUT_OCTETS: usize = 256 * 1024;
/// The end of a reply of several lines.
const END: &[u8] = b"\r\n.\r\n";
/// How many clients have the same loopback address: each address has only so many ports.
const PER_ADDRESS: u32 = 4;

/// A user of one server. Its sessions share what they send and what they read into.
#[derive(Debug)]
pub(crate) struct User {
    server: SocketAddr,
    /// Where it connects from.
    source: Ipv4Addr,
    name: Vec<u8>,
    password: Vec<u8>,
    /// The first octets are the last ones of the piece before, as many as [`END`] has.
    input: Vec<u8>,
}

/// A session of a user that is logged in.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    stream: TcpStream,
    input: &'a mut [u8],
    /// How many messages the maildrop holds, as STAT said.
    pub(crate) messages: u64,
}

impl User {
    /// The user `name` of this server. `number` tells the clients of a run apart.
    pub(crate) fn new(server: SocketAddr, number: u32, name: &str, password: &str) -> Self {
        Self {
            server,
            source: Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + number / PER_ADDRESS),
            name: format!("USER {name}\r\n").into_bytes(),
            password: format!("PASS {password}\r\n").into_bytes(),
            input: vec![0; END.len() + INPUT_OCTETS],
        }
    }

    /// Connects, logs in, and asks for the number of messages. Each command waits for the reply to the one before, as
    /// nearly all clients do.
    ///
    /// # Errors
    /// When the server says anything but `+OK`, or takes too long.
    pub(crate) async fn log_in(&mut self) -> anyhow::Result<Session<'_>> {
        timeout(PATIENCE, self.open()).await.context("POP3 was not answered")?
    }

    async fn open(&mut self) -> anyhow::Result<Session<'_>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((IpAddr::from(self.source), 0).into())?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        let mut session = Session { stream, input: &mut self.input, messages: 0 };
        session.reply().await?;
        session.ask(&self.name).await?;
        session.ask(&self.password).await?;
        let status = session.ask(b"STAT\r\n").await?;
        let number = status.split(|&octet| octet == b' ').nth(1).and_then(|number| str::from_utf8(number).ok());
        session.messages = number.and_then(|number| number.parse().ok()).context("no STAT")?;
        Ok(session)
    }
}

impl Session<'_> {
    /// Reads a message; returns the octets that came, reply and end included.
    ///
    /// # Errors
    /// When it does not come, or takes too long.
    pub(crate) async fn retrieve(&mut self, number: u64) -> anyhow::Result<u64> {
        self.stream.write_all(format!("RETR {number}\r\n").as_bytes()).await?;
        timeout(PATIENCE, self.message()).await.context("RETR was not answered")?
    }

    /// Nothing comes after a message until it was read, so its end is the end of what was received.
    async fn message(&mut self) -> anyhow::Result<u64> {
        let kept = END.len();
        self.input[..kept].fill(0);
        let mut octets = 0;
        loop {
            let read = self.stream.read(&mut self.input[kept..]).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            let piece = &self.input[kept..kept + read];
            anyhow::ensure!(octets > 0 || piece.starts_with(b"+"), "RETR was answered {}", shown(piece));
            octets += read as u64;
            if self.input[..kept + read].ends_with(END) {
                return Ok(octets);
            }
            self.input.copy_within(read..read + kept, 0);
        }
    }

    /// Logs out, and waits until the server has closed the connection.
    ///
    /// # Errors
    /// When the server says anything but `+OK`, or takes too long.
    pub(crate) async fn quit(mut self) -> anyhow::Result<()> {
        let over = async {
            self.ask(b"QUIT\r\n").await?;
            anyhow::ensure!(self.stream.read(self.input).await? == 0, "the server goes on after QUIT");
            Ok(())
        };
        timeout(PATIENCE, over).await.context("QUIT was not answered")?
    }

    async fn ask(&mut self, command: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(command).await?;
        self.reply().await
    }

    /// A reply of one line.
    async fn reply(&mut self) -> anyhow::Result<&[u8]> {
        let mut filled = 0;
        while !self.input[..filled].ends_with(b"\n") {
            let read = self.stream.read(&mut self.input[filled..]).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
            filled += read;
        }
        let line = &self.input[..filled];
        anyhow::ensure!(line.starts_with(b"+OK"), "POP3 answered {}", shown(line));
        Ok(line)
    }
}

/// The beginning of what a server said.
fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(&octets[..octets.len().min(100)]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::loopback;
    use tokio::{
        io::{AsyncBufReadExt, BufStream},
        net::TcpListener,
    };

    /// Answers one client, each command with what stands beside it; the first answer is the greeting.
    async fn server(answers: &'static [(&'static str, &'static [&'static str])]) -> SocketAddr {
        let listener = TcpListener::bind(loopback(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut stream = BufStream::new(listener.accept().await.unwrap().0);
            for (command, pieces) in answers {
                let mut line = String::new();
                if !command.is_empty() {
                    stream.read_line(&mut line).await.unwrap();
                }
                assert_eq!(line.trim_end(), *command);
                for piece in *pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_session_reads_to_the_end_of_each_reply() {
        let server = server(&[
            ("", &["+OK hello\r\n"]),
            ("USER u", &["+O", "K\r\n"]),
            ("PASS p", &["+OK\r\n"]),
            ("STAT", &["+OK 2 30\r\n"]),
            ("RETR 1", &["+OK\r\nline\r\n..\r\n", "more\r\n", ".\r\n"]),
            ("RETR 2", &["+OK\r\n\r\n.", "\r", "\n"]),
            ("QUIT", &["+OK\r\n"]),
        ])
        .await;
        let mut user = User::new(server, 7, "u", "p");
        let mut session = user.log_in().await.unwrap();
        assert_eq!(session.messages, 2);
        assert_eq!(session.retrieve(1).await.unwrap(), 24);
        assert_eq!(session.retrieve(2).await.unwrap(), 10);
        session.quit().await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let server = server(&[("", &["+OK\r\n"]), ("USER u", &["-ERR no\r\n"])]).await;
        let error = User::new(server, 0, "u", "p").log_in().await.unwrap_err();
        assert_eq!(error.to_string(), "POP3 answered -ERR no");
    }
}
