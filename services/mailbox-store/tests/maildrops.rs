//! Maildrops over HTTP, as sessions of POP3 use them.
#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use internal_api::{
    ApiError, DELIVERED_AT_ONCE, MaildropEntry, MaildropUpdate, MessageId, OpenSession, ProblemKind, Renewal,
};
use support::{Server, mailbox, submission};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello\r\n";

fn kind<T: std::fmt::Debug>(outcome: Result<T, ApiError>) -> ProblemKind {
    outcome.unwrap_err().kind().expect("a problem")
}

fn open(password: &str) -> OpenSession {
    OpenSession { password: password.to_owned(), lease_seconds: 60, client: None, proved: false }
}

#[tokio::test]
async fn a_session_locks_lists_and_updates() {
    let server = Server::start().await;
    let a = mailbox("a@local.test");
    let mut ids = Vec::new();
    for transaction in ["1", "2", "3"] {
        let sent = server.client.submit(&submission(transaction, &["a@local.test"]), Bytes::from_static(MAIL)).await;
        ids.push(sent.unwrap().id);
    }
    let first = server.client.open_session(&a, &open("pass a")).await.unwrap();
    assert_eq!(first.messages.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    assert_eq!(kind(server.client.open_session(&a, &open("pass a")).await), ProblemKind::MaildropInUse);
    let again = server.client.open_named_session(&a, &first.session, &open("pass a")).await.unwrap();
    assert_eq!(again, first);
    server.client.renew_session(&a, &first.session, Renewal { lease_seconds: 60 }).await.unwrap();
    server.client.close_session(&a, &first.session).await.unwrap();
    let lost = server.client.renew_session(&a, &first.session, Renewal { lease_seconds: 60 }).await;
    assert_eq!(kind(lost), ProblemKind::LeaseLost);
    let update = MaildropUpdate { delete: vec![ids[0], ids[2]] };
    let lost = server.client.update_maildrop(&a, &first.session, &update).await;
    assert_eq!(kind(lost), ProblemKind::LeaseLost);

    let second = server.client.open_session(&a, &open("pass a")).await.unwrap();
    assert_eq!(second.messages.len(), 3);
    server.client.update_maildrop(&a, &second.session, &update).await.unwrap();
    let third = server.client.open_session(&a, &open("pass a")).await.unwrap();
    assert_eq!(third.messages.iter().map(|entry| entry.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(kind(server.client.message(ids[0]).await), ProblemKind::MessageUnknown);
}

/// A gateway gets the listing in lines, page after page; others get JSON. Both list the same.
#[tokio::test]
async fn a_long_maildrop_is_listed_while_it_is_read() {
    let server = Server::start().await;
    let (a, mut ids) = (mailbox("a@local.test"), Vec::new());
    for number in 0..1001 {
        let submission = submission(&number.to_string(), &["a@local.test"]);
        ids.push(server.client.submit(&submission, Bytes::from_static(MAIL)).await.unwrap().id);
    }
    for expected in [&ids[..], &ids[..1000], &ids[..999], &[]] {
        let mut opened = server.client.open_maildrop(&a, "named", &open("pass a")).await.unwrap();
        assert_eq!(opened.session, "named");
        let mut listed = Vec::new();
        while let page = opened.page().await.unwrap()
            && !page.is_empty()
        {
            listed.extend(page);
        }
        let whole = server.client.open_named_session(&a, "named", &open("pass a")).await.unwrap();
        assert_eq!(listed, whole.messages);
        assert!(listed.iter().map(|entry| entry.id).eq(expected.iter().copied()), "{}", expected.len());
        let delete = if expected.len() > 999 { ids[expected.len() - 1..].to_vec() } else { ids.clone() };
        server.client.update_maildrop(&a, "named", &MaildropUpdate { delete }).await.unwrap();
    }
    let refused = server.client.open_maildrop(&a, "named", &open("pass b")).await.map(drop);
    assert_eq!(kind(refused), ProblemKind::AuthenticationFailed);
}

#[tokio::test]
async fn several_messages_are_read_at_once() {
    let server = Server::start().await;
    let (a, mut ids) = (mailbox("a@local.test"), Vec::new());
    for transaction in ["1", "2"] {
        let sent = server.client.submit(&submission(transaction, &["a@local.test"]), Bytes::from_static(MAIL)).await;
        ids.push(sent.unwrap().id);
    }
    let mail = Bytes::from([b"Return-Path: <sender@far.test>\r\n", MAIL].concat());
    let listed = |id| MaildropEntry { id, octets: mail.len() as u64 };
    let read = async |ids: &[MessageId]| {
        let listed: Vec<_> = ids.iter().copied().map(listed).collect();
        server.client.delivered_messages(&a, &listed).await
    };
    assert_eq!(read(&[ids[1], ids[0]]).await.unwrap(), [(ids[1], mail.clone()), (ids[0], mail.clone())]);
    let unknown = MessageId::from_number(7);
    assert_eq!(read(&[ids[1], unknown, ids[0]]).await.unwrap(), [(ids[1], mail.clone())]);
    let nobody = server.client.delivered_messages(&mailbox("x@local.test"), &[listed(ids[0])]).await.unwrap();
    assert_eq!(nobody, []);
    assert_eq!(kind(read(&[ids[0]; DELIVERED_AT_ONCE + 1]).await), ProblemKind::InvalidRequest);
    let nothing = server.client.delivered_messages(&a, &[]).await.unwrap();
    assert_eq!(nothing, []);
}
