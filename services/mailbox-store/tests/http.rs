//! The store over HTTP, as its gateways and its administrators use it.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use futures_util::stream;
use internal_api::{
    Accepted, ApiError, BATCH_MEDIA_TYPE, BatchOutcome, BroughtClaim, ClaimRequest, FRAME_MEDIA_TYPE, MaildropPage,
    Message, MessageId, MessagePage, OpenSession, Outcome, ProblemKind, QueuePage, RawMessage, RecipientOutcome,
    Renewal, Resolved, Settlement,
};
use reqwest::{Method, StatusCode};
use std::{fs, time::Duration};
use support::{NOW, Server, configured, mailbox, problem, submission};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello\r\n";
const RETURN_PATH: &[u8] = b"Return-Path: <sender@far.test>\r\n";

fn kind<T: std::fmt::Debug>(outcome: Result<T, ApiError>) -> ProblemKind {
    outcome.unwrap_err().kind().expect("a problem")
}

fn open(password: &str) -> OpenSession {
    OpenSession { password: password.to_owned(), lease_seconds: 60, client: None, proved: false }
}

async fn read(mut message: RawMessage) -> Vec<u8> {
    let mut octets = Vec::new();
    while let Some(chunk) = message.chunk().await.unwrap() {
        octets.extend_from_slice(&chunk);
    }
    octets
}

#[tokio::test]
async fn a_message_is_submitted_once_and_seen_everywhere() {
    let server = Server::start().await;
    let submission = submission("t", &["a@local.test", "x@far.test", "postmaster@local.test"]);
    let id = server.client.submit(&submission, Bytes::from_static(MAIL)).await.unwrap().id;
    assert_eq!(
        server.client.submit(&submission, Bytes::from_static(MAIL)).await.unwrap(),
        Accepted { id, repeated: true }
    );

    assert_eq!(read(server.client.message(id).await.unwrap()).await, MAIL);
    let delivered = read(server.client.delivered_message(&mailbox("a@local.test"), id).await.unwrap()).await;
    assert_eq!(delivered, [RETURN_PATH, MAIL].concat());
    let message: Message = server.get(&format!("/v1/messages/{id}")).await.json().await.unwrap();
    assert_eq!(message.mailboxes, ["a@local.test", "postmaster@local.test"].map(mailbox));
    assert_eq!(message.queued_for, [mailbox("x@far.test")]);
    let page: MessagePage = server.get("/v1/messages").await.json().await.unwrap();
    assert_eq!((page.messages, page.next_after), (vec![message], None));
    let page: MaildropPage = server.get("/v1/mailboxes/a@local.test/messages?limit=1").await.json().await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [id]);
    assert_eq!(page.messages[0].octets, delivered.len() as u64);
    let queue: QueuePage = server.get("/v1/queue").await.json().await.unwrap();
    assert_eq!(queue.entries[0].recipient, mailbox("x@far.test"));

    let summary = server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap();
    assert_eq!((summary.messages, summary.octets), (1, delivered.len() as u64));
    assert_eq!(server.client.mailbox(&mailbox("nobody@local.test")).await.unwrap(), None);
    assert_eq!(server.metric("mailtown_store_messages_submitted_total").await, "1");
    assert_eq!(server.metric("mailtown_store_deliveries_total").await, "2");
    assert_eq!(server.metric("mailtown_store_queue_entries").await, "1");
    server.stop().await;
}

/// A gateway of the version before asks for the mailbox, one of this version for the address.
#[tokio::test]
async fn an_address_is_asked_for_in_both_ways() {
    let server = Server::start().await;
    let summary = server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap();
    assert_eq!(server.client.resolve(&mailbox("a@local.test")).await.unwrap(), Resolved::Mailbox(summary));
    for unknown in ["nobody@local.test", "a@far.test", "\"a b\"@local.test", "a%far.test@local.test"] {
        assert_eq!(server.client.mailbox(&mailbox(unknown)).await.unwrap(), None, "{unknown}");
        assert_eq!(server.client.resolve(&mailbox(unknown)).await.unwrap(), Resolved::Unknown, "{unknown}");
    }
    assert_eq!(problem(server.get("/v1/addresses/nobody").await).await, ProblemKind::MailboxUnknown);
    assert_eq!(problem(server.get("/v1/addresses").await).await, ProblemKind::NotFound);
}

#[tokio::test]
async fn a_new_message_is_201_and_a_repeat_200() {
    let server = Server::start().await;
    let frame = "{\"transaction\":\"t\",\"reverse_path\":\"<>\",\"recipients\":[\"a@local.test\"]}\nS: x\r\n";
    for status in [StatusCode::CREATED, StatusCode::OK] {
        let request = server.request(Method::POST, "/v1/messages").header("content-type", FRAME_MEDIA_TYPE);
        assert_eq!(request.body(frame).send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn each_message_of_a_batch_stands_for_itself() {
    let server = Server::start().await;
    let submissions = ["1", "2", "1"].map(|transaction| submission(transaction, &["a@local.test"]));
    let bodies = [&b"S: 1\r\n"[..], b"bare\n", b"S: 1\r\n"].map(Bytes::from_static);
    let outcomes = server
        .client
        .submit_batch(submissions.iter().zip(&bodies).map(|(submission, body)| (submission, body, None)))
        .await
        .unwrap();
    let [BatchOutcome::Accepted(first), BatchOutcome::Refused(refused), BatchOutcome::Accepted(repeat)] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((first.id, first.repeated, repeat.repeated), (repeat.id, false, true));
    assert_eq!(refused.kind, ProblemKind::BareLineEnding);
    assert_eq!(server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap().messages, 1);
}

#[tokio::test]
async fn a_raw_message_says_what_it_is() {
    let server = Server::start().await;
    let id = server.client.submit(&submission("t", &["a@local.test"]), Bytes::from_static(MAIL)).await.unwrap().id;
    for method in [Method::GET, Method::HEAD] {
        let path = format!("/v1/mailboxes/a@local.test/messages/{id}/raw");
        let response = server.request(method.clone(), &path).send().await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["content-type"], "message/rfc822");
        assert_eq!(headers["content-length"], (RETURN_PATH.len() + MAIL.len()).to_string().as_str());
        let body = response.bytes().await.unwrap();
        assert_eq!(body.is_empty(), method == Method::HEAD);
    }
}

#[tokio::test]
async fn a_large_message_streams_in_and_out() {
    let server = Server::start().await;
    let line = [b"Subject: ".to_vec(), vec![b'x'; 989], b"\r\n".to_vec()].concat();
    let chunks: Vec<_> = (0..10_000).map(|_| Ok::<_, std::io::Error>(Bytes::from(line.clone()))).collect();
    let sent = server.client.submit_stream(&submission("t", &["a@local.test"]), stream::iter(chunks)).await;
    let octets = read(server.client.message(sent.unwrap().id).await.unwrap()).await;
    assert!(octets == line.repeat(10_000), "{} octets", octets.len());
    assert_eq!(fs::read_dir(server.data.path().join("bodies")).unwrap().count(), 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = Server::start().await;
    let chunks = [Ok(Bytes::from(vec![b'x'; 1_000_000])), Err(std::io::Error::other("the client is gone"))];
    let sent = server.client.submit_stream(&submission("t", &["a@local.test"]), stream::iter(chunks)).await;
    assert!(matches!(sent, Err(ApiError::Unavailable(_))), "{sent:?}");
    // Later requests come after the store has noticed, which stopping waits for.
    let data = server.stop().await;
    assert_eq!(fs::read_dir(data.path().join("bodies")).unwrap().count(), 0);
    let server = Server::start_in(data, "").await;
    let page: MessagePage = server.get("/v1/messages").await.json().await.unwrap();
    assert_eq!(page.messages, []);
}

#[tokio::test]
async fn bare_line_endings_and_giants_are_refused_in_step() {
    let server = Server::start().await;
    let submission = submission("t", &["a@local.test"]);
    for bare in ["a\nb\r\n", "a\rb\r\n", "a\r\nb\r", "\n.\n"] {
        let sent = server.client.submit(&submission, Bytes::from_static(bare.as_bytes())).await;
        assert_eq!(kind(sent), ProblemKind::BareLineEnding, "{bare:?}");
    }
    let early = [b"\n".to_vec(), vec![b'x'; 5_000_000]].concat();
    assert_eq!(kind(server.client.submit(&submission, early.into()).await), ProblemKind::BareLineEnding);
    let giant = vec![b'x'; 27 * 1024 * 1024];
    assert_eq!(kind(server.client.submit(&submission, giant.into()).await), ProblemKind::MessageTooLarge);
    assert!(server.client.submit(&submission, Bytes::from_static(MAIL)).await.is_ok());
}

#[tokio::test]
async fn a_login_tells_nothing_but_whether_it_is_right() {
    let server = Server::start().await;
    let wrong = [
        ("a@local.test", "pass b"),
        ("a@local.test", ""),
        ("nobody@local.test", "pass a"),
        ("postmaster@local.test", ""),
        ("postmaster@local.test", "pass a"),
    ];
    for (address, password) in wrong {
        let opened = server.client.open_session(&mailbox(address), &open(password)).await;
        let ApiError::Problem(problem) = opened.unwrap_err() else { panic!() };
        assert_eq!((problem.kind, problem.detail.as_str()), (ProblemKind::AuthenticationFailed, ""), "{address}");
    }
    let no_address = server.request(Method::POST, "/v1/mailboxes/a/sessions").json(&open("pass a"));
    assert_eq!(problem(no_address.send().await.unwrap()).await, ProblemKind::AuthenticationFailed);
    server.client.open_session(&mailbox("b@local.test"), &open("pass b")).await.unwrap();
    assert_eq!(server.metric("mailtown_store_logins_total{outcome=\"refused\"}").await, "5");
    assert_eq!(server.metric("mailtown_store_logins_total{outcome=\"accepted\"}").await, "1");
}

#[tokio::test]
async fn the_queue_is_claimed_settled_and_flushed() {
    let server = Server::start().await;
    let request = NOW;
    assert_eq!(server.client.claim(&request).await.unwrap(), None);
    // A worker that waits is told at once.
    let (client, patient) = (server.client.clone(), ClaimRequest { wait_seconds: 60, ..request.clone() });
    let waiting = tokio::spawn(async move { client.claim(&patient).await });
    server.until_metric("mailtown_store_waiting_claims", "1").await;
    let recipients = ["x@far.test", "y@far.test"];
    let sent = server.client.submit(&submission("t", &recipients), Bytes::from_static(MAIL)).await;
    let id = sent.unwrap().id;
    assert_eq!(server.client.transaction("t").await.unwrap().map(|accepted| accepted.id), Some(id));
    assert_eq!(server.client.transaction("u/ö").await.unwrap(), None);
    let BroughtClaim { claim, bodies } = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(bodies.len(), 0);
    assert_eq!((claim.domain.as_str(), claim.messages[0].id), ("far.test", id));
    server.client.renew_claim(&claim.lease, Renewal { lease_seconds: 60 }).await.unwrap();

    let reply = "451 4.3.0 later".to_owned();
    let outcomes = vec![
        RecipientOutcome { recipient: mailbox("x@far.test"), outcome: Outcome::Finished { how: None } },
        RecipientOutcome {
            recipient: mailbox("y@far.test"),
            outcome: Outcome::Deferred {
                retry_after_seconds: 3600,
                reply: reply.clone(),
                untried: false,
                delay_told: false,
            },
        },
    ];
    let failure_message = Some(submission("bounce", &["a@local.test"]));
    let settlement = Settlement { message: id, outcomes, failure_message };
    server.client.settle(&claim.lease, &settlement, MAIL).await.unwrap();
    assert_eq!(kind(server.client.settle(&claim.lease, &settlement, MAIL).await), ProblemKind::LeaseLost);
    assert_eq!(server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap().messages, 1);
    let queue: QueuePage = server.get("/v1/queue").await.json().await.unwrap();
    let [entry] = &queue.entries[..] else { panic!("{queue:?}") };
    assert_eq!((entry.recipient.clone(), entry.attempts, &entry.last_reply), (mailbox("y@far.test"), 1, &reply));
    assert_eq!(server.client.claim(&request).await.unwrap(), None);

    let flushed = server.request(Method::POST, "/v1/queue/flush").send().await.unwrap();
    assert_eq!(flushed.text().await.unwrap(), "{\"entries\":1}\n");
    let again = server.client.claim(&request).await.unwrap().unwrap();
    assert_eq!(again.claim.messages[0].recipients[0].attempts, 2);
    assert_eq!(server.metric("mailtown_store_queue_entries").await, "1");
}

#[tokio::test]
async fn claimed_messages_come_along_while_there_is_room() {
    let server = Server::start().await;
    let mails: [&[u8]; 4] = [MAIL, b"", b"\r\n\r\n{}\r\n", MAIL];
    let mut sent = Vec::new();
    for (number, mail) in mails.into_iter().enumerate() {
        let submission = submission(&format!("{number}"), &["x@far.test"]);
        sent.push(server.client.submit(&submission, Bytes::from_static(mail)).await.unwrap().id);
    }
    let length = MAIL.len() as u32;
    for (inline_octets, expected) in [(2 * length + 8, 4), (2 * length + 7, 3), (length, 2), (length - 1, 0), (0, 0)] {
        let request = ClaimRequest {
            lease_seconds: 1,
            wait_seconds: 60,
            limit: 10,
            except: Vec::new(),
            inline_octets,
            requiretls: true,
            smtputf8: true,
        };
        let BroughtClaim { claim, bodies } = server.client.claim(&request).await.unwrap().unwrap();
        assert_eq!(claim.messages.iter().map(|message| message.id).collect::<Vec<_>>(), sent);
        let inline: Vec<_> = claim.messages.iter().map(|message| message.inline).collect();
        assert_eq!(inline, (0..4).map(|number| number < expected).collect::<Vec<_>>(), "{inline_octets}");
        assert_eq!(bodies.len(), expected);
        for (id, mail) in sent.iter().zip(mails).take(expected) {
            assert_eq!(bodies[id], mail);
        }
        // The lease ends.
        server.time.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_waiting_worker_does_not_hold_up_the_end() {
    let server = Server::start().await;
    let request = ClaimRequest {
        lease_seconds: 60,
        wait_seconds: 60,
        limit: 10,
        except: Vec::new(),
        inline_octets: 0,
        requiretls: true,
        smtputf8: true,
    };
    let client = server.client.clone();
    let waiting = tokio::spawn(async move { client.claim(&request).await });
    server.until_metric("mailtown_store_waiting_claims", "1").await;
    tokio::time::timeout(Duration::from_secs(8), server.stop()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let server = Server::start().await;
    let id = server.client.submit(&submission("t", &["a@local.test"]), Bytes::from_static(MAIL)).await.unwrap().id;
    let data = server.stop().await;
    let server = Server::start_in(data, r#""a@local.test" = "changed""#).await;
    let a = mailbox("a@local.test");
    assert_eq!(kind(server.client.open_session(&a, &open("pass a")).await), ProblemKind::AuthenticationFailed);
    let session = server.client.open_session(&a, &open("changed")).await.unwrap();
    assert_eq!(session.messages.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id]);
    // A configuration removes no account.
    assert!(server.client.mailbox(&mailbox("b@local.test")).await.unwrap().is_some());
    let repeated = server.client.submit(&submission("t", &["a@local.test"]), Bytes::from_static(MAIL)).await;
    assert_eq!(repeated.unwrap().id, id);
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/v1/mailboxes", "/v1/mailboxes/a@local.test", "/v1/queue", "/v1/openapi.json", "/v1/nonsense"] {
        let url = format!("{}{path}", server.url);
        assert_eq!(problem(client.get(&url).send().await.unwrap()).await, ProblemKind::Unauthorized);
        let guess = client.get(&url).bearer_auth("secreT").send().await.unwrap();
        assert_eq!(problem(guess).await, ProblemKind::Unauthorized);
    }
    let ready = client.get(format!("{}/readyz", server.url)).send().await.unwrap();
    assert_eq!((ready.status(), ready.text().await.unwrap().as_str()), (StatusCode::OK, "ok\n"));
}

#[tokio::test]
async fn whatever_comes_is_answered_with_a_problem() {
    use ProblemKind::{InvalidRequest, LeaseLost, MailboxUnknown, MessageUnknown, MethodNotAllowed, NotFound};
    let server = Server::start().await;
    let elsewhere = server.request(Method::GET, "/v1/mailboxes/usr@elsewhere.test").send().await.unwrap();
    assert!(elsewhere.text().await.unwrap().contains("this store has the mail domains: local.test"));
    let no_id = "zzzzzzzzzzzzz";
    let no_message = MessageId::from_number(u64::MAX);
    let table: &[(&str, &str, &str, ProblemKind)] = &[
        ("GET", "/v1/nonsense", "", NotFound),
        ("GET", "/v1/mailboxes/%00", "", MailboxUnknown),
        ("GET", "/v1/mailboxes/%FF", "", InvalidRequest),
        ("GET", "/v1/mailboxes/%ED%A0%80@local.test", "", InvalidRequest),
        ("GET", "/v1/mailboxes/nobody@local.test/messages", "", MailboxUnknown),
        ("GET", "/v1/mailboxes?limit=0", "", InvalidRequest),
        ("GET", "/v1/mailboxes?limit=99999999999999999999999", "", InvalidRequest),
        ("GET", "/v1/mailboxes?limit=-1", "", InvalidRequest),
        ("GET", "/v1/mailboxes?limit=1&limit=2", "", InvalidRequest),
        ("GET", "/v1/mailboxes?colour=red", "", InvalidRequest),
        ("GET", "/v1/messages?after=%00", "", InvalidRequest),
        ("GET", "/v1/messages?after=", "", InvalidRequest),
        ("GET", "/v1/queue?after=x", "", InvalidRequest),
        ("GET", &format!("/v1/messages/{no_id}"), "", MessageUnknown),
        ("GET", &format!("/v1/messages/{no_message}"), "", MessageUnknown),
        ("GET", &format!("/v1/messages/{no_message}/raw"), "", MessageUnknown),
        ("GET", &format!("/v1/mailboxes/a@local.test/messages/{no_message}/raw"), "", MessageUnknown),
        ("DELETE", "/v1/messages", "", MethodNotAllowed),
        ("DELETE", "/livez", "", MethodNotAllowed),
        ("POST", "/v1/messages", "", InvalidRequest),
        ("POST", "/v1/messages", "\n", InvalidRequest),
        ("POST", "/v1/messages", "{}\n", InvalidRequest),
        (
            "POST",
            "/v1/messages",
            "{\"transaction\":\"\\ud800\",\"reverse_path\":\"<>\",\"recipients\":[]}\n",
            InvalidRequest,
        ),
        ("POST", "/v1/messages", "{\"transaction\":\"t\",\"reverse_path\":\"<>\",\"recipients\":[]}\n", InvalidRequest),
        (
            "POST",
            "/v1/messages",
            "{\"transaction\":\"t\",\"reverse_path\":\"<>\",\"recipients\":[\"a\\r\\n@b\"]}\n",
            InvalidRequest,
        ),
        ("POST", "/v1/queue/claims", "", InvalidRequest),
        ("POST", "/v1/queue/claims", "[[[[[[[[", InvalidRequest),
        ("POST", "/v1/queue/claims", "{\"lease_seconds\":0,\"wait_seconds\":0,\"limit\":1}", InvalidRequest),
        ("POST", "/v1/queue/claims", "{\"lease_seconds\":1,\"wait_seconds\":0,\"limit\":0}", InvalidRequest),
        ("POST", "/v1/queue/claims", "{\"lease_seconds\":1,\"wait_seconds\":61,\"limit\":1}", InvalidRequest),
        ("POST", "/v1/queue/claims", "{\"lease_seconds\":1e300,\"wait_seconds\":0,\"limit\":1}", InvalidRequest),
        ("PUT", "/v1/queue/claims/x", "{\"lease_seconds\":1}", LeaseLost),
        ("PUT", "/v1/queue/claims/%00", "{\"lease_seconds\":1}", LeaseLost),
        ("POST", "/v1/queue/claims/x/settlements", "{\"message\":\"0000000000000\",\"outcomes\":[]}\n", InvalidRequest),
        ("PUT", "/v1/mailboxes/a@local.test/sessions/x", "{\"lease_seconds\":4000}", InvalidRequest),
        ("PUT", "/v1/mailboxes/a@local.test/sessions/x", "{\"lease_seconds\":60}", LeaseLost),
        ("POST", "/v1/mailboxes/a@local.test/sessions/x/update", "{\"delete\":[\"x\"]}", InvalidRequest),
        ("POST", "/v1/mailboxes/a@local.test/sessions", "{\"password\":1,\"lease_seconds\":1}", InvalidRequest),
    ];
    for (method, path, body, expected) in table {
        let frame = *path == "/v1/messages" || path.ends_with("/claims/x/settlements");
        let media_type = if frame { FRAME_MEDIA_TYPE } else { "application/json" };
        let request = server.request(method.parse().unwrap(), path).header("content-type", media_type);
        let answer = request.body((*body).to_owned()).send().await.unwrap();
        assert_eq!(problem(answer).await, *expected, "{method} {path} {body}");
    }
    let endless_head = server.request(Method::POST, "/v1/messages").header("content-type", FRAME_MEDIA_TYPE);
    if let Ok(answer) = endless_head.body(vec![b'x'; 3 * 1024 * 1024]).send().await {
        assert_eq!(problem(answer).await, InvalidRequest);
    }
}

#[tokio::test]
async fn a_body_of_another_kind_or_size_is_refused() {
    let server = Server::start().await;
    for path in ["/v1/messages", "/v1/messages/batch", "/v1/queue/claims", "/v1/queue/claims/x/settlements"] {
        for media_type in ["", "text/plain", "application/vnd.mailtown", "application/octet-stream"] {
            let request = server.request(Method::POST, path).header("content-type", media_type).body("{}\n");
            let kind = problem(request.send().await.unwrap()).await;
            assert_eq!(kind, ProblemKind::UnsupportedMediaType, "{path} {media_type:?}");
        }
    }
    let long = format!("{{\"password\":\"{}\",\"lease_seconds\":60}}", "x".repeat(64 * 1024));
    let request = server.request(Method::POST, "/v1/mailboxes/a@local.test/sessions");
    let answer = request.header("content-type", "application/json").body(long).send().await.unwrap();
    assert_eq!(problem(answer).await, ProblemKind::RequestTooLarge);
    let batch = server.request(Method::POST, "/v1/messages/batch").header("content-type", BATCH_MEDIA_TYPE);
    assert_eq!(problem(batch.send().await.unwrap()).await, ProblemKind::InvalidRequest);
}

/// Not HTTP at all, or a body shorter than announced.
#[tokio::test]
async fn garbage_on_the_wire_harms_nobody() {
    let server = Server::start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let announced = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\ncontent-type: application/vnd.mailtown.frame\r\ncontent-length: 9000\r\n\r\n{";
    for garbage in [&b"\0\xff\xfe\r\n\r\n"[..], b"GET /%%% HTTP/1.1\r\n\r\n", announced.as_bytes()] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(garbage).await.unwrap();
        connection.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2") && !answer.starts_with(b"HTTP/1.1 5"), "{answer:?}");
    }
    assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_named() {
    let data = TempDir::new().unwrap();
    let start = async |accounts: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        mailbox_store::run(
            configured(data.path(), accounts),
            mailbox_store::Listeners { http: listener.into() },
            Default::default(),
        )
        .await
    };
    let error = start(r#""a@local.test" = "$argon2id$nonsense""#).await.unwrap_err().to_string();
    assert!(error.starts_with("config.toml: the password of a@local.test is no valid argon2 PHC string"), "{error}");
    let file = data.path().join("bodies");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "").unwrap();
    let error = start("").await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", file.display())), "{error}");
}
