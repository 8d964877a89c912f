//! What is left of a run: a table, `results.json` and `bench.svg`.

mod plot;
mod sections;
mod table;

use crate::measure::Results;
use anyhow::Context;
use std::{fs, io::Write, path::Path};

/// Prints the tables, and writes the files into `directory`.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(results: &Results, directory: &Path) -> anyhow::Result<()> {
    // Coloured on a terminal only.
    let mut output = anstream::stdout();
    let machine = &results.machine;
    writeln!(
        output,
        "{} × {}, Linux {}, {}, fsync {:.1} ms (overwriting {:.1} ms), load {:.1}{}",
        machine.processors,
        machine.processor,
        machine.kernel,
        machine.file_system,
        machine.fsync_ms,
        machine.fsync_overwriting_ms,
        machine.load_before,
        results.peers.iter().map(|peer| format!(", {peer}")).collect::<String>(),
    )?;
    for missing in &results.missing {
        writeln!(output, "{missing}")?;
    }
    for section in sections::all(results) {
        section.write(&mut output)?;
    }
    let json = directory.join("results.json");
    let text = serde_json::to_string_pretty(results)? + "\n";
    fs::write(&json, text).with_context(|| format!("{} cannot be written", json.display()))?;
    writeln!(output, "\n{}", json.display())?;
    if let Some(plot) = plot::svg(results) {
        let svg = directory.join("bench.svg");
        fs::write(&svg, plot).with_context(|| format!("{} cannot be written", svg.display()))?;
        writeln!(output, "{}", svg.display())?;
    }
    Ok(())
}
