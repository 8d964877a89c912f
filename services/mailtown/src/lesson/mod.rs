//! `mailtown lesson`: a town or somebody's server, what happens there, and the marks.

mod against;
mod client;
mod console;
mod out;
mod play;
mod questions;
mod town;

use crate::output;
use against::{Against, Servers};
use anyhow::{Context, bail, ensure};
use lessons::{Answers, Given, Item, Kind, Lesson, Report};
use out::Out;
use play::Player;
use std::{
    fs,
    path::{Path, PathBuf},
};
use town::LessonTown;
use town_config::LiveConfig;

/// The exit code when marks are lost.
pub(crate) const NOT_FULL: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  mailtown lesson list
  mailtown lesson run greylisting
  mailtown lesson run my-lesson.toml --answers mine.toml --report junit --out report.xml
  mailtown lesson run grading --against 127.0.0.1:1025";

/// What to do with lessons.
#[derive(Debug, Clone, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum LessonCommand {
    /// Print the name and title of each lesson
    List,
    /// Run a lesson with a town of its own, or with your server; the exit code is 0 for full marks
    #[command(after_help = EXAMPLES)]
    Run(Run),
}

/// A lesson to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Run {
    /// The name of a lesson, or a file
    #[arg(value_name = "NAME|FILE")]
    lesson: String,
    /// The server to mark, which runs already: HOST:PORT is where the lowest port of the configuration is, and all others keep their distance to it. smtp=HOST:PORT, pop=HOST:PORT and gmail.com/smtp=HOST:PORT name one service; can be repeated
    #[arg(long, value_name = "[SERVICE=]HOST:PORT")]
    against: Vec<Against>,
    /// Your answers: a TOML file with key = "answer" for each question [default: asked on a terminal]
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// How the marks are reported
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    report: Format,
    /// Write the report there, and not to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// Aligned lines
    #[default]
    Text,
    /// JSON
    Json,
    /// The XML of JUnit
    Junit,
}

/// A lesson with what it was read from.
struct Opened {
    name: String,
    lesson: Lesson,
    answers: Answers,
}

impl LessonCommand {
    /// Runs the command. Returns whether there were full marks. Only a lesson against other servers needs the configuration.
    ///
    /// # Errors
    /// When the lesson cannot be read or run.
    pub(crate) async fn run(&self, config: impl FnOnce() -> anyhow::Result<LiveConfig>) -> anyhow::Result<bool> {
        match self {
            Self::List => list().map(|()| true),
            Self::Run(run) => run.run(config).await,
        }
    }
}

fn list() -> anyhow::Result<()> {
    let width = lessons::all().iter().map(|lesson| lesson.name.len()).max().unwrap_or(0);
    for lesson in lessons::all() {
        output::say(&format!("{}  {}", output::padded(lesson.name, width), lesson.lesson()?.title))?;
    }
    Ok(())
}

impl Run {
    async fn run(&self, config: impl FnOnce() -> anyhow::Result<LiveConfig>) -> anyhow::Result<bool> {
        let opened = open(&self.lesson)?;
        let given = self.answers.as_deref().map(|path| given(path, &opened.lesson)).transpose()?;
        ensure!(
            self.against.is_empty() || opened.lesson.suits_any_server(),
            "{}: this lesson needs a town of its own, with its console; run it without --against",
            self.lesson
        );
        // The marks are not to be lost because there is no such directory.
        let out = self.out.as_deref().map(Out::open).transpose()?;
        // Whoever reads a report for programs reads nothing else.
        let is_told = self.out.is_some() || self.report == Format::Text;
        if is_told {
            output::say(&format!("{}\n\n{}", opened.lesson.title, opened.lesson.text.trim_end()))?;
        }
        let report = if self.against.is_empty() {
            let town = LessonTown::start(&self.lesson, &opened.lesson).await?;
            if let Some(console) = town.console().filter(|_| is_told) {
                output::say(&format!("\nThe console of this town: http://{console}/\n"))?;
            }
            let marked = opened.marked(town.servers(), given).await;
            town.stop().await?;
            marked?
        } else {
            opened.marked(Servers::new(&config()?, &self.against)?, given).await?
        };
        self.write(&report, out)?;
        Ok(report.is_full())
    }

    fn write(&self, report: &Report, out: Option<Out>) -> anyhow::Result<()> {
        let text = match self.report {
            Format::Text => report.to_text(),
            Format::Json => report.to_json(),
            Format::Junit => report.to_junit(),
        };
        let Some(out) = out else { return output::say(text.trim_end()) };
        let file = out.write(&text)?;
        output::say(&format!("{} of {} points; {} has the report", report.points, report.of, file.display()))
    }
}

impl Opened {
    /// Plays all, and asks.
    async fn marked(&self, servers: Servers, given: Option<Given>) -> anyhow::Result<Report> {
        let mut player = Player::new(&self.name, servers);
        player.prepare(&self.lesson).await?;
        let mut items = Vec::new();
        for checkpoint in &self.lesson.checkpoints {
            let problem = player.problem(checkpoint).await?;
            items.push(Item {
                kind: Kind::Checkpoint,
                title: checkpoint.title.clone(),
                group: checkpoint.group.clone(),
                points: if problem.is_none() { checkpoint.points } else { 0 },
                of: checkpoint.points,
                problem,
            });
        }
        let given = match given {
            Some(given) => given,
            None => questions::ask(&self.lesson.questions)?,
        };
        items.extend(self.lesson.questions.iter().map(|question| question.mark(&self.answers, &given)));
        Ok(Report::new(&self.name, &self.lesson, items))
    }
}

/// The lesson of this name, or in this file. The answers of a file are in `answers` beside it, under the same name.
fn open(name: &str) -> anyhow::Result<Opened> {
    if let Some(built_in) = lessons::named(name) {
        let lesson = built_in.lesson()?;
        let answers = built_in.answers(&lesson)?;
        return Ok(Opened { name: name.to_owned(), lesson, answers });
    }
    let path = Path::new(name);
    let Some(stem) = path.file_stem().filter(|_| path.extension().is_some_and(|extension| extension == "toml")) else {
        bail!("there is no lesson {name}; `mailtown lesson list` prints their names, and a file ends with .toml");
    };
    let lesson = Lesson::parse(&read(path)?, name)?;
    let answers = match lesson.questions.is_empty() {
        true => Answers::default(),
        false => {
            let beside = path.with_file_name("answers").join(path.file_name().unwrap_or_default());
            Answers::parse(&read(&beside)?, &beside.display().to_string(), &lesson.questions)?
        }
    };
    Ok(Opened { name: stem.to_string_lossy().into_owned(), lesson, answers })
}

/// The answers in this file, all of them to questions of the lesson.
fn given(path: &Path, lesson: &Lesson) -> anyhow::Result<Given> {
    let given = Given::parse(&read(path)?, &path.display().to_string())?;
    if let Some(key) = given.unknown_key(&lesson.questions) {
        let keys: Vec<_> = lesson.questions.iter().map(|question| question.key.as_str()).collect();
        anyhow::bail!("{}: the lesson asks no {key}; its keys are {}", path.display(), keys.join(", "));
    }
    Ok(given)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}
