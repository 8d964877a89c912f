//! The form of a lesson.

use jiff::SignedDuration;
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};
use toml::Spanned;

/// A lesson.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// What it is about, in a few words.
    pub title: String,
    /// What the student is told first.
    pub text: String,
    /// The town that it needs.
    #[serde(default)]
    pub town: Town,
    /// What goes wrong on purpose, by name.
    #[serde(default)]
    pub faults: BTreeMap<String, Fault>,
    /// Sent before the first checkpoint.
    #[serde(default)]
    pub mail: Vec<Outgoing>,
    /// Groups of checkpoints whose points are limited together.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// What must be true, in this order.
    #[serde(default)]
    pub checkpoints: Vec<Checkpoint>,
    /// What the student is asked at the end.
    #[serde(default)]
    pub questions: Vec<Question>,
}

/// How the town of a lesson differs from the default town.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Town {
    /// `profile` of its configuration; `tutorial` without this.
    pub profile: Option<String>,
    /// Tables of its configuration, as in `config.toml`.
    #[serde(default)]
    pub config: String,
    /// Its zone, as in `fdns.toml`, in place of the default one.
    pub zone: Option<String>,
}

/// A fault, as the console takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    #[serde(rename = "where")]
    pub place: serde_json::Value,
    /// What goes wrong.
    pub what: serde_json::Value,
    /// When; always without this.
    pub when: Option<serde_json::Value>,
}

/// A message to send over SMTP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// The server; the one of the first stack without this.
    pub server: Option<String>,
    /// The reverse-path without brackets; empty for the null reverse-path.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Header and body. Lines get their CRLF, and their dots are stuffed.
    pub content: String,
}

/// Limits the points of some checkpoints together.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// So many points at most.
    pub at_most: u32,
}

/// What must be true. It has its points when every step succeeds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// What it shows.
    pub title: String,
    /// What it is worth.
    #[serde(default = "one")]
    pub points: u32,
    /// The group that limits it.
    pub group: Option<String>,
    /// What is done, in this order.
    #[serde(default)]
    pub steps: Vec<Spanned<Step>>,
}

/// One step of a checkpoint: exactly one of `dialogue`, `send`, `maildrop`, `mail`, `sessions`, `fired` and `clear_faults`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A golden dialogue with a server.
    pub dialogue: Option<String>,
    /// The server of the dialogue; the one of the first stack without this.
    pub server: Option<String>,
    /// The protocol of the dialogue.
    pub protocol: Option<Protocol>,
    /// A message that the server must take.
    pub send: Option<Outgoing>,
    /// What must be in a maildrop.
    pub maildrop: Option<Maildrop>,
    /// A query of the console: mail that must be there.
    pub mail: Option<String>,
    /// A query of the console's sessions, such as `stack=gmail.com&failed=true`.
    pub sessions: Option<String>,
    /// A fault that must have happened.
    pub fired: Option<String>,
    /// Removes all faults.
    #[serde(default)]
    pub clear_faults: bool,
    /// How many there must be; 1 without this. With 0 there must be none.
    pub count: Option<u32>,
    /// How long the step may fail before it counts, such as `"10s"`.
    pub within: Option<SignedDuration>,
}

impl Step {
    /// How long it is tried again: at once only, for a dialogue; ten seconds for all others, unless the lesson tells.
    pub fn patience(&self) -> Duration {
        const PATIENCE: Duration = Duration::from_secs(10);
        let usual = if self.dialogue.is_some() || self.send.is_some() { Duration::ZERO } else { PATIENCE };
        self.within.map_or(usual, SignedDuration::unsigned_abs)
    }

    /// How many there must be.
    pub fn wanted(&self) -> u32 {
        self.count.unwrap_or(1)
    }

    /// Whether only the console of a town can tell.
    pub fn needs_console(&self) -> bool {
        self.mail.is_some() || self.sessions.is_some() || self.fired.is_some() || self.clear_faults
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// SMTP (RFC 5321).
    Smtp,
    /// POP3 (RFC 1939).
    Pop,
}

/// What must be in a maildrop, as POP3 shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maildrop {
    /// The server; the one of the first stack without this.
    pub server: Option<String>,
    /// Whose.
    pub user: String,
    /// The password.
    pub password: String,
    /// Texts that such a message has all.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Whether the session lasts until the end of the checkpoint.
    #[serde(default)]
    pub stay: bool,
}

/// What the student is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The key of its answer in the file of answers.
    pub key: String,
    /// The question.
    pub ask: String,
    /// What can be answered; anything without this.
    #[serde(default)]
    pub choices: Vec<String>,
    /// What it is worth.
    #[serde(default = "one")]
    pub points: u32,
}

fn one() -> u32 {
    1
}

impl Lesson {
    /// Whether it can be played with servers that are not a town's own: no fault, no console.
    pub fn suits_any_server(&self) -> bool {
        let mut steps = self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.steps);
        self.faults.is_empty() && !steps.any(|step| step.get_ref().needs_console())
    }
}
