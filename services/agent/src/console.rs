//! Where commands come from: lines with editing on a terminal, plain lines on a pipe.

use rustyline::{DefaultEditor, error::ReadlineError};
use std::io::{self, BufRead, IsTerminal, Write};

/// What came after a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A line without its end.
    Line(String),
    /// The user pressed Ctrl-C.
    Interrupted,
    /// There will be no more input.
    End,
}

/// Asks and tells.
pub(crate) trait Console {
    /// Prints `prompt` and waits for a line.
    fn ask(&mut self, prompt: &str) -> io::Result<Answer>;

    /// As [`Console::ask`], and the line can be called back later.
    fn command(&mut self, prompt: &str) -> io::Result<Answer> {
        self.ask(prompt)
    }

    /// Waits for a line that is not shown; `None` when that cannot be done.
    fn secret(&mut self, prompt: &str) -> io::Result<Option<String>>;

    /// Prints text without ending the line.
    fn print(&mut self, text: &str) -> io::Result<()>;

    /// Prints a line.
    fn tell(&mut self, line: &str) -> io::Result<()>;
}

/// Plain lines. The prompts are printed and nothing is echoed, like Python's `input()`.
pub(crate) struct Piped<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> Piped<R, W> {
    pub(crate) fn new(input: R, output: W) -> Self {
        Self { input, output }
    }
}

impl<R: BufRead, W: Write> Console for Piped<R, W> {
    fn ask(&mut self, prompt: &str) -> io::Result<Answer> {
        self.output.write_all(prompt.as_bytes())?;
        self.output.flush()?;
        let mut line = Vec::new();
        if self.input.read_until(b'\n', &mut line)? == 0 {
            return Ok(Answer::End);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match str::from_utf8(line) {
            Ok(line) => Ok(Answer::Line(line.to_owned())),
            Err(_) => {
                self.tell("that line is not UTF-8")?;
                Ok(Answer::Interrupted)
            }
        }
    }

    fn secret(&mut self, _prompt: &str) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.output, "{line}")?;
        self.output.flush()
    }
}

/// Line editing, and a history of commands.
pub(crate) struct Terminal {
    editor: DefaultEditor,
}

impl Terminal {
    /// `None` when input or output is no terminal.
    pub(crate) fn open() -> anyhow::Result<Option<Self>> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        Ok(Some(Self { editor: DefaultEditor::new()? }))
    }
}

impl Console for Terminal {
    fn ask(&mut self, prompt: &str) -> io::Result<Answer> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Answer::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Answer::Interrupted),
            Err(ReadlineError::Eof) => Ok(Answer::End),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn command(&mut self, prompt: &str) -> io::Result<Answer> {
        let answer = self.ask(prompt)?;
        if let Answer::Line(line) = &answer {
            // Only the comfort of calling it back is lost.
            let _ = self.editor.add_history_entry(line);
        }
        Ok(answer)
    }

    fn secret(&mut self, prompt: &str) -> io::Result<Option<String>> {
        rpassword::prompt_password(prompt).map(Some)
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        io::stdout().write_all(text.as_bytes())
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(io::stdout(), "{line}")
    }
}
