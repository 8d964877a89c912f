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

const HEADINGS: [&str; 6] = ["server", "mail domain", "SMTP", "POP3", "store API", "DNS"];

/// Writes where everything is, and how to begin. The caller's stream decides over colours. An agent is told of the ports file where it needs one.
///
/// # Errors
/// When the stream fails.
pub(crate) fn write(stacks: &[StackAddresses], ports_file: Option<&Path>, output: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = stacks.iter().map(row).collect();
    let width = |column: usize| {
        rows.iter().map(|row| columns(&row[column])).chain([HEADINGS[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let bold = Style::new().bold();
    let line = |output: &mut dyn Write, style: Style, cells: &[String]| {
        let cells: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| padded(cell, width)).collect();
        writeln!(output, "{style}{}{style:#}", cells.join("  ").trim_end())
    };
    line(output, bold, &HEADINGS.map(str::to_owned))?;
    for row in &rows {
        line(output, Style::new(), row)?;
    }
    if let Some(address) = stacks.iter().find_map(|stack| stack.stack.accounts.keys().next()) {
        let whom = whom_to_ask(stacks, ports_file);
        let hint = Style::new().fg_color(Some(AnsiColor::Green.into()));
        writeln!(
            output,
            "\nSend and read mail:  {hint}cargo run --release -p agent -- -e {address} -p PASSWORD{whom}{hint:#}"
        )?;
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

fn row(stack: &StackAddresses) -> [String; HEADINGS.len()] {
    let every = stack.stack.takes_every_domain().then_some("*");
    let domains: Vec<_> = stack.stack.domains.iter().map(|domain| domain.as_str()).chain(every).collect();
    let address = |key| stack.address(key).map(|address| address.to_string()).unwrap_or_default();
    [
        stack.stack.name.to_string(),
        domains.join(", "),
        address(PortKey::Smtp),
        address(PortKey::Pop),
        format!("http://{}", address(PortKey::Store)),
        address(PortKey::Dns),
    ]
}
