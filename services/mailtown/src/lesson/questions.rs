//! The questions of a lesson: asked on a terminal, and marked.

use crate::output;
use lessons::{Answers, Given, Item, Kind, Question};
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

/// The marks of one answer. The report never tells the right one.
pub(super) fn mark(question: &Question, answers: &Answers, given: &Given) -> Item {
    let problem = match given.answer(&question.key) {
        None => Some("there is no answer".to_owned()),
        Some(answer) if answers.accept(&question.key, answer) => None,
        Some(answer) => Some(format!("the answer `{answer}` is not right")),
    };
    Item {
        kind: Kind::Question,
        title: question.ask.clone(),
        group: None,
        points: if problem.is_none() { question.points } else { 0 },
        of: question.points,
        problem,
    }
}
