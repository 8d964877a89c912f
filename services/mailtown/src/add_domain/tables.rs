//! A new stack in the two TOML files, whose comments and order stay.

use super::{NewDomain, ports::Ports};
use anyhow::Context;
use mail_proto::Domain;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

/// The names that get a P record: exchange, and the agent's servers for SMTP and POP3.
pub(super) fn hosts(domain: &Domain) -> [String; 3] {
    ["mx", "smtp", "pop"].map(|host| format!("{host}.{domain}"))
}

/// Adds the server, its accounts and what its agents look up.
pub(super) fn add_to_config(text: &str, new: &NewDomain, ports: &Ports) -> anyhow::Result<String> {
    let NewDomain { domain, account, .. } = new;
    let mut document: DocumentMut = text.parse()?;
    let mut server = Table::new();
    for (key, port) in ports.by_key() {
        server.insert(key, value(i64::from(port)));
    }
    if account.is_none() {
        server.insert("domains", value(Array::from_iter([domain.as_str()])));
    }
    table(&mut document, "server")?.insert(domain.as_str(), Item::Table(server));
    if let Some((address, password)) = account {
        let accounts = Table::from_iter([(address.to_string(), value(password))]);
        table(&mut document, "accounts")?.insert(domain.as_str(), Item::Table(accounts));
    }
    let [_, smtp, pop] = hosts(domain);
    let agent = Table::from_iter([("smtp", value(smtp)), ("pop", value(pop))]);
    table(&mut document, "agent")?.insert(domain.as_str(), Item::Table(agent));
    Ok(document.to_string())
}

/// Adds the MX and the P records.
pub(super) fn add_to_zone(text: &str, domain: &Domain, ports: &Ports) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let [exchange, smtp, pop] = hosts(domain).map(|host| format!("{host}."));
    table(&mut document, "MX")?.insert(&format!("{domain}."), value(&exchange));
    let records = table(&mut document, "P")?;
    for (host, port) in [(smtp, ports.smtp), (pop, ports.pop), (exchange, ports.smtp)] {
        records.insert(&host, value(port.to_string()));
    }
    Ok(document.to_string())
}

/// The table of this name, made if it is not there.
fn table<'a>(document: &'a mut DocumentMut, name: &str) -> anyhow::Result<&'a mut dyn TableLike> {
    let mut implicit = Table::new();
    implicit.set_implicit(true);
    let table = document.entry(name).or_insert(Item::Table(implicit));
    table.as_table_like_mut().with_context(|| format!("{name} is no table; write [{name}]"))
}
