//! The console's API besides mail: sessions as dialogues and as a stream, the trace, the queue and accounts.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use town_config::PortKey;
use town_tests::{ConsoleClient, EXMAIL, GMAIL, PATIENCE, Plan, Pop3Client, TestTown, USR, USR1, USR2, eventually};

const NOBODY: &str = "nobody@mail.sustech.edu.cn";

/// A session of the town in which a recipient is refused.
async fn refused_session(town: &TestTown) {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.command("MAIL FROM:<x@far.test>").await.unwrap();
    client.command(&format!("RCPT TO:<{NOBODY}>")).await.unwrap();
    client.command("QUIT").await.unwrap();
}

/// The id of the only session that matches, once it has ended.
async fn session(console: &ConsoleClient, filter: &str) -> String {
    eventually(filter, PATIENCE, async || {
        let page = console.get(&format!("/v1/sessions?open=false&{filter}")).await;
        let sessions = page["sessions"].as_array().unwrap().clone();
        assert!(sessions.len() < 2, "{sessions:?}");
        sessions.first().map(|session| session["id"].as_str().unwrap().to_owned())
    })
    .await
}

async fn answer(console: &ConsoleClient, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = console.request(method, path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let (status, text) = console.answer(request).await;
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

#[tokio::test]
async fn a_session_is_compared_with_a_pattern() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    refused_session(&town).await;
    let id = session(&console, "failed=true").await;
    let compare = async |pattern: &str| {
        let body = json!({ "session": id, "pattern": pattern });
        answer(&console, Method::POST, "/v1/sessions/match", Some(body)).await
    };
    let refusal = format!("...\nC: RCPT TO:<{NOBODY}>\nS: 550 5.1.1 {{…}}\n...\nS: 221 {{…}}");
    assert_eq!(compare(&refusal).await, (StatusCode::OK, json!({ "matches": true })));
    let (_, matched) = compare("# a rule\nS: 220 {...}\nC: HELO {...}\n...").await;
    assert_eq!((&matched["matches"], &matched["difference"]["line"]), (&json!(false), &json!(3)), "{matched}");
    assert_eq!(matched["difference"]["expected"], "C: HELO {...}");
    assert!(matched["difference"]["actual"].as_str().unwrap().starts_with("C: EHLO "), "{matched}");
    let (_, matched) = compare("...\nC: RCPT {…}\nS: 250 {…}\n...").await;
    assert!(matched["difference"]["actual"].as_str().unwrap().starts_with("S: 550 5.1.1 "), "{matched}");
    let (_, matched) = compare("...\nC: DATA\n...").await;
    assert_eq!((&matched["difference"]["line"], matched["difference"].get("actual")), (&json!(2), None), "{matched}");
    // What the console writes of a session is a pattern of it.
    for volatile in ["", "?volatile=gaps"] {
        let golden = console.text(&format!("/sessions/{id}/dialogue.txt{volatile}")).await;
        assert_eq!(compare(&golden).await.1, json!({ "matches": true }), "{golden}");
    }

    let (status, problem) = compare("C: x\nnonsense").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().starts_with("pattern:2: `nonsense` is none of "), "{problem}");
    let unknown = json!({ "session": "019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a", "pattern": "..." });
    let (status, _) = answer(&console, Method::POST, "/v1/sessions/match", Some(unknown)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let text = console.request(Method::POST, "/v1/sessions/match").body("{}");
    assert_eq!(console.answer(text).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let lacking = answer(&console, Method::POST, "/v1/sessions/match", Some(json!({ "session": id }))).await;
    assert_eq!(lacking.0, StatusCode::BAD_REQUEST);

    let dialogue = console.get(&format!("/v1/sessions/{id}/dialogue")).await;
    let lines = dialogue["lines"].as_array().unwrap();
    let refused = lines.iter().find(|line| line["refused"] == true && line["by"] == "server").unwrap();
    assert!(refused["text"].as_str().unwrap().starts_with("550 5.1.1 "), "{refused}");
    let meaning = &refused["explanations"][1];
    assert_eq!(
        (&meaning["word"], &meaning["rfc"], &meaning["section"]),
        (&json!("5.1.1"), &json!(3463), &json!("3.2"))
    );
    town.stop().await;
}

async fn open(console: &ConsoleClient, path: &str, last: Option<&str>) -> Response {
    let request = console.request(Method::GET, path).header("Accept", "text/event-stream");
    let request = match last {
        Some(last) => request.header("Last-Event-ID", last),
        None => request,
    };
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// What a stream says until a whole event has this text.
async fn read(stream: &mut Response, until: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.ends_with("\n\n") || !text.contains(until) {
            text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().expect("the stream has ended")));
        }
    };
    if timeout(PATIENCE, reading).await.is_err() {
        panic!("{until} is not in {text}");
    }
    text
}

#[tokio::test]
async fn sessions_are_streamed() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let mut all = open(&console, "/v1/sessions?protocol=smtp", None).await;
    let mut failed = open(&console, "/v1/sessions?failed=true&open=false", None).await;
    town.send(USR1, &[USR2], b"Subject: fine\r\n\r\n").await;
    refused_session(&town).await;
    let text = read(&mut failed, "event: closed").await;
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    assert!(text.contains("\"last_refusal\":\"550 5.1.1 "), "{text}");
    // One that begins and ends between two looks is told once; one that lasts, twice.
    let mut lasting = town.smtp(EXMAIL).await;
    lasting.hello().await;
    let first = read(&mut all, "event: opened").await;
    assert!(first.contains("\"service\":\"smtp-gateway\""), "{first}");
    lasting.command("QUIT").await.unwrap();
    let last = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop((all, failed));
    refused_session(&town).await;
    let mut again = open(&console, "/v1/sessions?failed=true&open=false", Some(&last)).await;
    let next = read(&mut again, "event: closed").await;
    assert_eq!(next.matches("event: ").count(), 1, "{next}");
    let wrong = console.request(Method::GET, "/v1/sessions?since=x");
    assert_eq!(console.answer(wrong).await.0, StatusCode::BAD_REQUEST);
    drop(again);
    town.stop().await;
}

#[tokio::test]
async fn what_happens_is_read_in_pages_and_as_a_stream() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let next = console.get("/v1/trace?limit=1").await["next"].as_str().unwrap().to_owned();
    let mut stream = open(&console, "/v1/trace?service=mailbox-store", None).await;
    let path = format!("/v1/trace?after={next}&wait=30&stack=exmail.qq.com&service=mailbox-store");
    let (page, id) = tokio::join!(console.get(&path), town.send(USR1, &[USR], b"Subject: far\r\n\r\n"));
    let first = &page["items"][0];
    assert_eq!((&first["kind"], &first["message"], &first["stack"]), (&json!("event"), &json!(id), &json!(EXMAIL)));
    let text = read(&mut stream, "relayed for usr@gmail.com").await;
    assert!(text.contains("event: happening\n") && !text.contains("smtp-gateway\",\"kind"), "{text}");

    let of_message = eventually("it is relayed", PATIENCE, async || {
        let page = console.get(&format!("/v1/trace?after={next}&limit=1000&message={id}")).await;
        let kinds: Vec<_> = page["items"].as_array().unwrap().iter().map(|it| it["kind"].clone()).collect();
        (kinds.contains(&json!("mark")) && page.to_string().contains("relayed for")).then_some(page)
    })
    .await;
    assert!(of_message["items"].as_array().unwrap().iter().all(|it| it["message"] == json!(id)), "{of_message}");
    let whole = console.get(&format!("/v1/trace?after={next}&limit=1000")).await;
    assert_eq!(whole["missed"], 0);
    // The relay writes its commands in small letters.
    let is_of_agent =
        |it: &Value| it["kind"] == "client" && it["text"].as_str().unwrap().starts_with("MAIL FROM:<usr1@");
    let session = whole["items"].as_array().unwrap().iter().find(|it| is_of_agent(it)).unwrap()["session"].clone();
    let session = session.as_str().unwrap();
    let dialogue = console.get(&format!("/v1/trace?after={next}&session={session}")).await;
    let texts: Vec<_> = dialogue["items"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert!(texts[0].starts_with("A session of smtp begins, from 127.0.0.1:"), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("MAIL FROM:<usr1@")), "{texts:?}");
    // A cursor of a console that was started anew since is the beginning.
    let other = console.get("/v1/trace?after=1-1&limit=1000").await;
    assert!(other["items"].as_array().unwrap().len() >= texts.len());
    for wrong in ["after=x", "wait=61", "limit=0", "limit=1001", "message=!", "nonsense=1"] {
        let (status, _) = console.answer(console.request(Method::GET, &format!("/v1/trace?{wrong}"))).await;
        assert!(status.is_client_error(), "{wrong}: {status}");
    }
    drop(stream);
    town.stop().await;
}

#[tokio::test]
async fn the_queue_of_all_stacks_is_read_and_changed() {
    let plan = Plan::default();
    let silent = plan.silent_port();
    let town = TestTown::start_with_console(plan.peer("peer.test", silent)).await;
    let console = town.console_client();
    assert_eq!(console.get("/v1/queue").await, json!({ "items": [], "unreachable": [] }));
    town.send(USR1, &["x@peer.test"], b"Subject: one\r\n\r\n").await;
    town.send(USR, &["y@peer.test"], b"Subject: two\r\n\r\n").await;
    let (one, two) = (town.deferred(EXMAIL).await, town.deferred(GMAIL).await);
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = console.get(&format!("/v1/queue?after={after}")).await;
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page.get("next") else { break };
        after = next.as_str().unwrap().to_owned();
    }
    let shown: Vec<_> = items.iter().map(|item| (item["stack"].clone(), item["message"].clone())).collect();
    let expected =
        [(EXMAIL, one.message), (GMAIL, two.message)].map(|(stack, id)| (json!(stack), json!(id.to_string())));
    assert_eq!(shown, expected);
    assert!(items[0]["last_reply"].as_str().unwrap().contains("refused"), "{items:?}");
    let of_gmail = console.get("/v1/queue?stack=gmail.com").await;
    assert_eq!(of_gmail["items"], json!([items[1]]));

    let call = async |method: Method, path: String| answer(&console, method, &path, None).await;
    let id = two.message;
    let (_, shown) = call(Method::GET, format!("/v1/queue/{id}")).await;
    assert_eq!((&shown["stack"], &shown["recipients"][0]["recipient"]), (&json!(GMAIL), &json!("y@peer.test")));
    assert_eq!(call(Method::POST, format!("/v1/queue/{id}/hold")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(call(Method::POST, format!("/v1/queue/{id}/retry")).await.0, StatusCode::CONFLICT);
    assert_eq!(call(Method::POST, format!("/v1/queue/{id}/release")).await.0, StatusCode::NO_CONTENT);
    eventually("it was tried again", PATIENCE, async || {
        let (_, shown) = call(Method::GET, format!("/v1/queue/{id}")).await;
        let recipient = &shown["recipients"][0];
        (recipient["attempts"] == 2 && recipient["leased"] == false).then_some(())
    })
    .await;
    let (status, flushed) = call(Method::POST, format!("/v1/queue/{}/retry", one.message)).await;
    assert_eq!((status, &flushed["entries"]), (StatusCode::OK, &json!(1)));
    assert_eq!(call(Method::DELETE, format!("/v1/queue/{id}")).await.0, StatusCode::NO_CONTENT);
    for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/retry"), (Method::POST, "/hold")] {
        let (status, problem) = call(method, format!("/v1/queue/{id}{path}")).await;
        assert_eq!((status, &problem["type"]), (StatusCode::NOT_FOUND, &json!("urn:mailtown:problem:not-queued")));
    }
    let wrong = call(Method::GET, "/v1/queue?after=x".to_owned()).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
    town.stop().await;
}

#[tokio::test]
async fn accounts_go_to_the_store_of_their_domain() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let add = async |address: &str| {
        let body = json!({ "address": address, "password": "secret" });
        answer(&console, Method::POST, "/v1/accounts", Some(body)).await.0
    };
    let new = "new@gmail.com";
    assert_eq!(add(new).await, StatusCode::CREATED);
    assert_eq!(add(new).await, StatusCode::CONFLICT);
    assert_eq!(add(USR1).await, StatusCode::CONFLICT, "it stands in the configuration");
    assert_eq!(add("x@elsewhere.test").await, StatusCode::NOT_FOUND);
    assert_eq!(add("no address").await, StatusCode::BAD_REQUEST);
    let accounts = console.get("/v1/accounts").await;
    let of = |address: &str| accounts["items"].as_array().unwrap().iter().find(|it| it["address"] == address).cloned();
    let added = of(new).unwrap();
    assert_eq!((&added["stack"], &added["source"]), (&json!(GMAIL), &json!("api")));
    assert_eq!((&of(USR1).unwrap()["stack"], &accounts["unreachable"]), (&json!(EXMAIL), &json!([])));
    let of_exmail = console.get("/v1/accounts?stack=exmail.qq.com").await;
    assert!(!of_exmail.to_string().contains(new), "{of_exmail}");

    let mut client = Pop3Client::connect(town.address(GMAIL, PortKey::Pop)).await.unwrap();
    client.log_in(new, "secret").await.unwrap();
    client.quit().await;
    let remove =
        async |address: &str| answer(&console, Method::DELETE, &format!("/v1/accounts/{address}"), None).await.0;
    assert_eq!(remove(USR).await, StatusCode::CONFLICT);
    assert_eq!(remove(new).await, StatusCode::NO_CONTENT);
    assert_eq!(remove(new).await, StatusCode::NOT_FOUND);
    assert_eq!(remove("x@elsewhere.test").await, StatusCode::NOT_FOUND);
    assert!(!console.get("/v1/accounts").await.to_string().contains(new));
    town.stop().await;
}
