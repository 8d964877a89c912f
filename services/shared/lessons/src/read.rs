//! From the text of a file to a lesson or to answers.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// Why a file of lessons cannot be used: one line that names file, line and key.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct LessonError {
    file: String,
    line: usize,
    message: String,
}

/// Names the faults of one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) file: &'a str,
}

impl Source<'_> {
    /// The error at this octet of the text.
    pub(crate) fn error(self, offset: usize, message: String) -> LessonError {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&octet| octet == b'\n').count();
        LessonError { file: self.file.to_owned(), line, message }
    }

    /// Reads the text.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, LessonError> {
        let syntax = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let document = toml::Deserializer::parse(self.text)
            .map_err(|error| self.error(syntax(&error), error.message().trim_end().to_owned()))?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let key = error.path().iter().map(dotted).collect::<String>();
            let message = error.inner().message().trim_end();
            let key = key.trim_start_matches('.');
            let message = if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") };
            self.error(syntax(error.inner()), message)
        })
    }
}

fn dotted(segment: &Segment) -> String {
    match segment {
        // What `Spanned` adds.
        Segment::Map { key } if key.starts_with("$__") => String::new(),
        Segment::Map { key } => format!(".{key}"),
        Segment::Seq { index } => format!("[{index}]"),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}
