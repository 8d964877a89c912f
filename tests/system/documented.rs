//! What the page for operators lists, compared with what the services show.

use crate::logs::NativeTown;
use std::collections::BTreeMap;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan};

const PAGE: &str = include_str!("../../docs/in-operation.md");
const HTTP: [PortKey; 4] = [PortKey::SmtpHttp, PortKey::PopHttp, PortKey::Store, PortKey::DnsHttp];

/// A row of the table for each metric family in the text form of OpenMetrics: name, type, labels, help.
fn rows(text: &str) -> BTreeMap<&str, String> {
    let described = |kind: &str| {
        text.lines().filter_map(move |line| line.strip_prefix(kind)?.split_once(' ')).collect::<BTreeMap<_, _>>()
    };
    let help = described("# HELP ");
    described("# TYPE ")
        .into_iter()
        .map(|(name, kind)| {
            let labels: Vec<_> = labels(text, name).iter().map(|label| format!("`{label}`")).collect();
            let help = help[name].trim_end_matches('.');
            (name, format!("| `{name}` | {kind} | {} | {help} |", labels.join(", ")))
        })
        .collect()
}

/// The labels of a family's samples, without those that histograms have of themselves.
fn labels<'t>(text: &'t str, family: &str) -> Vec<&'t str> {
    let is_sample = |line: &&str| line.starts_with(family) && line[family.len()..].starts_with(['{', '_']);
    let sample = text.lines().find(is_sample).and_then(|line| line.split_once('{')?.1.split_once('}'));
    let pairs = sample.map_or("", |(pairs, _)| pairs).split("\",").filter_map(|pair| pair.split_once('='));
    pairs.map(|(label, _)| label).filter(|label| *label != "le").collect()
}

#[tokio::test]
async fn the_metrics_are_those_that_are_documented() {
    let town = NativeTown::start(Plan::default()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut shown = BTreeMap::new();
    for key in HTTP {
        let url = format!("http://{}/metrics", town.site.address(EXMAIL, key));
        let text = http.get(url).send().await.unwrap().text().await.unwrap();
        shown.extend(rows(&text).into_iter().map(|(name, row)| (name.to_owned(), row)));
    }
    for name in shown.keys().filter(|name| *name != "mailtown_build_info") {
        let part = name.strip_prefix("mailtown_").and_then(|name| name.split_once('_')).map(|(part, _)| part);
        assert!(["smtp", "relay", "pop3", "store", "dns"].map(Some).contains(&part), "{name}");
    }
    let (_, table) = PAGE.split_once("<!-- metrics -->").unwrap();
    let documented: Vec<_> = table.lines().skip_while(|line| !line.starts_with("| `")).collect();
    let documented: Vec<_> = documented.into_iter().take_while(|line| line.starts_with("| `")).collect();
    let missing: Vec<_> = shown.values().filter(|row| !documented.contains(&row.as_str())).collect();
    let extra: Vec<_> = documented.iter().filter(|row| !shown.values().any(|shown| shown == *row)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not in the table: {missing:#?}\nnot shown: {extra:#?}");
}
