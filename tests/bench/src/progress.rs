//! What is going on, for the person who waits.

use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// A line that changes on a terminal, and lines that stay.
pub(crate) struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, on_terminal }
    }

    /// Says what is being done now.
    pub(crate) fn begin(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Says what has been found.
    pub(crate) fn say(&self, what: &str) {
        if self.on_terminal {
            self.bar.println(what);
        } else {
            eprintln!("{what}");
        }
    }

    /// Nothing more will be done.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
