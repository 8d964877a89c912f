//! The lines of a session with all there is to say about them.

use super::{
    exchanges::{Reader, SeenAt},
    side, spoken,
};
use internal_api::{Form, Mark, Record, RecordedSession, Seen, SeenOctets, SessionRecords};
use jiff::Timestamp;
use mail_proto::{
    Protocol, Side, explain,
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
    let mut transcript = Transcript::new(session);
    for record in &session.records {
        match &record.what {
            Seen::Octets(octets) => transcript.said(record, octets),
            Seen::Mark(mark) => transcript.marked(record, mark),
            Seen::Opened { .. } | Seen::Closed { .. } => {}
        }
    }
    transcript.finish()
}

/// The lines of a session as far as they were read.
struct Transcript<'s> {
    session: &'s RecordedSession,
    lines: Vec<Line>,
    protocol: Option<Protocol>,
    reader: Option<Reader>,
    judge: Option<Remarks>,
    /// Which of `lines` each call of the judge was about.
    judged: Vec<usize>,
    remarks: Vec<Remark>,
}

impl<'s> Transcript<'s> {
    fn new(SessionRecords { session, .. }: &'s SessionRecords) -> Self {
        let protocol = spoken(session.protocol);
        Self {
            session,
            lines: Vec::new(),
            protocol,
            reader: protocol.map(|protocol| Reader::new(protocol, session.opened_at)),
            // What is missing would be remarked.
            judge: protocol.map(Remarks::new).filter(|_| session.missing_records == 0),
            judged: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn said(&mut self, record: &Record, seen: &SeenOctets) {
        let by = side(self.session, seen.direction);
        let bytes = seen.octets.bytes().unwrap_or_default();
        let is_whole = seen.form == Form::Body || self.protocol.is_none();
        let pieces = if is_whole { vec![&bytes[..]] } else { split(&bytes) };
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.into_iter().enumerate() {
            self.piece(record, (by, seen.form), piece, if index == last { seen.missing } else { 0 });
        }
        if seen.missing > 0
            && let Some(judge) = &mut self.judge
        {
            judge.missing(by, seen.missing);
        }
    }

    /// A line, or a part of a body, after which octets may be missing.
    fn piece(&mut self, record: &Record, (by, form): (Side, Form), piece: &[u8], missing: u64) {
        if let Some(judge) = &mut self.judge {
            self.remarks.extend(judge.saw(by, judged(form), piece));
        }
        let is_body = form == Form::Body;
        let explained = if is_body { Vec::new() } else { self.explained(by, piece) };
        if let Some(reader) = &mut self.reader {
            reader.saw(by, SeenAt { record: record.sequence, at: record.at }, form, piece);
        }
        if !is_body || !goes_on(&mut self.lines, by, piece, missing) {
            let what = What::Said { by, octets: piece.to_vec(), is_body, missing, explained, remarks: Vec::new() };
            self.lines.push(Line { record: record.sequence, at: record.at, what });
        }
        if self.judge.is_some() {
            self.judged.push(self.lines.len() - 1);
        }
    }

    fn explained(&self, by: Side, line: &[u8]) -> Vec<explain::Part> {
        let (Some(protocol), Some(reader)) = (self.protocol, &self.reader) else { return Vec::new() };
        explain::line(protocol, by, line, reader.about(by).map(str::as_bytes))
    }

    fn marked(&mut self, record: &Record, mark: &Mark) {
        if matches!(mark, Mark::Encrypted { .. })
            && let Some(judge) = &mut self.judge
        {
            judge.encrypted();
        }
        self.lines.push(Line { record: record.sequence, at: record.at, what: What::Marked(mark.clone()) });
    }

    fn finish(mut self) -> Vec<Line> {
        if let Some(judge) = &mut self.judge
            && self.session.closed_at.is_some()
        {
            self.remarks.extend(judge.closed(None));
        }
        for remark in self.remarks {
            let line = self.judged.get(remark.at).and_then(|line| self.lines.get_mut(*line));
            if let Some(Line { what: What::Said { remarks, .. }, .. }) = line {
                remarks.push(remark);
            }
        }
        self.lines
    }
}

fn judged(form: Form) -> remark::Form {
    match form {
        Form::Line => remark::Form::Line,
        Form::Body => remark::Form::Body,
        Form::Secret => remark::Form::Secret,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ConnectionId, Flow, Octets, Protocol as Port, Role, SessionId};

    /// A session in which the server has seen this, each with how many octets are missing after it.
    fn session(seen: &[(Flow, Form, &str, u64)]) -> SessionRecords {
        let (id, at) = (SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random()), Timestamp::UNIX_EPOCH);
        let owner = ("a.test".parse().unwrap(), "smtp-gateway".into());
        let session = RecordedSession::opened((id, at), owner, (Role::Server, Port::Smtp));
        let records = (1..).zip(seen).map(|(sequence, &(direction, form, text, missing))| {
            let octets = SeenOctets { direction, form, missing, octets: Octets::of(text.as_bytes()) };
            Record { sequence, at, what: Seen::Octets(octets) }
        });
        SessionRecords { records: records.collect(), session: RecordedSession { closed_at: Some(at), ..session } }
    }

    /// Each line: who said it, the octets, how many are missing, the words explained, and what is remarked.
    fn shown(session: &SessionRecords) -> Vec<(Side, String, u64, usize, Vec<&'static str>)> {
        let said = lines(session).into_iter().filter_map(|line| match line.what {
            What::Said { by, octets, missing, explained, remarks, .. } => {
                let remarks = remarks.iter().map(|remark| remark.what.name()).collect();
                Some((by, String::from_utf8(octets).unwrap(), missing, explained.len(), remarks))
            }
            What::Marked(_) => None,
        });
        said.collect()
    }

    #[test]
    fn lines_are_explained_and_a_body_is_one() {
        use Flow::{Received, Sent};
        let session = session(&[
            (Sent, Form::Line, "220 a.test ready\r\n", 0),
            (Received, Form::Line, "EHLO b.test\r\nMAIL FROM:<x@b.test>\r\n", 0),
            (Sent, Form::Line, "250-a.test\r\n250 PIPELINING\r\n250 2.1.0 OK\r\n", 0),
            (Received, Form::Body, "Subject: a\r\n", 0),
            (Received, Form::Body, "\r\nb\r\n", 7),
        ]);
        let shown = shown(&session);
        let texts: Vec<_> =
            shown.iter().map(|(_, text, missing, explained, _)| (&text[..], *missing, *explained > 0)).collect();
        let expected = [
            ("220 a.test ready\r\n", 0, true),
            ("EHLO b.test\r\n", 0, true),
            ("MAIL FROM:<x@b.test>\r\n", 0, true),
            ("250-a.test\r\n", 0, true),
            ("250 PIPELINING\r\n", 0, true),
            ("250 2.1.0 OK\r\n", 0, true),
            ("Subject: a\r\n\r\nb\r\n", 7, false),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_remark_stands_at_its_line() {
        use Flow::{Received, Sent};
        let session = session(&[
            (Sent, Form::Line, "220 a.test ready\r\n", 0),
            (Received, Form::Line, "EHLO b.test\n", 0),
            (Sent, Form::Line, "250 a.test\r\n", 0),
        ]);
        let remarked: Vec<_> = shown(&session).into_iter().map(|(.., remarks)| remarks).collect();
        assert_eq!(remarked, [vec![], vec!["bare-lf"], vec![]]);
        // What is missing would be remarked for nothing.
        let with_gaps = RecordedSession { missing_records: 1, ..session.session.clone() };
        let session = SessionRecords { session: with_gaps, ..session };
        assert!(shown(&session).iter().all(|(.., remarks)| remarks.is_empty()));
    }
}
