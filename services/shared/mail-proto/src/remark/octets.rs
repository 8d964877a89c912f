//! What the octets of one line of a dialogue may be.

use super::{Breach, Log, wire::Piece};
use crate::Side;

/// How the line before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ending {
    #[default]
    CrLf,
    Lf,
}

/// Remarks on the end of a line and on CRs within it; returns what is between.
pub(super) fn content<'l>(piece: &'l Piece, before: &mut Ending, by: Side, log: &mut Log) -> &'l [u8] {
    let (content, ending, breach) = ends(&piece.octets, *before);
    if let Some(breach) = breach {
        log.add(breach, by, piece.at);
    }
    *before = ending;
    content
}

/// The content of a line, how it ends, and what is wrong with CR and LF.
pub(super) fn ends(line: &[u8], before: Ending) -> (&[u8], Ending, Option<Breach>) {
    let (content, ending) = match line.strip_suffix(b"\r\n") {
        Some(content) => (content, Ending::CrLf),
        None => (line.strip_suffix(b"\n").unwrap_or(line), Ending::Lf),
    };
    let breach = match memchr::memchr(b'\r', content) {
        Some(0) if before == Ending::Lf => Some(Breach::LfCr),
        _ if ending == Ending::Lf => Some(Breach::BareLf),
        Some(_) => Some(Breach::BareCr),
        None => None,
    };
    (content, ending, breach)
}

/// Remarks on control characters. A CR is remarked elsewhere.
pub(super) fn controls(content: &[u8], at: usize, by: Side, log: &mut Log) {
    if content.contains(&0) {
        log.add(Breach::Nul, by, at);
    } else if content.iter().any(|&octet| octet.is_ascii_control() && !matches!(octet, b'\r' | b'\t')) {
        log.add(Breach::ControlCharacter, by, at);
    }
}

/// Whether this can be a message of a login exchange: base64, nothing, or the sign that it is cancelled. A masked one
/// can.
pub(super) fn is_response(content: &[u8]) -> bool {
    let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=' | b'*');
    content.iter().all(is_base64)
}

/// Whether a client that begins like this speaks HTTP or TLS.
pub(super) fn is_foreign(start: &[u8]) -> bool {
    start.starts_with(&[22, 3]) || crate::http::is_request(start)
}
