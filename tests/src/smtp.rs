//! A client that says what it is told to.

use mail_proto::dot::DotEncoder;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct SmtpClient {
    stream: BufReader<TcpStream>,
    /// The server's greeting.
    pub greeting: String,
}

impl SmtpClient {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// When there is no server, or it says nothing.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect_silently(address).await?;
        client.greeting = client.reply().await?;
        Ok(client)
    }

    /// Connects as a proxy does that tells of a client of this address, and reads the greeting.
    ///
    /// # Errors
    /// As [`SmtpClient::connect`].
    pub async fn connect_through_proxy(client: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let mut connection = Self::connect_silently(address).await?;
        connection.write(crate::proxy_header(client).as_bytes()).await?;
        connection.greeting = connection.reply().await?;
        Ok(connection)
    }

    /// Connects and does not wait for a greeting.
    ///
    /// # Errors
    /// When there is no server.
    pub async fn connect_silently(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), greeting: String::new() })
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// The next reply, its lines joined by LF.
    ///
    /// # Errors
    /// When none comes.
    pub async fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if timeout(crate::PATIENCE, self.stream.read_line(&mut line)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)?;
            reply.push_str(line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(reply);
            }
            reply.push('\n');
        }
    }

    /// Sends a line and reads the reply to it.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn command(&mut self, line: &str) -> io::Result<String> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Says EHLO.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn hello(&mut self) {
        let reply = self.command("EHLO laptop").await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }

    /// Sends a message; returns its id.
    ///
    /// # Errors
    /// The first refusal, or how the connection broke.
    pub async fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> io::Result<String> {
        let body = if message.is_ascii() { "" } else { " BODY=8BITMIME" };
        self.expect("250", &format!("MAIL FROM:<{sender}>{body}")).await?;
        for recipient in recipients {
            self.expect("250", &format!("RCPT TO:<{recipient}>")).await?;
        }
        self.expect("354", "DATA").await?;
        let mut wire = Vec::with_capacity(message.len() + 5);
        let mut dots = DotEncoder::default();
        dots.encode(message, &mut wire);
        dots.finish(&mut wire);
        self.write(&wire).await?;
        let reply = self.reply().await?;
        let id = reply.strip_prefix("250 2.0.0 OK queued as ");
        id.map(str::to_owned).ok_or_else(|| io::Error::other(format!("after the dot: {reply}")))
    }

    async fn expect(&mut self, code: &str, line: &str) -> io::Result<()> {
        let reply = self.command(line).await?;
        if reply.starts_with(code) { Ok(()) } else { Err(io::Error::other(format!("{line}: {reply}"))) }
    }

    /// All that still comes, until the server closes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        timeout(crate::PATIENCE, self.stream.read_to_string(&mut rest)).await??;
        Ok(rest)
    }
}
