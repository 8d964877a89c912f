//! `[aliases]` and `[catch_all]`: addresses that stand for others.

use crate::file::{File, Server};
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
            if self.server.get(name).is_some_and(Server::takes_every_domain) {
                continue;
            }
            let domains = self.domains(name);
            for address in aliases.keys().filter(|address| !domains.contains(address.domain())) {
                let domain = address.domain();
                faults.push(format!(
                    "aliases.\"{name}\".\"{address}\": {domain} is no domain of this server; add it to \
                     server.\"{name}\".domains"
                ));
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
        let rules = self.address_rules();
        let keys = |targets: &Targets| targets.iter().map(|target| rules.key(target)).collect();
        let aliases: Aliases =
            self.aliases.values().flatten().map(|(alias, targets)| (rules.key(alias), keys(targets))).collect();
        let is_account = |address: &Mailbox| {
            self.accounts.values().flat_map(BTreeMap::keys).any(|account| rules.are_same(account, address))
        };
        reached(&aliases, &rules.key(address)).into_iter().any(|target| {
            !aliases.contains_key(target) || (is_account(target) && reached(&aliases, target).contains(target))
        })
    }

    pub(crate) fn server_names(&self) -> String {
        let servers: Vec<_> = self.server.keys().map(Domain::as_str).collect();
        servers.join(", ")
    }
}

/// Aliases and their targets, in one spelling.
type Aliases = BTreeMap<Mailbox, Vec<Mailbox>>;

/// All targets to which aliases lead from this address.
fn reached<'a>(aliases: &'a Aliases, address: &Mailbox) -> BTreeSet<&'a Mailbox> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&'a Mailbox> = aliases.get(address).into_iter().flatten().collect();
    while let Some(target) = waiting.pop() {
        if reached.insert(target) {
            waiting.extend(aliases.get(target).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::path::Path;

    fn check(text: &str) -> Result<Config, Vec<String>> {
        let checked = Config::check(text, Path::new("data/config.toml"));
        checked.map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    const ALIASED: &str = "[server.a]\nsmtp = 1\npop = 2\n[server.b]\nsmtp = 3\npop = 4\n\
         [accounts.a]\n\"u@x\" = \"p\"\n\"v@x\" = \"p\"\n[accounts.b]\n\"w@y\" = \"p\"\n";

    #[test]
    fn aliases_have_one_target_or_several() {
        let aliases = "[aliases.a]\n\"one@x\" = \"w@y\"\n\"u@x\" = [\"u@x\", \"z@far\"]\n[catch_all]\nx = \"v@x\"\n";
        let config = check(&format!("{ALIASED}{aliases}")).unwrap();
        let stack = config.stack("a").unwrap();
        let targets =
            |alias: &str| stack.aliases[&alias.parse().unwrap()].iter().map(Mailbox::to_string).collect::<Vec<_>>();
        assert_eq!(
            (targets("one@x"), targets("u@x")),
            (vec!["w@y".to_owned()], vec!["u@x".to_owned(), "z@far".to_owned()])
        );
        assert_eq!(stack.catch_all.keys().map(Domain::as_str).collect::<Vec<_>>(), ["x"]);
        let other = config.stack("b").unwrap();
        assert!(other.aliases.is_empty() && other.catch_all.is_empty());
        assert!(!stack.has_mailboxes_of(check(ALIASED).unwrap().stack("a").unwrap()));
    }

    #[test]
    fn aliases_that_make_no_sense_are_named() {
        let nobody = |line: usize, name: &str| {
            format!(
                "data/config.toml:{line}: aliases.\"a\".\"{name}\": it leads to nobody but aliases; give it an address that is none"
            )
        };
        let table = [
            ("[aliases.c]\n", vec!["data/config.toml:12: aliases.\"c\": no such server; the servers are: a, b".to_owned()]),
            (
                "[aliases.a]\n\"one@y\" = \"u@x\"\n",
                vec!["data/config.toml:13: aliases.\"a\".\"one@y\": y is no domain of this server; add it to server.\"a\".domains".to_owned()],
            ),
            (
                "[catch_all]\nfar = \"u@x\"\n",
                vec!["data/config.toml:13: catch_all.\"far\": no server has this domain; add it to the domains of one".to_owned()],
            ),
            ("[aliases.a]\n\"one@x\" = \"one@x\"\n", vec![nobody(13, "one@x")]),
            ("[aliases.a]\n\"one@x\" = \"two@x\"\n\"two@x\" = [\"one@x\"]\n", vec![nobody(13, "one@x"), nobody(14, "two@x")]),
            ("[aliases.a]\n\"one@x\" = [\"one@x\", \"z@far\"]\n", vec![]),
            ("[aliases.a]\n\"u@x\" = \"u@x\"\n", vec![]),
            ("[aliases.a]\n\"u@x\" = \"U@x\"\n", vec![]),
            ("[aliases.a]\n\"one@x\" = \"ONE@x\"\n", vec![nobody(13, "one@x")]),
            ("[aliases.a]\n\"one@x\" = \"two@x\"\n\"two@x\" = \"one@x\"\n[aliases.b]\n\"w@y\" = \"one@x\"\n",
                vec![nobody(13, "one@x"), nobody(14, "two@x"),
                "data/config.toml:16: aliases.\"b\".\"w@y\": it leads to nobody but aliases; give it an address that is none".to_owned()]),
        ];
        for (aliases, expected) in table {
            assert_eq!(check(&format!("{ALIASED}{aliases}")).err().unwrap_or_default(), expected, "{aliases}");
        }
        for (targets, reason) in
            [("[]", "the list is empty"), ("\"u\"", "local-part@domain"), ("7", "an address, or a list of addresses")]
        {
            let error = check(&format!("{ALIASED}[aliases.a]\n\"one@x\" = {targets}\n")).unwrap_err().remove(0);
            assert!(error.starts_with("data/config.toml:13: aliases.a.\"one@x\"") && error.contains(reason), "{error}");
        }
    }
}
