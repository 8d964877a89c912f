//! `[aliases]` and `[catch_all]`: addresses that stand for others.

use crate::file::File;
use mail_proto::{Domain, Mailbox};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Deref,
};

/// The most targets of one alias.
const TARGETS: usize = 1000;

/// Where mail goes: one address, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets(Vec<Mailbox>);

impl Deref for Targets {
    type Target = [Mailbox];

    fn deref(&self) -> &[Mailbox] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

/// Reads either form of targets.
struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or a list of addresses")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Targets, E> {
        let address: Result<Mailbox, _> = text.parse();
        address.map(|address| Targets(vec![address])).map_err(|error| E::custom(format_args!("{error}: {text:?}")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
        let mut targets = Vec::new();
        while let Some(address) = list.next_element()? {
            targets.push(address);
        }
        match targets.len() {
            0 => Err(de::Error::custom("the list is empty; give at least one address")),
            count if count > TARGETS => {
                Err(de::Error::custom(format_args!("the list has {count} addresses; give at most {TARGETS}")))
            }
            _ => Ok(Targets(targets)),
        }
    }
}

impl File {
    /// Aliases are local to the server that has them, and lead to somebody.
    pub(crate) fn check_aliases(&self, faults: &mut Vec<String>) {
        for (name, aliases) in &self.aliases {
            if !self.server.contains_key(name) {
                faults.push(format!("aliases.\"{name}\": no such server; the servers are: {}", self.server_names()));
                continue;
            }
            let domains = self.domains(name);
            for address in aliases.keys().filter(|address| !domains.contains(address.domain())) {
                let domain = address.domain();
                faults.push(format!("aliases.\"{name}\".\"{address}\": add \"{domain}\" to server.\"{name}\".domains"));
            }
        }
        let local: BTreeSet<Domain> = self.server.keys().flat_map(|name| self.domains(name)).collect();
        for domain in self.catch_all.keys().filter(|domain| !local.contains(domain)) {
            faults.push(format!("catch_all.\"{domain}\": no server has this domain; add it to the domains of one"));
        }
        for (name, aliases) in &self.aliases {
            for address in aliases.keys().filter(|address| !self.leads_to_somebody(address)) {
                faults.push(format!(
                    "aliases.\"{name}\".\"{address}\": it leads to nobody but aliases; give it an address that is none"
                ));
            }
        }
    }

    /// Whether aliases lead from this one to an address that is none, or back to one that is an account too.
    fn leads_to_somebody(&self, address: &Mailbox) -> bool {
        let aliases: BTreeMap<&Mailbox, &Targets> = self.aliases.values().flatten().collect();
        let is_account = |address| self.accounts.values().any(|accounts| accounts.contains_key(address));
        reached(&aliases, address).into_iter().any(|target| {
            !aliases.contains_key(target) || (is_account(target) && reached(&aliases, target).contains(target))
        })
    }

    pub(crate) fn server_names(&self) -> String {
        let servers: Vec<_> = self.server.keys().map(Domain::as_str).collect();
        servers.join(", ")
    }
}

/// All targets to which aliases lead from this address.
fn reached<'a>(aliases: &BTreeMap<&Mailbox, &'a Targets>, address: &Mailbox) -> BTreeSet<&'a Mailbox> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&'a Mailbox> = aliases.get(address).into_iter().flat_map(|targets| targets.iter()).collect();
    while let Some(target) = waiting.pop() {
        if reached.insert(target) {
            waiting.extend(aliases.get(target).into_iter().flat_map(|targets| targets.iter()));
        }
    }
    reached
}
