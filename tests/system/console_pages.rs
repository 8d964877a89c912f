//! The pages of the console: statuses, headers, and nothing of a message that a browser would obey. What scripts do is tested
//! in a browser (`tests/browser`).

use jiff::{SignedDuration, Timestamp};
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS},
    redirect::Policy,
};
use town_tests::{EXMAIL, GMAIL, Plan, TestTown, USR, USR1, USR2};

/// A client that shows redirections.
fn client() -> Client {
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

async fn open(town: &TestTown, path: &str) -> Response {
    client().get(format!("http://{}{path}", town.console())).send().await.unwrap()
}

async fn page(town: &TestTown, path: &str) -> String {
    let answer = open(town, path).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.text().await.unwrap()
}

async fn post(town: &TestTown, path: &str, form: &[(&str, &str)]) -> Response {
    let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let request = client().post(format!("http://{}{path}", town.console())).body(body.join("&"));
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|octet| format!("%{octet:02X}")).collect()
}

fn value<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn pages_have_a_strict_policy_and_assets_are_kept() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let home = open(&town, "/").await;
    assert_eq!(home.status(), StatusCode::OK);
    assert!(home.text().await.unwrap().contains("<title>Map"));
    let mail = open(&town, "/mail").await;
    let policy = value(mail.headers(), "content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(mail.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    let text = mail.text().await.unwrap();
    assert!(!text.contains("style=") && !text.contains("<script>") && !text.contains("onclick"), "{text}");
    let assets = text.split('"').filter(|part| part.starts_with("/assets/"));
    for path in assets {
        let asset = open(&town, path).await;
        assert_eq!(asset.status(), StatusCode::OK, "{path}");
        assert!(value(asset.headers(), "cache-control").contains("immutable"), "{path}");
        let tag = asset.headers()[ETAG].clone();
        let again = client().get(format!("http://{}{path}", town.console())).header(IF_NONE_MATCH, tag).send().await;
        assert_eq!(again.unwrap().status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    for (path, status) in [
        ("/mail/0000000000000", StatusCode::NOT_FOUND),
        ("/mail/x", StatusCode::NOT_FOUND),
        ("/mail?query=is:new", StatusCode::BAD_REQUEST),
        ("/mail?before=x", StatusCode::OK),
        ("/assets/0/main.js", StatusCode::NOT_FOUND),
        ("/compose?again=x", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(open(&town, path).await.status(), status, "{path}");
    }
    town.stop().await;
}

#[tokio::test]
async fn what_a_message_says_of_itself_is_text() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let message = concat!(
        "From: \"<img src=x onerror=alert(1)>\" <usr1@mail.sustech.edu.cn>\r\nTo: usr2@mail.sustech.edu.cn\r\n",
        "Subject: <script>alert(1)</script>\" autofocus onfocus=\"alert(2)\r\nX-<b>: <script>alert(3)</script>\r\n",
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        "--b\r\nContent-Type: text/html\r\n\r\n<script>alert(4)</script><p>hello</p>\r\n",
        "--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=\"a\\\"><script>alert(5)</script>.html\"\r\n\r\n",
        "<script>alert(6)</script>\r\n--b--\r\n",
    );
    let id = town.send(USR1, &[USR2], message.as_bytes()).await;
    let paths = ["/mail".to_owned(), format!("/mail/{id}"), format!("/compose?again={id}")];
    let tabs = ["text", "headers", "source", "files"].map(|tab| format!("/mail/{id}?tab={tab}"));
    for path in paths.iter().chain(&tabs) {
        let text = page(&town, path).await;
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}");
        for hostile in ["<script>", "<img", "<b>", "onfocus=\"", "\"><script>"] {
            assert!(!text.contains(hostile), "{path}: {hostile}");
        }
    }
    let view = open(&town, &format!("/mail/{id}/view")).await;
    let policy = view.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("sandbox allow-popups") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("allow-scripts") && !policy.contains("allow-same-origin"), "{policy}");
    assert_eq!(view.text().await.unwrap().trim(), "<p>hello</p>");
    let files = page(&town, &format!("/mail/{id}?tab=files")).await;
    let file = files.split('"').find(|part| part.contains("/parts/")).unwrap().to_owned();
    let file = open(&town, &file).await;
    assert!(value(file.headers(), "content-disposition").starts_with("attachment;"), "{:?}", file.headers());
    assert_eq!(file.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
    town.stop().await;
}

#[tokio::test]
async fn forms_mark_and_delete_and_lead_back() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let mut ids = Vec::new();
    for subject in ["one", "two", "three"] {
        ids.push(town.send(USR1, &[USR2], format!("Subject: {subject}\r\n\r\n").as_bytes()).await);
    }
    let unread = async |query: &str| page(&town, &format!("/mail?query={query}")).await.matches("row unread").count();
    assert_eq!(unread("").await, 3);
    let marked = post(&town, "/mail/actions", &[("action", "read"), ("id", &ids[0]), ("back", "/mail?query=a")]).await;
    assert_eq!((marked.status(), value(marked.headers(), "location")), (StatusCode::SEE_OTHER, "/mail?query=a"));
    assert_eq!(unread("").await, 2);
    post(&town, "/mail/actions", &[("action", "read-all"), ("query", "subject:two")]).await;
    assert_eq!(unread("").await, 1);
    page(&town, &format!("/mail/{}", ids[2])).await;
    assert_eq!(unread("").await, 0, "an opened message is read");
    let wrong = post(&town, "/mail/actions", &[("action", "delete-all"), ("query", "is:new")]).await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST, "a wrong query deletes nothing");
    post(&town, "/mail/actions", &[("action", "delete-all"), ("query", "subject:t")]).await;
    assert_eq!(town.mail(USR2).await.len(), 1);
    let gone = post(&town, "/mail/actions", &[("action", "delete"), ("id", &ids[0]), ("back", "//evil.test")]).await;
    assert_eq!(value(gone.headers(), "location"), "/mail");
    assert!(page(&town, "/mail").await.contains("No mail yet"));
    town.stop().await;
}

#[tokio::test]
async fn only_accounts_send_and_the_reply_is_told_in_full() {
    let town = TestTown::start_with_console(Plan::default().rfc()).await;
    let letter = |from, to| vec![("from", from), ("to", to), ("subject", "s"), ("text", "t")];
    let foreign = post(&town, "/compose", &letter("nobody@gmail.com", USR)).await;
    assert_eq!(foreign.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(foreign.text().await.unwrap().contains("nobody@gmail.com is no account of this town"));
    for (to, said) in [(USR1, "250 2.0.0 OK queued as "), ("x@gmail.com", "550 5.1.1 "), ("x", "is no address")] {
        let text = post(&town, "/compose", &letter(USR, to)).await.text().await.unwrap();
        assert!(text.contains(said), "{to}: {text}");
    }
    town.mail_of(USR1, 1).await;
    town.stop().await;
}

#[tokio::test]
async fn the_map_shows_faults_and_sets_and_ends_them() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let before = page(&town, "/").await;
    assert!(before.contains("Make something go wrong") && !before.contains("id=\"faults\""), "{before}");
    for form in [[("offer", "greylist"), ("stack", GMAIL)], [("part", GMAIL), ("stack", EXMAIL)]] {
        assert_eq!(post(&town, "/map/faults", &form).await.status(), StatusCode::SEE_OTHER);
    }
    let map = page(&town, "/map/town").await;
    for words in [
        "greylist-gmail.com",
        "reply 451 4.7.1 greylisted, try again at RCPT in the smtp-gateway of gmail.com, the first time for each recipient",
        "partition between exmail.qq.com and gmail.com",
        "answers, 2 faults",
    ] {
        assert!(map.contains(words), "{words}: {map}");
    }
    assert_eq!(map.matches("edge cut").count(), 2, "{map}");
    town.send(USR1, &[USR], b"Subject: parted\r\n\r\n").await;
    assert!(town.deferred(EXMAIL).await.last_reply.contains("connection refused"));
    let refused = post(&town, "/map/faults", &[("offer", "nothing"), ("stack", GMAIL)]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert_eq!(post(&town, "/map/faults", &[("end", "greylist-gmail.com")]).await.status(), StatusCode::SEE_OTHER);
    let map = page(&town, "/map/town").await;
    assert!(map.contains("answers, 1 fault") && !map.contains("greylist-gmail.com"), "{map}");
    assert_eq!(post(&town, "/map/faults", &[("end_all", "1")]).await.status(), StatusCode::SEE_OTHER);
    assert!(!page(&town, "/map/town").await.contains("id=\"faults\""));
    town.stop().await;
}

#[tokio::test]
async fn the_map_shows_a_virtual_clock_and_moves_it() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let now = async || console.get("/v1/clock").await["now"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let start = now().await;
    assert!(page(&town, "/").await.contains("The clock stands still until it is moved."));
    for (by, minutes) in [("10m", 10), ("1h", 70)] {
        assert_eq!(post(&town, "/map/clock", &[("by", by)]).await.status(), StatusCode::SEE_OTHER);
        assert_eq!(now().await.duration_since(start), SignedDuration::from_mins(minutes), "{by}");
    }
    // Nothing is due.
    assert_eq!(post(&town, "/map/clock", &[("by", "")]).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(now().await.duration_since(start), SignedDuration::from_mins(70));
    assert_eq!(post(&town, "/map/clock", &[("by", "soon")]).await.status(), StatusCode::BAD_REQUEST);
    town.stop().await;
}
