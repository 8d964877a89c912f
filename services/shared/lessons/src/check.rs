//! What a lesson must keep beyond its form.

use crate::{Lesson, LessonError, Step, read::Source};
use std::collections::BTreeSet;

impl Lesson {
    /// Reads and checks the text of a lesson; `file` is what errors name.
    ///
    /// # Errors
    /// [`LessonError`].
    pub fn parse(text: &str, file: &str) -> Result<Self, LessonError> {
        let source = Source { text, file };
        let lesson: Self = source.parse()?;
        lesson.check(source)?;
        Ok(lesson)
    }

    fn check(&self, source: Source<'_>) -> Result<(), LessonError> {
        if self.checkpoints.is_empty() && self.questions.is_empty() {
            return Err(source.error(0, "checkpoints: there is no checkpoint and no question".to_owned()));
        }
        let mut keys = BTreeSet::new();
        for question in &self.questions {
            if !keys.insert(&question.key) {
                let at = source.text.rfind(&question.key).unwrap_or(0);
                return Err(source.error(at, format!("questions.key: `{}` is there twice", question.key)));
            }
        }
        for (number, checkpoint) in self.checkpoints.iter().enumerate() {
            if let Some(group) = checkpoint.group.as_ref().filter(|group| !self.groups.contains_key(*group)) {
                let at = source.text.find(&format!("group = \"{group}\"")).unwrap_or(0);
                return Err(source.error(at, format!("checkpoints[{number}].group: there is no group `{group}`")));
            }
            for (place, step) in checkpoint.steps.iter().enumerate() {
                let key = format!("checkpoints[{number}].steps[{place}]");
                let wrong = self.check_step(step.get_ref(), &checkpoint.title);
                wrong.map_err(|message| source.error(step.span().start, format!("{key}{message}")))?;
            }
        }
        Ok(())
    }

    /// Returns the rest of the key, and what is wrong with it.
    fn check_step(&self, step: &Step, title: &str) -> Result<(), String> {
        let kinds = [
            step.dialogue.is_some(),
            step.send.is_some(),
            step.maildrop.is_some(),
            step.mail.is_some(),
            step.sessions.is_some(),
            step.fired.is_some(),
            step.clear_faults,
        ];
        if kinds.into_iter().filter(|is| *is).count() != 1 {
            let kinds = "dialogue, send, maildrop, mail, sessions, fired, clear_faults";
            return Err(format!(": a step has exactly one of {kinds}"));
        }
        if let Some(text) = &step.dialogue {
            if step.protocol.is_none() {
                return Err(".protocol: a dialogue needs `protocol = \"smtp\"` or `\"pop\"`".to_owned());
            }
            let parsed = dialogue::Dialogue::parse("dialogue", &with_rule(title, text), &[]);
            parsed.map_err(|error| format!(".{error}"))?;
        }
        if let Some(name) = step.fired.as_ref().filter(|name| !self.faults.contains_key(*name)) {
            return Err(format!(".fired: there is no fault `{name}`"));
        }
        Ok(())
    }
}

impl Step {
    /// The dialogue, if this is one; `file` is what its errors name.
    pub fn conversation(&self, title: &str, file: &str) -> Option<dialogue::Dialogue> {
        let text = with_rule(title, self.dialogue.as_ref()?);
        dialogue::Dialogue::parse(file, &text, &[]).ok()
    }
}

/// The text with its rule in the first line.
fn with_rule(title: &str, text: &str) -> String {
    format!("# {title}\n{text}")
}

#[cfg(test)]
mod tests {
    use crate::Lesson;

    const START: &str = "title = \"t\"\ntext = \"x\"\n";

    #[test]
    fn mistakes_are_named_with_file_line_and_key() {
        let step = "[[checkpoints]]\ntitle = \"c\"\n[[checkpoints.steps]]\n";
        let table = [
            ("titel = 1".to_owned(), "l.toml:3: titel: unknown field `titel`"),
            ("[[mail]]\nfrom = 3".to_owned(), "l.toml:4: mail[0].from: invalid type: integer `3`"),
            ("[[mail]]\nfrom = \"a".to_owned(), "l.toml:4: "),
            (String::new(), "l.toml:1: checkpoints: there is no checkpoint and no question"),
            (format!("{step}clear_faults = false"), "l.toml:5: checkpoints[0].steps[0]: a step has exactly one of "),
            (
                format!("{step}dialogue = \"S: x\""),
                "l.toml:5: checkpoints[0].steps[0].protocol: a dialogue needs `protocol",
            ),
            (
                format!("{step}protocol = \"pop\"\ndialogue = \"X: x\""),
                "l.toml:5: checkpoints[0].steps[0].dialogue:2: `X` is none of",
            ),
            (format!("{step}fired = \"grey\""), "l.toml:5: checkpoints[0].steps[0].fired: there is no fault `grey`"),
            (
                format!("{step}protocol = \"imap\""),
                "l.toml:6: checkpoints[0].steps[0].protocol: unknown variant `imap`",
            ),
            (format!("{step}within = \"soon\""), "l.toml:6: checkpoints[0].steps[0].within: "),
            (
                "[[checkpoints]]\ntitle = \"c\"\ngroup = \"g\"".to_owned(),
                "l.toml:5: checkpoints[0].group: there is no group `g`",
            ),
        ];
        for (rest, expected) in table {
            let error = Lesson::parse(&format!("{START}{rest}\n"), "l.toml").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{rest}: {error}");
        }
    }
}
