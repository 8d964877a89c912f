//! What is said of a town that was made of an exported file.

use super::bundle::{CONFIG, ZONE};
use crate::output::printable;
use console::client::TownSnapshot;
use serde::Serialize;
use std::path::Path;

/// A town that was made of an exported file.
#[derive(Debug, Serialize)]
pub(super) struct OpenedTown {
    /// The name of the snapshot.
    snapshot: String,
    /// The version of the town that was exported.
    version: String,
    stacks: Vec<String>,
    seed: Option<String>,
    /// The directory of the town.
    state: String,
    /// The configuration file, if the archive has it.
    config: Option<String>,
    /// The zone file, if the archive has it.
    zone: Option<String>,
    /// The command that starts the town. It lacks `--config` and `--zone` where the archive has no such file.
    command: Vec<String>,
    /// The command that sets its faults and its time again.
    restore: Vec<String>,
}

impl OpenedTown {
    /// Of this snapshot, in this directory.
    pub(super) fn new(snapshot: &TownSnapshot, has_config: bool, state: &Path) -> Self {
        let TownSnapshot { name, manifest, stacks, .. } = snapshot;
        let path = |name: &str| state.join(name).to_string_lossy().into_owned();
        let config = has_config.then(|| path(CONFIG));
        let zone = manifest.zone.as_ref().map(|_| path(ZONE));
        let state = state.to_string_lossy().into_owned();
        let mut command = vec!["mailtown".to_owned(), "--state".to_owned(), state.clone()];
        for (option, file) in [("--config", &config), ("--zone", &zone)] {
            command.extend(file.iter().flat_map(|file| [option.to_owned(), file.clone()]));
        }
        if manifest.is_virtual {
            command.push(format!("--virtual-clock={}", manifest.now));
        }
        Self {
            snapshot: name.clone(),
            version: manifest.version.clone(),
            stacks: stacks.clone(),
            seed: manifest.seed.clone(),
            state,
            config,
            zone,
            command,
            restore: ["mailtown", "snapshot", "restore", name].map(str::to_owned).to_vec(),
        }
    }

    /// What people read: what is missing has a word in its place.
    pub(super) fn to_text(&self) -> String {
        let mut command = self.command.clone();
        let missing = [("--config", "CONFIG", &self.config), ("--zone", "ZONE", &self.zone)];
        let missing = missing.into_iter().filter(|(_, _, file)| file.is_none());
        command.extend(missing.flat_map(|(option, word, _)| [option.to_owned(), word.to_owned()]));
        let seed = self.seed.as_ref().map(|seed| format!(", seed {seed}")).unwrap_or_default();
        let Self { snapshot, version, stacks, state, .. } = self;
        let stacks = stacks.join(" and ");
        let lines = [
            format!("opened {snapshot} (of mailtown {version}, {stacks}{seed}) in {state}; start it:"),
            format!("  {}", command.join(" ")),
            "and set its faults and its time again at any moment:".to_owned(),
            format!("  {}", self.restore.join(" ")),
        ];
        lines.map(|line| printable(&line)).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn snapshot(zone: Option<&str>) -> TownSnapshot {
        let mut snapshot: TownSnapshot = serde_json::from_value(json!({
            "name": "failed", "messages": 0, "queued": 0, "octets": 0, "stacks": ["a.test"], "format": 1,
            "version": "0\u{1b}[1m", "now": "2026-01-01T00:00:00Z", "virtual": true,
            "faults": ::faults::Settings::default(),
        }))
        .unwrap();
        snapshot.manifest.zone = zone.map(str::to_owned);
        snapshot
    }

    #[test]
    fn programs_get_the_paths_and_the_parts_of_the_command() {
        let opened = OpenedTown::new(&snapshot(Some("")), true, Path::new("/tmp/a town"));
        let told: Value = serde_json::to_value(&opened).unwrap();
        let (config, zone) = ("/tmp/a town/config.toml", "/tmp/a town/fdns.toml");
        let clock = "--virtual-clock=2026-01-01T00:00:00Z";
        let command = json!(["mailtown", "--state", "/tmp/a town", "--config", config, "--zone", zone, clock]);
        assert_eq!((&told["command"], &told["config"], &told["zone"]), (&command, &json!(config), &json!(zone)));
        assert_eq!(told["restore"], json!(["mailtown", "snapshot", "restore", "failed"]));
    }

    #[test]
    fn people_are_told_what_to_add_to_the_command() {
        let text = OpenedTown::new(&snapshot(None), false, Path::new("s")).to_text();
        let command = "  mailtown --state s --virtual-clock=2026-01-01T00:00:00Z --config CONFIG --zone ZONE";
        assert!(text.lines().any(|line| line == command), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
