//! `mailtown snapshot`: what the whole town was at one moment.

mod bundle;
mod opened;

use super::{BOLD, ConsoleArgs, TownConsole, count};
use crate::output::{NO_OUTPUT, padded, printable, say};
use anyhow::{Context, ensure};
use console::client::{TownRestored, TownSnapshot};
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};
use town_config::Files;

const EXAMPLES: &str = "\
Examples:
  mailtown snapshot take before-login
  mailtown snapshot restore before-login
  mailtown snapshot export before-login town.tar       what a failed run of a CI uploads
  mailtown snapshot open town.tar --state /tmp/town    the same town on another machine
  mailtown snapshot list
  mailtown snapshot delete before-login

All stores, queues and accounts are in a snapshot, the time, and the faults. docs/in-tests.md tells more.";

/// What the whole running town was at one moment: take, list, restore, delete, export; or open on another machine.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SnapshotCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    pub(crate) console: ConsoleArgs,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// List the snapshots; the same as without a word
    List,
    /// Keep what the town is now
    Take {
        /// 1 to 64 of a to z, 0 to 9, ., _ and -
        #[arg(value_name = "NAME")]
        name: String,
        /// The seed of the test, to be kept with it
        #[arg(long, value_name = "SEED")]
        seed: Option<String>,
    },
    /// Make the town what it was, the time of a virtual clock included
    Restore {
        /// The snapshot
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Remove a snapshot
    Delete {
        /// The snapshot
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Write a snapshot as one file for another machine, with the recorded sessions and the configuration: all mail is in it
    Export {
        /// The snapshot
        #[arg(value_name = "NAME")]
        name: String,
        /// The file, a tar archive; - is standard output
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Leave out the configuration file, which has passwords
        #[arg(long)]
        without_config: bool,
    },
    /// Make a town of an exported file, in the directory of --state, and say how to start it
    Open {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl SnapshotCommand {
    /// Does it.
    ///
    /// # Errors
    /// One line that says what to do.
    pub(crate) async fn run(
        &self,
        console: impl FnOnce() -> anyhow::Result<TownConsole>,
        files: &Files,
        state: &Path,
    ) -> anyhow::Result<()> {
        if let Some(Action::Open { file }) = &self.action {
            let opened = bundle::open(file, state).await?;
            return say(&if self.json { serde_json::to_string(&opened)? } else { opened.to_text() });
        }
        let console = console()?;
        let (client, failed) = (&console.client, |error| console.failed(error));
        match &self.action {
            None | Some(Action::List | Action::Open { .. }) => {
                let all = client.snapshots().await.map_err(failed)?.snapshots;
                if self.json { say(&serde_json::to_string(&all)?) } else { list(&all).context(NO_OUTPUT) }
            }
            Some(Action::Take { name, seed }) => {
                let taken = client.take_snapshot(name, seed.as_deref()).await.map_err(failed)?;
                say(&if self.json { serde_json::to_string(&taken)? } else { format!("took {}", told(&taken)) })
            }
            Some(Action::Restore { name }) => {
                let restored = client.restore_snapshot(name).await.map_err(failed)?;
                say(&if self.json { serde_json::to_string(&restored)? } else { became(&restored) })?;
                let behind = restored.unreachable.join(", ");
                ensure!(behind.is_empty(), "these services do not have the time or the faults of then: {behind}");
                Ok(())
            }
            Some(Action::Delete { name }) => {
                client.remove_snapshot(name).await.map_err(failed)?;
                say(&if self.json { json!({"deleted": name}).to_string() } else { format!("{name} is deleted") })
            }
            Some(Action::Export { name, file, without_config }) => {
                let export = client.export_snapshot(name).await.map_err(failed)?;
                let config = (!without_config).then(|| files.config_text()).transpose();
                let config =
                    config.context("the configuration cannot be read; give --config FILE or --without-config")?;
                if let Some(octets) = bundle::write(export, config, file, failed).await? {
                    // Nobody reads what cannot be written there.
                    let _ = writeln!(io::stderr(), "{}: {}", file.display(), count(octets, "octet", "octets"));
                }
                Ok(())
            }
        }
    }
}

/// A line for each snapshot.
fn list(all: &[TownSnapshot]) -> io::Result<()> {
    let mut output = anstream::stdout().lock();
    if all.is_empty() {
        return writeln!(output, "no snapshots; take one with: mailtown snapshot take NAME");
    }
    let width = all.iter().map(|snapshot| snapshot.name.len()).max().unwrap_or(0).max("NAME".len());
    writeln!(output, "{BOLD}{}  MESSAGES  QUEUED      KIB  TIME OF THE TOWN{BOLD:#}", padded("NAME", width))?;
    for snapshot in all {
        let TownSnapshot { name, messages, queued, octets, missing, manifest, .. } = snapshot;
        let gap = if missing.is_empty() { String::new() } else { format!("  missing at {}", missing.join(", ")) };
        let (name, kib, now) = (padded(name, width), octets / 1024, manifest.now);
        writeln!(output, "{name}  {messages:>8}  {queued:>6}  {kib:>7}  {now}{}", printable(&gap))?;
    }
    Ok(())
}

fn told(snapshot: &TownSnapshot) -> String {
    let TownSnapshot { name, messages, queued, stacks, manifest, .. } = snapshot;
    format!(
        "{name}: {} and {} of the queue in {}, at {}",
        count(*messages, "message", "messages"),
        count(*queued, "recipient", "recipients"),
        count(stacks.len() as u64, "store", "stores"),
        manifest.now
    )
}

fn became(restored: &TownRestored) -> String {
    let mut text = format!("restored {}", told(&restored.snapshot));
    if restored.unsettled > 0 {
        let attempts = count(restored.unsettled, "recipient", "recipients");
        text.push_str(&format!("\nattempts to relay to {attempts} were under way: what they have sent may come twice"));
    }
    if restored.zone_differs {
        text.push_str(
            "\nthe zone file is another one than then; it was not written (the snapshot has the text as zone)",
        );
    }
    text
}
