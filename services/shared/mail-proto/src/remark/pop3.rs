//! Both sides of a POP3 connection, as they are seen from outside.

mod command;
mod reply;

use super::{Breach, Form, Log, octets::Ending, wire::Wire};
use crate::Side;
use std::collections::VecDeque;

/// What is known of the connection.
#[derive(Debug)]
pub(super) struct Pop3 {
    client: Wire,
    server: Wire,
    /// How the client's last line ended, and the server's.
    endings: (Ending, Ending),
    /// What waits for a reply, in order.
    asked: VecDeque<Asked>,
    /// The lines that follow `+OK`, up to the final dot.
    lines: Option<Lines>,
    /// Whether USER was accepted.
    is_named: bool,
    is_logged_in: bool,
    /// Whether UTF8 was accepted.
    speaks_utf8: bool,
    /// What CAPA has listed, in capitals; `None` where nobody has asked.
    capabilities: Option<Vec<String>>,
    is_encrypted: bool,
    phase: Phase,
    /// Whether the server has sent a challenge that the client's next line answers.
    in_exchange: bool,
    /// Whether replies may not belong to the commands that they seem to belong to.
    is_doubtful: bool,
    /// Whether the server has replied to a line of the client that has not ended.
    is_answered: bool,
    /// Whether the client's impatience in this group of commands is remarked already.
    is_impatient: bool,
    /// Whether octets of the server's lines are not known.
    misses_octets: bool,
    has_shown_password: bool,
}

/// How what comes is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialogue,
    /// The server has agreed to TLS, and it has not begun. What comes meanwhile is remarked once.
    Tls {
        is_remarked: bool,
    },
    /// What the client sends is not understood.
    Over,
}

/// A command by what it changes, or by what its reply looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// No command: the server speaks first.
    Greeting,
    User,
    /// PASS or APOP.
    Login,
    /// AUTH, or a response of its exchange.
    Auth,
    Stls,
    Utf8,
    Quit,
    Stat,
    /// LIST or UIDL of one message.
    One {
        unique_id: bool,
    },
    /// Lines follow.
    Lines(Kind),
    Other,
}

/// What lines that follow `+OK` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Sizes,
    UniqueIds,
    Capabilities,
    Words,
}

#[derive(Debug)]
struct Asked {
    what: What,
    /// In which state the command may come.
    wants: Wants,
    /// Whether it is remarked that the client did not wait.
    is_remarked: bool,
}

/// RFC 1939 §3: in which state a command may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Anything,
    Authorization,
    Transaction,
}

/// Lines up to the final dot.
#[derive(Debug)]
struct Lines {
    kind: Kind,
    found: Vec<Breach>,
    capabilities: Vec<String>,
    /// Whether the last line was a dot, and not the end.
    seemed_to_end: bool,
}

impl What {
    /// Whether the reply decides how the client's next octets are to be read.
    fn holds(self) -> bool {
        matches!(self, Self::Greeting | Self::Auth | Self::Stls | Self::Quit)
    }
}

impl Default for Pop3 {
    fn default() -> Self {
        Self {
            client: Wire::default(),
            server: Wire::default(),
            endings: <(Ending, Ending)>::default(),
            asked: VecDeque::from([Asked { what: What::Greeting, wants: Wants::Anything, is_remarked: false }]),
            lines: None,
            is_named: false,
            is_logged_in: false,
            speaks_utf8: false,
            capabilities: None,
            is_encrypted: false,
            phase: Phase::Dialogue,
            in_exchange: false,
            is_doubtful: false,
            is_answered: false,
            is_impatient: false,
            misses_octets: false,
            has_shown_password: false,
        }
    }
}

impl Pop3 {
    pub(super) fn saw(&mut self, side: Side, form: Form, octets: &[u8], at: usize, log: &mut Log) {
        match side {
            Side::Client => {
                self.end_of_doubtful_lines(at, log);
                self.client.push(at, form, octets);
            }
            Side::Server => {
                if self.misses_octets && form != Form::Body {
                    // The end of the lines was among what is not known.
                    self.misses_octets = false;
                    self.lines = None;
                    self.server.clear();
                }
                self.server.push(at, form, octets);
                while let Some(piece) = self.server.line() {
                    self.server_line(&piece, log);
                    self.read_client(log);
                }
            }
        }
        self.read_client(log);
    }

    pub(super) fn missing(&mut self, side: Side) {
        self.misses_octets |= side == Side::Server && self.lines.is_some();
    }

    /// Nothing that was said before counts (RFC 2595 §4).
    pub(super) fn encrypted(&mut self) {
        let before = std::mem::take(self);
        self.is_encrypted = true;
        if matches!(before.phase, Phase::Tls { .. }) {
            self.asked.clear();
        }
    }

    pub(super) fn closed(&mut self, by: Option<Side>, last: usize, log: &mut Log) {
        if self.lines.is_some() && !self.misses_octets {
            log.add(Breach::MultiLineUnfinished, Side::Server, last);
        } else if !self.server.is_empty() && !matches!(self.phase, Phase::Tls { .. }) {
            log.add(Breach::ReplyUnfinished, Side::Server, last);
        }
        let is_read = self.phase == Phase::Dialogue && !self.is_held() && !self.is_answered;
        if by != Some(Side::Server)
            && is_read
            && let Some(at) = self.client.at()
        {
            log.add(Breach::LineUnfinished, Side::Client, at);
        }
    }

    /// The client goes on after a line that only looked like the end: it takes it for the end.
    fn end_of_doubtful_lines(&mut self, at: usize, log: &mut Log) {
        if self.asked.is_empty() && self.lines.as_ref().is_some_and(|lines| lines.seemed_to_end) {
            log.add(Breach::MultiLineUnfinished, Side::Server, at);
            self.lines = None;
        }
    }

    /// Whether nobody knows what the client's next octets are before the server has replied.
    fn is_held(&self) -> bool {
        self.asked.iter().any(|asked| asked.what.holds())
    }

    /// Reads what the client has sent, as far as it is known what it is.
    fn read_client(&mut self, log: &mut Log) {
        while let Some(at) = self.client.at() {
            if let Some(asked) = self.asked.iter_mut().find(|asked| asked.what.holds()) {
                let breach = match asked.what {
                    What::Greeting => Breach::TalkedBeforeGreeting,
                    What::Quit => Breach::TalkedAfterQuit,
                    // Remarked when the server has agreed.
                    What::Stls => return,
                    _ => Breach::NotLastInGroup,
                };
                if !std::mem::replace(&mut asked.is_remarked, true) && !self.is_doubtful {
                    log.add(breach, Side::Client, at);
                }
                return;
            }
            match self.phase {
                Phase::Dialogue if self.client.starts_with(&[22, 3]) => {
                    log.add(Breach::ForeignProtocol, Side::Client, at);
                    self.ask(What::Other, Wants::Anything);
                    self.phase = Phase::Over;
                }
                Phase::Dialogue => match self.client.line() {
                    Some(piece) if piece.form != Form::Body => self.command_line(&piece, log),
                    Some(_) => {}
                    None => return,
                },
                Phase::Tls { is_remarked } => {
                    if !is_remarked {
                        log.add(Breach::InjectedBeforeTls, Side::Client, at);
                    }
                    self.phase = Phase::Tls { is_remarked: true };
                    self.client.clear();
                }
                Phase::Over => self.client.clear(),
            }
        }
    }

    fn ask(&mut self, what: What, wants: Wants) {
        self.asked.push_back(Asked { what, wants, is_remarked: false });
    }
}
