//! Both sides of an SMTP connection, as they are seen from outside.

mod command;
mod reply;
mod state;

use super::{Breach, Form, Log, octets::Ending, text::Text, wire::Wire};
use crate::Side;
use reply::PartialReply;
use state::{Announced, State, What};
use std::collections::VecDeque;

/// What is known of the connection.
#[derive(Debug)]
pub(super) struct Smtp {
    client: Wire,
    server: Wire,
    /// How the client's last line ended, and the server's.
    endings: (Ending, Ending),
    reading: Reading,
    /// What waits for a reply, in order.
    asked: VecDeque<Asked>,
    state: State,
    /// The text of the message that comes in chunks.
    chunks: Text,
    announced: Announced,
    /// The lines of a reply that has not ended.
    reply: Option<PartialReply>,
    is_encrypted: bool,
    /// Whether the server has sent a challenge that the client's next line answers.
    in_exchange: bool,
    /// Whether replies may not belong to the commands that they seem to belong to.
    is_doubtful: bool,
    /// Whether the server has replied to a line of the client that has not ended.
    is_answered: bool,
    /// Whether the client's impatience in this group of commands is remarked already.
    is_impatient: bool,
    /// Whether octets of the message are not known.
    misses_octets: bool,
    /// Whether the password in clear is remarked already.
    has_shown_password: bool,
}

/// How the client's octets are read.
#[derive(Debug)]
enum Reading {
    Commands,
    /// Up to the final dot.
    Message(Text),
    /// This number of octets, and whether they are the last of the message.
    Chunk {
        left: u64,
        is_last: bool,
    },
    /// The server has agreed to TLS, and it has not begun. What comes meanwhile is remarked once.
    Tls {
        is_remarked: bool,
    },
    /// What comes is not understood.
    Nothing,
}

/// A command that waits for its reply.
#[derive(Debug)]
struct Asked {
    what: What,
    /// Whether it is remarked that the client did not wait.
    is_remarked: bool,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            client: Wire::default(),
            server: Wire::default(),
            endings: <(Ending, Ending)>::default(),
            reading: Reading::Commands,
            asked: VecDeque::from([Asked { what: What::Greeting, is_remarked: false }]),
            state: State::default(),
            chunks: Text::default(),
            announced: Announced::default(),
            reply: None,
            is_encrypted: false,
            in_exchange: false,
            is_doubtful: false,
            is_answered: false,
            is_impatient: false,
            misses_octets: false,
            has_shown_password: false,
        }
    }
}

impl Smtp {
    pub(super) fn saw(&mut self, side: Side, form: Form, octets: &[u8], at: usize, log: &mut Log) {
        match side {
            Side::Client => {
                if self.misses_octets && form != Form::Body {
                    self.end_unknown_message();
                }
                self.client.push(at, form, octets);
            }
            Side::Server => {
                self.server.push(at, form, octets);
                while let Some(piece) = self.server.line() {
                    self.reply_line(&piece, log);
                    self.read_client(log);
                }
            }
        }
        self.read_client(log);
    }

    pub(super) fn missing(&mut self, side: Side, octets: u64) {
        match &mut self.reading {
            Reading::Message(_) if side == Side::Client => self.misses_octets = true,
            Reading::Chunk { left, .. } if side == Side::Client => {
                *left = left.saturating_sub(octets);
                // Nobody knows where in a line the next octets are.
                self.chunks = Text::new(true, true);
            }
            _ => {}
        }
    }

    /// The end of the message was among what is not known.
    fn end_unknown_message(&mut self) {
        self.misses_octets = false;
        self.client.clear();
        self.reading = Reading::Commands;
        self.endings.0 = Ending::CrLf;
        self.ask(What::Message);
    }

    pub(super) fn encrypted(&mut self) {
        self.is_encrypted = true;
        if matches!(self.reading, Reading::Tls { .. }) {
            self.reading = Reading::Commands;
            self.asked.clear();
        }
        self.client.clear();
        self.server.clear();
    }

    pub(super) fn closed(&mut self, by: Option<Side>, last: usize, log: &mut Log) {
        if self.reply.is_some() || !self.server.is_empty() && !matches!(self.reading, Reading::Tls { .. }) {
            log.add(Breach::ReplyUnfinished, Side::Server, last);
        }
        if by == Some(Side::Server) || self.misses_octets {
            return;
        }
        match &self.reading {
            Reading::Message(_) => log.add(Breach::FinalDotMissing, Side::Client, last),
            Reading::Chunk { left: 1.., .. } => log.add(Breach::ChunkUnfinished, Side::Client, last),
            Reading::Commands if !self.is_held() && !self.is_answered => {
                if let Some(at) = self.client.at() {
                    log.add(Breach::LineUnfinished, Side::Client, at);
                }
            }
            _ => {}
        }
    }

    /// Whether nobody knows what the client's next octets are before the server has replied.
    fn is_held(&self) -> bool {
        self.asked.iter().any(|asked| asked.what.holds())
    }

    /// Reads what the client has sent, as far as it is known what it is.
    fn read_client(&mut self, log: &mut Log) {
        loop {
            if self.is_held() {
                return self.remark_haste(log);
            }
            let is_going_on = match &mut self.reading {
                Reading::Commands => self.read_command(log),
                Reading::Message(_) => self.read_message(log),
                Reading::Chunk { .. } => self.read_chunk(log),
                Reading::Tls { is_remarked } => {
                    if let Some(at) = self.client.at()
                        && !std::mem::replace(is_remarked, true)
                    {
                        log.add(Breach::InjectedBeforeTls, Side::Client, at);
                    }
                    self.client.clear();
                    false
                }
                Reading::Nothing => {
                    self.client.clear();
                    false
                }
            };
            if !is_going_on {
                return;
            }
        }
    }

    /// The client goes on although it cannot know how.
    fn remark_haste(&mut self, log: &mut Log) {
        let Some(at) = self.client.at() else { return };
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.what.holds()) else { return };
        let breach = match asked.what {
            What::Greeting => Breach::TalkedBeforeGreeting,
            What::Quit => Breach::TalkedAfterQuit,
            // Remarked when the server has agreed.
            What::StartTls => return,
            _ => Breach::NotLastInGroup,
        };
        if !std::mem::replace(&mut asked.is_remarked, true) && !self.is_doubtful {
            log.add(breach, Side::Client, at);
        }
    }

    fn read_command(&mut self, log: &mut Log) -> bool {
        if self.client.starts_with(&[22, 3]) {
            log.add(Breach::ForeignProtocol, Side::Client, self.client.at().unwrap_or_default());
            self.ask(What::Other { is_last: false });
            self.reading = Reading::Nothing;
            return true;
        }
        let Some(piece) = self.client.line() else { return false };
        if piece.form != Form::Body {
            self.command_line(&piece, log);
        }
        true
    }

    fn read_message(&mut self, log: &mut Log) -> bool {
        let Some(piece) = self.client.line() else { return false };
        let Reading::Message(text) = &mut self.reading else { return true };
        if text.line(&piece.octets, piece.at, log) {
            self.reading = Reading::Commands;
            self.misses_octets = false;
            self.endings.0 = Ending::CrLf;
            self.ask(What::Message);
        }
        true
    }

    fn read_chunk(&mut self, log: &mut Log) -> bool {
        let Reading::Chunk { left, is_last } = &mut self.reading else { return true };
        let is_last = *is_last;
        if *left > 0 {
            let Some(piece) = self.client.take(usize::try_from(*left).unwrap_or(usize::MAX)) else { return false };
            *left -= piece.octets.len() as u64;
            self.chunks.chunk(&piece.octets, piece.at, log);
            if *left > 0 {
                return true;
            }
            if is_last {
                self.chunks.end_of_chunks(piece.at, log);
            }
        }
        self.reading = Reading::Commands;
        if is_last {
            self.chunks = Text::default();
        }
        true
    }

    fn ask(&mut self, what: What) {
        self.asked.push_back(Asked { what, is_remarked: false });
    }
}
