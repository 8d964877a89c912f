//! A dialogue over a real stream.

use crate::{Dialogue, Mismatch, Turn, play::Record};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// How long a server may take to answer before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, in clear or encrypted.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

impl Dialogue {
    /// Plays over a fresh connection, sending at most `chunk_octets` in one write (`usize::MAX`: each turn
    /// whole). Set TCP_NODELAY before, or small chunks are glued together again.
    ///
    /// # Errors
    /// [`Mismatch`], which displays both conversations.
    ///
    /// # Panics
    /// When `chunk_octets` is zero.
    pub async fn play_over(&self, stream: impl Duplex + 'static, chunk_octets: usize) -> Result<(), Mismatch> {
        let no_tls = |_| async { Err(io::Error::other("there is no TLS here")) };
        self.play_over_with_tls(stream, chunk_octets, no_tls).await
    }

    /// The same; `agree` is the client's side of TLS.
    ///
    /// # Errors
    /// As [`Dialogue::play_over`], and when they do not agree on TLS.
    ///
    /// # Panics
    /// As [`Dialogue::play_over`].
    pub async fn play_over_with_tls(
        &self,
        stream: impl Duplex + 'static,
        chunk_octets: usize,
        agree: impl AsyncFn(Box<dyn Duplex>) -> io::Result<Box<dyn Duplex>>,
    ) -> Result<(), Mismatch> {
        let mut record = Record::new(self, chunk_octets);
        let mut connection = Connection { stream: Box::new(stream), received: Vec::new(), closed: false };
        for turn in &self.turns {
            record.client(turn);
            // A server that has closed already is found out by what it did not send.
            let _ = connection.send(turn, chunk_octets).await;
            connection.read_for(turn).await;
            record.server(turn, &std::mem::take(&mut connection.received), connection.closed)?;
            if turn.tls {
                let agreed = timeout(PATIENCE, agree(connection.stream)).await;
                let agreed = agreed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                connection.stream = agreed.map_err(|error| record.mismatch(&format!("no TLS: {error}")))?;
            }
        }
        let _ = connection.stream.shutdown().await;
        connection.read_until(|_| false).await;
        record.nothing_more(&connection.received)?;
        if connection.closed { Ok(()) } else { Err(record.mismatch("the server does not close after the client did")) }
    }
}

struct Connection {
    stream: Box<dyn Duplex>,
    received: Vec<u8>,
    closed: bool,
}

impl Connection {
    async fn send(&mut self, turn: &Turn, chunk_octets: usize) -> io::Result<()> {
        for chunk in turn.client.chunks(chunk_octets) {
            self.stream.write_all(chunk).await?;
            self.stream.flush().await?;
        }
        if turn.client_closes {
            self.stream.shutdown().await?;
        }
        Ok(())
    }

    /// Reads as many lines as the turn expects, or everything where the server is to close.
    async fn read_for(&mut self, turn: &Turn) {
        let to_the_end = turn.server_closes.is_some();
        let lines = turn.server.iter().filter(|expectation| expectation.ends).count();
        let rest = turn.server.last().filter(|last| !last.ends).map_or(0, |last| last.pattern.least_octets());
        let enough = |received: &[u8]| {
            let ends: Vec<_> = received.windows(2).enumerate().filter(|(_, pair)| pair == b"\r\n").collect();
            let after = ends.last().map_or(0, |(at, _)| at + 2);
            ends.len() > lines || ends.len() == lines && received.len() - after >= rest
        };
        self.read_until(|received| !to_the_end && enough(received)).await;
    }

    /// Reads until `enough`, the end of the stream, or the end of patience.
    async fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let mut buffer = [0; 4096];
        while !self.closed && !enough(&self.received) {
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => self.closed = true,
                Ok(Ok(octets)) => self.received.extend_from_slice(&buffer[..octets]),
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Dialogue;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

    /// Greets, answers each line with itself, and closes after `quit` or at the end of input.
    async fn echo(stream: DuplexStream) {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"hello\r\n").await.unwrap();
        let mut line = String::new();
        while line != "quit\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return;
            }
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    }

    async fn play(events: &str, chunk_octets: usize) -> Result<(), String> {
        let dialogue = Dialogue::parse("f", &format!("# r\n{events}"), &[]).unwrap();
        let (client, server) = tokio::io::duplex(64);
        let (result, ()) = tokio::join!(dialogue.play_over(client, chunk_octets), echo(server));
        result.map_err(|mismatch| mismatch.to_string().lines().next().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_keeps_to_the_dialogue() {
        for chunk_octets in [usize::MAX, 1, 3] {
            let events = "S: hello\nC: one\nC: two\nS: one\nS: t{…}o\nC: quit\nS: quit\nS-EOF";
            assert_eq!(play(events, chunk_octets).await, Ok(()));
            assert_eq!(play("S: hello\nC: one\nS: one\nC-EOF\nS-EOF", chunk_octets).await, Ok(()));
            assert_eq!(play("S: hello\nC: one\nS: one", chunk_octets).await, Ok(()));
            let half_lines = "S: hello\nC-RAW: a\\r\\nbc\\n\nS: a\nS-RAW: bc\\n\nC-RAW: d\\n\nS-RAW: d\\n\nC: e\nS: e";
            assert_eq!(play(half_lines, chunk_octets).await, Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_way_to_differ_is_found() {
        let table = [
            ("S: hullo", "f:2: the server sent hello\\r\\n"),
            ("S: hello\nC: x\nS: x\nS: y", "f:5: the server is silent"),
            ("S: hello\nC: x\nC: y\nS: x", "f:5: after this line the server sent y\\r\\n"),
            ("S: hello\nC-RAW: x\\n\nS-RAW: x", "f:4: the server sent x\\n"),
            ("S: hello\nC: quit\nS: quit\nS: bye", "f:5: the server closed instead"),
            ("S: hello\nC: x\nS: x\nS-EOF", "f:5: the server does not close the connection"),
            ("S: hello\nC-RAW: x\nC-EOF\nS-EOF", "f:5: after this line the server sent x"),
        ];
        for (events, expected) in table {
            assert_eq!(play(events, usize::MAX).await, Err(format!("{expected} (each turn sent whole)")));
        }
    }
}
