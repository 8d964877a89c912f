//! Bars of what was measured, for the README.

use crate::{
    measure::{Accept, Pop3Row, Results, Task, delivered},
    statistics::Summary,
};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const PANEL_HEIGHT: f64 = 240.0;
/// The bars' room below a panel's title and above its labels.
const BARS: std::ops::Range<f64> = 48.0..200.0;
const COLOURS: [&str; 3] = ["#0b7a75", "#c8553d", "#9aa0a6"];

/// A panel: groups of bars, a label below each group.
struct Panel {
    title: &'static str,
    /// What each bar of a group stands for.
    series: Vec<&'static str>,
    groups: Vec<(String, Vec<Option<f64>>)>,
}

/// The plot; `None` when nothing was measured that could be plotted.
pub(super) fn svg(results: &Results) -> Option<String> {
    let panels: Vec<_> = [
        results.smtp_accept.as_ref().map(|accept| {
            let title = "SMTP to a durable maildrop: messages a second";
            rates(accept, title, vec!["mailtown", "Postfix and Dovecot", "smtp-sink (stores nothing)"])
        }),
        results.relay.as_ref().map(|accept| {
            let title = "Across two servers to a durable maildrop: messages a second";
            rates(accept, title, vec!["mailtown", "Postfix, Postfix and Dovecot"])
        }),
        growth(results),
        pop3(results),
    ]
    .into_iter()
    .flatten()
    .collect();
    if panels.is_empty() {
        return None;
    }
    let height = PANEL_HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", PANEL_HEIGHT * number as f64);
        panel.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn rates(accept: &Accept, title: &'static str, series: Vec<&'static str>) -> Panel {
    let groups = accept.rows.iter().map(|row| {
        let bars = [
            Summary::of(row.town.iter().filter_map(delivered)),
            Summary::of(row.peer.iter().filter_map(delivered)),
            Summary::of(row.sink.iter().map(|rate| rate.accepted)),
        ];
        let medians = bars.map(|summary| summary.map(|summary| summary.median));
        (connections(row.connections), medians[..series.len()].to_vec())
    });
    Panel { title, groups: groups.collect(), series }
}

fn connections(number: usize) -> String {
    if number == 1 { "1 connection".to_owned() } else { format!("{number} connections") }
}

fn growth(results: &Results) -> Option<Panel> {
    let growth = results.growth.as_ref()?;
    let groups = growth.steps.iter().map(|step| {
        let bars = [&step.rates, &step.empty_rates]
            .map(|rates| Summary::of(rates.iter().copied()).map(|summary| summary.median));
        (format!("{} stored", step.stored), bars.to_vec())
    });
    Some(Panel {
        title: "With mail already stored: messages a second",
        series: vec!["the full store", "an empty one beside it"],
        groups: groups.collect(),
    })
}

fn pop3(results: &Results) -> Option<Panel> {
    let plotted = |row: &&Pop3Row| matches!(row.task, Task::Sessions | Task::Small);
    let groups = results.pop3.as_ref()?.rows.iter().filter(plotted).map(|row| {
        let bars = [&row.town, &row.peer]
            .map(|speeds| Summary::of(speeds.iter().map(|speed| row.task.value(speed))).map(|summary| summary.median));
        let what = if row.task == Task::Small { "RETR 4 KiB" } else { "sessions" };
        (format!("{what}, {}", connections(row.clients)), bars.to_vec())
    });
    Some(Panel {
        title: "POP3: sessions and messages a second",
        series: vec!["mailtown", "Dovecot"],
        groups: groups.collect(),
    })
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let _ = writeln!(svg, "<text x=\"20\" y=\"20\" font-weight=\"bold\">{}</text>", self.title);
        let mut x = 20.0;
        for (name, colour) in self.series.iter().zip(COLOURS) {
            let _ = writeln!(svg, "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
            let _ = writeln!(svg, "<text x=\"{}\" y=\"37\" fill=\"#444\">{name}</text>", x + 14.0);
            x += 30.0 + 7.0 * name.len() as f64;
        }
        let bars = self.groups.iter().flat_map(|(_, bars)| bars.iter().flatten());
        let most = bars.copied().fold(1.0, f64::max);
        let group_width = (WIDTH - 40.0) / self.groups.len().max(1) as f64;
        for (number, (label, bars)) in self.groups.iter().enumerate() {
            draw_group(svg, 20.0 + group_width * number as f64, group_width, most, (label, bars));
        }
    }
}

fn draw_group(svg: &mut String, left: f64, width: f64, most: f64, (label, bars): (&str, &[Option<f64>])) {
    let bar_width = (width - 30.0) / bars.len().max(1) as f64;
    for (number, (bar, colour)) in bars.iter().zip(COLOURS).enumerate() {
        let Some(value) = bar else { continue };
        let height = (BARS.end - BARS.start - 14.0) * value / most;
        let (x, y) = (left + 15.0 + bar_width * number as f64, BARS.end - height);
        let width = bar_width - 4.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"11\">{value:.0}</text>",
            x + width / 2.0,
            y - 4.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#444\">{label}</text>",
        left + width / 2.0,
        BARS.end + 18.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_bar_is_the_highest_and_what_is_missing_is_left_out() {
        let panel = Panel {
            title: "t",
            series: vec!["a", "b"],
            groups: vec![("1".to_owned(), vec![Some(50.0), None]), ("2".to_owned(), vec![Some(100.0), Some(25.0)])],
        };
        let mut svg = String::new();
        panel.draw(&mut svg);
        let heights: Vec<_> =
            svg.lines().filter_map(|line| line.split_once("height=\"")?.1.split('"').next()).collect();
        assert_eq!(heights, ["10", "10", "69.0", "138.0", "34.5"]);
        assert_eq!(svg.matches("<text").count(), 1 + 2 + 3 + 2);
    }
}
