//! The commands that ask the console of the running town.

mod capture;
mod clock;
mod faults;
mod locate;
mod sessions;
mod snapshots;
mod trace;
mod wait;

pub(crate) use capture::Capture;
pub(crate) use clock::ClockCommand;
pub(crate) use faults::FaultsCommand;
pub(crate) use locate::{ConsoleArgs, Place};
pub(crate) use sessions::Sessions;
pub(crate) use snapshots::SnapshotCommand;
pub(crate) use trace::Trace;
pub(crate) use wait::{NOT_ASKED, TIME_IS_UP, Wait};

use anstyle::{AnsiColor, Color, Style};
use console::client::{Client, ClientError};
use internal_api::ProblemKind;
use jiff::Timestamp;

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const REFUSED: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Red)));
pub(super) const WAITS: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Yellow)));
pub(super) const CLIENT: Style = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Cyan)));

/// The console of the running town.
#[derive(Debug)]
pub(crate) struct TownConsole {
    client: Client,
}

impl TownConsole {
    /// What a call has failed with, and what to do.
    fn failed(&self, error: ClientError) -> anyhow::Error {
        let url = self.client.url();
        match error {
            ClientError::Silent(error) => {
                let error = anyhow::Error::new(error);
                anyhow::anyhow!(
                    "{url} is silent: {}; is the town running, and its console? if that is elsewhere, give --console URL",
                    error.root_cause()
                )
            }
            ClientError::Locked if self.client.has_password() => anyhow::anyhow!(
                "{url} refuses this password; set MAILTOWN_CONSOLE_PASSWORD, or give --console-password PASSWORD, to that \
                 of the console"
            ),
            ClientError::Locked => anyhow::anyhow!(
                "{url} wants a password; set MAILTOWN_CONSOLE_PASSWORD, or give --console-password PASSWORD"
            ),
            ClientError::Problem(problem) if problem.kind == ProblemKind::MethodNotAllowed => {
                anyhow::anyhow!("{url} has no such call: the console is older than this command; upgrade it")
            }
            ClientError::Problem(problem) => problem.into(),
            ClientError::Strange(cause) => {
                anyhow::anyhow!(
                    "{url} gives no answer of a console ({cause}); give --console URL as the town prints it"
                )
            }
        }
    }
}

/// A number of things.
fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Milliseconds of a day in UTC.
fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S.%3fZ").to_string()
}

/// A duration in the unit that fits.
fn duration(microseconds: u64) -> String {
    let value = microseconds as f64;
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..10_000 => format!("{:.1} ms", value / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..60_000_000 => format!("{:.1} s", value / 1e6),
        _ => format!("{} min {} s", microseconds / 60_000_000, microseconds / 1_000_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_unit_that_fits() {
        for (microseconds, expected) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_234, "1.2 ms"),
            (123_456, "123 ms"),
            (1_234_567, "1.2 s"),
            (61_000_000, "1 min 1 s"),
        ] {
            assert_eq!(duration(microseconds), expected);
        }
        assert_eq!(time_of_day(Timestamp::from_millisecond(1_234).unwrap()), "00:00:01.234Z");
    }
}
