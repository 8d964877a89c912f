//! What addresses mean, and where mail for aliases goes.

use super::*;
use crate::store::{Alias, AliasName};
use internal_api::{EventKind, Resolved};
use mail_proto::smtp::Recipient;

/// An alias; one whose name begins with `@` is a catch-all.
fn alias(name: &str, targets: &[&str]) -> Alias {
    let catch_all = name.strip_prefix('@').map(|domain| AliasName::CatchAll(domain.parse().unwrap()));
    let name = catch_all.unwrap_or_else(|| AliasName::Address(mailbox(name)));
    Alias { name, targets: targets.iter().map(|target| mailbox(target)).collect() }
}

impl Fixture {
    pub(crate) async fn aliases(&self, aliases: &[(&str, &[&str])]) {
        let aliases = aliases.iter().map(|(name, targets)| alias(name, targets)).collect();
        self.store.put_aliases(aliases).await.unwrap();
    }

    async fn resolved(&self, address: &str) -> Resolved {
        self.store.resolve(&mailbox(address)).await.unwrap()
    }

    /// The queue as `recipient via notify original`.
    async fn sent_on(&self) -> Vec<String> {
        let page = self.store.queue(None, 100).await.unwrap();
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let line = |entry: internal_api::QueueEntry| {
            let via = shown(entry.via.map(|via| via.to_string()));
            let notify = shown(entry.notify.map(|notify| notify.to_string()));
            let original = shown(entry.original.map(|original| original.to_string()));
            format!("{} {via} {notify} {original}", entry.recipient)
        };
        page.entries.into_iter().map(line).collect()
    }
}

/// An alias comes before the mailbox of the same address, a catch-all after both.
pub(crate) async fn an_address_is_resolved(fixture: Fixture) {
    let summary = fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!(fixture.resolved("a@local.test").await, Resolved::Mailbox(summary.clone()));
    for unknown in ["nobody@local.test", "a@far.test", "\"a b\"@local.test"] {
        assert_eq!(fixture.resolved(unknown).await, Resolved::Unknown, "{unknown}");
    }
    let list: &[&str] = &["a@local.test", "x@far.test", "\"odd, one\"@far.test"];
    fixture
        .aliases(&[("one@local.test", &["x@far.test"]), ("list@local.test", list), ("b@local.test", &["a@local.test"])])
        .await;
    let members = list.iter().map(|member| mailbox(member)).collect();
    assert_eq!(fixture.resolved("one@local.test").await, Resolved::Alias { target: mailbox("x@far.test") });
    assert_eq!(fixture.resolved("list@LOCAL.test").await, Resolved::List { members });
    assert_eq!(fixture.resolved("b@local.test").await, Resolved::Alias { target: mailbox("a@local.test") });
    assert_eq!(fixture.resolved("nobody@local.test").await, Resolved::Unknown);
    fixture.aliases(&[("@local.test", &["a@local.test"]), ("one@local.test", &["y@far.test"])]).await;
    let targets = vec![mailbox("a@local.test")];
    assert_eq!(fixture.resolved("nobody@local.test").await, Resolved::CatchAll { targets: targets.clone() });
    assert_eq!(fixture.resolved("list@local.test").await, Resolved::CatchAll { targets });
    assert_eq!(fixture.resolved("nobody@far.test").await, Resolved::Unknown);
    assert_eq!(fixture.resolved("a@local.test").await, Resolved::Mailbox(summary));
    assert_eq!(fixture.resolved("one@local.test").await, Resolved::Alias { target: mailbox("y@far.test") });
    fixture.aliases(&[]).await;
    assert_eq!(fixture.resolved("nobody@local.test").await, Resolved::Unknown);
}

/// With the rules of the RFCs' profile, an address means what is closest to it; without, only itself.
pub(crate) async fn an_address_has_many_spellings(fixture: Fixture) {
    let accounts = ["Usr@local.test", "usr+known@local.test", "postmaster@local.test"].map(account).to_vec();
    fixture.store.put_accounts(accounts).await.unwrap();
    fixture
        .aliases(&[
            ("Sales@local.test", &["USR+orders@LOCAL.test"]),
            ("b+x@local.test", &["x@far.test"]),
            ("B@local.test", &["b@local.test", "y@far.test"]),
        ])
        .await;
    let named = async |address: &str| {
        let account = fixture.store.account(&mailbox(address)).await.unwrap();
        account.map(|account| account.to_string()).unwrap_or_default()
    };
    assert_eq!(named("Usr@local.test").await, "Usr@local.test");
    for strict in ["usr@local.test", "Usr+tag@local.test"] {
        assert_eq!((named(strict).await.as_str(), fixture.resolved(strict).await), ("", Resolved::Unknown), "{strict}");
    }
    fixture.store.set_address_rules(AddressRules { ignores_case: true, delimiter: Some('+') });
    let table = [
        ("usr@local.test", "Usr@local.test"),
        ("uSR+tag@local.test", "Usr@local.test"),
        ("USR+KNOWN@local.test", "usr+known@local.test"),
        ("usr+known+more@local.test", "Usr@local.test"),
        ("PostMaster+x@local.test", "postmaster@local.test"),
        ("us@local.test", ""),
        ("+usr@local.test", ""),
        ("usr@far.test", ""),
    ];
    for (address, expected) in table {
        assert_eq!(named(address).await, expected, "{address}");
    }
    let Resolved::Mailbox(summary) = fixture.resolved("usr+tag@local.test").await else { panic!("a mailbox") };
    assert_eq!(summary.address, mailbox("Usr@local.test"));
    assert_eq!(fixture.resolved("B+X@local.test").await, Resolved::Alias { target: mailbox("x@far.test") });
    assert_eq!(
        fixture.resolved("SALES+1@local.test").await,
        Resolved::Alias { target: mailbox("USR+orders@local.test") }
    );
    // Whoever has several spellings gets a message once, and is told of by the one that was given.
    let recipients = ["usr@local.test", "USR+1@local.test", "sales@local.test", "b+other@local.test", "x@far.test"];
    let id = fixture.send("t", &recipients).await;
    assert_eq!(fixture.listed("Usr@local.test").await, [id]);
    assert_eq!(fixture.listed("b@local.test").await, [id]);
    assert_eq!(fixture.sent_on().await, ["x@far.test - - -", "y@far.test B@local.test NEVER -"]);
    // What waits for room waits as the store spells it.
    let full = Account { quota: Quota { messages: Some(1), octets: None }, ..account("Usr@local.test") };
    fixture.store.put_accounts(vec![full]).await.unwrap();
    fixture.send("u", &["uSr+2@local.test"]).await;
    assert!(fixture.sent_on().await.contains(&"Usr@local.test - - rfc822;uSr+2@local.test".to_owned()));
}

/// Each address gets a message once, whatever leads to it.
pub(crate) async fn mail_for_aliases_is_sent_on(fixture: Fixture) {
    fixture
        .aliases(&[
            ("one@local.test", &["list@local.test"]),
            ("list@local.test", &["a@local.test", "b@local.test", "x@far.test", "one@local.test"]),
            ("away@local.test", &["y@far.test"]),
            ("b@local.test", &["b@local.test", "x@far.test"]),
            ("@local.test", &["away@local.test"]),
        ])
        .await;
    let id = fixture.send("t", &["one@local.test", "a@local.test", "whoever@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(fixture.listed("b@local.test").await, [id]);
    let message = fixture.store.message(id).await.unwrap();
    assert_eq!(message.mailboxes, [mailbox("a@local.test"), mailbox("b@local.test")]);
    let expected = ["x@far.test list@local.test NEVER -", "y@far.test away@local.test - rfc822;whoever@local.test"];
    assert_eq!(fixture.sent_on().await, expected);
    let claim = fixture.claim().await.unwrap();
    let vias: Vec<_> = claim.messages[0].recipients.iter().map(|recipient| recipient.via.clone()).collect();
    assert_eq!(vias, [Some(mailbox("list@local.test")), Some(mailbox("away@local.test"))]);
    // What is settled and deleted leaves nothing behind.
    fixture.store.settle(&claim.lease, finished(id, &["x@far.test", "y@far.test"]), body(b"")).await.unwrap();
    fixture.delete("a@local.test", &[id]).await;
    fixture.delete("b@local.test", &[id]).await;
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
}

/// What came with RCPT stays with the targets of an alias, but members of a list are not asked for a success (RFC 3461
/// §5.2.7).
pub(crate) async fn what_came_with_an_alias_stays(fixture: Fixture) {
    fixture.aliases(&[("one@local.test", &["x@far.test"]), ("list@local.test", &["y@far.test", "z@far.test"])]).await;
    let recipient = |address: &str, original: &str| Recipient {
        mailbox: mailbox(address),
        original: Some(original.parse().unwrap()),
        notify: Some("SUCCESS,FAILURE".parse().unwrap()),
    };
    let recipients = vec![
        recipient("one@local.test", "rfc822;first@far.test"),
        recipient("list@local.test", "rfc822;first@far.test"),
        recipient("z@far.test", "rfc822;z@far.test"),
    ];
    let submission = Submission { recipients, ..submission("t", &[]) };
    fixture.store.submit(submission, body(b"\r\n")).await.unwrap();
    let expected = [
        "list@local.test - SUCCESS,FAILURE rfc822;first@far.test",
        "x@far.test one@local.test SUCCESS,FAILURE rfc822;first@far.test",
        "y@far.test list@local.test FAILURE rfc822;first@far.test",
        "z@far.test - SUCCESS,FAILURE rfc822;z@far.test",
    ];
    assert_eq!(fixture.sent_on().await, expected);
}

/// An alias that leads to nobody is reported, like a mailbox that is missing, and in other words.
pub(crate) async fn an_alias_that_leads_to_nobody_is_reported(fixture: Fixture) {
    fixture
        .aliases(&[
            ("one@local.test", &["two@local.test"]),
            ("two@local.test", &["one@local.test"]),
            ("gone@local.test", &["nobody@local.test"]),
        ])
        .await;
    let id = fixture.send("t", &["one@local.test", "gone@local.test", "a@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    let local = LocalMail { domains: vec!["local.test".parse().unwrap()], ..LocalMail::default() };
    let ClaimOutcome::Claimed(claim) =
        fixture.store.claim(MINUTE, 100, Vec::new(), local, Abilities::ALL).await.unwrap()
    else {
        panic!("nothing is due");
    };
    let said: Vec<_> = claim.messages[0].recipients.iter().map(|recipient| recipient.said_by_store.clone()).collect();
    let missing = "550 5.1.1 <nobody@local.test>: no such mailbox here".to_owned();
    let nobody = "554 5.4.6 <one@local.test>: this alias leads to nobody but itself".to_owned();
    assert_eq!(said, [Some(missing), Some(nobody)]);
    let recipients = ["nobody@local.test", "one@local.test"];
    fixture.store.settle(&claim.lease, finished(id, &recipients), body(b"")).await.unwrap();
    let events = fixture.store.message_events(id).await.unwrap();
    let queued = EventKind::Queued { recipients: recipients.iter().map(|address| mailbox(address)).collect() };
    assert!(events.iter().any(|event| event.kind == queued), "{events:?}");
}

/// Failure messages go through aliases as other mail does, and so does mail that waits for room behind one.
pub(crate) async fn failure_messages_and_full_mailboxes_behind_aliases(fixture: Fixture) {
    fixture
        .aliases(&[("one@local.test", &["a@local.test"]), ("list@local.test", &["a@local.test", "b@local.test"])])
        .await;
    let first = fixture.send("t", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let failure_message = Some(Submission::new("bounce", "<>".parse().unwrap(), [mailbox("one@local.test")]));
    let settlement = Settlement { failure_message, ..finished(first, &["x@far.test"]) };
    fixture.store.settle(&claim.lease, settlement, body(b"Subject: failed\r\n")).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await.len(), 1);

    let full = super::super::Account { quota: Quota { messages: Some(1), octets: None }, ..account("a@local.test") };
    fixture.store.put_accounts(vec![full]).await.unwrap();
    let second = fixture.send("second", &["list@local.test"]).await;
    assert_eq!(fixture.listed("b@local.test").await, [second]);
    assert_eq!(fixture.sent_on().await, ["a@local.test list@local.test NEVER -"]);
    fixture.delete("a@local.test", &fixture.listed("a@local.test").await).await;
    let local = LocalMail { domains: vec!["local.test".parse().unwrap()], ..LocalMail::default() };
    fixture.store.claim(MINUTE, 100, Vec::new(), local, Abilities::ALL).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [second]);
}

/// Many messages that come together for a list find all of its members.
pub(crate) async fn many_write_to_a_list_at_once(fixture: Fixture) {
    fixture.aliases(&[("list@local.test", &["a@local.test", "b@local.test", "x@far.test"])]).await;
    let sending = (0..50).map(|n| {
        let fixture = &fixture;
        async move { fixture.send(&format!("t{n}"), &["list@local.test", "y@far.test"]).await }
    });
    let mut ids = futures_util::future::join_all(sending).await;
    ids.sort();
    assert_eq!(fixture.listed("a@local.test").await, ids);
    assert_eq!(fixture.listed("b@local.test").await, ids);
    assert_eq!(fixture.sent_on().await.len(), 100);
}

/// A message ends at an alias that has sent it on before, and everywhere once it has been through a hundred servers.
pub(crate) async fn mail_loops_end(fixture: Fixture) {
    fixture
        .aliases(&[("one@local.test", &["x@far.test"]), ("two@local.test", &["one@local.test", "a@local.test"])])
        .await;
    let passed = |alias: &str, length: usize| {
        let head = format!("Received: by x\r\nDelivered-To: {alias}\r\nSubject: x\r\n\r\n");
        [head.into_bytes(), octets(length)].concat()
    };
    // Whether the body stays in memory or not.
    for (name, length) in [("small", 10), ("large", 600_000)] {
        let id = fixture.submit(name, &["one@local.test"], &passed("one@local.test", length)).await.unwrap().id;
        let page = fixture.store.queue(None, 100).await.unwrap();
        let entry = page.entries.iter().find(|entry| entry.message == id).unwrap();
        let said = "554 5.4.6 <one@local.test>: mail loop: this alias has sent the message on before";
        assert_eq!((entry.recipient.to_string().as_str(), entry.last_reply.as_str()), ("one@local.test", said));
    }
    let id = fixture.submit("two", &["two@local.test"], &passed("one@local.test", 10)).await.unwrap().id;
    assert_eq!(fixture.listed("a@local.test").await, [id], "the others of a list get it");
    let elsewhere = fixture.submit("else", &["one@local.test"], &passed("one@far.test", 10)).await.unwrap().id;
    let page = fixture.store.queue(None, 100).await.unwrap();
    let entry = page.entries.iter().find(|entry| entry.message == elsewhere).unwrap();
    assert_eq!((entry.recipient.to_string().as_str(), entry.last_reply.as_str()), ("x@far.test", ""));
    let hops = |count: usize| ["Received: by x\r\n".repeat(count).as_bytes(), b"\r\nx\r\n"].concat();
    assert_eq!(fixture.submit("100", &["a@local.test"], &hops(100)).await, Err(StoreError::MailLoop));
    assert!(fixture.submit("99", &["a@local.test"], &hops(99)).await.is_ok());
}
