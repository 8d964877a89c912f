//! `mailtown clock`: the time of the running town, and how it is moved where it is virtual.

use super::{ConsoleArgs, TownConsole};
use crate::output;
use anyhow::{Context, anyhow, bail, ensure};
use clap::Subcommand;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  mailtown clock                     the time of the town, and when the next thing happens by itself
  mailtown clock advance 1h
  mailtown clock advance --next-due --json

Time stands still, and can be moved, in a town that was started with --virtual-clock.";

/// The time of the running town.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ClockCommand {
    /// Print a JSON object, for programs
    #[arg(long)]
    json: bool,
    /// Instead of showing it:
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum Action {
    /// Move a virtual clock forward, and wait until what becomes due has happened: attempts to send, failure messages, retention
    #[command(
        after_help = "Examples:\n  mailtown clock advance 1h\n  mailtown clock advance '1d 30m'\n  mailtown clock \
                            advance --to 2026-01-01T12:00:00Z\n  mailtown clock advance --next-due\n\n\
                            The exit code is 1 when something that became due has not ended in time."
    )]
    Advance(Advance),
}

#[derive(Debug, Clone, clap::Args)]
struct Advance {
    /// By this time, such as 90s, 10m or '1h 30m'
    #[arg(value_name = "TIME", conflicts_with_all = ["to", "next_due"])]
    by: Option<String>,
    /// To this moment, such as 2026-01-01T12:00:00Z
    #[arg(long, value_name = "MOMENT", conflicts_with = "next_due")]
    to: Option<String>,
    /// To the moment at which the next thing happens by itself
    #[arg(long)]
    next_due: bool,
    /// How long it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=600))]
    timeout: u32,
    /// Print a JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// What the console says of the time.
#[derive(Debug, Deserialize)]
struct Told {
    now: Timestamp,
    #[serde(rename = "virtual", default)]
    is_virtual: bool,
    next_due: Option<Timestamp>,
    #[serde(default)]
    reached: bool,
    #[serde(default)]
    steps: u32,
    #[serde(default)]
    under_way: UnderWay,
    #[serde(default)]
    unreachable: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct UnderWay {
    claimed: usize,
    due: usize,
    unknown: Vec<String>,
}

impl ClockCommand {
    /// Does it.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(&self, console: impl FnOnce() -> anyhow::Result<TownConsole>) -> anyhow::Result<()> {
        let Some(Action::Advance(advance)) = &self.action else {
            let console = console()?;
            let answer = console.client.clock().await.map_err(|error| console.failed(error))?;
            return output::say(&if self.json { answer.to_string() } else { shown(&told(&answer)?) });
        };
        // What is wrong in the command is told first.
        let request = advance.request()?;
        let console = console()?;
        let within = Duration::from_secs(advance.timeout.into());
        let answer = console.client.advance_clock(&request, within).await;
        let answer = answer.map_err(|error| console.failed(error))?;
        let told = told(&answer)?;
        if self.json || advance.json {
            output::say(&answer.to_string())?;
        } else if told.reached {
            output::say(&moved(&told))?;
        }
        ensure!(told.reached, "{}", unfinished(&told, advance.timeout));
        Ok(())
    }
}

impl Advance {
    fn request(&self) -> anyhow::Result<Value> {
        let mut request = match (&self.by, &self.to) {
            (Some(by), _) => {
                // The console reads it so, too.
                humantime::parse_duration(by).map_err(|_| anyhow!("{by:?} is no time such as 90s, 10m or '1h 30m'"))?;
                json!({"by": by})
            }
            (None, Some(to)) => {
                let moment: Result<Timestamp, _> = to.parse();
                json!({"to": moment.map_err(|_| anyhow!("{to:?} is no moment such as 2026-01-01T00:00:00Z"))?})
            }
            (None, None) if self.next_due => json!({"next_due": true}),
            (None, None) => bail!("give a TIME such as 1h, --to MOMENT or --next-due"),
        };
        request["timeout"] = self.timeout.into();
        Ok(request)
    }
}

fn told(answer: &Value) -> anyhow::Result<Told> {
    Deserialize::deserialize(answer).context("the console gives no answer that tells the time; upgrade it")
}

fn shown(told: &Told) -> String {
    let kind = if told.is_virtual { "virtual, stands still" } else { "that of the machine" };
    format!("{} ({kind}); {}", told.now, ahead(told))
}

fn moved(told: &Told) -> String {
    let steps = if told.steps == 1 { "step" } else { "steps" };
    let silent = if told.unreachable.is_empty() {
        String::new()
    } else {
        format!("; not reached: {}", told.unreachable.join(", "))
    };
    format!("{} after {} {steps}; {}{silent}", told.now, told.steps, ahead(told))
}

fn ahead(told: &Told) -> String {
    told.next_due.map_or_else(|| "nothing is due".to_owned(), |due| format!("next due {due}"))
}

fn unfinished(told: &Told, seconds: u32) -> String {
    let UnderWay { claimed, due, unknown } = &told.under_way;
    let mut under_way = vec![format!("{claimed} recipients are being tried"), format!("{due} are due")];
    if !unknown.is_empty() {
        under_way.push(format!("not known: {}", unknown.join(", ")));
    }
    format!("after {seconds} s it is {}, and something is still under way: {}", told.now, under_way.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: Value) -> Told {
        told(&answer).unwrap()
    }

    #[test]
    fn a_wrong_time_is_told_with_an_example() {
        let request = |by: Option<&str>, to: Option<&str>| {
            let [by, to] = [by, to].map(|text| text.map(str::to_owned));
            let request = Advance { by, to, next_due: false, timeout: 30, json: false }.request();
            request.map_err(|error| error.to_string())
        };
        let wrong = "\"banana\" is no time such as 90s, 10m or '1h 30m'";
        assert_eq!(request(Some("banana"), None), Err(wrong.to_owned()));
        let wrong = "\"tomorrow\" is no moment such as 2026-01-01T00:00:00Z";
        assert_eq!(request(None, Some("tomorrow")), Err(wrong.to_owned()));
        assert_eq!(request(Some("1h 30m"), None), Ok(json!({"by": "1h 30m", "timeout": 30})));
        let moment = "2026-01-01T00:00:00Z";
        assert_eq!(request(None, Some(moment)), Ok(json!({"to": moment, "timeout": 30})));
    }

    #[test]
    fn what_the_console_tells_is_a_line() {
        let real = read(json!({"now": "2026-01-01T00:00:00Z", "virtual": false, "next_due": null}));
        assert_eq!(shown(&real), "2026-01-01T00:00:00Z (that of the machine); nothing is due");
        let stands = read(json!({"now": "2026-01-01T00:00:00Z", "virtual": true, "next_due": "2026-01-01T00:05:00Z"}));
        assert_eq!(shown(&stands), "2026-01-01T00:00:00Z (virtual, stands still); next due 2026-01-01T00:05:00Z");
        let under_way = json!({"idle": true, "claimed": 0, "due": 0, "unknown": []});
        let advanced = read(json!({
            "now": "2026-01-01T01:00:00Z", "reached": true, "steps": 3, "next_due": null, "under_way": under_way,
            "unreachable": ["pop3-gateway of a.test"],
        }));
        let line = "2026-01-01T01:00:00Z after 3 steps; nothing is due; not reached: pop3-gateway of a.test";
        assert_eq!(moved(&advanced), line);
        let under_way = json!({"idle": false, "claimed": 1, "due": 2, "unknown": ["mailbox-store of a.test"]});
        let late = read(json!({
            "now": "2026-01-01T01:00:00Z", "reached": false, "steps": 1, "next_due": null, "under_way": under_way,
            "unreachable": [],
        }));
        assert_eq!(
            unfinished(&late, 30),
            "after 30 s it is 2026-01-01T01:00:00Z, and something is still under way: 1 recipients are being tried, 2 are \
             due, not known: mailbox-store of a.test"
        );
    }
}
