//! The questions of a lesson, asked on a terminal.

use crate::output;
use lessons::{Given, Question};
use std::io::{self, BufRead, IsTerminal};

/// Asks on the terminal. Without one, nothing is answered.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(super) fn ask(questions: &[Question]) -> anyhow::Result<Given> {
    let mut given = Given::default();
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(given);
    }
    for question in questions {
        output::say(&question.ask)?;
        for choice in &question.choices {
            output::say(&format!("  - {choice}"))?;
        }
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        given.insert(&question.key, answer.trim());
    }
    Ok(given)
}
