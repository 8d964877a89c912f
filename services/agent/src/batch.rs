//! What scripts ask for: `send` and `fetch`.

use crate::{
    Args,
    args::{Fetch, Send},
    directory::Directory,
    maildrop::{Maildrop, login, refusal},
    message::compose,
    printable,
    submission::{queued_as, submit},
};
use anyhow::{Context, ensure};
use mail_proto::pop3::{Command, ServerReply};
use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
};

/// Sends the standard input. Recipients that the server refuses are told on standard error, and the exit
/// code says so; the others get the message all the same.
pub(crate) fn send(args: &Args, directory: &Directory, send: &Send) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).context("standard input")?;
    let text = String::from_utf8(text).context("standard input")?;
    let message = compose(&args.address, &send.subject, &text)?;
    let verdicts = submit(&directory.smtp()?, &args.address, &send.to, &message)?;
    if let Some(accepted) = verdicts.iter().find(|verdict| verdict.is_positive()) {
        writeln!(io::stdout(), "{}", queued_as(accepted))?;
    }
    let mut code = ExitCode::SUCCESS;
    for (recipient, verdict) in send.to.iter().zip(&verdicts).filter(|(_, verdict)| !verdict.is_positive()) {
        eprintln!("{recipient}: {}", verdict.on_one_line());
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// Writes out every message, and deletes those that were written.
pub(crate) fn fetch(args: &Args, directory: &Directory, fetch: &Fetch) -> anyhow::Result<ExitCode> {
    let password = password(args)?;
    let (mut maildrop, greeting) = Maildrop::connect(&directory.pop()?)?;
    accepted(greeting)?;
    for command in login(&args.address, &password)? {
        accepted(maildrop.ask(&command)?)?;
    }
    if let Some(directory) = &fetch.output {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let listing = accepted(maildrop.ask(&Command::Uidl(None))?)?;
    for line in listing.lines() {
        let (number, uid) = parse_listing(line)?;
        let message = accepted(maildrop.ask(&Command::Retr(number))?)?.body;
        match &fetch.output {
            Some(directory) => write_file(directory, &uid, &message)?,
            None => write_mbox(&mut io::stdout().lock(), &uid, &message).context("standard output")?,
        }
        if !fetch.keep {
            accepted(maildrop.ask(&Command::Dele(number))?)?;
        }
    }
    accepted(maildrop.ask(&Command::Quit)?)?;
    Ok(ExitCode::SUCCESS)
}

fn password(args: &Args) -> anyhow::Result<String> {
    match &args.password {
        Some(password) => Ok(password.clone()),
        None if io::stdin().is_terminal() => Ok(rpassword::prompt_password(format!("Password of {}: ", args.address))?),
        None => anyhow::bail!("no password; give -p PASSWORD or set MAILTOWN_PASSWORD"),
    }
}

fn accepted(reply: ServerReply) -> anyhow::Result<ServerReply> {
    ensure!(reply.status.is_ok(), "{}", refusal(&reply));
    Ok(reply)
}

/// A line of UIDL (RFC 1939 §7).
fn parse_listing(line: &[u8]) -> anyhow::Result<(u64, String)> {
    let text = String::from_utf8_lossy(line);
    let parsed = text.split_once(' ').and_then(|(number, uid)| Some((number.parse().ok()?, uid.to_owned())));
    parsed.with_context(|| format!("not a line of UIDL: {}", printable(&text)))
}

/// Octet for octet, and on the disk before the server is told to delete it.
fn write_file(directory: &Path, uid: &str, message: &[u8]) -> anyhow::Result<()> {
    let path = directory.join(file_name(uid));
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(message)?;
        file.sync_all()
    };
    write().with_context(|| path.display().to_string())
}

/// A uid may hold a `/` (RFC 1939 §7): whatever else a server thinks of, the file stays in its directory.
fn file_name(uid: &str) -> String {
    let mut name = String::new();
    for octet in uid.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_') {
            name.push(char::from(octet));
        } else {
            name.push_str(&format!("%{octet:02X}"));
        }
    }
    name + ".eml"
}

/// One message of an mbox (RFC 4155): local line ends, lines that look like a separator quoted with `>` in a
/// way that can be undone. The uid stands where a sender would, with a date that means nothing.
fn write_mbox(output: &mut impl Write, uid: &str, message: &[u8]) -> io::Result<()> {
    writeln!(output, "From {} Thu Jan  1 00:00:00 1970", printable(uid).replace(' ', "_"))?;
    let message = message.strip_suffix(b"\r\n").unwrap_or(message);
    for line in message.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let unquoted = line.iter().position(|&octet| octet != b'>').unwrap_or(line.len());
        if line[unquoted..].starts_with(b"From ") {
            output.write_all(b">")?;
        }
        output.write_all(line)?;
        output.write_all(b"\n")?;
    }
    output.write_all(b"\n")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mbox() {
        let table: &[(&[u8], &str)] = &[
            (b"Subject: a\r\n\r\nFrom b\r\n>From c\r\nFrom\r\n", "Subject: a\n\n>From b\n>>From c\nFrom\n\n"),
            (b"Subject: a\r\n\r\nno end", "Subject: a\n\nno end\n\n"),
            (b"Subject: a\r\n\r\n\r\n", "Subject: a\n\n\n\n"),
        ];
        for (message, expected) in table {
            let mut output = Vec::new();
            write_mbox(&mut output, "0 1", message).unwrap();
            let expected = format!("From 0_1 Thu Jan  1 00:00:00 1970\n{expected}");
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        }
    }

    #[test]
    fn a_file_stays_in_its_directory() {
        assert_eq!(file_name("06gk2w1s8n4qz"), "06gk2w1s8n4qz.eml");
        assert_eq!(file_name("../../etc/x\0"), "%2E%2E%2F%2E%2E%2Fetc%2Fx%00.eml");
    }

    #[test]
    fn listings() {
        assert_eq!(parse_listing(b"1 abc").unwrap(), (1, "abc".to_owned()));
        for line in [&b""[..], b"1", b"x abc", b"\xff"] {
            assert!(parse_listing(line).is_err(), "{line:?}");
        }
    }
}
