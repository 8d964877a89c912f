//! The dialogue.

use crate::{
    Args,
    console::{Answer, Console},
    directory::Directory,
    maildrop::{Maildrop, login, refusal},
    message::compose,
    one_line, printable, repr,
    submission::submit,
};
use mail_proto::{
    Mailbox,
    pop3::{Command, CommandError, ServerReply},
};
use std::{io, ops::ControlFlow};

const PROMPT: &str = "[smtp|pop|exit]>>> ";
const HELP: &str = "smtp sends a message, pop reads your maildrop, exit ends";
const POP_PROMPT: &str = "[pop]>>> ";
const POP_HELP: &str = "stat, list [n], retr n, dele n, rset, noop, quit, uidl [n], top n k, capa";

/// Whether the dialogue goes on: it breaks off at the end of the input.
type Flow = ControlFlow<()>;

/// Asks for commands until `exit` or the end of the input. Whatever fails is told, and the prompt comes back.
///
/// # Errors
/// When the console itself fails.
pub(crate) fn run(args: &Args, directory: &Directory, console: &mut dyn Console) -> io::Result<()> {
    let mut dialogue = Dialogue { args, directory, console, password: args.password.clone() };
    loop {
        let flow = match dialogue.console.command(PROMPT)? {
            Answer::End => Flow::Break(()),
            Answer::Interrupted => Flow::Continue(()),
            Answer::Line(line) => match line.trim() {
                "" => Flow::Continue(()),
                "exit" => return Ok(()),
                "smtp" => dialogue.smtp()?,
                "pop" => dialogue.pop()?,
                _ => {
                    dialogue.console.tell(HELP)?;
                    Flow::Continue(())
                }
            },
        };
        if flow.is_break() {
            // The last prompt still stands there.
            return dialogue.console.tell("");
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
                Answer::End => return Ok(Flow::Break(())),
                Answer::Interrupted => return Ok(Flow::Continue(())),
                Answer::Line(line) if line.trim().is_empty() => break,
                Answer::Line(line) => match line.trim().parse() {
                    Ok(mailbox) => recipients.push(mailbox),
                    Err(error) => self.console.tell(&printable(&format!("{}: {error}", line.trim())))?,
                },
            }
        }
        let mut answers = Vec::new();
        for prompt in ["Subject: ", "Content: "] {
            match self.console.ask(prompt)? {
                Answer::End => return Ok(Flow::Break(())),
                Answer::Interrupted => return Ok(Flow::Continue(())),
                Answer::Line(line) => answers.push(line),
            }
        }
        if recipients.is_empty() {
            self.console.tell("no recipients: nothing was sent")?;
        } else if let Err(error) = self.send(&recipients, &answers[0], &answers[1]) {
            self.console.tell(&one_line(&error))?;
        }
        Ok(Flow::Continue(()))
    }

    fn send(&mut self, recipients: &[Mailbox], subject: &str, text: &str) -> anyhow::Result<()> {
        let message = compose(&self.args.address, subject, text)?;
        let verdicts = submit(&self.directory.smtp()?, &self.args.address, recipients, &message)?;
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

    /// `None` when the server would not have it, which has been told then.
    fn log_in(&mut self) -> anyhow::Result<Option<Maildrop>> {
        let password = self.password()?;
        let (mut maildrop, greeting) = Maildrop::connect(&self.directory.pop()?)?;
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

    fn tell_status(&mut self, reply: &ServerReply) -> io::Result<bool> {
        let ok = reply.status.is_ok();
        self.console.tell(&if ok { repr::bytes(reply.status.as_bytes()) } else { refusal(reply) })?;
        Ok(ok)
    }

    fn maildrop(&mut self, mut maildrop: Maildrop) -> io::Result<Flow> {
        loop {
            let line = match self.console.command(POP_PROMPT)? {
                // Nothing is deleted, since that takes a QUIT.
                Answer::End => return Ok(Flow::Break(())),
                Answer::Interrupted => continue,
                Answer::Line(line) => line,
            };
            let words: Vec<_> = line.split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            let command = match Command::parse(words.join(" ").as_bytes()) {
                Ok(Command::User(_) | Command::Pass(_)) | Err(CommandError::Unknown) => {
                    self.console.tell(POP_HELP)?;
                    continue;
                }
                Ok(command) => command,
                Err(error) => {
                    self.console.tell(&error.to_string())?;
                    continue;
                }
            };
            match maildrop.ask(&command) {
                Ok(reply) => self.tell_reply(&command, &reply)?,
                Err(error) => {
                    self.console.tell(&one_line(&error))?;
                    return Ok(Flow::Continue(()));
                }
            }
            if command == Command::Quit {
                return Ok(Flow::Continue(()));
            }
        }
    }

    /// Prints a reply the way Python's poplib gives it.
    fn tell_reply(&mut self, command: &Command, reply: &ServerReply) -> io::Result<()> {
        match (command, reply.status.two_numbers()) {
            _ if !reply.status.is_ok() => self.console.tell(&refusal(reply)),
            (Command::Stat, Ok((messages, octets))) => {
                self.console.tell(&format!("{messages} messages ({octets} bytes)"))
            }
            (Command::List(None) | Command::Uidl(None), _) => self.console.tell(&repr::list(reply.lines())),
            (Command::Retr(_) | Command::Top { .. } | Command::Capa, _) => {
                reply.lines().try_for_each(|line| self.console.tell(&repr::bytes(line)))
            }
            _ => self.console.tell(&repr::bytes(reply.status.as_bytes())),
        }
    }
}
