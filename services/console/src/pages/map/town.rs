//! What the map shows.

use crate::{
    api::App,
    follow::{FollowState, FollowedService, clocks::next_due},
    index::Traffic,
    mail_servers::MailServer,
    pages::{
        format::{count, encoded},
        sessions::OUTSIDE,
    },
    services::ServiceKind,
    spread::Report,
};
use faults::What;
use internal_api::Problem;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The whole town.
#[derive(Debug)]
pub(super) struct TownMap {
    pub(super) stacks: Vec<Stack>,
    pub(super) edges: Vec<Edge>,
    /// What goes wrong on purpose.
    pub(super) faults: Report,
    /// The time at which a virtual clock stands, and that of what is due next.
    pub(super) stands_at: Option<(Timestamp, Option<Timestamp>)>,
}

/// A stack with its services.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
}

/// A service.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: ServiceKind,
    pub(super) name: &'static str,
    pub(super) url: String,
    pub(super) answers: bool,
    /// In a few words, how it is.
    pub(super) says: String,
    /// How many faults are set that can happen here.
    pub(super) faults: usize,
}

/// One end of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Somebody who sends or reads mail of this stack.
    Agents(String),
    /// A service of a stack.
    Service(String, ServiceKind),
    /// Servers outside of the town.
    Outside,
}

/// What goes from one to another.
#[derive(Debug)]
pub(super) struct Edge {
    /// Names it across changes.
    pub(super) key: String,
    pub(super) stack: String,
    pub(super) from: End,
    pub(super) to: End,
    pub(super) title: String,
    /// Its sessions.
    pub(super) url: String,
    pub(super) sessions: u64,
    pub(super) open: u64,
    pub(super) failed: u64,
    pub(super) messages: u64,
    /// A fault lets no connection come about.
    pub(super) is_cut: bool,
}

impl Edge {
    /// How much has gone over it, in words.
    pub(super) fn says(&self) -> String {
        let open = if self.open > 0 { format!(", {} open", self.open) } else { String::new() };
        let sessions = count(self.sessions, "session", "sessions");
        let cut = if self.is_cut { ", cut by a fault" } else { "" };
        format!("{} in {sessions}{open}{cut}", count(self.messages, "message", "messages"))
    }

    /// Whether a partition is between its two ends.
    fn is_cut_by(&self, faults: &Report) -> bool {
        let (End::Service(from, _), End::Service(to, _)) = (&self.from, &self.to) else { return false };
        let parts = |one: &str, other: &str| one.eq_ignore_ascii_case(from) && other.eq_ignore_ascii_case(to);
        faults.settings.faults.values().any(|fault| match (&fault.what, &fault.place.stack) {
            (What::Partition(one), Some(other)) => parts(one, other) || parts(other, one),
            _ => false,
        })
    }
}

impl TownMap {
    /// The town as it is known now.
    pub(super) async fn of(app: &App) -> Result<Self, Problem> {
        let mut traffic = app.index.traffic().await?;
        // Whoever takes the mail of a domain was meant, whether there was a connection or not.
        for seen in traffic.iter_mut().filter(|seen| seen.peer.is_none() && seen.role == "client") {
            seen.peer = seen.domain.as_deref().and_then(|domain| app.stack_of(domain));
        }
        let stands_at = match app.town_clock.is_virtual().then(|| app.town_clock.now()) {
            Some(now) => Some((now, next_due(&app.town.clocks().await, now).await)),
            None => None,
        };
        Ok(Self { stands_at, ..Self::new(&app.town.services(), &traffic, app.faults.last()) })
    }

    fn new(services: &[FollowedService], traffic: &[Traffic], faults: Report) -> Self {
        let mut stacks: BTreeMap<&str, BTreeMap<ServiceKind, Vec<&FollowedService>>> = BTreeMap::new();
        for service in services {
            let kind = ServiceKind::ALL.into_iter().find(|kind| kind.name() == service.service);
            if let Some(kind) = kind {
                stacks.entry(&service.stack).or_default().entry(kind).or_default().push(service);
            }
        }
        let stacks: Vec<Stack> = stacks
            .into_iter()
            .map(|(name, kinds)| Stack {
                name: name.to_owned(),
                nodes: kinds.into_iter().map(|(kind, processes)| Node::new(name, kind, &processes, &faults)).collect(),
            })
            .collect();
        let mut edges: Vec<_> = stacks.iter().flat_map(|stack| edges(&stack.name, &stacks, traffic)).collect();
        for edge in &mut edges {
            edge.is_cut = edge.is_cut_by(&faults);
        }
        Self { stacks, edges, faults, stands_at: None }
    }

    /// Nothing has gone over any edge.
    pub(super) fn is_silent(&self) -> bool {
        self.edges.iter().all(|edge| edge.sessions == 0)
    }
}

impl Node {
    fn new(stack: &str, kind: ServiceKind, processes: &[&FollowedService], faults: &Report) -> Self {
        let silent = processes.iter().filter(|it| it.state == FollowState::Unreachable).count();
        let says = match (processes, silent) {
            ([one], 0) => match one.state {
                FollowState::Starting => "not reached yet".to_owned(),
                FollowState::RecordsNothing => "keeps no records".to_owned(),
                _ => "answers".to_owned(),
            },
            ([_], _) => "does not answer".to_owned(),
            (all, 0) => format!("{} processes answer", all.len()),
            (all, silent) => format!("{silent} of {} do not answer", all.len()),
        };
        let url = format!("/town/{}/{}", encoded(stack), kind.name());
        let faults = faults.settings.faults.values().filter(|fault| fault.concerns(stack, kind.name())).count();
        let says = if faults == 0 { says } else { format!("{says}, {}", count(faults as u64, "fault", "faults")) };
        Self { kind, name: kind.name(), url, answers: silent == 0, says, faults }
    }
}

impl App {
    /// The stack that takes the mail of this domain.
    fn stack_of(&self, domain: &str) -> Option<String> {
        let takes = |server: &&MailServer| server.domains.iter().any(|own| own.eq_ignore_ascii_case(domain));
        self.mail_servers.iter().find(takes).map(|server| server.stack.clone())
    }
}

/// What goes from and to the services of a stack.
struct Ways<'t> {
    stack: &'t str,
    traffic: &'t [Traffic],
}

impl Ways<'_> {
    /// An edge with the traffic of a service in this role; `peer` says with which other stack, or with none.
    fn edge(&self, (from, to): (End, End), title: String, (service, role): (&str, &str), peer: Option<&str>) -> Edge {
        let is_meant = |it: &&Traffic| {
            let is_end = it.stack == self.stack && it.service == service && it.role == role;
            is_end && it.peer.as_deref() == peer
        };
        let mut sum = [0; 4];
        for it in self.traffic.iter().filter(is_meant) {
            for (sum, one) in sum.iter_mut().zip([it.sessions, it.open, it.failed, it.messages]) {
                *sum += one;
            }
        }
        let [sessions, open, failed, messages] = sum;
        let (stack, with) = (encoded(self.stack), encoded(peer.unwrap_or(OUTSIDE)));
        Edge {
            key: format!("{} {title}", self.stack),
            stack: self.stack.to_owned(),
            from,
            to,
            title,
            url: format!("/sessions?stack={stack}&service={service}&role={role}&with={with}"),
            sessions,
            open,
            failed,
            messages,
            is_cut: false,
        }
    }
}

/// The edges of a stack: those that are always there, and those to other stacks.
fn edges(name: &str, stacks: &[Stack], traffic: &[Traffic]) -> Vec<Edge> {
    use ServiceKind::{Pop3, Smtp};
    let ways = Ways { stack: name, traffic };
    let here = |kind| End::Service(name.to_owned(), kind);
    let agents = || End::Agents(name.to_owned());
    let (called, caller) = (("smtp-gateway", "server"), ("smtp-gateway", "client"));
    let mut edges = vec![
        ways.edge((agents(), here(Smtp)), "Agents send".to_owned(), called, None),
        ways.edge((here(Pop3), agents()), "Agents read".to_owned(), ("pop3-gateway", "server"), None),
    ];
    for other in stacks.iter().filter(|other| other.name != name) {
        let there = End::Service(other.name.clone(), Smtp);
        edges.push(ways.edge((here(Smtp), there), format!("Relays to {}", other.name), caller, Some(&other.name)));
    }
    let outside = ways.edge((here(Smtp), End::Outside), "Relays to servers elsewhere".to_owned(), caller, None);
    edges.extend(Some(outside).filter(|outside| outside.sessions > 0));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(stack: &str, service: &str, state: FollowState) -> FollowedService {
        let (stack, service) = (stack.to_owned(), service.to_owned());
        FollowedService { stack, service, url: String::new(), state, error: None, dropped: 0 }
    }

    fn seen(stack: &str, service: &str, role: &str, peer: Option<&str>, messages: u64) -> Traffic {
        let (stack, service, role) = (stack.to_owned(), service.to_owned(), role.to_owned());
        let peer = peer.map(str::to_owned);
        Traffic { stack, service, role, peer, domain: None, sessions: 1, open: 0, failed: 0, messages }
    }

    #[test]
    fn each_stack_has_its_services_and_edges() {
        use FollowState::{Following, Unreachable};
        let services = [
            service("a", "smtp-gateway", Following),
            service("a", "smtp-gateway", Unreachable),
            service("a", "pop3-gateway", Following),
            service("b", "smtp-gateway", Following),
            service("c", "mailbox-store", Unreachable),
        ];
        let traffic = [
            seen("a", "smtp-gateway", "server", None, 3),
            seen("a", "smtp-gateway", "client", Some("b"), 2),
            seen("a", "smtp-gateway", "client", None, 1),
            seen("b", "smtp-gateway", "server", Some("a"), 2),
        ];
        let map = TownMap::new(&services, &traffic, Report::default());
        let nodes: Vec<_> = map
            .stacks
            .iter()
            .flat_map(|stack| &stack.nodes)
            .map(|node| format!("{} {}", node.url, node.says))
            .collect();
        assert_eq!(
            nodes,
            [
                "/town/a/smtp-gateway 1 of 2 do not answer",
                "/town/a/pop3-gateway answers",
                "/town/b/smtp-gateway answers",
                "/town/c/mailbox-store does not answer",
            ]
        );
        let used: Vec<_> =
            map.edges.iter().filter(|edge| edge.sessions > 0).map(|it| format!("{} {}", it.key, it.messages)).collect();
        // What b has taken from a is a's edge, and no agent's.
        assert_eq!(used, ["a Agents send 3", "a Relays to b 2", "a Relays to servers elsewhere 1"]);
        assert!(!map.is_silent());
        assert!(TownMap::new(&services, &[], Report::default()).is_silent());
    }

    #[test]
    fn faults_are_where_they_can_happen() {
        let services = ["a", "b", "c"].map(|stack| service(stack, "smtp-gateway", FollowState::Following));
        let mut faults = Report::default();
        for (name, json) in [
            ("cut", r#"{"where": {"stack": "A"}, "what": {"partition": "b"}}"#),
            ("slow", r#"{"where": {"stack": "a", "service": "smtp-gateway"}, "what": {"delay": "1s"}}"#),
            ("dns", r#"{"where": {"service": "pseudo-dns"}, "what": {"dns": "servfail"}}"#),
        ] {
            faults.settings.faults.insert(name.to_owned(), serde_json::from_str(json).unwrap());
        }
        let map = TownMap::new(&services, &[], faults);
        let nodes: Vec<_> = map.stacks.iter().map(|stack| (stack.nodes[0].faults, &*stack.nodes[0].says)).collect();
        assert_eq!(nodes, [(2, "answers, 2 faults"), (1, "answers, 1 fault"), (0, "answers")]);
        let cut: Vec<_> = map.edges.iter().filter(|edge| edge.is_cut).map(|edge| &*edge.key).collect();
        assert_eq!(cut, ["a Relays to b", "b Relays to a"]);
    }
}
