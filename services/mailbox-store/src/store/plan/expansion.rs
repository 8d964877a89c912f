//! Which recipients a submission has once its aliases are expanded.

use internal_api::reports::expanded;
use mail_proto::{
    Mailbox,
    smtp::{Notify, Occasions, OriginalRecipient, Recipient, Reply},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many aliases may lead from one to the next.
const DEPTH: usize = 10;
/// How many targets the aliases of one submission may have in all: no more than a message may have recipients.
const TARGETS: usize = 2000;

/// What the store knows of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct Entry {
    /// The alias of this address as the store spells it, and its targets.
    pub(in crate::store) alias: Option<(Mailbox, Vec<Mailbox>)>,
    /// The mailbox of this address, as the store spells it.
    pub(in crate::store) mailbox: Option<Mailbox>,
    /// The targets of the catch-all of its domain.
    pub(in crate::store) catch_all: Option<Vec<Mailbox>>,
}

impl Entry {
    /// The addresses that mail for this one goes to instead. An alias comes before a mailbox of the same address, a
    /// catch-all after it.
    pub(in crate::store) fn targets(&self) -> Option<&[Mailbox]> {
        let catch_all = self.catch_all.as_deref().filter(|_| self.mailbox.is_none());
        self.alias.as_ref().map(|(_, targets)| &targets[..]).or(catch_all)
    }

    /// The address as the store spells it, if it knows it.
    fn spelled(&self) -> Option<&Mailbox> {
        self.alias.as_ref().map(|(name, _)| name).or(self.mailbox.as_ref())
    }
}

/// A recipient that is no alias, an alias that failed, or a list whose expansion is to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Expanded {
    pub(in crate::store) recipient: Recipient,
    /// The alias that it is a target of; the last one of several. `None` when the sender has named it.
    pub(in crate::store) via: Option<Mailbox>,
    /// What is decided about it already, as its sender is told: why it gets no mail, or that it was expanded.
    pub(in crate::store) decided: Option<String>,
}

/// The expansion of one submission, level by level. [`Expansion::unknown`] asks what addresses are, and
/// [`Expansion::answer`] goes on with the answers, until nothing is unknown.
///
/// - Addresses are called as the store spells them.
/// - Each address gets the message once. One that the sender has named comes before the same one as a target.
/// - An alias is expanded once. Where aliases lead back to it, the message goes to the mailbox of the same address, if
///   there is one: so an alias can keep a copy.
/// - An alias that has sent the message on before fails: the message is in a loop that leads through other servers.
/// - An alias with one target passes NOTIFY and ORCPT on (RFC 3461 §5.2.7.1). One with several is a list. A sender who has
///   said nothing of reports is not told of its members (§5.2.7.3). Otherwise members get NOTIFY without SUCCESS, and who
///   wants to know of a success is told that the list was expanded (§5.2.7.2, case c).
#[derive(Debug)]
pub(in crate::store) struct Expansion {
    open: Vec<Open>,
    done: BTreeMap<Mailbox, Expanded>,
    /// The lists whose expansion is reported.
    expanded: Vec<Open>,
    /// What each expanded alias leads to.
    aliases: BTreeMap<Mailbox, Vec<Mailbox>>,
    /// How the store spells addresses that were given in other spellings.
    spellings: BTreeMap<Mailbox, Mailbox>,
    /// What the sender has named.
    named: Vec<Recipient>,
    /// The aliases that have sent the message on already.
    delivered_to: Vec<Mailbox>,
    targets: usize,
}

/// A recipient that is not looked up yet.
#[derive(Debug)]
struct Open {
    recipient: Recipient,
    /// The aliases that lead to it, the last one last.
    path: Arc<[Mailbox]>,
}

impl Expansion {
    /// Of a message with `Delivered-To:` fields for these addresses.
    pub(in crate::store) fn new(recipients: &[Recipient], delivered_to: &[Mailbox]) -> Self {
        let path: Arc<[Mailbox]> = Arc::default();
        let open = recipients.iter().map(|recipient| Open { recipient: recipient.clone(), path: Arc::clone(&path) });
        Self {
            open: open.collect(),
            done: BTreeMap::new(),
            expanded: Vec::new(),
            aliases: BTreeMap::new(),
            spellings: BTreeMap::new(),
            named: recipients.to_vec(),
            delivered_to: delivered_to.to_vec(),
            targets: 0,
        }
    }

    /// The addresses that have to be looked up, each once. None when the expansion is over.
    pub(in crate::store) fn unknown(&self) -> BTreeSet<&Mailbox> {
        self.open.iter().map(|open| &open.recipient.mailbox).collect()
    }

    /// Goes on with what is known of the addresses.
    ///
    /// # Errors
    /// Those of `look_up`.
    pub(in crate::store) fn answer<E>(
        &mut self,
        mut look_up: impl FnMut(&Mailbox) -> Result<Entry, E>,
    ) -> Result<(), E> {
        for open in std::mem::take(&mut self.open) {
            let entry = look_up(&open.recipient.mailbox)?;
            self.go_on(open, &entry);
        }
        Ok(())
    }

    fn go_on(&mut self, mut open: Open, entry: &Entry) {
        self.respell(&mut open, entry.spelled());
        let Some(targets) = entry.targets() else { return self.finish(open, None) };
        if self.aliases.contains_key(&open.recipient.mailbox) {
            if entry.mailbox.is_some() && open.path.contains(&open.recipient.mailbox) {
                self.respell(&mut open, entry.mailbox.as_ref());
                self.finish(open, None);
            }
            return;
        }
        let address = &open.recipient.mailbox;
        self.aliases.insert(address.clone(), targets.to_vec());
        self.targets += targets.len();
        let fault = if self.delivered_to.contains(address) {
            Some(((4, 6), "mail loop: this alias has sent the message on before"))
        } else if open.path.len() == DEPTH {
            Some(((4, 6), "too many aliases lead from one to the next"))
        } else if self.targets > TARGETS {
            Some(((5, 3), "this alias has too many targets"))
        } else {
            None
        };
        if let Some((status, reason)) = fault {
            let failure = failed(status, address, reason);
            return self.finish(open, Some(failure));
        }
        let path: Arc<[Mailbox]> = open.path.iter().chain([address]).cloned().collect();
        for target in targets {
            let recipient = as_target(&open.recipient, target, targets.len() > 1);
            self.open.push(Open { recipient, path: Arc::clone(&path) });
        }
        if targets.len() > 1 && open.recipient.wants_to_know_of_success() {
            self.expanded.push(open);
        }
    }

    /// Calls a recipient as the store spells it. Whoever is told of it learns what the sender called it (RFC 3461 §4.2).
    fn respell(&mut self, open: &mut Open, spelled: Option<&Mailbox>) {
        if let Some(spelled) = spelled.filter(|spelled| **spelled != open.recipient.mailbox) {
            let recipient = as_target(&open.recipient, spelled, false);
            let given = std::mem::replace(&mut open.recipient, recipient).mailbox;
            self.spellings.insert(given, spelled.clone());
        }
    }

    /// The first one of an address stands.
    fn finish(&mut self, Open { recipient, path }: Open, decided: Option<String>) {
        let via = path.last().cloned();
        self.done.entry(recipient.mailbox.clone()).or_insert(Expanded { recipient, via, decided });
    }

    /// The recipients, by address. An alias that leads to nobody has failed. A list that keeps a copy for the mailbox of its
    /// own address is reported as that mailbox.
    pub(in crate::store) fn recipients(mut self) -> Vec<Expanded> {
        let mut named = std::mem::take(&mut self.named);
        named.retain(|recipient| !self.leads_to_somebody(&recipient.mailbox));
        for recipient in named {
            let failure = failed((4, 6), &recipient.mailbox, "this alias leads to nobody but itself");
            self.finish(Open { recipient, path: Arc::default() }, Some(failure));
        }
        for open in std::mem::take(&mut self.expanded) {
            if self.leads_to_somebody(&open.recipient.mailbox) {
                let report = expanded(&open.recipient.mailbox).on_one_line();
                self.finish(open, Some(report));
            }
        }
        self.done.into_values().collect()
    }

    fn leads_to_somebody(&self, address: &Mailbox) -> bool {
        let (mut waiting, mut seen) = (vec![address], BTreeSet::new());
        while let Some(address) = waiting.pop() {
            if self.done.contains_key(address) {
                return true;
            }
            if seen.insert(address) {
                waiting.extend(self.aliases.get(address).into_iter().flatten());
                waiting.extend(self.spellings.get(address));
            }
        }
        false
    }
}

/// A target of an alias that was named as `recipient`.
fn as_target(recipient: &Recipient, target: &Mailbox, is_list: bool) -> Recipient {
    let Recipient { mailbox: alias, original, notify } = recipient;
    let mailbox = target.clone();
    if target == alias {
        return Recipient { mailbox, original: original.clone(), notify: *notify };
    }
    let notify = match notify {
        Some(Notify::Of(occasions)) if is_list => Some(Occasions { success: false, ..*occasions }.into()),
        _ if is_list => Some(Notify::Never),
        notify => *notify,
    };
    if notify == Some(Notify::Never) {
        return Recipient { mailbox, original: None, notify };
    }
    // Whom the sender knows (RFC 3461 §5.2.1).
    let original = original.clone().or_else(|| OriginalRecipient::of(alias));
    Recipient { mailbox, original, notify }
}

fn failed(status: (u16, u16), address: &Mailbox, reason: &str) -> String {
    Reply::new(554, status, format!("<{address}>: {reason}")).on_one_line()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn mailbox(address: &str) -> Mailbox {
        address.parse().unwrap()
    }

    /// Expands recipients, where `aliases` has lines such as `a b,c` (with `@x` after each) or `* a`, and `mailboxes`
    /// names. Returns each as `address via notify decided`. A name may have `=NOTIFY` after it.
    fn expand(recipients: &str, aliases: &str, mailboxes: &str) -> Vec<String> {
        let full = |name: &str| mailbox(&format!("{name}@x"));
        let targets = |name: &str| {
            let line = aliases.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '))?;
            Some(line.split(',').map(full).collect::<Vec<_>>())
        };
        let named = |text: &str| {
            let (name, notify) = text.split_once('=').map_or((text, None), |(name, notify)| (name, Some(notify)));
            Recipient { mailbox: full(name), original: None, notify: notify.map(|notify| notify.parse().unwrap()) }
        };
        let named: Vec<_> = recipients.split(' ').map(named).collect();
        let mut expansion = Expansion::new(&named, &[mailbox("looped@x")]);
        let mut levels = 0;
        while !expansion.unknown().is_empty() {
            levels += 1;
            assert!(levels < 100);
            let answered = expansion.answer(|address| {
                let name = address.local_part().as_str();
                // An address in upper case is another spelling.
                let name = &name.to_lowercase();
                let mailbox = mailboxes.split(' ').find(|mailbox| mailbox.to_lowercase() == *name).map(full);
                let alias = targets(name).map(|targets| (full(name), targets));
                Ok::<_, Infallible>(Entry { alias, mailbox, catch_all: targets("*") })
            });
            let Ok(()) = answered;
        }
        let line = |Expanded { recipient, via, decided }: Expanded| {
            let via = via.map_or("-".to_owned(), |via| via.local_part().as_str().to_owned());
            let notify = recipient.notify.map_or("-".to_owned(), |notify| notify.to_string());
            let decided = decided.map(|decided| format!(" {decided}")).unwrap_or_default();
            format!("{} {via} {notify}{decided}", recipient.mailbox.local_part())
        };
        expansion.recipients().into_iter().map(line).collect()
    }

    #[test]
    fn aliases_lists_and_catch_alls_are_expanded() {
        let table: &[(&str, &str, &str, &[&str])] = &[
            ("a b a", "", "a", &["a - -", "b - -"]),
            ("a", "a b", "b", &["b a -"]),
            ("a", "a b\nb c", "c", &["c b -"]),
            ("list", "list b,c", "b c", &["b list NEVER", "c list NEVER"]),
            ("list b", "list b,c", "b c", &["b - -", "c list NEVER"]),
            ("one two", "one b,c\ntwo c,d", "b c d", &["b one NEVER", "c one NEVER", "d two NEVER"]),
            ("list", "list one,d\none b,c", "b c d", &["b one NEVER", "c one NEVER", "d list NEVER"]),
            // An alias comes before the mailbox of the same address, and may keep a copy.
            ("a", "a b", "a b", &["b a -"]),
            ("a", "a a,b", "a b", &["a a -", "b a NEVER"]),
            ("a list", "a b\nlist a,c", "a b c", &["b a -", "c list NEVER"]),
            // A catch-all comes after mailboxes and aliases.
            ("a b c", "b d\n* e", "a d e", &["a - -", "d b -", "e c -"]),
            // Other spellings.
            ("A a", "", "a", &["a - -"]),
            ("a", "", "A", &["A - -"]),
            ("A", "a b\nb B,c", "B c", &["B b NEVER", "c b NEVER"]),
            ("A", "a a,b", "A b", &["A a -", "b a NEVER"]),
            ("LIST b", "list B,C", "b c", &["b - -", "c list NEVER"]),
            ("a", "* far", "", &["a - - 554 5.4.6 <a@x>: this alias leads to nobody but itself"]),
        ];
        for (recipients, aliases, mailboxes, expected) in table {
            assert_eq!(expand(recipients, aliases, mailboxes), *expected, "{recipients}: {aliases}");
        }
    }

    /// RFC 3461 §5.2.7.
    #[test]
    fn a_list_is_reported_once_to_who_wants_to_know() {
        let list = "list - SUCCESS 250 2.1.5 <list@x>: expanded";
        let list = list.replace("250", "251");
        let table: &[(&str, &str, &[&str])] = &[
            ("list=SUCCESS", "list b,c", &["b list NEVER", "c list NEVER", &list]),
            ("list=FAILURE", "list b,c", &["b list FAILURE", "c list FAILURE"]),
            ("list=NEVER", "list b,c", &["b list NEVER", "c list NEVER"]),
            ("list=SUCCESS", "list b", &["b list SUCCESS"]),
            ("list=SUCCESS", "list b,list", &["b list NEVER", "list list SUCCESS"]),
            ("list=SUCCESS", "list one,c\none b,list", &["b one NEVER", "c list NEVER", "list one NEVER"]),
            ("a=SUCCESS", "a list\nlist b,c", &["b list NEVER", "c list NEVER", &list.replace("- S", "a S")]),
        ];
        for (recipients, aliases, expected) in table {
            assert_eq!(expand(recipients, aliases, "b c list"), *expected, "{recipients}: {aliases}");
        }
        let nobody = expand("list=SUCCESS", "list list,a\na list", "");
        assert_eq!(nobody, ["list - SUCCESS 554 5.4.6 <list@x>: this alias leads to nobody but itself"]);
    }

    #[test]
    fn loops_end() {
        let nobody = |name: &str| format!("{name} - - 554 5.4.6 <{name}@x>: this alias leads to nobody but itself");
        assert_eq!(expand("a", "a a", ""), [nobody("a")]);
        assert_eq!(expand("a", "a b\nb a", ""), [nobody("a")]);
        assert_eq!(expand("a b", "a b\nb a", ""), [nobody("a"), nobody("b")]);
        assert_eq!(expand("a", "a B\nb A", ""), [nobody("a")]);
        assert_eq!(expand("a", "a b\nb a,c", "c"), ["c b NEVER"]);
        assert_eq!(expand("a", "a b\nb a", "a"), ["a b -"], "where it comes back to, there is a mailbox");
        let chain = |aliases: usize| (0..aliases).map(|n| format!("a{n} a{}\n", n + 1)).collect::<String>();
        assert_eq!(expand("a0", &chain(10), "a10"), ["a10 a9 -"]);
        let failure = "a10 a9 - 554 5.4.6 <a10@x>: too many aliases lead from one to the next";
        assert_eq!(expand("a0", &chain(11), "a11"), [failure]);
        let looped = "554 5.4.6 <looped@x>: mail loop: this alias has sent the message on before";
        assert_eq!(expand("a looped", "looped b", "a"), ["a - -".to_owned(), format!("looped - - {looped}")]);
        assert_eq!(
            expand("a", "a b,looped\nlooped c", "b"),
            ["b a NEVER".to_owned(), format!("looped a NEVER {looped}")]
        );
        // Twenty lists, each of which has the next two.
        let lists: String = (0..20).map(|n| format!("l{n} l{},l{}\n", n + 1, n + 2)).collect();
        assert_eq!(expand("l12", &lists, "l20 l21"), ["l20 l18 NEVER", "l21 l19 NEVER"]);
    }

    #[test]
    fn targets_are_bounded() {
        let members = |count: usize| (0..count).map(|n| format!("m{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(expand("list", &format!("list {}", members(2000)), "").len(), 2000);
        let failure = "list - - 554 5.5.3 <list@x>: this alias has too many targets";
        assert_eq!(expand("list", &format!("list {}", members(2001)), ""), [failure]);
    }

    #[test]
    fn an_alias_passes_on_what_came_with_it_and_a_list_does_not() {
        let recipient = |original: Option<&str>| Recipient {
            mailbox: mailbox("a@x"),
            original: original.map(|original| original.parse().unwrap()),
            notify: Some("SUCCESS,FAILURE".parse().unwrap()),
        };
        let target = mailbox("b@far");
        let single = as_target(&recipient(None), &target, false);
        assert_eq!(single.original.unwrap().to_string(), "rfc822;a@x");
        assert_eq!(single.notify, recipient(None).notify);
        let single = as_target(&recipient(Some("rfc822;first@x")), &target, false);
        assert_eq!(single.original.unwrap().to_string(), "rfc822;first@x");
        let member = as_target(&recipient(None), &target, true);
        assert_eq!(member.original.unwrap().to_string(), "rfc822;a@x");
        assert_eq!(member.notify.unwrap().to_string(), "FAILURE");
        let member = as_target(&mailbox("a@x").into(), &target, true);
        assert_eq!(member, Recipient { mailbox: target, original: None, notify: Some(Notify::Never) });
        let copy = as_target(&recipient(None), &mailbox("a@x"), true);
        assert_eq!(copy, recipient(None));
    }
}
