//! Lessons: what a student is told, what happens in the town, what must be true afterwards, and questions.
//!
//! A lesson is a TOML file, and its answers are another one. This crate reads both, marks answers, and writes reports. It
//! opens no connection: who runs a lesson does.
//! ```
//! let lesson = lessons::Lesson::parse("title = \"Nothing\"\ntext = \"\"\n[[checkpoints]]\ntitle = \"x\"\n", "n.toml").unwrap();
//! assert_eq!(lesson.checkpoints[0].points, 1);
//! ```

mod answers;
mod built_in;
mod check;
mod lesson;
mod read;
mod report;

pub use answers::{Answers, Given};
pub use built_in::{BuiltIn, all, named};
pub use lesson::{Checkpoint, Fault, Group, Lesson, Maildrop, Outgoing, Protocol, Question, Step, Town};
pub use read::LessonError;
pub use report::{Item, Kind, Report};
