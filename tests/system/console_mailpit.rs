//! The console: Mailpit's API.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use town_tests::{Plan, TestTown, USR1, USR2};

const RICH: &str = concat!(
    "From: Anna <usr1@mail.sustech.edu.cn>\r\nTo: Bob <usr2@mail.sustech.edu.cn>\r\nCc: c@x.test\r\n",
    "Subject: Hello\r\nMessage-ID: <1@x.test>\r\nMIME-Version: 1.0\r\nList-Unsubscribe: <http://x.test/u>\r\n",
    "Content-Type: multipart/mixed; boundary=a\r\n\r\n",
    "--a\r\nContent-Type: text/html\r\n\r\n<p>Hi</p><script>alert(1)</script>\r\n",
    "--a\r\nContent-Type: image/svg+xml\r\nContent-Disposition: attachment; filename=\"a b.svg\"\r\n\r\n<svg/>\r\n--a--\r\n",
);

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_fields_are_mailpits() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let id = town.send(USR1, &[USR2], RICH.as_bytes()).await;
    let list = console.get("/api/v1/messages").await;
    let expected = ["count", "messages", "messages_count", "messages_unread", "start", "tags", "total", "unread"];
    assert_eq!(keys(&list), expected);
    assert_eq!((&list["total"], &list["unread"], &list["count"]), (&json!(1), &json!(1), &json!(1)));
    let summary = &list["messages"][0];
    let expected = [
        "Attachments",
        "Bcc",
        "Cc",
        "Created",
        "From",
        "ID",
        "MessageID",
        "Read",
        "ReplyTo",
        "Size",
        "Snippet",
        "Subject",
        "Tags",
        "To",
        "Username",
    ];
    assert_eq!(keys(summary), expected);
    assert_eq!(summary["ID"], id);
    assert_eq!(summary["From"], json!({"Name": "Anna", "Address": USR1}));
    assert_eq!(summary["Attachments"], 1);
    assert_eq!(summary["Read"], false);

    let message = console.get("/api/v1/message/latest").await;
    let expected = [
        "Attachments",
        "Bcc",
        "Cc",
        "Date",
        "From",
        "HTML",
        "ID",
        "Inline",
        "ListUnsubscribe",
        "MessageID",
        "ReplyTo",
        "ReturnPath",
        "Size",
        "Subject",
        "Tags",
        "Text",
        "To",
        "Username",
    ];
    assert_eq!(keys(&message), expected);
    assert_eq!(message["MessageID"], "1@x.test");
    assert_eq!(message["ListUnsubscribe"]["Links"], json!(["http://x.test/u"]));
    assert_eq!(message["ReturnPath"], USR1);
    assert!(message["Text"].as_str().unwrap().contains("Hi"), "{message}");
    assert_eq!(message["Attachments"][0]["FileName"], "a b.svg");
    assert_eq!(console.get("/api/v1/messages").await["unread"], 0, "who reads a message marks it");

    let headers = console.get(&format!("/api/v1/message/{id}/headers")).await;
    assert_eq!(headers["Message-Id"], json!(["<1@x.test>"]));
    assert_eq!(console.text(&format!("/api/v1/message/{id}/raw")).await, RICH);
    let part = message["Attachments"][0]["PartID"].as_str().unwrap();
    let answer = console.request(Method::GET, &format!("/api/v1/message/{id}/part/{part}")).send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename*=UTF-8''a%20b.svg");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.text().await.unwrap().trim(), "<svg/>");
    let answer = console.request(Method::GET, "/view/latest.html").send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'"), "{policy}");
    let info = console.get("/api/v1/info").await;
    assert_eq!((&info["Messages"], &info["Unread"]), (&json!(1), &json!(0)));
    for path in ["/api/v1/message/0000000000000", "/api/v1/message/x", "/view/x.html"] {
        let (status, text) = console.answer(console.request(Method::GET, path)).await;
        assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, "Message not found"), "{path}");
    }
    town.stop().await;
}

#[tokio::test]
async fn messages_are_searched_marked_and_deleted() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let mut ids = Vec::new();
    for number in 0..4 {
        let message = format!("From: {USR1}\r\nTo: {USR2}\r\nSubject: number {number}\r\n\r\ntext\r\n");
        ids.push(town.send(USR1, &[USR2], message.as_bytes()).await);
    }
    let list = console.get("/api/v1/messages?start=1&limit=2").await;
    let subjects = |list: &Value| {
        let messages = list["messages"].as_array().unwrap();
        messages.iter().map(|message| message["Subject"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&list), ["number 2", "number 1"]);
    let found = console.get("/api/v1/search?query=subject:%22number%203%22").await;
    assert_eq!((subjects(&found), &found["messages_count"]), (vec!["number 3".to_owned()], &json!(1)));
    let (status, _) = console.answer(console.request(Method::GET, "/api/v1/search?query=")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let send = async |method: Method, path: &str, media_type: &str, body: String| {
        let request = console.request(method, path).header("Content-Type", media_type).body(body);
        let (status, text) = console.answer(request).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "ok"), "{path}");
    };
    let form = "application/x-www-form-urlencoded";
    send(Method::PUT, "/api/v1/messages", "application/json", json!({"IDs": [ids[0]], "Read": true}).to_string()).await;
    assert_eq!(console.get("/api/v1/messages").await["unread"], 3);
    send(Method::PUT, "/api/v1/messages", form, format!("IDs={}&Read=true", ids[1])).await;
    assert_eq!(console.get("/api/v1/search?query=is:unread").await["messages_count"], 2);
    send(Method::PUT, "/api/v1/messages", "application/json", json!({"Search": "number", "Read": false}).to_string())
        .await;
    assert_eq!(console.get("/api/v1/messages").await["unread"], 4);

    send(Method::DELETE, "/api/v1/messages", "application/json", json!({"IDs": [ids[0]]}).to_string()).await;
    send(Method::DELETE, "/api/v1/messages", form, format!("IDs={}", ids[1])).await;
    assert_eq!(subjects(&console.get("/api/v1/messages").await), ["number 3", "number 2"]);
    let request = console.request(Method::DELETE, "/api/v1/messages").body("IDs=lost");
    assert_eq!(console.answer(request).await.0, StatusCode::BAD_REQUEST);
    send(Method::DELETE, "/api/v1/search?query=subject:%22number%203%22", "", String::new()).await;
    assert_eq!(town.mail(USR2).await.len(), 1);
    send(Method::DELETE, "/api/v1/messages", "", String::new()).await;
    assert_eq!(console.get("/api/v1/messages").await["total"], 0);
    assert_eq!(town.mail(USR2).await.len(), 0);
    town.stop().await;
}
