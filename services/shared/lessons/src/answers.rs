//! Answers: what is right, and what the student says.

use crate::{Item, Kind, LessonError, Question, read::Source};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is right, for each question: any of some texts.
#[derive(Debug, Clone, Default)]
pub struct Answers(BTreeMap<String, Vec<String>>);

/// What a student says, for each question.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeMap<String, String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Accepted {
    One(String),
    Any(Vec<String>),
}

impl Answers {
    /// Reads the text of a file of answers: a text or a list of texts for the key of each question.
    ///
    /// # Errors
    /// [`LessonError`], also when a question has no answer.
    pub fn parse(text: &str, file: &str, questions: &[Question]) -> Result<Self, LessonError> {
        let source = Source { text, file };
        let read: BTreeMap<String, Accepted> = source.parse()?;
        let texts = |accepted| match accepted {
            Accepted::One(text) => vec![text],
            Accepted::Any(texts) => texts,
        };
        let answers: BTreeMap<String, Vec<String>> = read.into_iter().map(|(key, any)| (key, texts(any))).collect();
        match questions.iter().find(|question| answers.get(&question.key).is_none_or(Vec::is_empty)) {
            Some(question) => Err(source.error(0, format!("{}: this question has no answer here", question.key))),
            None => Ok(Self(answers)),
        }
    }

    /// Whether an answer is right. Capital letters, spaces at the ends and a final full stop do not matter.
    pub fn accept(&self, key: &str, answer: &str) -> bool {
        self.0.get(key).is_some_and(|accepted| accepted.iter().any(|right| plain(right) == plain(answer)))
    }

    /// The first right answer of each question.
    pub fn given(&self) -> Given {
        Given(self.0.iter().filter_map(|(key, any)| Some((key.clone(), any.first()?.clone()))).collect())
    }
}

impl Given {
    /// Reads the text of a student's file: one text for the key of each question that is answered.
    ///
    /// # Errors
    /// [`LessonError`].
    pub fn parse(text: &str, file: &str) -> Result<Self, LessonError> {
        Source { text, file }.parse().map(Self)
    }

    /// Notes an answer.
    pub fn insert(&mut self, key: &str, answer: &str) {
        self.0.insert(key.to_owned(), answer.to_owned());
    }

    /// The text of a file that says the same.
    pub fn to_toml(&self) -> String {
        let line = |(key, answer): (&String, &String)| format!("{key} = {}\n", toml::Value::from(answer.as_str()));
        self.0.iter().map(line).collect()
    }

    /// A key that none of these questions has.
    pub fn unknown_key(&self, questions: &[Question]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|key| questions.iter().all(|question| question.key != *key))
    }

    /// What the student says.
    pub fn answer(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl Question {
    /// The marks of an answer. They never tell the right one.
    pub fn mark(&self, answers: &Answers, given: &Given) -> Item {
        let problem = match given.answer(&self.key) {
            None => Some(format!("there is no answer; its key is `{}`", self.key)),
            Some(answer) if answers.accept(&self.key, answer) => None,
            Some(answer) => Some(format!("the answer `{answer}` is not right")),
        };
        Item {
            kind: Kind::Question,
            title: self.ask.clone(),
            group: None,
            points: if problem.is_none() { self.points } else { 0 },
            of: self.points,
            problem,
        }
    }
}

impl FromIterator<(String, String)> for Given {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(answers: T) -> Self {
        Self(answers.into_iter().collect())
    }
}

fn plain(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_of_several_texts() {
        let question = Question { key: "a".to_owned(), ask: String::new(), choices: Vec::new(), points: 1 };
        let answers =
            Answers::parse("a = [\"Return-Path\", \"the  Return-Path\"]", "f", std::slice::from_ref(&question))
                .unwrap();
        for (answer, expected) in
            [(" return-path. ", true), ("the return-path", true), ("received", false), ("", false)]
        {
            assert_eq!(answers.accept("a", answer), expected, "{answer}");
        }
        let missing = Answers::parse("b = \"x\"", "f", &[question]).unwrap_err();
        assert_eq!(missing.to_string(), "f:1: a: this question has no answer here");
        assert_eq!(answers.given().answer("a"), Some("Return-Path"));
        assert!(Given::parse("a = 3", "g").unwrap_err().to_string().starts_with("g:1: a: invalid type"));
    }
}
