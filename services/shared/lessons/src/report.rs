//! What a run of a lesson has shown, as text, JSON and JUnit XML.

use crate::Lesson;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// The marks of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name of the lesson.
    pub lesson: String,
    /// Its title.
    pub title: String,
    /// The points that it gave.
    pub points: u32,
    /// The points that it can give.
    pub of: u32,
    /// What they are made of.
    pub items: Vec<Item>,
}

/// One checkpoint or question.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// Which of both.
    pub kind: Kind,
    /// What it is about.
    pub title: String,
    /// The group that limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The points that it gave, before the limit of its group.
    pub points: u32,
    /// The points that it can give.
    pub of: u32,
    /// Why it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What must be true.
    Checkpoint,
    /// What the student was asked.
    Question,
}

impl Report {
    /// Adds up the points of these items.
    pub fn new(name: &str, lesson: &Lesson, items: Vec<Item>) -> Self {
        let sum = |points: fn(&Item) -> u32| {
            let mut of_group: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            for item in &items {
                *of_group.entry(item.group.as_deref()).or_default() += points(item);
            }
            let limit =
                |group: Option<&str>| group.and_then(|group| lesson.groups.get(group)).map(|group| group.at_most);
            of_group.into_iter().map(|(group, points)| points.min(limit(group).unwrap_or(u32::MAX))).sum()
        };
        let (points, of) = (sum(|item| item.points), sum(|item| item.of));
        Self { lesson: name.to_owned(), title: lesson.title.clone(), points, of, items }
    }

    /// Whether it gave all the points that it can give.
    pub fn is_full(&self) -> bool {
        self.points == self.of
    }

    /// For people: a line for each item, and the sum.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        let width = self.items.iter().map(|item| item.of.max(self.of).to_string().len()).max().unwrap_or(1);
        for item in &self.items {
            let verdict = if item.problem.is_some() { "lost" } else { "ok  " };
            let group = item.group.as_ref().map(|group| format!(" ({group})")).unwrap_or_default();
            let marks = format!("{:>width$}/{:<width$}", item.points, item.of);
            let _ = writeln!(text, "  {marks}  {verdict}  {}{group}", item.title);
            for line in item.problem.iter().flat_map(|problem| problem.lines()) {
                let _ = writeln!(text, "  {:1$}        {line}", "", 2 * width + 1);
            }
        }
        let _ = writeln!(text, "  {:>width$}/{:<width$}  in all", self.points, self.of);
        let groups: BTreeSet<_> = self.items.iter().filter_map(|item| item.group.as_deref()).collect();
        if !groups.is_empty() {
            let names = groups.into_iter().collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "  The points of a group are limited together: {names}.");
        }
        text
    }

    /// For programs.
    pub fn to_json(&self) -> String {
        // Texts and numbers always become JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// For programs that show test results.
    pub fn to_junit(&self) -> String {
        let failures = self.items.iter().filter(|item| item.problem.is_some()).count();
        let (name, tests) = (escaped(&self.title), self.items.len());
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(xml, "<testsuites tests=\"{tests}\" failures=\"{failures}\">");
        let _ = writeln!(xml, "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\">");
        for (key, value) in [("points", self.points), ("of", self.of)] {
            let start = if key == "points" { "    <properties>\n" } else { "" };
            let end = if key == "of" { "    </properties>\n" } else { "" };
            let _ = write!(xml, "{start}      <property name=\"{key}\" value=\"{value}\"/>\n{end}");
        }
        for item in &self.items {
            let (class, title) = (escaped(&self.lesson), escaped(&item.title));
            let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"{title} ({}/{})\"", item.points, item.of);
            match &item.problem {
                None => xml.push_str("/>\n"),
                Some(problem) => {
                    let first = escaped(problem.lines().next().unwrap_or_default());
                    let whole = escaped(problem);
                    let _ = writeln!(xml, ">\n      <failure message=\"{first}\">{whole}</failure>\n    </testcase>");
                }
            }
        }
        xml.push_str("  </testsuite>\n</testsuites>\n");
        xml
    }
}

/// A text that can stand between tags and in an attribute (XML 1.0 §2.2, §2.4). Characters that XML does not have
/// become U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(character),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let text = "title = \"T & <t>\"\ntext = \"\"\ngroups.more.at_most = 5\n[[checkpoints]]\ntitle = \"c\"";
        let lesson = Lesson::parse(text, "f").unwrap();
        let item = |title: &str, group: Option<&str>, points, problem: Option<&str>| Item {
            kind: Kind::Checkpoint,
            title: title.to_owned(),
            group: group.map(str::to_owned),
            points,
            of: 10,
            problem: problem.map(str::to_owned),
        };
        let items = vec![
            item("STAT", None, 10, None),
            item("a", Some("more"), 10, None),
            item("b", Some("more"), 0, Some("it said \"\0\"\r\n<x>")),
        ];
        Report::new("t", &lesson, items)
    }

    #[test]
    fn groups_limit_their_points() {
        let report = report();
        assert_eq!((report.points, report.of, report.is_full()), (15, 15, true));
        let expected = "T & <t>\n  10/10  ok    STAT\n  10/10  ok    a (more)\n   0/10  lost  b (more)\n               it said \"\0\"\n               <x>\n  15/15  in all\n  The points of a group are limited together: more.\n";
        assert_eq!(report.to_text(), expected);
    }

    #[test]
    fn junit_is_well_formed_whatever_a_server_says() {
        let xml = report().to_junit();
        assert!(
            xml.contains("<testsuite name=\"T &amp; &lt;t&gt;\" tests=\"3\" failures=\"1\" errors=\"0\">"),
            "{xml}"
        );
        assert!(xml.contains("<failure message=\"it said &quot;\u{fffd}&quot;\">it said &quot;\u{fffd}&quot;&#13;\n&lt;x&gt;</failure>"), "{xml}");
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(json["items"][2]["problem"], "it said \"\0\"\r\n<x>");
    }
}
