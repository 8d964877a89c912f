//! The mbox format (RFC 4155), quoted as mboxrd does: every line of `From `, with any number of `>` before it,
//! gets one more `>`. That can be undone without loss.

use super::export::ExportedMessage;
use std::{
    borrow::Cow,
    io::{self, BufRead, Write},
};

/// A message that was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundMessage {
    /// What the `From ` line says, as far as that is known.
    pub(super) sender: Option<String>,
    /// The message, lines ended by LF.
    pub(super) octets: Vec<u8>,
}

/// Appends a message.
pub(super) fn write(file: &mut impl Write, message: &ExportedMessage) -> io::Result<()> {
    let sender = message.reverse_path.mailbox().map_or("MAILER-DAEMON".to_owned(), ToString::to_string);
    let date = message.received_at.strftime("%a %b %e %H:%M:%S %Y");
    writeln!(file, "From {sender} {date}")?;
    let octets = unix_lines(&message.octets);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if is_quoted_from(line) || line.starts_with(b"From ") {
            file.write_all(b">")?;
        }
        file.write_all(line)?;
    }
    file.write_all(if octets.is_empty() || octets.ends_with(b"\n") { b"\n" } else { b"\n\n" })
}

/// Gives each message of a file to `take`. One of more than `limit_octets` is given cut off behind them.
pub(super) fn read(
    file: &mut impl BufRead,
    limit_octets: usize,
    mut take: impl FnMut(FoundMessage) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut current: Option<FoundMessage> = None;
    let (mut line, mut after_empty) = (Vec::new(), true);
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if after_empty && line.starts_with(b"From ") {
            current.take().map_or(Ok(()), |message| take(without_separator(message)))?;
            let sender = String::from_utf8_lossy(&line[5..]).split_whitespace().next().map(str::to_owned);
            current = Some(FoundMessage { sender, octets: Vec::new() });
            after_empty = false;
            continue;
        }
        after_empty = matches!(&line[..], b"\n" | b"\r\n");
        match &mut current {
            Some(message) if message.octets.len() <= limit_octets => {
                message.octets.extend_from_slice(if is_quoted_from(&line) { &line[1..] } else { &line });
            }
            Some(_) => {}
            None if after_empty => after_empty = true,
            None => anyhow::bail!("it is no mbox file: its first line does not begin with \"From \""),
        }
    }
    current.map_or(Ok(()), |message| take(without_separator(message)))
}

/// Without the empty line that stands before the next `From `.
fn without_separator(mut message: FoundMessage) -> FoundMessage {
    let octets = &mut message.octets;
    if octets.ends_with(b"\n\n") || octets.ends_with(b"\n\r\n") || octets == b"\n" {
        octets.pop();
        if octets.ends_with(b"\r") {
            octets.pop();
        }
    }
    message
}

fn is_quoted_from(line: &[u8]) -> bool {
    let unquoted = line.iter().position(|octet| *octet != b'>').unwrap_or(line.len());
    unquoted > 0 && line[unquoted..].starts_with(b"From ")
}

/// With lines ended by LF, as files here have them.
pub(super) fn unix_lines(message: &[u8]) -> Cow<'_, [u8]> {
    if !message.contains(&b'\r') {
        return message.into();
    }
    let mut lines = Vec::with_capacity(message.len());
    for (at, octet) in message.iter().enumerate() {
        if *octet != b'\r' || message.get(at + 1) != Some(&b'\n') {
            lines.push(*octet);
        }
    }
    lines.into()
}

/// With lines ended by CRLF, as mail has them (RFC 5321 §2.3.8).
pub(super) fn network_lines(message: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(message.len() + message.len() / 32);
    let mut last = 0;
    for octet in message {
        if *octet == b'\n' && last != b'\r' {
            lines.push(b'\r');
        }
        lines.push(*octet);
        last = *octet;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(octets: &[u8]) -> ExportedMessage {
        ExportedMessage {
            id: internal_api::MessageId::from_number(1),
            reverse_path: "<u@a.test>".parse().unwrap(),
            received_at: jiff::Timestamp::from_second(1_767_225_600).unwrap(),
            octets: octets.to_vec(),
        }
    }

    fn read_all(text: &[u8]) -> anyhow::Result<Vec<FoundMessage>> {
        let mut found = Vec::new();
        read(&mut &text[..], 1000, |message| {
            found.push(message);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let messages = [
            &b"Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>From\r\n\r\nend\r\n"[..],
            b"\r\n",
            b"Subject: y\r\n\r\nends with an empty line\r\n\r\n",
            b"Subject: z\r\n\r\nFromage\r\n",
        ];
        let mut text = Vec::new();
        for octets in messages {
            write(&mut text, &message(octets)).unwrap();
        }
        assert!(
            text.starts_with(
                b"From u@a.test Thu Jan  1 00:00:00 2026\nSubject: x\n\n>From here\n>>From there\n>>From\n"
            )
        );
        let found = read_all(&text).unwrap();
        assert_eq!(found.len(), messages.len());
        for (found, octets) in found.iter().zip(messages) {
            assert_eq!(found.sender.as_deref(), Some("u@a.test"));
            assert_eq!(network_lines(&found.octets), octets);
        }
    }

    #[test]
    fn other_files_are_read_as_far_as_they_are_mbox() {
        assert_eq!(read_all(b"").unwrap(), []);
        let crlf = read_all(b"From MAILER-DAEMON x\r\nS: x\r\n\r\nb\r\n\r\nFrom v x\r\nb").unwrap();
        let octets: Vec<_> = crlf.iter().map(|found| network_lines(&found.octets)).collect();
        assert_eq!(octets, [b"S: x\r\n\r\nb\r\n".to_vec(), b"b".to_vec()]);
        let error = read_all(b"Subject: x\n").unwrap_err();
        assert_eq!(error.to_string(), "it is no mbox file: its first line does not begin with \"From \"");
    }
}
