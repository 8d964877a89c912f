//! Plays the steps of a lesson.

use super::{
    against::Servers,
    client::{self, Lines},
    console::Console,
};
use anyhow::Context;
use lessons::{Checkpoint, Lesson, Maildrop, Outgoing, Protocol, Step};
use mail_net::{Clock, IoClock};
use std::time::Duration;
use tokio::net::TcpStream;

/// How often a step is tried that may fail at first.
const INTERVAL: Duration = Duration::from_millis(50);

/// Plays a lesson with some servers.
pub(super) struct Player<'a> {
    name: &'a str,
    servers: Servers,
    console: Option<Console>,
    io: IoClock,
}

impl<'a> Player<'a> {
    /// For the lesson of this name.
    pub(super) fn new(name: &'a str, servers: Servers) -> Self {
        Self { name, servers, console: None, io: Clock::system().io }
    }

    /// Sets the faults of the lesson, and sends its mail.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) async fn prepare(&mut self, lesson: &Lesson) -> anyhow::Result<()> {
        self.console = self.servers.console().map(Console::new).transpose()?;
        for (name, fault) in &lesson.faults {
            self.console()?.set_fault(name, fault).await?;
        }
        for mail in &lesson.mail {
            self.send(mail).await.with_context(|| format!("the mail from <{}> of the lesson", mail.from))?;
        }
        Ok(())
    }

    fn console(&self) -> anyhow::Result<&Console> {
        self.console.as_ref().context("this step needs the console of a town")
    }

    async fn send(&self, mail: &Outgoing) -> anyhow::Result<()> {
        client::send(self.servers.place(mail.server.as_deref(), Protocol::Smtp)?, mail, self.io).await
    }

    /// Plays the steps of a checkpoint. Returns why the first of them that fails does.
    ///
    /// # Errors
    /// When it is not known where a server is.
    pub(super) async fn problem(&self, checkpoint: &Checkpoint) -> anyhow::Result<Option<String>> {
        let mut held = Vec::new();
        for (number, step) in checkpoint.steps.iter().enumerate() {
            let step = step.get_ref();
            let deadline = self.io.instant() + step.patience();
            loop {
                let problem = match self.once(step, (&checkpoint.title, number + 1), &mut held).await {
                    Ok(problem) => problem,
                    Err(error) => Some(format!("step {}: {error:#}", number + 1)),
                };
                if problem.is_none() {
                    break;
                }
                // What must not be there is looked for once, when the town is at rest.
                if self.io.instant() >= deadline || step.count == Some(0) {
                    return Ok(problem);
                }
                self.io.sleep(INTERVAL).await;
            }
        }
        Ok(None)
    }

    /// Tries a step. Returns why it fails.
    async fn once(
        &self,
        step: &Step,
        (title, number): (&str, usize),
        held: &mut Vec<Lines>,
    ) -> anyhow::Result<Option<String>> {
        if step.dialogue.is_some() {
            return self.converse(step, title, number).await;
        }
        if let Some(mail) = &step.send {
            return self.send(mail).await.map(|()| None);
        }
        if let Some(maildrop) = &step.maildrop {
            return self.read(maildrop, step, held).await;
        }
        let console = self.console()?;
        if step.clear_faults {
            return console.clear_faults().await.map(|()| None);
        }
        if let Some(query) = &step.mail {
            if step.wanted() > 0 {
                return console.wait(query, step.wanted(), step.patience()).await;
            }
            let found = console.at_rest(query).await?;
            return Ok((found > 0).then(|| format!("{found} messages match {query}, and there must be none")));
        }
        let (found, what) = match (&step.sessions, &step.fired) {
            (Some(query), _) => (console.sessions(query).await?, format!("sessions match {query}")),
            (None, name) => {
                let name = name.as_deref().unwrap_or_default();
                (usize::try_from(console.fired(name).await?)?, format!("times the fault {name} has happened"))
            }
        };
        Ok(amiss(found, step).map(|expected| format!("{found} {what}; {expected}")))
    }

    async fn converse(&self, step: &Step, title: &str, number: usize) -> anyhow::Result<Option<String>> {
        let file = format!("{}, step {number}", self.name);
        let conversation = step.conversation(title, &file).context("this is no dialogue")?;
        let place = self.servers.place(step.server.as_deref(), step.protocol.unwrap_or(Protocol::Smtp))?;
        let stream =
            TcpStream::connect(place).await.with_context(|| format!("no connection to {}:{}", place.0, place.1))?;
        stream.set_nodelay(true)?;
        Ok(conversation.play_over(stream, usize::MAX).await.err().map(|mismatch| mismatch.to_string()))
    }

    async fn read(&self, maildrop: &Maildrop, step: &Step, held: &mut Vec<Lines>) -> anyhow::Result<Option<String>> {
        let place = self.servers.place(maildrop.server.as_deref(), Protocol::Pop)?;
        let (found, session) = client::matching(place, maildrop, self.io).await?;
        held.extend(session);
        let texts = maildrop.contains.join("`, `");
        let what = format!("{found} messages in the maildrop of {} contain `{texts}`", maildrop.user);
        Ok(amiss(found, step).map(|expected| format!("{what}; {expected}")))
    }
}

/// What is wanted instead of so many.
fn amiss(found: usize, step: &Step) -> Option<String> {
    let wanted = step.wanted() as usize;
    match wanted {
        0 => (found > 0).then(|| "there must be none".to_owned()),
        _ => (found < wanted).then(|| format!("there must be {wanted}")),
    }
}
