//! The client's commands.

use super::{Breach, Log, Reading, Smtp, State, Text, What};
use crate::{
    Side,
    address::{AddressError, Domain},
    remark::{
        Form,
        octets::{content, controls, is_foreign, is_response},
        wire::Piece,
    },
    sasl::Mechanism,
    smtp::{Command, CommandError, Tolerance, Verb},
};

/// What AUTH and its responses may be long (RFC 4954 §4).
const RESPONSE_OCTETS: usize = 12_288;

/// A command line as it was understood.
struct Line<'l> {
    at: usize,
    verb: Verb,
    argument: &'l [u8],
}

impl Smtp {
    /// Judges a line of the client where a command or a response is expected.
    pub(super) fn command_line(&mut self, piece: &Piece, log: &mut Log) {
        let line = content(piece, &mut self.endings.0, Side::Client, log);
        if !piece.octets.ends_with(b"\r\n") || line.contains(&b'\r') {
            // The server may not take it for a line, or for two.
            self.is_doubtful = true;
        }
        if std::mem::take(&mut self.in_exchange) {
            return self.response(piece, line, log);
        }
        if !std::mem::take(&mut self.is_answered) {
            self.remark_pipelining(piece.at, log);
            let what = self.command(piece, line, log);
            self.ask(what);
        }
    }

    /// A response of a login exchange (RFC 4954 §4).
    fn response(&mut self, piece: &Piece, line: &[u8], log: &mut Log) {
        if piece.octets.len() > RESPONSE_OCTETS {
            log.add(Breach::CommandTooLong, Side::Client, piece.at);
        } else if piece.form != Form::Secret && !is_response(line) {
            log.add(Breach::ResponseNotBase64, Side::Client, piece.at);
        }
        self.ask(What::Auth);
    }

    /// The client has not waited for a reply.
    fn remark_pipelining(&mut self, at: usize, log: &mut Log) {
        if self.asked.is_empty() {
            self.is_impatient = false;
            return;
        }
        if self.is_doubtful {
            return;
        }
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.what.is_last() && !asked.is_remarked) {
            asked.is_remarked = true;
            log.add(Breach::NotLastInGroup, Side::Client, at);
        }
        if !self.announced.has("PIPELINING") && !std::mem::replace(&mut self.is_impatient, true) {
            log.add(Breach::PipeliningNotAnnounced, Side::Client, at);
        }
    }

    /// What counts if the server accepts all that it has not replied to.
    fn expected(&self) -> State {
        self.asked.iter().fold(self.state, |state, asked| state.after(asked.what, true))
    }

    /// Judges a command; returns what the server is asked for.
    fn command(&mut self, piece: &Piece, line: &[u8], log: &mut Log) -> What {
        let other = What::Other { is_last: false };
        let at = piece.at;
        if is_foreign(line) {
            log.add(Breach::ForeignProtocol, Side::Client, at);
            self.reading = Reading::Nothing;
            return other;
        }
        controls(line, at, Side::Client, log);
        let first = line.split(|octet| matches!(octet, b' ' | b'\t')).find(|word| !word.is_empty()).unwrap_or_default();
        let name = String::from_utf8_lossy(first).to_ascii_uppercase();
        if piece.octets.len() > self.announced.most_octets(&name) {
            log.add(Breach::CommandTooLong, Side::Client, at);
        }
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            log.add(Breach::OddSpaces, Side::Client, at);
        }
        match Verb::split(line, Tolerance { odd_spaces: true, ..Tolerance::default() }) {
            Ok((verb, argument)) => self.known(&Line { at, verb, argument }, piece.form, log),
            Err(CommandError::Unrecognised) if !name.starts_with('X') => {
                log.add(Breach::UnknownCommand, Side::Client, at);
                other
            }
            Err(CommandError::NotText) if !line.is_ascii() => {
                log.add(Breach::EightBitCommand, Side::Client, at);
                other
            }
            Err(_) => other,
        }
    }

    fn known(&mut self, line: &Line<'_>, form: Form, log: &mut Log) -> What {
        let parsed = Command::with_argument(line.verb, line.argument, Tolerance::default());
        let parameters = parameters(line);
        let has = |parameter: &str| parameters.iter().any(|it| it == parameter);
        let state = self.expected();
        let smtputf8 = has("SMTPUTF8");
        let permits_utf8 = smtputf8 || line.verb == Verb::Rcpt && state.smtputf8;
        let breaches = [
            (!line.argument.is_ascii() && !permits_utf8).then_some(Breach::EightBitCommand),
            has_odd_spaces(line).then_some(Breach::OddSpaces),
            parsed.as_ref().err().filter(|_| form != Form::Secret).and_then(|error| argument_error(line, error)),
            sequence(line.verb, state),
            self.not_announced(line, &parameters),
        ];
        breaches.into_iter().flatten().for_each(|breach| log.add(breach, Side::Client, line.at));
        match line.verb {
            Verb::Helo | Verb::Ehlo => {
                if str::from_utf8(line.argument)
                    .map_or(true, |name| !name.is_ascii() || name.parse::<Domain>().is_err())
                {
                    log.add(Breach::HelloNotDomain, Side::Client, line.at);
                }
                What::Hello { extended: line.verb == Verb::Ehlo }
            }
            Verb::Mail => {
                let binary = has("BODY=BINARYMIME");
                What::Mail { smtputf8, eight_bit: has("BODY=8BITMIME") || binary, binary }
            }
            Verb::Rcpt => What::Rcpt,
            Verb::Data => What::Data,
            Verb::Bdat => self.chunk(&parsed, state),
            Verb::StartTls => What::StartTls,
            Verb::Auth => {
                self.remark_password(line, log);
                What::Auth
            }
            Verb::Rset => What::Rset,
            Verb::Vrfy => What::Vrfy { smtputf8 },
            Verb::Expn => What::Expn { smtputf8 },
            Verb::Help => What::Help,
            Verb::Noop => What::Noop,
            Verb::Quit => What::Quit,
        }
    }

    /// The octets of a chunk follow its command (RFC 3030 §2).
    fn chunk(&mut self, parsed: &Result<Command, CommandError>, state: State) -> What {
        let Ok(Command::Bdat(chunk)) = parsed else {
            // Nobody knows where the next command begins.
            self.reading = Reading::Nothing;
            return What::Other { is_last: false };
        };
        if !state.has_chunks {
            self.chunks = Text::new(state.eight_bit, state.binary);
        }
        self.reading = Reading::Chunk { left: chunk.octets, is_last: chunk.is_last };
        What::Chunk { is_last: chunk.is_last }
    }

    fn not_announced(&self, line: &Line<'_>, parameters: &[String]) -> Option<Breach> {
        match line.verb {
            Verb::StartTls if !self.announced.has("STARTTLS") => Some(Breach::CommandNotAnnounced),
            Verb::Bdat if !self.announced.has("CHUNKING") => Some(Breach::CommandNotAnnounced),
            Verb::Auth if !self.announced.has("AUTH") => Some(Breach::CommandNotAnnounced),
            Verb::Auth => {
                let mechanism = mechanism(line);
                let is_offered = mechanism.is_empty() || self.announced.has_mechanism(&mechanism);
                (!is_offered).then_some(Breach::MechanismNotAnnounced)
            }
            Verb::Mail | Verb::Rcpt | Verb::Vrfy | Verb::Expn => {
                let is_announced = |parameter: &String| {
                    let keyword = parameter.split('=').next().unwrap_or_default();
                    let is_binary = parameter == "BODY=BINARYMIME";
                    self.announced.has_parameter(if is_binary { parameter } else { keyword })
                };
                (!parameters.iter().all(is_announced)).then_some(Breach::ParameterNotAnnounced)
            }
            _ => None,
        }
    }

    fn remark_password(&mut self, line: &Line<'_>, log: &mut Log) {
        let is_plain = mechanism(line).parse().is_ok_and(Mechanism::is_plain_text);
        if is_plain && !self.is_encrypted && !std::mem::replace(&mut self.has_shown_password, true) {
            log.add(Breach::PasswordInClear, Side::Client, line.at);
        }
    }
}

fn mechanism(line: &Line<'_>) -> String {
    let word = line.argument.split(|octet| *octet == b' ').next().unwrap_or_default();
    String::from_utf8_lossy(word).into_owned()
}

/// The parameters of MAIL and RCPT, and SMTPUTF8 of VRFY and EXPN; in capitals.
fn parameters(line: &Line<'_>) -> Vec<String> {
    let text = String::from_utf8_lossy(line.argument).to_ascii_uppercase();
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match line.verb {
        Verb::Mail | Verb::Rcpt => words(after_path(&text)),
        Verb::Vrfy | Verb::Expn => words(&text).into_iter().skip(1).filter(|word| word == "SMTPUTF8").collect(),
        _ => Vec::new(),
    }
}

/// What follows the path; nothing where the path does not end.
fn after_path(argument: &str) -> &str {
    let path = argument.split_once(':').map_or("", |(_, rest)| rest.trim_start());
    if !path.starts_with('<') {
        return path.split_once(' ').map_or("", |(_, rest)| rest);
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = path.find(|sign| {
        let is_end = sign == '>' && !is_quoted;
        is_quoted ^= sign == '"' && !is_escaped;
        is_escaped = sign == '\\' && !is_escaped;
        is_end
    });
    end.map_or("", |end| &path[end + 1..])
}

/// What is wrong with an argument that cannot be parsed.
fn argument_error(line: &Line<'_>, error: &CommandError) -> Option<Breach> {
    Some(match error {
        CommandError::ReversePath(AddressError::Brackets) | CommandError::ForwardPath(AddressError::Brackets)
            if !line.argument.contains(&b'<') =>
        {
            Breach::PathWithoutBrackets
        }
        CommandError::ReversePath(AddressError::NotPrintable)
        | CommandError::ForwardPath(AddressError::NotPrintable)
            if !line.argument.is_ascii() =>
        {
            return None;
        }
        CommandError::ReversePath(_) | CommandError::ForwardPath(_) => Breach::PathMalformed,
        // Told by others.
        CommandError::NotAscii | CommandError::UnknownParameter(_) => return None,
        _ if matches!(line.verb, Verb::Helo | Verb::Ehlo) => return None,
        CommandError::Argument(_) if has_odd_spaces(line) => return None,
        _ => Breach::ArgumentMalformed,
    })
}

/// Whether there is white space on a side of the colon (RFC 5321 §3.3).
fn has_odd_spaces(line: &Line<'_>) -> bool {
    let Some(colon) = line.argument.iter().position(|octet| *octet == b':') else { return false };
    let is_blank = |octet: Option<&u8>| octet.is_some_and(|octet| matches!(octet, b' ' | b'\t'));
    matches!(line.verb, Verb::Mail | Verb::Rcpt)
        && (is_blank(line.argument[..colon].last()) || is_blank(line.argument.get(colon + 1)))
}

/// Whether the command may come now (RFC 5321 §4.1.4).
fn sequence(verb: Verb, state: State) -> Option<Breach> {
    let is_wrong = match verb {
        Verb::Mail if !state.hello => return Some(Breach::HelloMissing),
        Verb::Mail => state.is_open,
        Verb::Rcpt => !state.is_open,
        Verb::Data => state.recipients == 0 || state.has_chunks,
        Verb::Bdat => state.recipients == 0,
        // RFC 4954 §4.
        Verb::Auth => state.is_open || state.is_logged_in,
        _ => false,
    };
    is_wrong.then_some(Breach::OutOfSequence)
}
