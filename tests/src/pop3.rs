//! A client that reads mail.

use bytes::BytesMut;
use mail_proto::pop3::{Command, ReplyDecoder, ServerReply};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A connection to a POP3 server.
#[derive(Debug)]
pub struct Pop3Client {
    stream: TcpStream,
    input: BytesMut,
}

impl Pop3Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// When there is no server, or it says nothing.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::greeted(TcpStream::connect(address).await?).await
    }

    /// Connects as a proxy does that tells of a client of this address, and reads the greeting.
    ///
    /// # Errors
    /// As [`Pop3Client::connect`].
    pub async fn connect_through_proxy(client: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(crate::proxy_header(client).as_bytes()).await?;
        Self::greeted(stream).await
    }

    async fn greeted(stream: TcpStream) -> io::Result<Self> {
        let mut client = Self { stream, input: BytesMut::new() };
        client.read(ReplyDecoder::for_command(&Command::Noop)).await?;
        Ok(client)
    }

    /// Logs in.
    ///
    /// # Errors
    /// The server's words when it refuses.
    pub async fn log_in(&mut self, address: &str, password: &str) -> io::Result<()> {
        for line in [format!("USER {address}\r\n"), format!("PASS {password}\r\n")] {
            self.stream.write_all(line.as_bytes()).await?;
            self.read(ReplyDecoder::for_command(&Command::Noop)).await?;
        }
        Ok(())
    }

    /// Sends a command; returns its reply.
    ///
    /// # Errors
    /// The server's words when it refuses, or how the connection broke.
    pub async fn command(&mut self, command: Command) -> io::Result<ServerReply> {
        self.stream.write_all(command.to_wire().as_bytes()).await?;
        self.read(ReplyDecoder::for_command(&command)).await
    }

    /// How many messages of how many octets.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn stat(&mut self) -> (u64, u64) {
        self.command(Command::Stat).await.unwrap().status.two_numbers().unwrap()
    }

    /// A message.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn retr(&mut self, number: u64) -> Vec<u8> {
        self.command(Command::Retr(number)).await.unwrap().body
    }

    /// Marks messages, with many commands under way at once.
    ///
    /// # Errors
    /// As [`Pop3Client::command`].
    pub async fn delete(&mut self, numbers: RangeInclusive<u64>) -> io::Result<()> {
        let numbers: Vec<u64> = numbers.collect();
        for some in numbers.chunks(100) {
            let commands: String = some.iter().map(|number| Command::Dele(*number).to_wire()).collect();
            self.stream.write_all(commands.as_bytes()).await?;
            for number in some {
                self.read(ReplyDecoder::for_command(&Command::Dele(*number))).await?;
            }
        }
        Ok(())
    }

    /// Says goodbye, which deletes what is marked.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn quit(mut self) {
        self.command(Command::Quit).await.unwrap();
    }

    async fn read(&mut self, mut decoder: ReplyDecoder) -> io::Result<ServerReply> {
        loop {
            if let Some(reply) = decoder.decode(&mut self.input).map_err(io::Error::other)? {
                let status = &reply.status;
                return if status.is_ok() { Ok(reply) } else { Err(io::Error::other(status.text())) };
            }
            if timeout(crate::PATIENCE, self.stream.read_buf(&mut self.input)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
