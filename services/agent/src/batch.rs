//! What scripts ask for: `send` and `fetch`.

use crate::{
    Args,
    args::{Fetch, Send},
    directory::Directory,
    maildrop::{Maildrop, login, refusal},
    mbox::MboxWriter,
    message::{Draft, compose},
    printable,
    submission::{Submission, queued_as, submit},
    transcript::Transcript,
};
use anyhow::{Context, ensure};
use jiff::Timestamp;
use mail_proto::pop3::{Command, StatusLine};
use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

/// How long `fetch --wait` pauses before it looks again.
const WAIT_PAUSE: Duration = Duration::from_millis(100);

/// Sends the standard input. Recipients that the server refuses are told on standard error, and the exit
/// code says so; the others get the message all the same.
pub(crate) fn send(args: &Args, directory: &Directory, send: &Send) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).context("standard input")?;
    let text = String::from_utf8(text).context("standard input")?;
    let draft = Draft { from: &args.address, to: &send.to, subject: &send.subject, text: &text };
    let message = compose(draft, directory.profile, directory.clock.wall.now())?;
    let profile = directory.profile;
    let submission = Submission { profile, from: &args.address, recipients: &send.to, message: &message };
    let verdicts = submit(&directory.smtp()?, Transcript::new(args.verbose), submission, directory.clock.clone())?;
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

/// Writes out every message, and deletes those that were written. With `--wait`, an empty maildrop is a failure.
pub(crate) fn fetch(args: &Args, directory: &Directory, fetch: &Fetch) -> anyhow::Result<ExitCode> {
    let password = password(args)?;
    let (mut maildrop, messages) = wait_for_mail(args, directory, &password, fetch.wait)?;
    let now = directory.clock.wall.now();
    if let Some(directory) = &fetch.output {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    for (number, uid) in messages {
        accepted(&maildrop.ask(&Command::Retr(number))?)?;
        match &fetch.output {
            Some(directory) => write_file(directory, &uid, &mut maildrop)?,
            None => write_mbox(io::stdout().lock(), &mut maildrop, now)?,
        }
        if !fetch.keep {
            accepted(&maildrop.ask(&Command::Dele(number))?)?;
        }
    }
    accepted(&maildrop.ask(&Command::Quit)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the maildrop, and returns its messages too. If there are `seconds`, opens it again until there is a message.
fn wait_for_mail(
    args: &Args,
    directory: &Directory,
    password: &str,
    seconds: Option<u32>,
) -> anyhow::Result<(Maildrop, Vec<(u64, String)>)> {
    let io = directory.clock.io;
    let begun = io.instant();
    loop {
        let mut maildrop = open(args, directory, password)?;
        let messages = listing(&mut maildrop)?;
        let Some(seconds) = seconds.filter(|_| messages.is_empty()) else { return Ok((maildrop, messages)) };
        // New mail is seen by a new session only.
        accepted(&maildrop.ask(&Command::Quit)?)?;
        ensure!(io.since(begun) < Duration::from_secs(seconds.into()), "no mail for {} in {seconds} s", args.address);
        io.block_for(WAIT_PAUSE);
    }
}

/// Connects and logs in.
fn open(args: &Args, directory: &Directory, password: &str) -> anyhow::Result<Maildrop> {
    let (mut maildrop, greeting) =
        Maildrop::connect(directory.pop()?, Transcript::new(args.verbose), directory.clock.clone())?;
    let location = maildrop.location().to_string();
    accepted(&greeting).with_context(|| location.clone())?;
    for command in login(&args.address, password)? {
        let status = maildrop.ask(&command)?;
        accepted(&status).with_context(|| format!("{} at {location}", args.address))?;
    }
    Ok(maildrop)
}

/// The number and the uid of each message.
fn listing(maildrop: &mut Maildrop) -> anyhow::Result<Vec<(u64, String)>> {
    accepted(&maildrop.ask(&Command::Uidl(None))?)?;
    let mut listing = Vec::new();
    maildrop.listing(|line| {
        listing.push(parse_listing(line)?);
        Ok(())
    })?;
    Ok(listing)
}

fn password(args: &Args) -> anyhow::Result<String> {
    match &args.password {
        Some(password) => Ok(password.clone()),
        None if io::stdin().is_terminal() => Ok(rpassword::prompt_password(format!("Password of {}: ", args.address))?),
        None => anyhow::bail!("no password; give -p PASSWORD or set MAILTOWN_PASSWORD"),
    }
}

fn accepted(status: &StatusLine) -> anyhow::Result<()> {
    ensure!(status.is_ok(), "{}", refusal(status));
    Ok(())
}

/// A line of UIDL (RFC 1939 §7).
fn parse_listing(line: &[u8]) -> anyhow::Result<(u64, String)> {
    let text = String::from_utf8_lossy(line);
    let parsed = text.split_once(' ').and_then(|(number, uid)| Some((number.parse().ok()?, uid.to_owned())));
    parsed.with_context(|| format!("not a line of UIDL: {}", printable(&text)))
}

/// Octet for octet, and on the disk before the server is told to delete it. The file has its name once it is whole.
fn write_file(directory: &Path, uid: &str, maildrop: &mut Maildrop) -> anyhow::Result<()> {
    let path = directory.join(file_name(uid));
    let part = path.with_extension("part");
    let named = |path: &Path| path.display().to_string();
    let mut file = File::create(&part).with_context(|| named(&part))?;
    let written = maildrop
        .message(|octets| file.write_all(octets).with_context(|| named(&part)))
        .and_then(|()| file.sync_all().with_context(|| named(&part)));
    if written.is_err() {
        // Half a message is of no use. The first failure is the one to be told.
        let _ = fs::remove_file(&part);
    }
    written?;
    fs::rename(&part, &path).with_context(|| named(&path))
}

fn write_mbox(output: impl Write, maildrop: &mut Maildrop, now: Timestamp) -> anyhow::Result<()> {
    let mut mbox = MboxWriter::new(output, now);
    maildrop.message(|octets| mbox.write(octets).context("standard output"))?;
    mbox.finish().context("standard output")
}

/// A uid may hold a `/` (RFC 1939 §7): whatever a server sends, the file stays in its directory.
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

#[cfg(test)]
mod tests {
    use super::*;

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
