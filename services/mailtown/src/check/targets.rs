//! Where aliases and catch-alls lead.

use super::{Check, Place};
use mail_proto::{Domain, Mailbox};
use town_config::{Accept, Stack};

impl Check<'_> {
    /// Warns of each alias and catch-all that leads to an address of this town which nobody has.
    pub(super) fn targets(&mut self, stack: &Stack) {
        for (alias, targets) in &stack.aliases {
            let path = ["aliases".to_owned(), stack.name.to_string(), alias.to_string()];
            let key = format!("aliases.\"{}\".\"{alias}\"", stack.name);
            targets.iter().for_each(|target| self.target(target, &key, &path));
        }
        for (domain, targets) in &stack.catch_all {
            let path = ["catch_all".to_owned(), domain.to_string()];
            let key = format!("catch_all.\"{domain}\"");
            targets.iter().for_each(|target| self.target(target, &key, &path));
        }
    }

    fn target(&mut self, target: &Mailbox, key: &str, path: &[String]) {
        let Some(owner) = self.config.stacks().find(|stack| stack.is_local(target.domain())) else { return };
        if !is_somebody(owner, target) {
            let text = format!(
                "{key}: nobody has the address {target}; add it to accounts.\"{}\", or name another target",
                owner.name
            );
            self.warn(Place::Config(path.to_vec()), text);
        }
    }
}

/// Whether mail to an address of this server's domains arrives.
fn is_somebody(stack: &Stack, address: &Mailbox) -> bool {
    let rules = stack.address_rules;
    let is_known = |address: &Mailbox| {
        let mut known = stack.accounts.keys().chain(stack.aliases.keys());
        known.any(|other| rules.are_same(other, address)) || is_postmaster(address)
    };
    let has_catch_all = |domain: &Domain| stack.catch_all.contains_key(domain);
    stack.accept == Accept::Any || has_catch_all(address.domain()) || rules.candidates(address).iter().any(is_known)
}

/// Every domain has one (RFC 5321 §4.5.1).
fn is_postmaster(address: &Mailbox) -> bool {
    address.local_part().as_str().eq_ignore_ascii_case("postmaster")
}
