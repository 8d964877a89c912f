//! The lines of a session with all there is to say about them.

use super::{
    exchanges::{Reader, SeenAt},
    side, spoken,
};
use internal_api::{Form, Mark, Seen, SessionRecords};
use jiff::Timestamp;
use mail_proto::{
    Side, explain,
    remark::{self, Remark, Remarks},
};

/// A line of a dialogue, or something that happened between two of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// The record.
    pub(crate) record: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) what: What,
}

/// What a line shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// Octets.
    Said {
        /// Who has said it.
        by: Side,
        /// The octets, with their line ends.
        octets: Vec<u8>,
        /// A part of a message or a listing.
        is_body: bool,
        /// How many octets follow that were not kept.
        missing: u64,
        /// What its words mean.
        explained: Vec<explain::Part>,
        /// What breaks an RFC in it.
        remarks: Vec<Remark>,
    },
    /// What a service has understood or decided.
    Marked(Mark),
}

/// All lines of a session, explained and judged. The remarks at the end of the connection come with the last line.
pub(crate) fn lines(session: &SessionRecords) -> Vec<Line> {
    let protocol = spoken(session.session.protocol);
    let mut judge = protocol.map(Remarks::new).filter(|_| session.session.missing_records == 0);
    let mut lines: Vec<Line> = Vec::new();
    // Which of `lines` each call of the judge was about.
    let mut seen = Vec::new();
    let mut remarks = Vec::new();
    let mut reader = protocol.map(|protocol| Reader::new(protocol, session.session.opened_at));
    for record in &session.records {
        match &record.what {
            Seen::Octets(octets) => {
                let by = side(&session.session, octets.direction);
                let bytes = octets.octets.bytes().unwrap_or_default().into_owned();
                let is_body = octets.form == Form::Body;
                let pieces = if is_body || protocol.is_none() { vec![&bytes[..]] } else { split(&bytes) };
                let form = match octets.form {
                    Form::Line => remark::Form::Line,
                    Form::Body => remark::Form::Body,
                    Form::Secret => remark::Form::Secret,
                };
                let last = pieces.len().saturating_sub(1);
                for (index, piece) in pieces.into_iter().enumerate() {
                    if let Some(judge) = &mut judge {
                        seen.push(lines.len());
                        remarks.extend(judge.saw(by, form, piece));
                    }
                    let mut explained = Vec::new();
                    if let (Some(protocol), Some(reader)) = (protocol, &mut reader) {
                        if !is_body {
                            let about = reader.about(by).map(str::as_bytes);
                            explained = explain::line(protocol, by, piece, about);
                        }
                        let seen_at = SeenAt { record: record.sequence, at: record.at };
                        reader.saw(by, seen_at, octets.form, piece);
                    }
                    let missing = if index == last { octets.missing } else { 0 };
                    if is_body && goes_on(&mut lines, by, piece, missing) {
                        if let Some(last) = seen.last_mut() {
                            *last = lines.len() - 1;
                        }
                        continue;
                    }
                    let octets = piece.to_vec();
                    let what = What::Said { by, octets, is_body, missing, explained, remarks: Vec::new() };
                    lines.push(Line { record: record.sequence, at: record.at, what });
                }
                if octets.missing > 0
                    && let Some(judge) = &mut judge
                {
                    judge.missing(by, octets.missing);
                }
            }
            Seen::Mark(mark) => {
                if matches!(mark, Mark::Encrypted { .. })
                    && let Some(judge) = &mut judge
                {
                    judge.encrypted();
                }
                lines.push(Line { record: record.sequence, at: record.at, what: What::Marked(mark.clone()) });
            }
            Seen::Opened { .. } | Seen::Closed { .. } => {}
        }
    }
    if let Some(judge) = &mut judge
        && session.session.closed_at.is_some()
    {
        remarks.extend(judge.closed(None));
    }
    for remark in remarks {
        let line = seen.get(remark.at).and_then(|line| lines.get_mut(*line));
        if let Some(Line { what: What::Said { remarks, .. }, .. }) = line {
            remarks.push(remark);
        }
    }
    lines
}

/// Adds octets to the part of a body that was seen before; whether they are of the same body.
fn goes_on(lines: &mut [Line], side: Side, more: &[u8], left_out: u64) -> bool {
    match lines.last_mut().map(|line| &mut line.what) {
        Some(What::Said { by, octets, is_body: true, missing, .. }) if *by == side && *missing == 0 => {
            octets.extend_from_slice(more);
            *missing = left_out;
            true
        }
        _ => false,
    }
}

/// The lines of octets, each with its line end.
fn split(octets: &[u8]) -> Vec<&[u8]> {
    octets.split_inclusive(|octet| *octet == b'\n').collect()
}
