//! Whether configuration and zone fit together and can be used, each being valid in itself.

use mailbox_store::accounts;
use service_kit::{
    config::Config,
    zone::{Lookup, Zone},
};
use std::collections::BTreeSet;

/// What would keep mail from flowing, one line each; empty when all is well.
pub fn findings(config: &Config, zone: &Zone) -> Vec<String> {
    let mut findings = Vec::new();
    for stack in config.stacks() {
        if stack.domains.is_empty() {
            let name = &stack.name;
            findings.push(format!("server \"{name}\" has no mail domain; give it an account or a `domains` list"));
        }
        for domain in &stack.domains {
            findings.extend(unreachable(zone, domain.as_str()));
        }
        let unusable = stack.accounts.iter().filter_map(|(address, password)| accounts::check(address, password).err());
        findings.extend(unusable.map(|error| format!("{}: {error}", stack.config_path().display())));
    }
    for (domain, hosts) in &config.agent {
        for (key, host) in [("smtp", &hosts.smtp), ("pop", &hosts.pop)] {
            if zone.ports(host).found().is_none() {
                findings.push(format!(
                    "agent.\"{domain}\".{key} is \"{host}\", which has no P record; add one to the zone"
                ));
            }
        }
    }
    findings
}

/// Why nobody could send mail to this domain, if so (RFC 5321 §5.1).
fn unreachable(zone: &Zone, domain: &str) -> Option<String> {
    let exchanges: BTreeSet<_> = match zone.mail_exchanges(domain) {
        Lookup::Found(exchanges) => exchanges.into_iter().map(|exchange| exchange.exchange).collect(),
        Lookup::NameUnknown | Lookup::NoRecords => BTreeSet::from([domain.to_owned()]),
    };
    if exchanges.iter().any(|exchange| zone.ports(exchange).found().is_some()) {
        return None;
    }
    let exchanges = Vec::from_iter(exchanges).join(", ");
    Some(format!("{domain} cannot get mail: none of its exchanges ({exchanges}) has a P record; add one to the zone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn check(zone: &str) -> Vec<String> {
        let config = Config::parse(include_str!("../../../data/config.toml"), Path::new("config.toml")).unwrap();
        findings(&config, &Zone::parse(zone, Path::new("fdns.toml")).unwrap())
    }

    #[test]
    fn the_shipped_files_fit_together() {
        assert_eq!(check(include_str!("../../../data/fdns.toml")), Vec::<String>::new());
    }

    #[test]
    fn a_password_that_nobody_could_log_in_with_is_named() {
        let shipped = include_str!("../../../data/config.toml");
        let (config, zone) = (shipped.replace("pass2", "$argon2id$nonsense"), include_str!("../../../data/fdns.toml"));
        let config = Config::parse(&config, Path::new("config.toml")).unwrap();
        let findings = findings(&config, &Zone::parse(zone, Path::new("fdns.toml")).unwrap());
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        let expected = "config.toml: the password of usr2@mail.sustech.edu.cn is no valid argon2 PHC string (";
        assert!(finding.starts_with(expected), "{finding}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let zone = "[MX]\n\"gmail.com.\" = \"mx.gmail.com.\"\n[P]\n\"smtp.gmail.com.\" = \"2025\"\n\
                    \"pop.gmail.com.\" = \"2110\"\n\"mail.sustech.edu.cn.\" = \"1025\"\n";
        assert_eq!(
            check(zone),
            [
                "gmail.com cannot get mail: none of its exchanges (mx.gmail.com.) has a P record; add one to the zone",
                "agent.\"mail.sustech.edu.cn\".smtp is \"smtp.exmail.qq.com\", which has no P record; add one to the zone",
                "agent.\"mail.sustech.edu.cn\".pop is \"pop.exmail.qq.com\", which has no P record; add one to the zone",
            ]
        );
    }
}
