//! What a lesson sends over SMTP and reads over POP3, with any server.

use anyhow::{Context, bail, ensure};
use lessons::{Maildrop, Outgoing};
use mail_net::IoClock;
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most messages of a maildrop that are read.
const MOST: usize = 100;

/// A connection of lines.
pub(super) struct Lines {
    stream: BufReader<TcpStream>,
    io: IoClock,
}

impl Lines {
    async fn connect((host, port): (&str, u16), io: IoClock) -> anyhow::Result<Self> {
        let connected = io.timeout(PATIENCE, TcpStream::connect((host, port))).await;
        let stream = connected.context("no connection in time")?.context("no connection")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), io })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        let read = self.io.timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await;
        ensure!(read.context("the server is silent")?? > 0, "the server has closed the connection");
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes()).await.context("the server has closed the connection")
    }

    /// The last line of a reply (RFC 5321 §4.2.1), which must begin so.
    async fn reply(&mut self, to: &str, digit: char) -> anyhow::Result<()> {
        let mut line = self.line().await.with_context(|| format!("after {to}"))?;
        while line.as_bytes().get(3) == Some(&b'-') {
            line = self.line().await.with_context(|| format!("after {to}"))?;
        }
        ensure!(line.starts_with(digit), "after {to}, the server said {line}");
        Ok(())
    }

    async fn smtp(&mut self, command: &str, digit: char) -> anyhow::Result<()> {
        self.write(&format!("{command}\r\n")).await?;
        self.reply(command, digit).await
    }

    /// Whether the server says `+OK` to a command.
    async fn pop3(&mut self, command: &str) -> anyhow::Result<Result<String, String>> {
        self.write(&format!("{command}\r\n")).await?;
        let line = self.line().await.with_context(|| format!("after {command}"))?;
        Ok(if line.starts_with("+OK") { Ok(line) } else { Err(line) })
    }

    /// The text after a reply of several lines (RFC 1939 §3).
    async fn text(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(text);
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push('\n');
        }
    }
}

/// Sends a message. The server must take it for every recipient.
///
/// # Errors
/// What the server says instead.
pub(super) async fn send(place: (&str, u16), mail: &Outgoing, io: IoClock) -> anyhow::Result<()> {
    let mut lines = Lines::connect(place, io).await?;
    lines.reply("the connection", '2').await?;
    // A server that cannot do one thing can be marked for another.
    let _ = lines.smtp("HELO lesson", '2').await;
    lines.smtp(&format!("MAIL FROM:<{}>", mail.from), '2').await?;
    for recipient in &mail.to {
        lines.smtp(&format!("RCPT TO:<{recipient}>"), '2').await?;
    }
    lines.smtp("DATA", '3').await?;
    let stuffed = |line: &str| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") };
    lines.write(&mail.content.lines().map(stuffed).collect::<String>()).await?;
    lines.smtp(".", '2').await?;
    let _ = lines.smtp("QUIT", '2').await;
    Ok(())
}

/// How many messages of a maildrop have all its texts. Nothing is deleted. Returns the session too if it is to stay.
///
/// Without a good answer to STAT, messages are read until there is none: a server that cannot do one thing can be marked
/// for another.
///
/// # Errors
/// When the server does not let the user in, or breaks off.
pub(super) async fn matching(
    place: (&str, u16),
    maildrop: &Maildrop,
    io: IoClock,
) -> anyhow::Result<(usize, Option<Lines>)> {
    let mut lines = Lines::connect(place, io).await?;
    lines.line().await?;
    for command in [format!("USER {}", maildrop.user), format!("PASS {}", maildrop.password)] {
        if let Err(refusal) = lines.pop3(&command).await? {
            bail!("to the login, the server said {refusal}");
        }
    }
    let stat = lines.pop3("STAT").await?.ok();
    let count = stat.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(MOST).min(MOST);
    let mut found = 0;
    for number in 1..=count {
        if lines.pop3(&format!("RETR {number}")).await?.is_err() {
            break;
        }
        let message = lines.text().await?;
        found += usize::from(maildrop.contains.iter().all(|text| message.contains(text.as_str())));
    }
    if maildrop.stay {
        return Ok((found, Some(lines)));
    }
    let _ = lines.pop3("QUIT").await;
    // The lock of the maildrop is gone with the connection.
    let _ = lines.line().await;
    Ok((found, None))
}
