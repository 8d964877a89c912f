//! How accounts are listed, for people and for programs.

use crate::{
    client::{NamedStore, Stores, told},
    output::{NO_OUTPUT, columns, padded},
};
use anstyle::Style;
use anyhow::Context;
use internal_api::{AccountSource, AccountSummary};
use mail_proto::Mailbox;
use serde::Serialize;
use std::io::{self, Write};
use town_config::{LiveStack, Stack};

const HEADINGS: [&str; 5] = ["address", "source", "state", "messages", "octets"];
/// The first column of numbers, which are written to the right.
const FIRST_NUMBER: usize = 3;

/// An account as programs get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Listed {
    server: String,
    address: Mailbox,
    source: Source,
    enabled: bool,
    messages: u64,
    octets: u64,
}

/// Where an account comes from, and so where it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Config,
    /// The postmaster that every mail domain has (RFC 5321 §4.5.1), and that the configuration does not name.
    BuiltIn,
    Left,
    Api,
}

impl Source {
    fn of(stack: &Stack, account: &AccountSummary) -> Self {
        match account.source {
            AccountSource::Config if is_built_in(stack, &account.address) => Self::BuiltIn,
            AccountSource::Config => Self::Config,
            AccountSource::Left => Self::Left,
            AccountSource::Api => Self::Api,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::BuiltIn => "built in",
            Self::Left => "left",
            Self::Api => "api",
        }
    }
}

/// Whether this is a postmaster that the configuration does not name.
pub(super) fn is_built_in(stack: &Stack, address: &Mailbox) -> bool {
    let is_same = |configured: &Mailbox| stack.address_rules.are_same(configured, address);
    address.is_postmaster() && !stack.accounts.keys().any(|it| it == address || is_same(it))
}

/// Prints all accounts. A store that fails does not hide the accounts of the others.
pub(super) async fn list(stores: &Stores<'_>, is_json: bool) -> anyhow::Result<()> {
    let (mut listed, mut failures) = (Vec::new(), Vec::new());
    for stack in stores.config.stacks() {
        let store = stores.of(&stack.current())?;
        if let Err(failure) = read(&store, &stack, &mut listed).await {
            failures.push(failure);
        }
    }
    let mut output = anstream::stdout();
    let printed = if is_json { write_json(&listed, &mut output) } else { write_table(&listed, &mut output) };
    printed.context(NO_OUTPUT)?;
    told(failures)
}

async fn read(store: &NamedStore, stack: &LiveStack, listed: &mut Vec<Listed>) -> anyhow::Result<()> {
    let mut after = Some(String::new());
    while let Some(from) = after.take() {
        let page = store.client.accounts(&from).await.map_err(|error| store.failed(error));
        let page = page.with_context(|| format!("{}: the accounts cannot be read", store.server))?;
        listed.extend(page.accounts.into_iter().map(|account| Listed {
            server: store.server.clone(),
            source: Source::of(&stack.current(), &account),
            address: account.address,
            enabled: account.enabled,
            messages: account.messages,
            octets: account.octets,
        }));
        after = page.next_after;
    }
    Ok(())
}

fn write_json(listed: &[Listed], output: &mut impl Write) -> io::Result<()> {
    for account in listed {
        serde_json::to_writer(&mut *output, account)?;
        writeln!(output)?;
    }
    output.flush()
}

/// In columns, with a heading unless nothing is listed.
fn write_table(listed: &[Listed], output: &mut impl Write) -> io::Result<()> {
    if listed.is_empty() {
        return Ok(());
    }
    let cells = |account: &Listed| {
        let state = if account.enabled { "enabled" } else { "disabled" };
        let (messages, octets) = (account.messages.to_string(), account.octets.to_string());
        [account.address.to_string(), account.source.as_str().to_owned(), state.to_owned(), messages, octets]
    };
    let rows: Vec<_> = listed.iter().map(cells).collect();
    let width = |column: usize| {
        rows.iter().map(|row| columns(&row[column])).chain([HEADINGS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let mut line = |style: Style, cells: &[String]| {
        let cells = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            FIRST_NUMBER.. => format!("{cell:>width$}"),
            _ => padded(cell, width),
        });
        writeln!(output, "{style}{}{style:#}", cells.collect::<Vec<_>>().join("  "))
    };
    line(Style::new().bold(), &HEADINGS.map(str::to_owned))?;
    rows.iter().try_for_each(|row| line(Style::new(), row))?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use town_config::Config;

    fn listed() -> Vec<Listed> {
        let one = |address: &str, source, enabled, messages, octets| Listed {
            server: "a.test".to_owned(),
            address: address.parse().unwrap(),
            source,
            enabled,
            messages,
            octets,
        };
        vec![
            one("postmaster@a.test", Source::BuiltIn, false, 0, 0),
            one("u@a.test", Source::Config, true, 12, 1_234_567),
            one("用户@a.test", Source::Api, true, 1, 2),
        ]
    }

    #[test]
    fn people_get_columns() {
        let mut octets = Vec::new();
        write_table(&listed(), &mut anstream::StripStream::new(&mut octets)).unwrap();
        let expected = "\
address            source    state     messages   octets
postmaster@a.test  built in  disabled         0        0
u@a.test           config    enabled         12  1234567
用户@a.test        api       enabled          1        2
";
        assert_eq!(String::from_utf8(octets).unwrap(), expected);
    }

    #[test]
    fn programs_get_an_object_in_each_line() {
        let mut octets = Vec::new();
        write_json(&listed(), &mut octets).unwrap();
        let text = String::from_utf8(octets).unwrap();
        let expected = r#"{"server":"a.test","address":"postmaster@a.test","source":"built_in","enabled":false,"messages":0,"octets":0}"#;
        assert_eq!(text.lines().next(), Some(expected));
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn only_a_postmaster_that_is_not_configured_is_built_in() {
        let text = "[server.a]\nsmtp = 1\npop = 2\ndomains = [\"a.test\", \"b.test\"]\n\
                    [accounts.a]\n\"Postmaster@a.test\" = \"x\"\n\"u@a.test\" = \"x\"\n";
        let config = Config::parse(text, Path::new("config.toml")).unwrap();
        let stack = config.stack("a").unwrap();
        for (address, expected) in [("postmaster@a.test", false), ("postmaster@b.test", true), ("u@a.test", false)] {
            assert_eq!(is_built_in(stack, &address.parse().unwrap()), expected, "{address}");
        }
    }
}
