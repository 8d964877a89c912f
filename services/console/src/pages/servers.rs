//! What pages know of the servers: addresses, ports and accounts.

use crate::{api::App, mail_servers::MailServer};
use axum::http::{HeaderMap, header};
use futures_util::future::join_all;
use maud::{Markup, html};
use std::time::Duration;
use town_config::PortKey;

/// How many accounts of a stack are listed.
const LISTED: usize = 500;
/// How long a store may take to tell its accounts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

impl App {
    /// The accounts of all stacks: each with its stack, the postmasters last. A store that does not answer within `patience` has none.
    pub(crate) async fn accounts(&self, patience: Duration) -> Vec<(String, String)> {
        let asking = self.town.stores().iter().map(async |store| {
            let (mut after, mut accounts) = (Some(String::new()), Vec::new());
            while let Some(from) = after.take().filter(|_| accounts.len() < LISTED) {
                let Ok(page) = store.client.accounts(&from).await else { break };
                accounts.extend(
                    page.accounts.into_iter().map(|account| (store.stack.clone(), account.address.to_string())),
                );
                after = page.next_after;
            }
            accounts
        });
        let mut accounts = self.clock.io.timeout(patience, join_all(asking)).await.unwrap_or_default().concat();
        accounts.sort_by_key(|(_, address)| is_postmaster(address));
        accounts
    }

    /// How mail is sent to this town, by somebody who reaches it as they reach the console.
    pub(crate) async fn servers_for(&self, headers: &HeaderMap) -> Markup {
        let accounts = self.accounts(PATIENCE).await;
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        // Without the port. An IPv6 address keeps its brackets.
        let host = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()))
            .map_or(host, |(host, _)| host);
        servers(host, &self.mail_servers, &accounts)
    }
}

/// Whether it is the address that every domain has (RFC 5321 §4.5.1).
pub(super) fn is_postmaster(address: &str) -> bool {
    address.split_once('@').is_some_and(|(local, _)| local.eq_ignore_ascii_case("postmaster"))
}

fn servers(host: &str, servers: &[MailServer], accounts: &[(String, String)]) -> Markup {
    let port = |server: &MailServer, key| server.port(key).map(|port| format!("{host}:{port}"));
    let example = servers.iter().find_map(|server| {
        let mut own = accounts.iter().filter(|(stack, _)| *stack == server.stack).map(|(_, address)| address);
        let from = own.next()?;
        Some((port(server, PortKey::Smtp)?, from, own.next().unwrap_or(from)))
    });
    html! {
        @if !servers.is_empty() {
            div.servers {
                table {
                    thead { tr { th scope="col" { "Mail for" } th scope="col" { "SMTP" } th scope="col" { "POP3" } } }
                    tbody {
                        @for server in servers {
                            tr {
                                td.domains { @for domain in &server.domains { div { "@" (domain) } } }
                                td { @if let Some(address) = port(server, PortKey::Smtp) { code { (address) } } }
                                td { @if let Some(address) = port(server, PortKey::Pop) { code { (address) } } }
                            }
                        }
                    }
                }
            }
        }
        @if let Some((address, from, to)) = example {
            p.quiet { "From a shell:" }
            pre { code {
                "printf 'Subject: Hello\\r\\n\\r\\nIt works.\\r\\n' |\n  curl smtp://" (address) " --mail-from " (from)
                " \\\n    --mail-rcpt " (to) " -T -"
            } }
        }
    }
}
