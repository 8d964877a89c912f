//! A new stack in the compose file: its text is put before the marks that the file has.

use super::{ports::Ports, tables::hosts};
use anyhow::ensure;
use mail_proto::Domain;

/// What begins a mark. The word after it tells what belongs before it.
const MARK: &str = "mailtown add-domain:";

/// Puts the services of the stack before the marks.
///
/// # Errors
/// Names the mark that is missing.
pub(super) fn add(text: &str, domain: &Domain, ports: &Ports) -> anyhow::Result<String> {
    let blocks = blocks(domain, ports);
    for (name, _) in &blocks {
        let marks = text.lines().filter(|line| mark(line) == Some(name)).count();
        ensure!(marks == 1, "has {marks} lines with \"{MARK} {name}\"; one says where the new text belongs");
    }
    let mut changed = String::new();
    for line in text.split_inclusive('\n') {
        if let Some((_, block)) = blocks.iter().find(|(name, _)| mark(line) == Some(name)) {
            changed.push_str(block);
        }
        changed.push_str(line);
    }
    Ok(changed)
}

/// The name of the domain's database in profile postgres.
pub(super) fn database(domain: &Domain) -> String {
    domain.as_str().replace(['.', '-'], "_")
}

fn mark(line: &str) -> Option<&str> {
    let (before, name) = line.split_once(MARK)?;
    matches!(before.trim(), "#" | "--").then_some(name.trim())
}

/// For each mark the text that belongs before it.
fn blocks(domain: &Domain, ports: &Ports) -> [(&'static str, String); 7] {
    let prefix = domain.as_str().replace('.', "-");
    let [_, smtp_host, pop_host] = hosts(domain);
    let database = database(domain);
    let Ports { store, dns_http, smtp_http, pop_http, .. } = ports;
    [
        (
            "environments",
            format!(
                "x-{prefix}: &{prefix}\n  <<: *environment\n  MAILTOWN_NAME: {domain}\n  \
                 MAILTOWN_STORE: http://{prefix}-store:{store}\n  MAILTOWN_DNS: http://{prefix}-dns:{dns_http}\n\n"
            ),
        ),
        (
            "databases",
            format!(
                "x-{prefix}-database: &{prefix}-database\n  <<: *{prefix}\n  MAILTOWN_DATABASE: \
                 postgres://mailtown:${{MAILTOWN_DATABASE_PASSWORD:-development}}@postgres:5432/{database}\n\n"
            ),
        ),
        ("services", services(&prefix, domain, ports)),
        (
            "services of the console",
            format!(
                "      - --services=http://{prefix}-store:{store},http://{smtp_host}:{smtp_http},\
                 http://{pop_host}:{pop_http},http://{prefix}-dns:{dns_http}\n"
            ),
        ),
        ("services of profile postgres", postgres_services(&prefix, domain, ports)),
        ("create databases", format!("      CREATE DATABASE {database};\n")),
        ("volumes", format!("  {prefix}:\n")),
    ]
}

fn services(prefix: &str, domain: &Domain, ports: &Ports) -> String {
    let [exchange, smtp_host, pop_host] = hosts(domain);
    let Ports { smtp, pop, store, dns, dns_http, smtp_http, pop_http, submission, submissions, pops } = ports;
    format!(
        r#"  {prefix}-dns:
    <<: *dns
    environment: *{prefix}
    ports: ["127.0.0.1:{dns}:{dns}/udp", "127.0.0.1:{dns}:{dns}/tcp", "127.0.0.1:{dns_http}:{dns_http}"]

  {prefix}-store:
    <<: *store
    profiles: [sqlite]
    environment: *{prefix}
    ports: ["127.0.0.1:{store}:{store}"]
    volumes: ["./data:/etc/mailtown:ro", "{prefix}:/data"]

  {prefix}-smtp:
    <<: *smtp
    environment: *{prefix}
    ports: ["127.0.0.1:{smtp}:{smtp}", "127.0.0.1:{submission}:{submission}", "127.0.0.1:{submissions}:{submissions}", "127.0.0.1:{smtp_http}:{smtp_http}"]
    networks: {{ default: {{ aliases: [{exchange}, {smtp_host}] }} }}
    depends_on:
      {prefix}-store: *healthy-if-chosen
      {prefix}-store-1: *healthy-if-chosen
      {prefix}-dns: *healthy
      certificates: *issued

  {prefix}-pop3:
    <<: *pop3
    environment: *{prefix}
    ports: ["127.0.0.1:{pop}:{pop}", "127.0.0.1:{pops}:{pops}", "127.0.0.1:{pop_http}:{pop_http}"]
    networks: {{ default: {{ aliases: [{pop_host}] }} }}
    depends_on:
      {prefix}-store: *healthy-if-chosen
      {prefix}-store-1: *healthy-if-chosen
      certificates: *issued

"#
    )
}

fn postgres_services(prefix: &str, domain: &Domain, ports: &Ports) -> String {
    let [exchange, smtp_host, pop_host] = hosts(domain);
    let Ports { store, .. } = ports;
    format!(
        r#"  {prefix}-store-1:
    <<: *postgres-store
    environment: *{prefix}-database
    ports: ["127.0.0.1:{store}:{store}"]
    networks: {{ default: {{ aliases: [{prefix}-store] }} }}
    depends_on: {{ postgres: *healthy }}

  {prefix}-store-2:
    <<: *postgres-store
    environment: *{prefix}-database
    networks: {{ default: {{ aliases: [{prefix}-store] }} }}
    depends_on: {{ {prefix}-store-1: *healthy }}

  {prefix}-smtp-2:
    <<: *smtp
    profiles: [postgres]
    environment: *{prefix}
    networks: {{ default: {{ aliases: [{exchange}, {smtp_host}] }} }}
    depends_on: {{ {prefix}-store-2: *healthy, {prefix}-dns: *healthy, certificates: *issued }}

  {prefix}-pop3-2:
    <<: *pop3
    profiles: [postgres]
    environment: *{prefix}
    networks: {{ default: {{ aliases: [{pop_host}] }} }}
    depends_on: {{ {prefix}-store-2: *healthy, certificates: *issued }}

"#
    )
}
