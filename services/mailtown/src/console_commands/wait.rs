//! `mailtown wait`: until mail has come, or the time is up.

use super::{BOLD, ConsoleArgs, REFUSED, TownConsole, WAITS, count};
use crate::output::{NO_OUTPUT, padded, printable, time};
use anyhow::Context;
use console::client::{Mail, Waited, Wanted, Why};
use mail_net::Clock;
use std::{
    io::{self, Write},
    time::Duration,
};

/// The exit code when the time is up.
pub(crate) const TIME_IS_UP: u8 = 1;
/// The exit code when the console could not be asked.
pub(crate) const NOT_ASKED: u8 = 2;
/// How long the console waits at most.
const LONGEST: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  mailtown wait rcpt:usr@gmail.com subject:Welcome
  mailtown wait --count 2 --timeout 120 'rcpt:usr@gmail.com state:delivered'
  mailtown wait from:shop@example.com --json | jq -r '.codes[0]'

QUERY is written as in the search box of the console. The exit code is 0 when the mail is there, 1 when the time is up:
then standard error says why it may not have come; and 2 when the console cannot be asked.";

/// Waits until mail has come that matches, and prints it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wait {
    /// Which mail, such as rcpt:usr@gmail.com; without one, any
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// Only mail that has come after this: the cursor of a message, or that of POST /v1/checkpoint
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// How long
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u32,
    /// Print one JSON object for each message in a line; when the time is up, one that says why
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

impl Wait {
    /// Does it; returns whether the mail has come.
    ///
    /// # Errors
    /// One line that says why the console cannot be asked.
    pub(crate) async fn run(&self, console: TownConsole) -> anyhow::Result<bool> {
        let (query, io) = (self.query.join(" "), Clock::system().io);
        let wanted = Wanted { query: &query, since: self.since.as_deref(), count: self.count };
        let timeout = Duration::from_secs(self.timeout.into());
        let deadline = io.instant() + timeout;
        let waited = loop {
            // In whole seconds, and rather one more.
            let rest = deadline.saturating_duration_since(io.instant());
            let rest = Duration::from_secs(rest.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            let waited = console.client.wait(wanted, rest.min(LONGEST)).await;
            let waited = waited.map_err(|error| console.failed(error))?;
            if !waited.timed_out || io.instant() >= deadline {
                break waited;
            }
        };
        if self.json {
            write_json(&waited, &mut anstream::stdout()).context(NO_OUTPUT)?;
        } else if waited.timed_out {
            let asked = if query.is_empty() { "any mail".to_owned() } else { format!("\"{query}\"") };
            let head =
                format!("{} of {} messages for {asked} within {} s", waited.mail.len(), self.count, self.timeout);
            // Nobody reads what cannot be written there.
            let _ = write_why(&head, &waited.why.unwrap_or_default(), &mut anstream::stderr());
            return Ok(false);
        } else {
            waited.mail.iter().try_for_each(|mail| write(mail, &mut anstream::stdout())).context(NO_OUTPUT)?;
        }
        Ok(!waited.timed_out)
    }
}

fn write_json(waited: &Waited, output: &mut impl Write) -> io::Result<()> {
    if waited.timed_out {
        serde_json::to_writer(&mut *output, waited)?;
        writeln!(output)?;
    } else {
        for mail in &waited.mail {
            serde_json::to_writer(&mut *output, mail)?;
            writeln!(output)?;
        }
    }
    output.flush()
}

/// A message in one line: id, when it was accepted, server, sender and recipients of the envelope, subject.
fn write(mail: &Mail, output: &mut impl Write) -> io::Result<()> {
    let mail = &mail.summary;
    let recipients: Vec<_> = mail.recipients.iter().map(|recipient| printable(&recipient.address)).collect();
    writeln!(
        output,
        "{}  {}  {}  <{}> to {}  {BOLD}{}{BOLD:#}",
        mail.id,
        time(mail.accepted_at),
        mail.stack,
        printable(&mail.mail_from),
        recipients.join(", "),
        printable(&mail.subject)
    )?;
    output.flush()
}

/// Why mail may not have come: one line for each cause.
fn write_why(head: &str, why: &Why, output: &mut impl Write) -> io::Result<()> {
    const KIND: usize = 13;
    let mut write = |style: anstyle::Style, kind: &str, text: String| {
        writeln!(output, "{style}{}{style:#}  {}", padded(kind, KIND), printable(&text))
    };
    write(BOLD, "time is up", head.to_owned())?;
    for miss in &why.near_misses {
        let (mail, differs_in) = (&miss.mail, &miss.differs_in);
        write(WAITS, "nearly", format!("{} \"{}\" does not match: {differs_in}", mail.id, mail.subject))?;
    }
    for waiting in &why.queue {
        let (stack, entry) = (&waiting.stack, &waiting.entry);
        let reply = if entry.last_reply.is_empty() { "not tried yet" } else { &entry.last_reply };
        let (next, attempts) = (time(entry.next_attempt_at), count(entry.attempts.into(), "attempt", "attempts"));
        let (id, recipient) = (entry.message, &entry.recipient);
        let state = if entry.held { "on hold".to_owned() } else { format!("next attempt {next}") };
        write(WAITS, "in the queue", format!("{stack}: {id} for {recipient}, {attempts}, {state}: {reply}"))?;
    }
    if let Some(at) = why.clock_stands_at.filter(|_| !why.queue.is_empty()) {
        let text = format!("it stands still at {}; `mailtown clock advance --next-due` moves it", time(at));
        write(WAITS, "the clock", text)?;
    }
    for refusal in &why.refusals {
        let (session, verb, address, reply) = (refusal.session, &refusal.verb, &refusal.address, &refusal.reply);
        write(REFUSED, "refused", format!("{verb} {address}: {reply} (mailtown sessions {session})"))?;
    }
    for service in &why.unreachable {
        write(REFUSED, "silent", service.clone())?;
    }
    if why.near_misses.is_empty() && why.queue.is_empty() && why.refusals.is_empty() && why.unreachable.is_empty() {
        why.summary.iter().try_for_each(|sentence| write(WAITS, "", sentence.clone()))?;
    }
    output.flush()
}
