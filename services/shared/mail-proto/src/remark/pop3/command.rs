//! The client's commands.

use super::{Breach, Kind, Log, Phase, Pop3, Wants, What};
use crate::{
    Side, explain,
    pop3::{Command, CommandError},
    remark::{
        Form,
        octets::{content, controls, is_foreign, is_response},
        wire::Piece,
    },
    sasl::Mechanism,
};

/// The longest command, its CRLF included (RFC 2449 §4).
const LINE_OCTETS: usize = 255;
/// The longest response of an exchange (RFC 4954 §4 has it; RFC 5034 names no limit).
const RESPONSE_OCTETS: usize = 12_288;

impl Pop3 {
    /// Judges a line of the client.
    pub(super) fn command_line(&mut self, piece: &Piece, log: &mut Log) {
        let line = content(piece, &mut self.endings.0, Side::Client, log);
        if !piece.octets.ends_with(b"\r\n") || line.contains(&b'\r') {
            self.is_doubtful = true;
        }
        if std::mem::take(&mut self.in_exchange) {
            if piece.octets.len() > RESPONSE_OCTETS {
                log.add(Breach::CommandTooLong, Side::Client, piece.at);
            } else if piece.form != Form::Secret && !is_response(line) {
                log.add(Breach::ResponseNotBase64, Side::Client, piece.at);
            }
            return self.ask(What::Auth, Wants::Authorization);
        }
        if std::mem::take(&mut self.is_answered) {
            return;
        }
        self.remark_pipelining(piece.at, log);
        if is_foreign(line) {
            log.add(Breach::ForeignProtocol, Side::Client, piece.at);
            self.phase = Phase::Over;
            return self.ask(What::Other, Wants::Anything);
        }
        self.command(piece, line, log);
    }

    fn remark_pipelining(&mut self, at: usize, log: &mut Log) {
        if self.asked.is_empty() && (self.lines.is_none() || self.misses_octets) {
            self.is_impatient = false;
            return;
        }
        let is_announced =
            self.capabilities.as_ref().is_some_and(|names| names.iter().any(|name| name == "PIPELINING"));
        if !is_announced && !self.is_doubtful && !std::mem::replace(&mut self.is_impatient, true) {
            log.add(Breach::PipeliningNotAnnounced, Side::Client, at);
        }
    }

    fn command(&mut self, piece: &Piece, line: &[u8], log: &mut Log) {
        let at = piece.at;
        let verb = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let verb = String::from_utf8_lossy(verb).trim_end().to_ascii_uppercase();
        let is_secret = piece.form == Form::Secret || verb == "PASS";
        if !is_secret {
            controls(line, at, Side::Client, log);
        }
        if piece.octets.len() > LINE_OCTETS && verb != "AUTH" {
            log.add(Breach::CommandTooLong, Side::Client, at);
        }
        if !line.is_ascii() && !self.permits_utf8(&verb, line) && piece.form != Form::Secret {
            log.add(Breach::EightBitCommand, Side::Client, at);
        }
        let command = Command::parse(line);
        match command {
            // APOP comes with any arguments.
            Err(CommandError::Unknown) if explain::pop3_command(&verb).is_none() => {
                log.add(Breach::UnknownCommand, Side::Client, at);
            }
            Err(CommandError::Arguments(_)) if !is_secret => log.add(Breach::ArgumentMalformed, Side::Client, at),
            _ => {}
        }
        let (what, wants) = asked(&verb, command.as_ref().ok());
        if self.is_out_of_sequence(what, wants) && command != Ok(Command::Mechanisms) {
            log.add(Breach::OutOfSequence, Side::Client, at);
        }
        let wants = if command.is_ok() { wants } else { Wants::Anything };
        self.remark_login(&verb, line, at, log);
        self.ask(what, wants);
    }

    /// RFC 6856 §2.1, §2.2: names and passwords may be in UTF-8 where the server says so; without CAPA nobody knows.
    fn permits_utf8(&self, verb: &str, line: &[u8]) -> bool {
        let takes_names = self.capabilities.as_ref().is_none_or(|lines| lines.iter().any(|line| line == "UTF8 USER"));
        let is_name = matches!(verb, "USER" | "PASS" | "APOP") && takes_names;
        let is_permitted = is_name || self.speaks_utf8 || self.asked.iter().any(|asked| asked.what == What::Utf8);
        is_permitted && str::from_utf8(line).is_ok()
    }

    /// Whether the command may not come now, whatever the server replies to those before it.
    fn is_out_of_sequence(&self, what: What, wants: Wants) -> bool {
        let is_asked = |wanted: &[What]| self.asked.iter().any(|asked| wanted.contains(&asked.what));
        match wants {
            Wants::Transaction => !self.is_logged_in && !is_asked(&[What::Login, What::Auth]),
            Wants::Authorization if self.is_logged_in => true,
            Wants::Authorization => what == What::Login && !self.is_named && !is_asked(&[What::User]),
            Wants::Anything => false,
        }
    }

    fn remark_login(&mut self, verb: &str, line: &[u8], at: usize, log: &mut Log) {
        let mut words = line.split(|octet| *octet == b' ').skip(1);
        let mechanism = words.next().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).unwrap_or_default();
        if verb == "AUTH" && !mechanism.is_empty() && !self.offers(&mechanism) {
            log.add(Breach::MechanismNotAnnounced, Side::Client, at);
        }
        if verb == "STLS" && self.capabilities.as_ref().is_some_and(|names| names.iter().all(|name| name != "STLS")) {
            log.add(Breach::CommandNotAnnounced, Side::Client, at);
        }
        let is_plain = match verb {
            "PASS" => true,
            "AUTH" => mechanism.parse().is_ok_and(Mechanism::is_plain_text),
            _ => false,
        };
        if is_plain && !self.is_encrypted && !std::mem::replace(&mut self.has_shown_password, true) {
            log.add(Breach::PasswordInClear, Side::Client, at);
        }
    }

    /// Whether the server has this mechanism; without CAPA nobody knows.
    fn offers(&self, mechanism: &str) -> bool {
        let Some(capabilities) = &self.capabilities else { return true };
        let mut offered = capabilities.iter().filter_map(|line| line.strip_prefix("SASL "));
        offered.any(|names| names.split(' ').any(|name| name == mechanism))
    }
}

/// What the server is asked for, and in which state.
fn asked(verb: &str, command: Option<&Command>) -> (What, Wants) {
    match command {
        Some(Command::List(None)) => return (What::Lines(Kind::Sizes), Wants::Transaction),
        Some(Command::Uidl(None)) => return (What::Lines(Kind::UniqueIds), Wants::Transaction),
        Some(Command::Lang(None)) | Some(Command::Mechanisms) => return (What::Lines(Kind::Words), Wants::Anything),
        _ => {}
    }
    match verb {
        "USER" => (What::User, Wants::Authorization),
        "PASS" => (What::Login, Wants::Authorization),
        // No USER comes before it.
        "APOP" => (What::Auth, Wants::Authorization),
        "AUTH" => (What::Auth, Wants::Authorization),
        "STLS" => (What::Stls, Wants::Authorization),
        "UTF8" => (What::Utf8, Wants::Authorization),
        "QUIT" => (What::Quit, Wants::Anything),
        "CAPA" => (What::Lines(Kind::Capabilities), Wants::Anything),
        "STAT" => (What::Stat, Wants::Transaction),
        "LIST" => (What::One { unique_id: false }, Wants::Transaction),
        "UIDL" => (What::One { unique_id: true }, Wants::Transaction),
        "RETR" | "TOP" => (What::Lines(Kind::Message), Wants::Transaction),
        "DELE" | "NOOP" | "RSET" => (What::Other, Wants::Transaction),
        _ => (What::Other, Wants::Anything),
    }
}
