//! The lessons that every program has with it.

use crate::{Answers, Lesson, LessonError};

/// A lesson, and its answers.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Its name: the name of its file without `.toml`.
    pub name: &'static str,
    lesson: &'static str,
    answers: &'static str,
}

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(BuiltIn {
            name: $name,
            lesson: include_str!(concat!("../../../../data/lessons/", $name, ".toml")),
            answers: include_str!(concat!("../../../../data/lessons/answers/", $name, ".toml")),
        }),+]
    };
}

const ALL: &[BuiltIn] = built_in![
    "tutorial",
    "trace-header",
    "mx-preference",
    "greylisting",
    "full-mailbox",
    "who-bounced",
    "double-bounce",
    "open-relay",
    "dot-stuffing",
    "smuggling",
    "pop3-lock",
    "duplicate",
    "tls-stripped",
    "grading",
];

/// All of them, in the order in which to take them.
pub fn all() -> &'static [BuiltIn] {
    ALL
}

/// The one of this name.
pub fn named(name: &str) -> Option<BuiltIn> {
    ALL.iter().copied().find(|lesson| lesson.name == name)
}

impl BuiltIn {
    /// Reads the lesson.
    ///
    /// # Errors
    /// [`LessonError`]; a test reads them all.
    pub fn lesson(self) -> Result<Lesson, LessonError> {
        Lesson::parse(self.lesson, &format!("data/lessons/{}.toml", self.name))
    }

    /// Reads its answers.
    ///
    /// # Errors
    /// As [`BuiltIn::lesson`].
    pub fn answers(self, lesson: &Lesson) -> Result<Answers, LessonError> {
        Answers::parse(self.answers, &format!("data/lessons/answers/{}.toml", self.name), &lesson.questions)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_can_be_read_and_have_answers() {
        for built_in in super::all() {
            let lesson = built_in.lesson().unwrap();
            let answers = built_in.answers(&lesson).unwrap();
            for question in &lesson.questions {
                let right = answers.given().answer(&question.key).unwrap_or_default().to_owned();
                let can_be_chosen = question.choices.is_empty() || question.choices.contains(&right);
                assert!(can_be_chosen, "{}: {}", built_in.name, question.key);
            }
        }
        assert!(super::all().len() >= 13);
    }
}
