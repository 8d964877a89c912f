//! The tables of a report, one for each measurement.

use super::table::{Cell, Table};
use crate::{
    args::Scale,
    measure::{Accept, AcceptRow, Growth, Idle, Pair, Pop3, Pop3Row, Results, Speed, Start, Task, delivered},
    statistics::Summary,
};

/// What each measurement is to reach.
mod aim {
    pub(super) const OVER_PEER: f64 = 15.0;
    pub(super) const TLS_OVER_PEER: f64 = 10.0;
    pub(super) const RELAY_OVER_PEER: f64 = 12.0;
    pub(super) const OF_SINK: f64 = 0.6;
    /// At these numbers of connections.
    pub(super) const OF_SINK_AT: [usize; 2] = [10, 50];
    pub(super) const OF_BEFORE: f64 = 0.95;
    pub(super) const OF_EMPTY: f64 = 0.9;
    pub(super) const IDLE_KIB: f64 = 10.0;
    pub(super) const START_MS: f64 = 300.0;
    pub(super) const RESIDENT_MIB: f64 = 100.0;
    /// How many times as fast as Dovecot.
    pub(super) const SESSIONS: f64 = 5.0;
    pub(super) const SMALL: f64 = 2.0;
    pub(super) const LARGE: f64 = 1.0;
}

/// The tables of what was measured.
pub(super) fn all(results: &Results) -> Vec<Table> {
    let scale = &results.scale;
    let tables = [
        results.start.as_ref().map(start),
        results.idle.as_ref().map(idle),
        results.smtp_accept.as_ref().map(|accept| smtp_accept(accept, scale)),
        results.smtp_accept_tls.as_ref().map(|accept| smtp_accept_tls(accept, scale)),
        results.relay.as_ref().map(|accept| relay(accept, scale)),
        results.growth.as_ref().map(growth),
        results.pop3.as_ref().map(|measured| pop3(measured, scale)),
    ];
    tables.into_iter().flatten().collect()
}

fn start(Pair { now, before }: &Pair<Start>) -> Table {
    let row = |what: &str, measured: fn(&Start) -> Summary, aim: f64, decimals: usize| {
        let (summary, before) = (measured(now), before.as_ref().map(measured));
        vec![
            Cell::new(what),
            Cell::number(Some(summary.median), decimals).judged(Some(summary.median <= aim)),
            Cell::number(Some(summary.min), decimals),
            Cell::number(Some(summary.max), decimals),
            Cell::new(format!("<= {aim}")),
            Cell::number(before.map(|before| before.median), decimals),
        ]
    };
    Table {
        title: "start: a town of two stacks".to_owned(),
        headings: vec!["", "median", "min", "max", "aim", "before"],
        rows: vec![
            row("first start to ready, ms", |start| start.first_ms, aim::START_MS, 0),
            row("next start to ready, ms", |start| start.again_ms, aim::START_MS, 0),
            row("resident memory, MiB", |start| start.resident_mib, aim::RESIDENT_MIB, 1),
        ],
    }
}

fn idle(Pair { now: idle, before }: &Pair<Idle>) -> Table {
    let each = idle.kib_each();
    let row = vec![
        Cell::new(idle.connections.to_string()),
        Cell::new(idle.before_kib.to_string()),
        Cell::new(idle.with_kib.to_string()),
        Cell::number(Some(each), 2).judged(Some(each <= aim::IDLE_KIB)),
        Cell::new(format!("<= {}", aim::IDLE_KIB)),
        Cell::number(before.as_ref().map(Idle::kib_each), 2),
    ];
    Table {
        title: "idle: SMTP connections that have said EHLO, resident memory of smtp-gateway in KiB".to_owned(),
        headings: vec!["connections", "without", "with them", "each", "aim", "before"],
        rows: vec![row],
    }
}

fn smtp_accept(accept: &Accept, scale: &Scale) -> Table {
    let row = |row: &AcceptRow| {
        let mut cells = rates(row, aim::OVER_PEER);
        let of_sink = row.of_sink();
        let judged = aim::OF_SINK_AT.contains(&row.connections);
        cells.push(Cell::number(median(&row.sink, |rate| Some(rate.accepted)), 0));
        cells.push(ratio(of_sink, judged.then_some(aim::OF_SINK)));
        cells
    };
    let mut headings = RATES.to_vec();
    headings.extend(["smtp-sink/s", "of it (min)"]);
    Table {
        title: format!(
            "smtp_accept: {} octets to a durable maildrop, messages/s; aims {} x Postfix and Dovecot delivered, {} of smtp-sink",
            scale.message_octets,
            aim::OVER_PEER,
            aim::OF_SINK
        ),
        headings,
        rows: accept.rows.iter().map(row).collect(),
    }
}

fn smtp_accept_tls(accept: &Accept, scale: &Scale) -> Table {
    Table {
        title: format!(
            "smtp_accept_tls: {} octets over TLS to a durable maildrop, messages/s; aim {} x Postfix and Dovecot with TLS",
            scale.message_octets,
            aim::TLS_OVER_PEER
        ),
        headings: RATES.to_vec(),
        rows: accept.rows.iter().map(|row| rates(row, aim::TLS_OVER_PEER)).collect(),
    }
}

fn relay(accept: &Accept, scale: &Scale) -> Table {
    Table {
        title: format!(
            "relay: {} octets across two servers to a durable maildrop, messages/s; aim {} x Postfix, Postfix and Dovecot",
            scale.message_octets,
            aim::RELAY_OVER_PEER
        ),
        headings: RATES.to_vec(),
        rows: accept.rows.iter().map(|row| rates(row, aim::RELAY_OVER_PEER)).collect(),
    }
}

const RATES: [&str; 9] = [
    "connections",
    "mailtown/s",
    "accepted/s",
    "median ms",
    "p99 ms",
    "peer accepted/s",
    "delivered/s",
    "x (min)",
    "of before (min)",
];

fn rates(row: &AcceptRow, aim: f64) -> Vec<Cell> {
    let over_peer = row.over_peer();
    vec![
        Cell::new(row.connections.to_string()),
        Cell::number(median(&row.town, delivered), 0),
        Cell::number(median(&row.town, |rate| Some(rate.accepted)), 0),
        Cell::number(median(&row.town, |rate| Some(rate.median_ms)), 1),
        Cell::number(median(&row.town, |rate| Some(rate.p99_ms)), 1),
        Cell::number(median(&row.peer, |rate| Some(rate.accepted)), 0),
        Cell::number(median(&row.peer, delivered), 0),
        ratio(over_peer, Some(aim)),
        ratio(row.of_before(), Some(aim::OF_BEFORE)),
    ]
}

fn growth(growth: &Growth) -> Table {
    let row = |step: &crate::measure::GrowthStep| {
        vec![
            Cell::new(step.stored.to_string()),
            Cell::number(Summary::of(step.rates.iter().copied()).map(|rates| rates.median), 0),
            Cell::number(Summary::of(step.empty_rates.iter().copied()).map(|rates| rates.median), 0),
            ratio(step.of_empty(), Some(aim::OF_EMPTY)),
            Cell::number(Some(step.login_ms.median), 1),
            Cell::number(Some(step.full_login_ms.median), 1),
            Cell::new(step.full_maildrop.to_string()),
        ]
    };
    let cut = if growth.cut_short { " (cut short)" } else { "" };
    Table {
        title: format!(
            "growth{cut}: messages/s and POP3 login beside an empty store; aim {} of its rate",
            aim::OF_EMPTY
        ),
        headings: vec!["stored", "rate/s", "empty/s", "of it (min)", "login ms", "full login ms", "messages in it"],
        rows: growth.steps.iter().map(row).collect(),
    }
}

fn pop3(pop3: &Pop3, scale: &Scale) -> Table {
    let row = |row: &Pop3Row| {
        let (what, aim, decimals) = match row.task {
            Task::Sessions => ("sessions/s".to_owned(), Some(aim::SESSIONS), 0),
            Task::Small => ("RETR 4 KiB, messages/s".to_owned(), Some(aim::SMALL), 0),
            Task::Large => ("RETR 1 MiB, MB/s".to_owned(), Some(aim::LARGE), 0),
            Task::Full => (format!("login to {} messages, ms", scale.pop3_stored), None, 1),
        };
        let value = |speed: &Speed| Some(row.task.value(speed));
        vec![
            Cell::new(what),
            Cell::new(row.clients.to_string()),
            Cell::number(median(&row.town, value), decimals),
            Cell::number(median(&row.town, |speed| Some(speed.median_ms)), 2),
            Cell::number(median(&row.town, |speed| Some(speed.p99_ms)), 2),
            Cell::number(median(&row.town, |speed| Some(speed.generator)), 2),
            Cell::number(median(&row.peer, value), decimals),
            Cell::number(median(&row.peer, |speed| Some(speed.generator)), 2),
            Cell::number(aim, 0),
            ratio(row.over_peer(), aim),
            ratio(row.of_before(), Some(aim::OF_BEFORE)),
        ]
    };
    Table {
        title: "pop3: how many times as fast as Dovecot; generator: the part of one processor that the clients need"
            .to_owned(),
        headings: vec![
            "",
            "clients",
            "mailtown",
            "median ms",
            "p99 ms",
            "generator",
            "Dovecot",
            "generator",
            "aim",
            "x (min)",
            "of before (min)",
        ],
        rows: pop3.rows.iter().map(row).collect(),
    }
}

fn median<T>(values: &[T], value: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    Summary::of(values.iter().filter_map(value)).map(|summary| summary.median)
}

/// The median of ratios, and the least of them.
fn ratio(ratio: Option<Summary>, aim: Option<f64>) -> Cell {
    match ratio {
        None => Cell::new("-"),
        Some(Summary { min, median, .. }) => {
            Cell::new(format!("{median:.2} ({min:.2})")).judged(aim.map(|aim| median >= aim))
        }
    }
}
