//! The server's replies.

use super::{Announced, Breach, Log, Reading, Smtp, Text, What};
use crate::{
    Side,
    remark::{
        octets::{content, controls, is_response},
        wire::Piece,
    },
};

/// The longest line of a reply, its CRLF included (RFC 5321 §4.5.3.1.5).
const LINE_OCTETS: usize = 512;
/// The longest challenge (RFC 4954 §4).
const CHALLENGE_OCTETS: usize = 12_288;

/// The lines of a reply so far.
#[derive(Debug)]
pub(super) struct PartialReply {
    code: Option<u16>,
    /// Without code.
    lines: Vec<String>,
    /// Remarked already.
    found: Vec<Breach>,
}

impl Smtp {
    /// Judges a line of the server.
    pub(super) fn reply_line(&mut self, piece: &Piece, log: &mut Log) {
        if matches!(self.reading, Reading::Tls { .. }) {
            return;
        }
        let line = content(piece, &mut self.endings.1, Side::Server, log);
        controls(line, piece.at, Side::Server, log);
        let mut reply =
            self.reply.take().unwrap_or_else(|| PartialReply { code: None, lines: Vec::new(), found: Vec::new() });
        let (code, goes_on, text) = match split(line) {
            Ok(parts) => parts,
            Err((breach, code, text)) => {
                reply.remark(breach, piece.at, log);
                (code, false, text)
            }
        };
        if code.is_some_and(|code| !is_defined(code)) {
            reply.remark(Breach::ReplyCodeUnknown, piece.at, log);
        }
        if !reply.lines.is_empty() && reply.code != code {
            reply.remark(Breach::ReplyCodesDiffer, piece.at, log);
        }
        let most_octets = if code == Some(334) { CHALLENGE_OCTETS } else { LINE_OCTETS };
        if piece.octets.len() > most_octets {
            reply.remark(Breach::ReplyTooLong, piece.at, log);
        }
        if !line.is_ascii() && !self.permits_utf8() {
            reply.remark(Breach::EightBitReply, piece.at, log);
        }
        self.judge_status(code, text, piece.at, &mut reply, log);
        if code == Some(334) && !is_response(text) {
            reply.remark(Breach::ChallengeNotBase64, piece.at, log);
        }
        reply.code = code;
        reply.lines.push(String::from_utf8_lossy(text).into_owned());
        if goes_on {
            self.reply = Some(reply);
        } else {
            self.replied(reply, piece.at, log);
        }
    }

    fn permits_utf8(&self) -> bool {
        self.state.smtputf8 || self.asked.front().is_some_and(|asked| asked.what.permits_utf8())
    }

    /// RFC 2034 §4: each line of a reply has an enhanced status code, except the greeting and the reply to HELO and
    /// EHLO.
    fn judge_status(&self, code: Option<u16>, text: &[u8], at: usize, reply: &mut PartialReply, log: &mut Log) {
        let Some(code) = code.filter(|code| matches!(code / 100, 2 | 4 | 5)) else { return };
        let is_exempt =
            self.asked.front().is_some_and(|asked| matches!(asked.what, What::Greeting | What::Hello { .. }));
        if is_exempt || !self.announced.has("ENHANCEDSTATUSCODES") {
            return;
        }
        let word = text.split(|octet| matches!(octet, b' ' | b'\t')).next().unwrap_or_default();
        let mut numbers = word.split(|octet| *octet == b'.');
        let is_number = |number: &[u8]| (1..=3).contains(&number.len()) && number.iter().all(u8::is_ascii_digit);
        let is_status = word.split(|octet| *octet == b'.').count() == 3 && numbers.clone().all(is_number);
        match numbers.next() {
            _ if !is_status => reply.remark(Breach::StatusMissing, at, log),
            Some(class) if class != [b'0' + u8::try_from(code / 100).unwrap_or_default()] => {
                reply.remark(Breach::StatusClassDiffers, at, log);
            }
            _ => {}
        }
    }

    /// A reply is whole.
    fn replied(&mut self, reply: PartialReply, at: usize, log: &mut Log) {
        // What cannot be read counts as agreement.
        let code = reply.code.unwrap_or(250);
        if self.misses_octets && self.asked.is_empty() && code != 421 {
            self.end_unknown_message();
        }
        let Some(asked) = self.asked.pop_front() else { return self.unasked(code, at, log) };
        let (before, what) = (self.state, asked.what);
        let is_accepted = code < 400 && !(what == What::Auth && code == 334);
        let mut remark = |breach: Breach| {
            if !self.is_doubtful && reply.code.is_some() && !reply.found.contains(&Breach::ReplyCodesDiffer) {
                log.add(breach, Side::Server, at);
            }
        };
        if is_defined(code) && !what.may_be_answered(code) {
            remark(Breach::ReplyOfWrongKind);
        } else if is_accepted {
            match what {
                What::Rcpt if !before.is_open => remark(Breach::RecipientWithoutSender),
                What::Data if before.recipients == 0 => remark(Breach::DataWithoutRecipients),
                What::Message | What::Chunk { .. } if before.recipients == 0 => {
                    remark(Breach::MessageWithoutRecipients)
                }
                _ => {}
            }
        }
        self.state = before.after(what, is_accepted);
        match what {
            What::Hello { extended } if is_accepted => {
                self.announced = if extended { Announced::new(&reply.lines) } else { Announced::default() };
            }
            What::Data if is_accepted => {
                let text = Text::new(before.eight_bit, before.binary);
                self.reading = Reading::Message(text);
            }
            What::Auth => self.in_exchange = code == 334,
            What::StartTls if is_accepted => self.begin_tls(),
            What::Quit => self.reading = Reading::Nothing,
            _ => {}
        }
        if code == 421 {
            self.reading = Reading::Nothing;
        }
    }

    fn begin_tls(&mut self) {
        self.announced = Announced::default();
        self.reading = Reading::Tls { is_remarked: false };
        self.is_doubtful = false;
    }

    /// The server has replied, and no command waits.
    fn unasked(&mut self, code: u16, at: usize, log: &mut Log) {
        if let Reading::Message(text) = &self.reading {
            let breach = match code {
                421 => None,
                200..400 if text.seemed_to_end => Some(Breach::EndedByBareLf),
                _ => Some(Breach::ReplyTooEarly),
            };
            if let Some(breach) = breach {
                log.add(breach, Side::Server, at);
            }
            self.reading = Reading::Commands;
            self.state = self.state.after(What::Message, code < 400);
        } else if !self.client.is_empty() && code >= 400 {
            // A line too long, for example, is refused before it ends.
            self.is_answered = true;
            self.in_exchange = false;
        } else if code != 421 && !self.is_doubtful && !matches!(self.reading, Reading::Nothing) {
            log.add(Breach::ReplyUnasked, Side::Server, at);
        }
        if code == 421 {
            self.reading = Reading::Nothing;
        }
    }
}

impl PartialReply {
    /// Once for each reply.
    fn remark(&mut self, breach: Breach, at: usize, log: &mut Log) {
        if !self.found.contains(&breach) {
            self.found.push(breach);
            log.add(breach, Side::Server, at);
        }
    }
}

/// RFC 5321 §4.2: the digits that a code may have.
fn is_defined(code: u16) -> bool {
    (200..=559).contains(&code) && code / 10 % 10 <= 5
}

/// Code, whether more lines follow, and text; otherwise what is wrong, and what can be read all the same.
type Split<'l> = Result<(Option<u16>, bool, &'l [u8]), (Breach, Option<u16>, &'l [u8])>;

fn split(line: &[u8]) -> Split<'_> {
    let Some((code, rest)) = line.split_at_checked(3).filter(|(code, _)| code.iter().all(u8::is_ascii_digit)) else {
        return Err((Breach::ReplyWithoutCode, None, line));
    };
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Ok((Some(code), false, rest)),
        Some((b' ', text)) => Ok((Some(code), false, text)),
        Some((b'-', text)) => Ok((Some(code), true, text)),
        Some(_) => Err((Breach::ReplyWithoutSpace, Some(code), rest)),
    }
}
