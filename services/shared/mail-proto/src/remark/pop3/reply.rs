//! The server's replies.

use super::{Breach, Kind, Lines, Log, Phase, Pop3, Wants, What};
use crate::{
    Side,
    remark::{
        Form,
        octets::{Ending, content, controls, ends, is_response},
        wire::Piece,
    },
};

/// The longest first line, its CRLF included (RFC 1939 §3).
const LINE_OCTETS: usize = 512;
/// The longest unique id (RFC 1939 §7).
const UNIQUE_ID_OCTETS: usize = 70;

impl Pop3 {
    /// Judges a line of the server.
    pub(super) fn server_line(&mut self, piece: &Piece, log: &mut Log) {
        if matches!(self.phase, Phase::Tls { .. }) {
            return;
        }
        if self.lines.is_some() {
            return self.line_of_several(piece, log);
        }
        if piece.form == Form::Body {
            // The record knows better than this what it is.
            return;
        }
        let line = content(piece, &mut self.endings.1, Side::Server, log);
        let mut remark = |breach| log.add(breach, Side::Server, piece.at);
        let (is_ok, text) = match line.split(|octet| *octet == b' ').next().unwrap_or_default() {
            b"+OK" => (true, &line[3..]),
            b"-ERR" => (false, &line[4..]),
            b"+" if self.asked.front().is_some_and(|asked| asked.what == What::Auth) => {
                self.asked.pop_front();
                self.in_exchange = true;
                if !is_response(line.get(2..).unwrap_or_default()) {
                    remark(Breach::ChallengeNotBase64);
                }
                return;
            }
            // What cannot be read counts as agreement, but no lines follow.
            _ => {
                remark(Breach::NeitherOkNorErr);
                self.asked.pop_front();
                return;
            }
        };
        if piece.octets.len() > LINE_OCTETS {
            remark(Breach::ReplyTooLong);
        }
        if !line.is_ascii() && !self.speaks_utf8 {
            remark(Breach::EightBitReply);
        }
        controls(line, piece.at, Side::Server, log);
        self.replied(is_ok, text, piece.at, log);
    }

    fn replied(&mut self, is_ok: bool, text: &[u8], at: usize, log: &mut Log) {
        let Some(asked) = self.asked.pop_front() else {
            if !self.client.is_empty() && !is_ok {
                // A line too long, for example, is refused before it ends.
                self.is_answered = true;
                self.in_exchange = false;
            } else if !self.is_doubtful && self.phase != Phase::Over {
                log.add(Breach::ReplyUnasked, Side::Server, at);
            }
            return;
        };
        if asked.what == What::Quit {
            self.phase = Phase::Over;
        }
        if !is_ok {
            self.is_named &= asked.what != What::Login;
            return;
        }
        let is_wrong_state = match asked.wants {
            Wants::Anything => false,
            Wants::Authorization => self.is_logged_in,
            Wants::Transaction => !self.is_logged_in,
        };
        if is_wrong_state && !self.is_doubtful {
            log.add(Breach::AcceptedInWrongState, Side::Server, at);
        }
        match asked.what {
            What::User => self.is_named = true,
            What::Login | What::Auth => self.is_logged_in = true,
            What::Utf8 => self.speaks_utf8 = true,
            What::Stls => self.phase = Phase::Tls { is_remarked: false },
            What::Stat if !is_pair(text) => log.add(Breach::ListingMalformed, Side::Server, at),
            What::One { unique_id } => {
                let text = text.strip_prefix(b" ").unwrap_or(text);
                if let Some(breach) = listing(text, unique_id) {
                    log.add(breach, Side::Server, at);
                }
            }
            What::Lines(kind) => {
                let (found, capabilities) = (Vec::new(), Vec::new());
                self.lines = Some(Lines { kind, found, capabilities, seemed_to_end: false });
                self.endings.1 = Ending::CrLf;
            }
            _ => {}
        }
    }

    /// One of the lines that follow `+OK`.
    fn line_of_several(&mut self, piece: &Piece, log: &mut Log) {
        let before = self.endings.1;
        let (line, ending, breach) = ends(&piece.octets, before);
        self.endings.1 = ending;
        let Some(lines) = &mut self.lines else { return };
        if line == b"." && before == Ending::CrLf && ending == Ending::CrLf {
            if lines.kind == Kind::Capabilities {
                self.capabilities = Some(std::mem::take(&mut lines.capabilities));
            }
            self.lines = None;
            return;
        }
        lines.seemed_to_end = line == b".";
        let starts_with_dot = before == Ending::CrLf && line.first() == Some(&b'.');
        if starts_with_dot && line.get(1).is_some_and(|second| !matches!(second, b'.' | b'\r')) {
            lines.remark(Breach::DotNotStuffed, piece.at, log);
        }
        let breach = match lines.kind {
            // A message may have been stored with such lines.
            Kind::Message => None,
            _ if breach.is_some() => breach,
            Kind::Sizes => listing(line, false),
            Kind::UniqueIds => listing(line, true),
            Kind::Capabilities => {
                lines.capabilities.push(String::from_utf8_lossy(line).trim_end().to_ascii_uppercase());
                None
            }
            Kind::Words => None,
        };
        if let Some(breach) = breach {
            lines.remark(breach, piece.at, log);
        }
    }
}

impl Lines {
    /// Once for each reply.
    fn remark(&mut self, breach: Breach, at: usize, log: &mut Log) {
        if !self.found.contains(&breach) {
            self.found.push(breach);
            log.add(breach, Side::Server, at);
        }
    }
}

/// Whether this is what follows `+OK` of STAT: two numbers, and perhaps more (RFC 1939 §5).
fn is_pair(text: &[u8]) -> bool {
    let mut words = text.strip_prefix(b" ").unwrap_or_default().split(|octet| *octet == b' ');
    words.next().is_some_and(is_number) && words.next().is_some_and(is_number)
}

/// What is wrong with a line of LIST or UIDL: a number, and a size or a unique id (RFC 1939 §5, §7).
fn listing(line: &[u8], unique_id: bool) -> Option<Breach> {
    let mut words = line.split(|octet| *octet == b' ');
    let (number, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !is_number(number) || !unique_id && !is_number(second) {
        return Some(Breach::ListingMalformed);
    }
    let is_id = (1..=UNIQUE_ID_OCTETS).contains(&second.len()) && second.iter().all(u8::is_ascii_graphic);
    (unique_id && !(is_id && words.next().is_none())).then_some(Breach::UniqueIdMalformed)
}

fn is_number(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}
