//! How long it takes to log in.

use anyhow::Context;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Logs in and out; returns the time from connecting to the answer to STAT, and how many messages that told of.
///
/// # Errors
/// When the server says anything but `+OK`.
pub(crate) async fn login(server: SocketAddr, user: &str, password: &str) -> anyhow::Result<(Duration, u64)> {
    let started = Instant::now();
    let mut stream = BufStream::new(TcpStream::connect(server).await?);
    let mut answer = String::new();
    for command in ["", &format!("USER {user}\r\n"), &format!("PASS {password}\r\n"), "STAT\r\n"] {
        answer = timeout(PATIENCE, ask(&mut stream, command)).await.context("POP3 was not answered")??;
    }
    let elapsed = started.elapsed();
    ask(&mut stream, "QUIT\r\n").await?;
    let messages = answer.split(' ').nth(1).and_then(|number| number.parse().ok()).context("no STAT")?;
    Ok((elapsed, messages))
}

async fn ask(stream: &mut BufStream<TcpStream>, command: &str) -> anyhow::Result<String> {
    stream.write_all(command.as_bytes()).await?;
    stream.flush().await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    anyhow::ensure!(line.starts_with("+OK"), "POP3 answered {line:?}");
    Ok(line)
}
