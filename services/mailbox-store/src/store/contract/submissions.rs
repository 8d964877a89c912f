//! Submitting, reading and listing messages.

use super::*;
use mail_proto::smtp::{BodyType, MailParameters, Recipient, Ret};

/// Local recipients find a message in their maildrop, all others are queued, each once.
pub(crate) async fn submission_delivers_and_queues(fixture: Fixture) {
    let recipients = ["a@local.test", "x@far.test", "a@LOCAL.test", "nobody@local.test", "x@far.test"];
    let submitted = fixture.submit("t", &recipients, b"S: 1\r\n").await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [submitted.id]);
    assert_eq!(fixture.listed("b@local.test").await, []);
    assert_eq!(fixture.queued().await, ["nobody@local.test 0 false", "x@far.test 0 false"]);
    let message = fixture.store.message(submitted.id).await.unwrap();
    assert_eq!(message.octets, 6);
    assert_eq!(message.reverse_path.to_string(), "<sender@local.test>");
    assert_eq!(message.received_at, fixture.clock.now());
    assert_eq!(message.mailboxes, [mailbox("a@local.test")]);
    assert_eq!(message.queued_for, [mailbox("nobody@local.test"), mailbox("x@far.test")]);
    let summary = fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    let delivered = fixture.delivered("a@local.test", submitted.id).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (1, delivered.len() as u64));
    assert_eq!(fixture.delivered("b@local.test", submitted.id).await, Err(StoreError::MessageUnknown));
}

/// What came with MAIL and RCPT is shown and claimed as it was given. Of a recipient that is named twice the first stands.
pub(crate) async fn parameters_stay_with_a_message(fixture: Fixture) {
    let parameters = MailParameters {
        size_octets: None,
        body: Some(BodyType::EightBitMime),
        smtputf8: true,
        ret: Some(Ret::Headers),
        envid: Some("an id + more".parse().unwrap()),
        requiretls: true,
        submitter: Some("<s+x@far.test>".parse().unwrap()),
    };
    let recipient = |address, original: &str, notify: &str| Recipient {
        mailbox: mailbox(address),
        original: Some(original.parse().unwrap()),
        notify: Some(notify.parse().unwrap()),
    };
    let asking = recipient("x@far.test", "rfc822;first@far.test", "SUCCESS,DELAY");
    let silent = recipient("y@far.test", "utf-8;\u{f6}@far.test", "NEVER");
    let plain = Recipient::from(mailbox("z@far.test"));
    let again = recipient("x@far.test", "rfc822;again@far.test", "NEVER");
    let here = recipient("a@local.test", "rfc822;a@local.test", "NEVER");
    let rich = Submission {
        recipients: vec![asking.clone(), plain.clone(), silent.clone(), again, here],
        identity: Some(mailbox("b@local.test")),
        parameters: parameters.clone(),
        ..submission("rich", &[])
    };
    let rich = fixture.store.submit(rich, body(b"\r\n")).await.unwrap().id;
    let poor = fixture.send("poor", &["x@far.test"]).await;

    let shown = fixture.store.message(rich).await.unwrap();
    assert_eq!((shown.identity, &shown.parameters), (Some(mailbox("b@local.test")), &parameters));
    let listed = fixture.store.messages(rich, 9).await.unwrap().messages;
    assert_eq!((listed[0].identity.as_ref(), &listed[0].parameters), (None, &MailParameters::default()));
    let entries = fixture.store.queue(None, 9).await.unwrap().entries.into_iter();
    let entries = entries.map(|entry| (entry.message, entry.recipient, entry.original, entry.notify));
    let of = |id, Recipient { mailbox, original, notify }: Recipient| (id, mailbox, original, notify);
    let expected = [
        of(rich, asking.clone()),
        of(rich, silent.clone()),
        of(rich, plain.clone()),
        of(poor, mailbox("x@far.test").into()),
    ];
    assert_eq!(entries.collect::<Vec<_>>(), expected);

    let claim = fixture.claim().await.unwrap();
    let [claimed, other] = &claim.messages[..] else { panic!("{claim:?}") };
    assert_eq!((&claimed.parameters, &other.parameters), (&parameters, &MailParameters::default()));
    let recipients: Vec<_> = claimed.recipients.iter().map(|recipient| recipient.recipient()).collect();
    assert_eq!(recipients, [asking, silent, plain]);
    assert_eq!(other.recipients[0].recipient(), mailbox("x@far.test").into());
}

/// Whatever is submitted comes back octet for octet, whether it is kept in the database or as a file.
pub(crate) async fn bodies_come_back_as_they_went(fixture: Fixture) {
    for length in [0, 2, 40, 4096, 256 * 1024, 256 * 1024 + 1, 1_500_000] {
        let octets = if length == 0 { Vec::new() } else { octets(length) };
        let id = fixture.submit(&format!("t{length}"), &["a@local.test"], &octets).await.unwrap().id;
        assert!(fixture.raw(id).await.unwrap() == octets, "{length} octets");
        assert!(fixture.delivered("a@local.test", id).await.unwrap().ends_with(&octets), "{length} octets");
    }
}

/// Small messages can be had several at once; those that cannot are left out.
pub(crate) async fn small_messages_come_together(fixture: Fixture) {
    let mut sent = Vec::new();
    for length in [0, 2, 4096, 1_500_000] {
        let octets = octets(length)[..length].to_vec();
        sent.push((fixture.submit(&format!("{length}"), &["a@local.test"], &octets).await.unwrap().id, octets));
    }
    let gone = fixture.send("gone", &["b@local.test"]).await;
    fixture.delete("b@local.test", &[gone]).await;
    let ids = sent.iter().map(|(id, _)| *id).chain([gone]).collect();
    let found = fixture.store.inline_bodies(ids).await.unwrap();
    assert_eq!(found.len(), 3);
    for (id, octets) in &sent[..3] {
        assert_eq!(found[id], octets);
    }
}

/// A repeat gets the first id and stores nothing, also after everything was delivered and deleted.
pub(crate) async fn a_repeated_submission_stores_nothing(fixture: Fixture) {
    let first = fixture.send("t", &["a@local.test", "x@far.test"]).await;
    let repeat = Submitted { id: first, repeated: true };
    assert_eq!(fixture.submit("t", &["b@local.test"], b"other\r\n").await, Ok(repeat));
    assert_eq!(fixture.submit("t", &["b@local.test"], &octets(300_000)).await, Ok(repeat));
    assert_eq!(fixture.listed("b@local.test").await, []);

    fixture.delete("a@local.test", &[first]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, finished(first, &["x@far.test"]), body(b"")).await.unwrap();
    assert_eq!(fixture.raw(first).await, Err(StoreError::MessageUnknown));
    fixture.clock.advance(23 * HOUR);
    fixture.store.maintain(nowhere()).await.unwrap();
    assert_eq!(fixture.submit("t", &["a@local.test"], b"again\r\n").await, Ok(repeat));
    assert_eq!(fixture.listed("a@local.test").await, []);
}

/// A submission is forgotten after a day, but ids go on growing, whatever the clock does.
pub(crate) async fn ids_grow_and_are_never_reused(fixture: Fixture) {
    let mut last = fixture.send("0", &["a@local.test"]).await;
    for (n, step) in [Duration::ZERO, SECOND, Duration::ZERO, 30 * HOUR].into_iter().enumerate() {
        fixture.delete("a@local.test", &[last]).await;
        fixture.clock.advance(step);
        fixture.store.maintain(nowhere()).await.unwrap();
        let id = fixture.send(&format!("n{n}"), &["a@local.test"]).await;
        assert!(id > last, "{id} {last}");
        last = id;
    }
    fixture.clock.turn_back(31 * HOUR);
    let id = fixture.send("back-in-time", &["a@local.test"]).await;
    assert!(id > last, "{id} {last}");
    // Two days have passed since; now it is a new one.
    fixture.clock.advance(60 * HOUR);
    fixture.store.maintain(nowhere()).await.unwrap();
    assert!(!fixture.submit("0", &["a@local.test"], b"\r\n").await.unwrap().repeated);
}

/// What is refused or breaks off leaves nothing behind.
pub(crate) async fn a_bad_message_is_not_stored(fixture: Fixture) {
    let bare = [octets(300_000), b"bare\nline feed\r\n".to_vec()].concat();
    assert_eq!(fixture.submit("1", &["a@local.test"], &bare).await, Err(StoreError::BareLineEnding));
    assert_eq!(fixture.submit("2", &["a@local.test"], b"bare\rreturn\r\n").await, Err(StoreError::BareLineEnding));
    let large = octets(LIMIT_OCTETS as usize + 1);
    let too_large = StoreError::TooLarge { limit_octets: LIMIT_OCTETS };
    assert_eq!(fixture.submit("3", &["a@local.test"], &large).await, Err(too_large));
    for length in [100, 400_000] {
        let chunks = [Ok(Bytes::from(octets(length))), Err("connection reset")];
        let message = MessageStream::new(stream::iter(chunks), LIMIT_OCTETS);
        let error = fixture.store.submit(submission("4", &["a@local.test", "x@far.test"]), message).await.unwrap_err();
        assert_eq!(error, StoreError::Invalid("the message broke off: connection reset".to_owned()));
    }
    for (transaction, recipients) in [("", &["a@local.test"][..]), (&"t".repeat(65), &["a@local.test"]), ("t", &[])] {
        let refused = fixture.submit(transaction, recipients, b"\r\n").await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(fixture.listed("a@local.test").await, []);
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.store.messages(MessageId::from_number(0), 10).await.unwrap().messages, []);
}

/// Every listing can be read page by page, and pages are as long as asked for.
pub(crate) async fn listings_come_in_pages(fixture: Fixture) {
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(fixture.send(&format!("{n}"), &["a@local.test", "x@far.test", "y@far.test"]).await);
    }
    let (store, a) = (&fixture.store, mailbox("a@local.test"));
    let first = store.maildrop(&a, MessageId::from_number(0), 2).await.unwrap();
    assert_eq!(first.messages.iter().map(|message| message.id).collect::<Vec<_>>(), ids[..2]);
    assert_eq!(first.next_after, Some(ids[1]));
    let last = store.maildrop(&a, ids[1], 2).await.unwrap();
    assert_eq!((last.messages.len(), last.messages[0].id, last.next_after), (1, ids[2], None));
    assert_eq!(store.maildrop(&a, MessageId::from_number(u64::MAX), 2).await.unwrap().messages, []);

    let all = store.messages(MessageId::from_number(0), 3).await.unwrap();
    assert_eq!((all.messages.len(), all.next_after), (3, None));
    assert_eq!(store.messages(MessageId::from_number(0), 2).await.unwrap().next_after, Some(ids[1]));

    let mut seen = Vec::new();
    let mut after: Option<QueuePosition> = None;
    loop {
        let page = store.queue(after, 4).await.unwrap();
        seen.extend(page.entries.iter().map(|entry| (entry.message, entry.recipient.to_string())));
        let Some(next) = page.next_after else { break };
        assert_eq!(page.entries.len(), 4);
        after = Some(next.parse().unwrap());
    }
    let expected: Vec<_> =
        ids.iter().flat_map(|&id| ["x@far.test", "y@far.test"].map(|to| (id, to.to_owned()))).collect();
    assert_eq!(seen, expected);

    let page = store.mailboxes("", 1).await.unwrap();
    assert_eq!((page.mailboxes.len(), page.next_after.as_deref()), (1, Some("a@local.test")));
    let page = store.mailboxes("a@local.test", 1).await.unwrap();
    assert_eq!((page.mailboxes[0].address.clone(), page.next_after), (mailbox("b@local.test"), None));
}

/// Many at once: what is acknowledged is there, and no id is given twice.
pub(crate) async fn many_submit_at_once(fixture: Fixture) {
    let fixture = &fixture;
    let submitting = (0..200).map(|n| {
        // Every transaction comes twice, and every fifth is refused.
        let octets: &[u8] = if n / 2 % 5 == 0 { b"bad\n" } else { b"good\r\n" };
        async move { fixture.submit(&format!("{}", n / 2), &["a@local.test"], octets).await }
    });
    let outcomes = futures_util::future::join_all(submitting).await;
    for (n, pair) in outcomes.chunks(2).enumerate() {
        if n % 5 == 0 {
            assert_eq!(pair, [Err(StoreError::BareLineEnding), Err(StoreError::BareLineEnding)]);
        } else {
            let [one, other] = [&pair[0], &pair[1]].map(|outcome| *outcome.as_ref().unwrap());
            assert_eq!((one.id, one.repeated), (other.id, !other.repeated));
        }
    }
    let mut ids: Vec<_> = outcomes.into_iter().flatten().map(|submitted| submitted.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(fixture.listed("a@local.test").await, ids);
    assert_eq!(ids.len(), 80);
}

/// After it was closed a store says so, and does not hang.
pub(crate) async fn a_closed_store_says_so(fixture: Fixture) {
    fixture.store.probe().await.unwrap();
    fixture.store.close().await;
    let submitted = fixture.submit("t", &["a@local.test"], b"\r\n").await;
    assert!(matches!(submitted, Err(StoreError::Unavailable(_))), "{submitted:?}");
    let mailbox = fixture.store.mailbox(&mailbox("a@local.test")).await;
    assert!(matches!(mailbox, Err(StoreError::Unavailable(_))), "{mailbox:?}");
    assert!(fixture.store.probe().await.is_err());
}

/// A caller that got no response asks what became of the submission.
pub(crate) async fn a_transaction_is_known_by_its_name(fixture: Fixture) {
    assert_eq!(fixture.store.transaction("t").await, Ok(None));
    let id = fixture.send("t", &["a@local.test"]).await;
    assert_eq!(fixture.store.transaction("t").await, Ok(Some(id)));
    fixture.delete("a@local.test", &[id]).await;
    assert_eq!(fixture.store.transaction("t").await, Ok(Some(id)));
    assert_eq!(fixture.store.transaction("T").await, Ok(None));
}
