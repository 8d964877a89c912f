//! The lines of both ends of a connection, side by side.

use crate::transcript::{Line, What};
use jiff::Timestamp;
use mail_proto::Side;

/// How many lines further on the same line is looked for at the other end. Records may be missing there.
const AHEAD: usize = 256;

/// A line of a dialogue as each end has seen it, or a mark of one of them.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// At the end that has called.
    pub(super) client: Option<Line>,
    /// At the end that was called.
    pub(super) server: Option<Line>,
}

impl Row {
    /// When it was seen first. The times of two ends are not exact: one may have noted later what it has sent than the
    /// other that it has come.
    fn at(&self) -> Option<Timestamp> {
        [&self.client, &self.server].into_iter().flatten().map(|line| line.at).min()
    }

    /// The name of its place in the page of one end.
    pub(super) fn anchor(&self, this_is_client: bool) -> Option<String> {
        let here = if this_is_client { &self.client } else { &self.server };
        here.as_ref().map(|line| format!("r{}", line.record))
    }

    /// What the sender has of it, as far as the sender is known.
    pub(super) fn best(&self) -> Option<&Line> {
        let by_server = |line: &&Line| matches!(line.what, What::Said { by: Side::Server, .. });
        self.server.as_ref().filter(by_server).or(self.client.as_ref()).or(self.server.as_ref())
    }
}

/// Pairs what one end has sent with what the other has received: the same octets, in the same order. Rows come in the order
/// in which they were sent.
pub(super) fn pairs(client: Vec<Line>, server: Vec<Line>) -> Vec<Row> {
    let mut server: Vec<Option<Line>> = server.into_iter().map(Some).collect();
    // From where on each side's lines are looked for.
    let mut next = [0, 0];
    // After which of the client's lines each of the server's was seen.
    let mut after = vec![0; server.len()];
    let mut rows = Vec::new();
    for (number, line) in client.into_iter().enumerate() {
        let mut row = Row { client: Some(line), server: None };
        if let Some(Line { what: What::Said { by, octets, .. }, .. }) = &row.client {
            let from = &mut next[usize::from(*by == Side::Server)];
            let is_same = |other: &Option<Line>| {
                let said = other.as_ref().map(|other| &other.what);
                matches!(said, Some(What::Said { by: side, octets: others, .. }) if side == by && others == octets)
            };
            if let Some(found) = server.get(*from..).and_then(|rest| rest.iter().take(AHEAD).position(is_same)) {
                let place = *from + found;
                *from = place + 1;
                row.server = server[place].take();
                after[place] = number;
            }
        }
        rows.push(((row.at(), number, 0), row));
    }
    let mut before = 0;
    for (place, line) in server.into_iter().enumerate() {
        before = before.max(after[place]);
        if let Some(line) = line {
            let row = Row { client: None, server: Some(line) };
            rows.push(((row.at(), before, 1), row));
        }
    }
    // What was seen at the same time stays in the order of its end.
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn said(at: i64, by: Side, text: &str) -> Line {
        let octets = text.as_bytes().to_vec();
        let what = What::Said { by, octets, is_body: false, missing: 0, explained: Vec::new(), remarks: Vec::new() };
        Line { record: at.unsigned_abs(), at: Timestamp::from_second(at).unwrap(), what }
    }

    fn shown(rows: &[Row]) -> Vec<String> {
        let side = |line: &Option<Line>| match line {
            Some(Line { what: What::Said { octets, .. }, at, .. }) => {
                format!("{}@{}", String::from_utf8_lossy(octets), at.as_second())
            }
            _ => "-".to_owned(),
        };
        rows.iter().map(|row| format!("{} {}", side(&row.client), side(&row.server))).collect()
    }

    #[test]
    fn both_ends_are_joined_line_by_line() {
        use Side::{Client, Server};
        // Pipelined: the client has sent B before it has seen the reply to A.
        let client = vec![
            said(2, Server, "hi"),
            said(3, Client, "A"),
            said(4, Client, "B"),
            said(7, Server, "ok"),
            said(9, Server, "ok"),
        ];
        let server = vec![
            said(1, Server, "hi"),
            said(5, Client, "A"),
            said(6, Server, "ok"),
            said(7, Client, "B"),
            said(8, Server, "ok"),
        ];
        let expected = ["hi@2 hi@1", "A@3 A@5", "B@4 B@7", "ok@7 ok@6", "ok@9 ok@8"];
        assert_eq!(shown(&pairs(client.clone(), server.clone())), expected);
        // The client has noted the reply before the server has, and sends on at once.
        let early = vec![said(1, Client, "A"), said(3, Server, "ok"), said(4, Client, "B")];
        let late = vec![said(2, Client, "A"), said(5, Server, "ok"), said(5, Client, "B")];
        assert_eq!(shown(&pairs(early, late)), ["A@1 A@2", "ok@3 ok@5", "B@4 B@5"]);
        // What did not arrive stands alone.
        let lost = [client, vec![said(10, Client, "C")]].concat();
        assert_eq!(shown(&pairs(lost, server.clone())).last().unwrap(), "C@10 -");
        assert_eq!(shown(&pairs(Vec::new(), server)).len(), 5);
    }
}
