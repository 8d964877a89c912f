//! P records that follow the ports of a town, where these are not the ports of its configuration.

use futures_util::future::select_all;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
};
use town_config::{
    LiveStack, PortKey, Stack,
    zone::{Host, Port, Zone, absolute_name},
};

/// A stack that runs in this process, and where it listens.
#[derive(Debug, Clone)]
pub struct RunningStack {
    /// The stack.
    pub stack: LiveStack,
    /// Where it listens for SMTP.
    pub smtp: SocketAddr,
    /// Where it listens for POP3.
    pub pop: SocketAddr,
}

impl RunningStack {
    fn address(&self, key: PortKey) -> Option<SocketAddr> {
        match key {
            PortKey::Smtp => Some(self.smtp),
            PortKey::Pop => Some(self.pop),
            _ => None,
        }
    }
}

/// Changes the P records of a zone to the ports that are in use. By default it changes nothing.
///
/// A record that is the number of a configured port follows that port. No record can follow a configured port 0. Then the
/// exchanges of the stack's domains and the names of its agents get the stack's port. A record that names a host, or the
/// port of another stack, stays.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// What stands in place of a configured port.
    by_number: BTreeMap<u16, Port>,
    stacks: Vec<RunningStack>,
}

impl Overlay {
    /// The overlay for these stacks. `moved_ports` maps each configured port of the town to the one that it was moved to.
    pub fn new(moved_ports: BTreeMap<u16, u16>, stacks: Vec<RunningStack>) -> Self {
        let local = |port| Some(Port { host: Host::Local, number: NonZeroU16::new(port)? });
        let mut by_number: BTreeMap<u16, Port> =
            moved_ports.into_iter().filter_map(|(configured, port)| Some((configured, local(port)?))).collect();
        for running in &stacks {
            let configured = running.stack.current();
            for key in PortKey::ALL {
                let place = running.address(key).and_then(record);
                if let (Some(number @ 1..), Some(place)) = (configured.configured_port(key), place) {
                    by_number.insert(number, place);
                }
            }
        }
        Self { by_number, stacks }
    }

    /// What tells when the zone is to be changed anew.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.stacks.iter().map(|running| running.stack.clone()).collect())
    }

    /// The zone with its P records changed.
    pub(crate) fn apply(&self, zone: Zone) -> Zone {
        let follow = |port: &Port| self.by_number.get(&port.number.get()).filter(|_| port.host == Host::Local);
        let mut changes: BTreeMap<String, Port> =
            zone.all_ports().filter_map(|(name, port)| Some((name.to_owned(), follow(port)?.clone()))).collect();
        for (name, port) in self.by_name(&zone) {
            // A record with a host stays, and the first claim on a name counts.
            if zone.ports(&name).found().is_none_or(|record| record.host == Host::Local) {
                changes.entry(name).or_insert(port);
            }
        }
        zone.with_ports(changes)
    }

    /// What the names of stacks with port 0 lead to. A name comes first where it is preferred the most.
    fn by_name(&self, zone: &Zone) -> Vec<(String, Port)> {
        let mut claims = Vec::new();
        for running in &self.stacks {
            let stack = running.stack.current();
            let free = |key| record(running.address(key)?).filter(|_| stack.configured_port(key) == Some(0));
            if let Some(port) = free(PortKey::Smtp) {
                let agents = stack.agents.values().map(|hosts| (0, hosts.smtp.clone()));
                claims.extend(exchanges(&stack, zone).chain(agents).map(|(rank, name)| (rank, name, port.clone())));
            }
            if let Some(port) = free(PortKey::Pop) {
                claims.extend(stack.agents.values().map(|hosts| (0, hosts.pop.clone(), port.clone())));
            }
        }
        claims.sort_by_key(|(rank, _, _)| *rank);
        claims.into_iter().map(|(_, name, port)| (absolute_name(&name), port)).collect()
    }
}

/// Follows the configuration of an overlay's stacks: another domain has other exchanges.
#[derive(Debug)]
pub(crate) struct Changes(Vec<LiveStack>);

impl Changes {
    /// Waits for the next configuration of any stack.
    pub(crate) async fn next(&mut self) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        select_all(self.0.iter_mut().map(|stack| Box::pin(stack.changed()))).await;
    }
}

/// The exchanges of a stack's domains (RFC 5321 §5.1), each with its place in the order of preference.
fn exchanges<'a>(stack: &'a Stack, zone: &'a Zone) -> impl Iterator<Item = (usize, String)> + 'a {
    stack.domains.iter().flat_map(|domain| {
        let names = match zone.mail_exchanges(domain.as_str()).found() {
            Some(exchanges) => exchanges.into_iter().map(|exchange| exchange.exchange).collect(),
            // A domain that the zone does not have stays unknown.
            None if zone.ports(domain.as_str()).found().is_some() => vec![domain.to_string()],
            None => Vec::new(),
        };
        names.into_iter().filter(|name| name != ".").enumerate()
    })
}

/// The P record for what listens at this address.
fn record(address: SocketAddr) -> Option<Port> {
    let host = match address.ip() {
        // Where everybody expects it, or everywhere.
        ip if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip.is_unspecified() => Host::Local,
        ip => Host::Address(ip),
    };
    Some(Port { host, number: NonZeroU16::new(address.port())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use town_config::{Config, LiveConfig};

    const CONFIG: &str = include_str!("../../../data/config.toml");
    const ZONE: &str = include_str!("../../../data/fdns.toml");

    fn zone(text: &str) -> Zone {
        Zone::parse(text, Path::new("fdns.toml")).unwrap()
    }

    fn config(text: &str) -> LiveConfig {
        Config::parse(text, Path::new("config.toml")).unwrap().into()
    }

    /// An overlay for the stacks of this configuration that run, each listening at two of these ports.
    fn overlay(config: LiveConfig, names: &[&str], host: &str, ports: &[u16]) -> Overlay {
        let moved = config.moved_ports();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let address = |port| SocketAddr::new(host.parse().unwrap(), port);
        let stacks = config.only_these(&names).unwrap();
        let running = stacks.stacks().zip(ports.chunks(2));
        let running =
            running.map(|(stack, ports)| RunningStack { stack, smtp: address(ports[0]), pop: address(ports[1]) });
        Overlay::new(moved, running.collect())
    }

    fn ports(zone: &Zone, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| zone.ports(name).found().map_or("none".to_owned(), |port| port.to_string())).collect()
    }

    const NAMES: [&str; 6] = [
        "smtp.exmail.qq.com",
        "pop.exmail.qq.com",
        "mxbiz1.qq.com",
        "smtp.gmail.com",
        "pop.gmail.com",
        "gmail-smtp-in.l.google.com",
    ];

    #[test]
    fn without_any_move_the_zone_stays_as_it_is() {
        let overlay = overlay(config(CONFIG), &["exmail.qq.com", "gmail.com"], "127.0.0.1", &[1025, 3110, 2025, 2110]);
        assert_eq!(overlay.apply(zone(ZONE)), zone(ZONE));
        assert_eq!(Overlay::default().apply(zone(ZONE)), zone(ZONE));
    }

    /// Those of a stack that runs elsewhere move too: every process of one file moves alike.
    #[test]
    fn records_follow_their_port_by_number() {
        let moved = config(CONFIG).with_port_base(20_000).unwrap();
        let overlay = overlay(moved, &["exmail.qq.com"], "127.0.0.1", &[20_000, 22_085]);
        let text = format!("{ZONE}\"other.example.\" = \"2500\"\n\"far.example.\" = \"127.0.0.1:1025\"\n");
        let zone = overlay.apply(zone(&text));
        assert_eq!(ports(&zone, &NAMES), ["20000", "22085", "20000", "21000", "21085", "21000"]);
        assert_eq!(ports(&zone, &["other.example", "far.example"]), ["2500", "127.0.0.1:1025"]);
    }

    #[test]
    fn what_listens_beyond_loopback_is_named_with_its_host() {
        let overlay = overlay(config(CONFIG), &["exmail.qq.com"], "127.0.0.2", &[1025, 3110]);
        let expected = ["127.0.0.2:1025", "127.0.0.2:3110", "127.0.0.2:1025", "2025", "2110", "2025"];
        assert_eq!(ports(&overlay.apply(zone(ZONE)), &NAMES), expected);
        for everywhere in ["0.0.0.0", "::"] {
            let overlay = self::overlay(config(CONFIG), &["exmail.qq.com"], everywhere, &[1025, 3110]);
            assert_eq!(overlay.apply(zone(ZONE)), zone(ZONE), "{everywhere}");
        }
    }

    fn all_free() -> LiveConfig {
        let line = |line: &str| match line.split_once(" = ") {
            Some((key, port)) if port.parse::<u16>().is_ok() => format!("{key} = 0\n"),
            _ => format!("{line}\n"),
        };
        config(&CONFIG.lines().map(line).collect::<String>())
    }

    const BOTH: [&str; 2] = ["exmail.qq.com", "gmail.com"];

    #[test]
    fn port_0_is_followed_by_name() {
        let overlay = overlay(all_free(), &BOTH, "127.0.0.1", &[50_001, 50_002, 50_003, 50_004]);
        let expected = ["50001", "50002", "50001", "50003", "50004", "50003"];
        assert_eq!(ports(&overlay.apply(zone(ZONE)), &NAMES), expected);
        // Records that are missing are added, others stay.
        let (mx, _) = ZONE.split_once("[P]").unwrap();
        let zone = overlay.apply(zone(&format!("{mx}[P]\n\"other.example.\" = \"2025\"\n")));
        assert_eq!(ports(&zone, &NAMES), expected);
        assert_eq!(ports(&zone, &["other.example", "gmail.com"]), ["2025", "none"]);
    }

    #[test]
    fn a_name_belongs_to_the_stack_that_prefers_it() {
        let overlay = overlay(all_free(), &BOTH, "127.0.0.1", &[50_001, 50_002, 50_003, 50_004]);
        let table = [
            // Each is the other's second choice.
            (
                r#"[MX]
                "mail.sustech.edu.cn." = [{ preference = 1, exchange = "a." }, { preference = 2, exchange = "b." }]
                "gmail.com." = [{ preference = 7, exchange = "b." }, { preference = 8, exchange = "a." }]
                [P]"#,
                ["50001", "50003"],
            ),
            // A host is kept, and a null MX is no name.
            (
                r#"[MX]
                "mail.sustech.edu.cn." = "a."
                "gmail.com." = "."
                [P]
                "a." = "mx.example:25""#,
                ["mx.example:25", "none"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(ports(&overlay.apply(zone(text)), &["a", "b"]), expected, "{text}");
        }
        // A domain without an MX is its own exchange, if the zone says so.
        let own = overlay.apply(zone("[MX]\n[P]\n\"gmail.com.\" = \"1\"\n"));
        assert_eq!(ports(&own, &["gmail.com", "mail.sustech.edu.cn"]), ["50003", "none"]);
    }

    /// The second exchange of a stack with port 0 is another one's, whose port has a number.
    #[test]
    fn the_port_of_another_stack_is_no_free_port() {
        let text = CONFIG.replacen("smtp = 1025", "smtp = 0", 1);
        let overlay = overlay(config(&text), &BOTH, "127.0.0.1", &[50_001, 3110, 2025, 2110]);
        let mx = r#""mail.sustech.edu.cn." = ["#.to_owned()
            + r#"{ preference = 1, exchange = "mxbiz1.qq.com." }, { preference = 2, exchange = "smtp.gmail.com." }]"#;
        let text = ZONE.replacen(r#""mail.sustech.edu.cn." = "mxbiz1.qq.com.""#, &mx, 1);
        let expected = ["50001", "3110", "50001", "2025", "2110", "2025"];
        assert_eq!(ports(&overlay.apply(zone(&text)), &NAMES), expected);
    }
}
