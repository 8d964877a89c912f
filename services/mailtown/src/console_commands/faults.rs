//! `mailtown faults`: what goes wrong on purpose.

use super::{BOLD, ConsoleArgs, REFUSED, TownConsole};
use crate::output::{NO_OUTPUT, padded, printable, say};
use ::faults::Fault;
use anyhow::{Context, anyhow};
use console::client::TownFaults;
use serde_json::Value;
use std::io::{self, Write};

const EXAMPLES: &str = r#"Examples:
  mailtown faults
  mailtown faults set grey '{"where": {"stack": "gmail.com", "service": "smtp-gateway", "verb": "RCPT"},
      "what": {"reply": "451 4.7.1 greylisted"}, "when": {"first_per_recipient": 1}}'
  mailtown faults remove grey
  mailtown faults clear

docs/faults.md has all keys."#;

/// What goes wrong on purpose: list, set, remove, clear.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FaultsCommand {
    #[command(subcommand)]
    change: Option<Change>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Change {
    /// List the faults, and how often each has happened; the same as without a word
    List,
    /// Let something go wrong from now on
    Set {
        /// Letters, digits, -, _ and .
        #[arg(value_name = "NAME")]
        name: String,
        /// Where, what and when, in JSON
        #[arg(value_name = "JSON")]
        fault: String,
    },
    /// Let this go wrong no more
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let nothing go wrong any more
    Clear,
}

/// Reads a fault. Says only what is wrong with it: clap would repeat all of it first.
fn fault(text: &str) -> anyhow::Result<Fault> {
    let fault: Fault = serde_json::from_str(text).map_err(|error| {
        let kind = if error.is_data() { "this is no fault" } else { "this is no JSON" };
        anyhow!("{kind}: {}", printable(&error.to_string()))
    })?;
    fault.check()?;
    Ok(fault)
}

impl FaultsCommand {
    /// Does it.
    ///
    /// # Errors
    /// One line that says what to do.
    pub(crate) async fn run(&self, console: impl FnOnce() -> anyhow::Result<TownConsole>) -> anyhow::Result<()> {
        // What is wrong in the command is told first.
        let new = match &self.change {
            Some(Change::Set { fault: text, .. }) => Some(fault(text)?),
            _ => None,
        };
        let console = console()?;
        let client = &console.client;
        let outcome = match (&self.change, &new) {
            (Some(Change::Set { name, .. }), Some(fault)) => client.set_fault(name, fault).await,
            (None | Some(Change::List | Change::Set { .. }), _) => client.faults().await,
            (Some(Change::Remove { name }), _) => match client.remove_fault(name).await {
                Ok(()) => client.faults().await,
                Err(error) => Err(error),
            },
            (Some(Change::Clear), _) => client.clear_faults().await,
        };
        let faults = outcome.map_err(|error| console.failed(error))?;
        if self.json {
            return say(&serde_json::to_string(&faults)?);
        }
        print(&faults).context(NO_OUTPUT)
    }
}

/// A line for each fault, with its keys as they were written.
fn print(faults: &TownFaults) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    if faults.faults.is_empty() {
        writeln!(output, "nothing goes wrong on purpose")?;
    } else {
        let width = faults.faults.keys().map(String::len).max().unwrap_or(0).max("NAME".len());
        writeln!(output, "{BOLD}{}  FIRED  WHAT{BOLD:#}", padded("NAME", width))?;
        for (name, set) in &faults.faults {
            let fired = set.state.fired;
            writeln!(output, "{}  {fired:>5}  {}", padded(name, width), printable(&said(&set.fault)))?;
        }
    }
    if faults.magic_recipients {
        writeln!(output, "recipients can ask for faults by their names")?;
    }
    for (url, why) in &faults.untold {
        writeln!(output, "{REFUSED}not told: {url}, {}{REFUSED:#}", printable(why))?;
    }
    Ok(())
}

/// What a fault does, where and when, as it was written.
fn said(fault: &Fault) -> String {
    let written = serde_json::to_value(fault).unwrap_or_default();
    let parts = [("", "what"), ("where ", "where"), ("when ", "when")].into_iter().filter_map(|(word, key)| {
        let value = written.get(key).filter(|value| !matches!(value, Value::Object(keys) if keys.is_empty()))?;
        Some(format!("{word}{value}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_fault_is_one_line_with_the_reason() {
        for (json, expected) in [
            ("{what: stall}", "this is no JSON: key must be a string at line 1 column 2"),
            ("", "this is no JSON: EOF while parsing a value at line 1 column 0"),
            (
                r#"{"what": {"delay": "2 weeks"}}"#,
                "this is no fault: \"2 weeks\" is no duration such as 5s or 250ms at line 1 column 29",
            ),
            (r#"{"what": "stall"}"#, "where says neither service nor hop; give one of them, such as smtp-gateway"),
        ] {
            assert_eq!(fault(json).unwrap_err().to_string(), expected, "{json}");
        }
        let strange = fault("{\"what\": \"stall\", \"a\\nb\": 1}").unwrap_err().to_string();
        assert!(!strange.contains('\n'), "{strange}");
        assert_eq!(
            fault(r#"{"where": {"service": "smtp-gateway"}, "what": "stall"}"#).unwrap().what,
            ::faults::What::Stall
        );
    }
}
