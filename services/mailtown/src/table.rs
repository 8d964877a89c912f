//! What a person wants to see of a running town.

use crate::{
    StackAddresses,
    output::{columns, padded},
};
use anstyle::{AnsiColor, Style};
use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};
use town_config::PortKey;

/// The columns of addresses. One that is empty for every server is left out.
const PORTS: [(&str, PortKey); 7] = [
    ("SMTP", PortKey::Smtp),
    ("submission", PortKey::Submission),
    ("submissions", PortKey::Submissions),
    ("POP3", PortKey::Pop),
    ("pops", PortKey::Pops),
    ("store API", PortKey::Store),
    ("DNS", PortKey::Dns),
];

/// Writes where everything is, and how to begin. The caller's stream decides over colours. An agent is told of the ports file where it needs one.
///
/// # Errors
/// When the stream fails.
pub(crate) fn write(
    stacks: &[StackAddresses],
    console: Option<SocketAddr>,
    ports_file: Option<&Path>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut rows = vec![headings()];
    rows.extend(stacks.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or_default();
    let is_used = |column: &usize| rows.iter().skip(1).any(|row| !row[*column].is_empty());
    let used: Vec<_> = (0..rows[0].len()).filter(is_used).map(|column| (column, width(column))).collect();
    let mut style = Style::new().bold();
    for row in &rows {
        let cells: Vec<_> = used.iter().map(|(column, width)| padded(&row[*column], *width)).collect();
        writeln!(output, "{style}{}{style:#}", cells.join("  ").trim_end())?;
        style = Style::new();
    }
    if let Some(address) = stacks.iter().find_map(|stack| stack.stack.accounts.keys().next()) {
        let whom = whom_to_ask(stacks, ports_file);
        let hint = Style::new().fg_color(Some(AnsiColor::Green.into()));
        writeln!(
            output,
            "\nSend and read mail:  {hint}cargo run --release -p agent -- -e {address} -p PASSWORD{whom}{hint:#}"
        )?;
    }
    if let Some(address) = console {
        let shown = Style::new().fg_color(Some(AnsiColor::Green.into()));
        writeln!(output, "See all mail:        {shown}http://{address}/{shown:#}")?;
    }
    writeln!(output, "Stop with Ctrl-C.")?;
    output.flush()
}

/// The option by which an agent finds a town that is not where its configuration says.
fn whom_to_ask(stacks: &[StackAddresses], ports_file: Option<&Path>) -> String {
    let is_configured = |stack: &StackAddresses| {
        let configured = stack.stack.configured_port(PortKey::Dns);
        let expected = configured.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        expected == stack.address(PortKey::Dns)
    };
    let name_server = stacks.iter().find_map(|stack| stack.address(PortKey::Dns));
    match (ports_file, name_server) {
        (_, Some(_)) if stacks.iter().all(is_configured) => String::new(),
        (Some(file), _) => format!(" --ports-file {}", file.display()),
        (None, Some(address)) => format!(" --dns {address}"),
        (None, None) => String::new(),
    }
}

fn headings() -> Vec<String> {
    ["server", "mail domain"].into_iter().chain(PORTS.map(|(heading, _)| heading)).map(str::to_owned).collect()
}

fn row(stack: &StackAddresses) -> Vec<String> {
    let every = stack.stack.takes_every_domain().then_some("*");
    let domains: Vec<_> = stack.stack.domains.iter().map(|domain| domain.as_str()).chain(every).collect();
    let addresses = PORTS.map(|(_, key)| {
        let scheme = if key.is_http() { "http://" } else { "" };
        stack.address(key).map(|address| format!("{scheme}{address}")).unwrap_or_default()
    });
    [stack.stack.name.to_string(), domains.join(", ")].into_iter().chain(addresses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use town_config::Config;

    /// The table of a town of one server, with these ports besides those that every server has.
    fn table(ports: &[(PortKey, u16)]) -> String {
        let config = Config::parse("[server.a]\nsmtp = 1\npop = 2\ndomains = [\"x\"]\n", Path::new("c.toml")).unwrap();
        let stack = Arc::new(config.stack("a").unwrap().clone());
        let all = [(PortKey::Smtp, 25), (PortKey::Pop, 110), (PortKey::Store, 80)].iter().chain(ports);
        let addresses = all.map(|(key, port)| (*key, SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))).collect();
        let mut output = Vec::new();
        write(&[StackAddresses { stack, addresses }], Some(([127, 0, 0, 1], 8025).into()), None, &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn ports_that_a_server_has_are_columns() {
        let without = table(&[]);
        assert!(without.contains("\nSee all mail:        http://127.0.0.1:8025/\n"), "{without}");
        assert_eq!(without.lines().next().unwrap(), "server  mail domain  SMTP          POP3           store API");
        let with = table(&[(PortKey::Submission, 587), (PortKey::Submissions, 465)]);
        let [head, row] = [0, 1].map(|number| with.lines().nth(number).unwrap().split_whitespace().collect::<Vec<_>>());
        assert_eq!(head, ["server", "mail", "domain", "SMTP", "submission", "submissions", "POP3", "store", "API"]);
        assert_eq!(
            row,
            ["a", "x", "127.0.0.1:25", "127.0.0.1:587", "127.0.0.1:465", "127.0.0.1:110", "http://127.0.0.1:80"]
        );
    }
}
