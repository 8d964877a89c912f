//! A POP3 client that shares no code with the server: it reads lines, and knows where a reply ends.

use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use town_tests::PATIENCE;

/// What a server has said to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The first line, without CRLF.
    pub(super) line: String,
    /// The lines that follow it up to the final dot, unstuffed, each with its CRLF.
    pub(super) body: Option<Vec<u8>>,
}

impl Reply {
    pub(super) fn is_ok(&self) -> bool {
        self.line == "+OK" || self.line.starts_with("+OK ")
    }

    /// Whether it is `-ERR` and a text.
    pub(super) fn is_error(&self) -> bool {
        self.line.starts_with("-ERR ")
    }
}

/// A connection.
pub(super) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects and reads the greeting.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, input: Vec::new() };
        let greeting = client.reply(false).await?;
        if greeting.is_ok() { Ok(client) } else { Err(io::Error::other(greeting.line)) }
    }

    /// Gives name and password in one write; returns the reply to the password.
    pub(super) async fn log_in(&mut self, address: &str, password: &str) -> io::Result<Reply> {
        self.write(format!("USER {address}\r\nPASS {password}\r\n").as_bytes()).await?;
        self.reply(false).await?;
        self.reply(false).await
    }

    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// The next reply; one of several lines if it is `+OK`, where `in_lines` says so.
    pub(super) async fn reply(&mut self, in_lines: bool) -> io::Result<Reply> {
        let line = String::from_utf8(self.line().await?).map_err(io::Error::other)?;
        let mut reply = Reply { line, body: None };
        if in_lines && reply.is_ok() {
            let mut body = Vec::new();
            loop {
                let line = self.line().await?;
                if line == b"." {
                    break;
                }
                body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                body.extend_from_slice(b"\r\n");
            }
            reply.body = Some(body);
        }
        Ok(reply)
    }

    /// The server closes and says nothing more.
    pub(super) async fn ends(mut self) -> io::Result<()> {
        if !self.input.is_empty() || self.fill().await? != 0 {
            return Err(io::Error::other(self.input.escape_ascii().to_string()));
        }
        Ok(())
    }

    /// The next line without its CRLF. CR alone and LF alone end no line.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.input.split_off(searched + at + 2);
                let mut line = std::mem::replace(&mut self.input, rest);
                line.truncate(line.len() - 2);
                return Ok(line);
            }
            searched = self.input.len().saturating_sub(1);
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await?
    }
}
