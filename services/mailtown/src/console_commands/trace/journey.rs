//! The journey of a message, step by step.

use super::{PAGE, SERVICE_WIDTH, WAIT, page};
use crate::{
    console_commands::{BOLD, DIM, REFUSED, TownConsole, WAITS, duration, time_of_day},
    output::{NO_OUTPUT, padded, printable},
};
use anstyle::Style;
use anyhow::Context;
use console::client::{Journey, Outcome, Stage, Step};
use internal_api::MessageId;
use std::{
    collections::HashSet,
    io::{self, Write},
    time::Duration,
};

/// Prints the journey of a message; with `follow`, what is new of it as it happens.
///
/// # Errors
/// One line that says why it cannot.
pub(super) async fn show(
    console: &TownConsole,
    message: MessageId,
    follow: bool,
    is_json: bool,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    // The place first, so that nothing is missed.
    let mut place = page(console, &[("limit", "1".to_owned())], Duration::ZERO).await?.next;
    let mut printed = Printed::default();
    loop {
        let journey = console.client.journey(message).await.map_err(|error| console.failed(error))?;
        let written = if is_json { printed.write_json(journey, output) } else { printed.write(&journey, output) };
        written.context(NO_OUTPUT)?;
        if !follow {
            return Ok(());
        }
        // The message has another id at the next server: anything may concern it.
        place = page(console, &[("after", place), ("limit", PAGE.to_string())], WAIT).await?.next;
    }
}

/// What was printed already.
#[derive(Default)]
struct Printed {
    journey: Option<Journey>,
    /// The stages and steps, by what does not change of them.
    known: HashSet<String>,
    /// The stage of the last line.
    stage: Option<String>,
}

impl Printed {
    fn write_json(&mut self, journey: Journey, output: &mut impl Write) -> io::Result<()> {
        // What ends now may move on with the time.
        if self.journey.as_ref().is_some_and(|last| last.stages == journey.stages) {
            return Ok(());
        }
        serde_json::to_writer(&mut *output, &journey)?;
        self.journey = Some(journey);
        writeln!(output)?;
        output.flush()
    }

    /// Prints what is new. The stream decides over colours.
    fn write(&mut self, journey: &Journey, output: &mut impl Write) -> io::Result<()> {
        if self.known.is_empty() {
            writeln!(output, "{BOLD}{}{BOLD:#}", journey.message)?;
        }
        let width = journey.stages.iter().flat_map(|stage| &stage.steps).map(|step| step.stack.len()).max();
        for stage in &journey.stages {
            self.stage(stage, width.unwrap_or_default(), output)?;
        }
        for fate in &journey.recipients {
            let line = format!("{}: {}", printable(&fate.address), printable(&fate.sentence));
            if self.known.insert(line.clone()) {
                self.stage = None;
                let style = style(fate.outcome);
                writeln!(output, "\n{style}{line}{style:#}")?;
            }
        }
        output.flush()
    }

    fn stage(&mut self, stage: &Stage, width: usize, output: &mut impl Write) -> io::Result<()> {
        let name = format!("{} {}", stage.message, stage.title);
        let new: Vec<_> = stage.steps.iter().filter(|step| self.known.insert(key(&name, step))).collect();
        if new.is_empty() {
            return Ok(());
        }
        if self.stage.as_ref() != Some(&name) {
            let about = if stage.is_branch { format!(" (about {})", stage.message) } else { String::new() };
            writeln!(output, "\n{BOLD}{}{about}{BOLD:#}", printable(&stage.title))?;
            self.stage = Some(name);
        }
        for step in new {
            write_step(step, width, output)?;
        }
        if let Some(note) = stage.note.as_ref().filter(|note| self.known.insert((*note).clone())) {
            writeln!(output, "  {DIM}{}{DIM:#}", printable(note))?;
        }
        Ok(())
    }
}

fn key(stage: &str, step: &Step) -> String {
    let session = step.session.map(|session| session.to_string()).unwrap_or_default();
    format!("{stage} {:?} {} {session} {} {}", step.kind, step.at, step.name, step.reply.as_deref().unwrap_or_default())
}

fn write_step(step: &Step, width: usize, output: &mut impl Write) -> io::Result<()> {
    let style = style(step.outcome);
    let reply = step.reply.as_deref().map(|reply| format!(" → {}", printable(reply))).unwrap_or_default();
    let took = if step.microseconds > 0 { format!(" ({})", duration(step.microseconds)) } else { String::new() };
    writeln!(
        output,
        "{DIM}{}{DIM:#}  {}  {}  {style}{}{reply}{style:#}{DIM}{took}{DIM:#}",
        time_of_day(step.at),
        padded(&step.stack, width),
        padded(&step.service, SERVICE_WIDTH),
        printable(&step.name)
    )
}

fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Ok => Style::new(),
        Outcome::Waiting => WAITS,
        Outcome::Refused => REFUSED,
    }
}
