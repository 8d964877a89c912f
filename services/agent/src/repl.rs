//! The dialogue.

use crate::{
    Args,
    args::mailbox,
    console::{Answer, Console},
    directory::Directory,
    maildrop::{Maildrop, login, refusal},
    message::{Draft, compose},
    one_line, printable, repr,
    submission::{Submission, submit},
    transcript::Transcript,
};
use mail_proto::{
    Mailbox,
    pop3::{Command, CommandError, StatusLine},
};
use std::{io, ops::ControlFlow};
use town_config::Profile;

const PROMPT: &str = "[smtp|pop|exit]>>> ";
const HELP: &str = "smtp sends a message, pop reads your maildrop, exit or quit ends";
const POP_PROMPT: &str = "[pop]>>> ";
const POP_HELP: &str =
    "stat, list [n], retr n, dele n, rset, noop, quit, uidl [n], top n k, capa, exit (quit, and end)";

/// Whether the dialogue goes on.
type Flow = ControlFlow<Ending>;

/// Why the dialogue ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The user asked for it.
    Asked,
    /// There is no more input.
    EndOfInput,
}

/// Asks for commands until `exit` or the end of the input. Whatever fails is told, and the prompt comes back.
///
/// # Errors
/// When the console itself fails.
pub(crate) fn run(args: &Args, directory: &Directory, console: &mut dyn Console) -> io::Result<()> {
    let mut dialogue = Dialogue { args, directory, console, password: args.password.clone() };
    loop {
        let flow = match dialogue.console.command(PROMPT)? {
            Answer::End => Flow::Break(Ending::EndOfInput),
            Answer::Interrupted => Flow::Continue(()),
            Answer::Line(line) => match line.trim() {
                "" => Flow::Continue(()),
                "exit" | "quit" => Flow::Break(Ending::Asked),
                "smtp" => dialogue.smtp()?,
                "pop" => dialogue.pop()?,
                _ => {
                    dialogue.console.tell(HELP)?;
                    Flow::Continue(())
                }
            },
        };
        match flow {
            Flow::Continue(()) => {}
            Flow::Break(Ending::Asked) => return Ok(()),
            // The last prompt still stands there.
            Flow::Break(Ending::EndOfInput) => return dialogue.console.tell(""),
        }
    }
}

struct Dialogue<'a> {
    args: &'a Args,
    directory: &'a Directory,
    console: &'a mut dyn Console,
    password: Option<String>,
}

impl Dialogue<'_> {
    fn smtp(&mut self) -> io::Result<Flow> {
        let mut recipients: Vec<Mailbox> = Vec::new();
        loop {
            match self.console.ask("To: ")? {
                Answer::End => return Ok(Flow::Break(Ending::EndOfInput)),
                Answer::Interrupted => return Ok(Flow::Continue(())),
                Answer::Line(line) if line.trim().is_empty() => break,
                Answer::Line(line) => match mailbox(line.trim()) {
                    Ok(mailbox) => recipients.push(mailbox),
                    Err(error) => self.console.tell(&printable(&format!("{}: {error}", line.trim())))?,
                },
            }
        }
        if recipients.is_empty() {
            self.console.tell("no recipients: nothing was sent")?;
            return Ok(Flow::Continue(()));
        }
        let mut answers = Vec::new();
        for prompt in ["Subject: ", "Content: "] {
            match self.console.ask(prompt)? {
                Answer::End => return Ok(Flow::Break(Ending::EndOfInput)),
                Answer::Interrupted => return Ok(Flow::Continue(())),
                Answer::Line(line) => answers.push(line),
            }
        }
        if let Err(error) = self.send(&recipients, &answers[0], &answers[1]) {
            self.console.tell(&one_line(&error))?;
        }
        Ok(Flow::Continue(()))
    }

    fn send(&mut self, recipients: &[Mailbox], subject: &str, text: &str) -> anyhow::Result<()> {
        let from = &self.args.address;
        let message = compose(
            Draft { from, to: recipients, subject, text },
            self.directory.profile,
            self.directory.clock.wall.now(),
        )?;
        let submission = Submission { profile: self.directory.profile, from, recipients, message: &message };
        let verdicts = submit(
            &self.directory.smtp()?,
            Transcript::new(self.args.verbose),
            submission,
            self.directory.clock.clone(),
        )?;
        // The hand-out's client says nothing of what was accepted.
        let accepted = verdicts.iter().find(|verdict| verdict.is_positive());
        if let Some(accepted) = accepted.filter(|_| self.directory.profile == Profile::Rfc) {
            self.console.tell(&accepted.on_one_line())?;
        }
        for (recipient, verdict) in recipients.iter().zip(verdicts) {
            if !verdict.is_positive() {
                self.console.tell(&format!("{recipient}: {}", verdict.on_one_line()))?;
            }
        }
        Ok(())
    }

    fn pop(&mut self) -> io::Result<Flow> {
        match self.log_in() {
            Ok(Some(maildrop)) => self.maildrop(maildrop),
            Ok(None) => Ok(Flow::Continue(())),
            Err(error) => {
                self.console.tell(&one_line(&error))?;
                Ok(Flow::Continue(()))
            }
        }
    }

    /// `None` when the server refuses, which was told then.
    fn log_in(&mut self) -> anyhow::Result<Option<Maildrop>> {
        let password = self.password()?;
        let (mut maildrop, greeting) =
            Maildrop::connect(self.directory.pop()?, Transcript::new(self.args.verbose), self.directory.clock.clone())?;
        if !self.tell_status(&greeting)? {
            return Ok(None);
        }
        for command in login(&self.args.address, &password)? {
            let reply = maildrop.ask(&command)?;
            if !self.tell_status(&reply)? {
                if self.args.password.is_none() {
                    // It was mistyped, perhaps.
                    self.password = None;
                }
                eprintln!("{} was refused at {}", self.args.address, maildrop.location());
                let _ = maildrop.ask(&Command::Quit);
                return Ok(None);
            }
        }
        Ok(Some(maildrop))
    }

    fn password(&mut self) -> anyhow::Result<String> {
        if self.password.is_none() {
            self.password = self.console.secret(&format!("Password of {}: ", self.args.address))?;
        }
        let missing = || anyhow::anyhow!("no password; give -p PASSWORD or set MAILTOWN_PASSWORD");
        self.password.clone().ok_or_else(missing)
    }

    fn tell_status(&mut self, status: &StatusLine) -> io::Result<bool> {
        let ok = status.is_ok();
        self.console.tell(&if ok { repr::bytes(status.as_bytes()) } else { refusal(status) })?;
        Ok(ok)
    }

    fn maildrop(&mut self, mut maildrop: Maildrop) -> io::Result<Flow> {
        loop {
            let line = match self.console.command(POP_PROMPT)? {
                // Nothing is deleted, since that takes a QUIT.
                Answer::End => return Ok(Flow::Break(Ending::EndOfInput)),
                Answer::Interrupted => continue,
                Answer::Line(line) => line,
            };
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            if words.is_empty() {
                continue;
            }
            let exit = words == "exit";
            let parsed = if exit { Ok(Command::Quit) } else { Command::parse(words.as_bytes()) };
            let command = match parsed {
                // The agent has logged in, and its replies are for programs.
                Ok(
                    Command::User(_)
                    | Command::Pass(_)
                    | Command::Stls
                    | Command::Auth { .. }
                    | Command::Mechanisms
                    | Command::Apop
                    | Command::Utf8
                    | Command::Lang(_),
                )
                | Err(CommandError::Unknown) => {
                    self.console.tell(POP_HELP)?;
                    continue;
                }
                Ok(command) => command,
                Err(error) => {
                    self.console.tell(&error.to_string())?;
                    continue;
                }
            };
            let outcome = self.carry_out(&command, &mut maildrop);
            if let Err(error) = &outcome {
                self.console.tell(&one_line(error))?;
            }
            if exit {
                return Ok(Flow::Break(Ending::Asked));
            }
            if outcome.is_err() || command == Command::Quit {
                return Ok(Flow::Continue(()));
            }
        }
    }

    /// Prints the reply to a command the way Python's poplib gives it.
    fn carry_out(&mut self, command: &Command, maildrop: &mut Maildrop) -> anyhow::Result<()> {
        let status = maildrop.ask(command)?;
        match (command, status.two_numbers()) {
            _ if !status.is_ok() => self.console.tell(&refusal(&status))?,
            (Command::Stat, Ok((messages, octets))) => {
                self.console.tell(&format!("{messages} messages ({octets} bytes)"))?;
            }
            (Command::List(None) | Command::Uidl(None), _) => self.tell_list(maildrop)?,
            (command, _) if command.is_answered_in_lines() => {
                maildrop.message_lines(|line| Ok(self.console.tell(&repr::bytes(line))?))?;
            }
            _ => self.console.tell(&repr::bytes(status.as_bytes()))?,
        }
        Ok(())
    }

    /// Prints a listing as Python prints a list of `bytes`.
    fn tell_list(&mut self, maildrop: &mut Maildrop) -> anyhow::Result<()> {
        self.console.print("[")?;
        let mut separator = "";
        let listed = maildrop.listing(|line| {
            self.console.print(separator)?;
            separator = ", ";
            Ok(self.console.print(&repr::bytes(line))?)
        });
        self.console.tell(if listed.is_ok() { "]" } else { "" })?;
        listed
    }
}
