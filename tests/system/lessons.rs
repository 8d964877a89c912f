//! Lessons: our own town has full marks, a broken server loses exactly the marks for its fault.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tempfile::TempDir;
use town_config::PortKey;
use town_tests::{ConsoleClient, EXMAIL, GMAIL, Plan, TestTown, mailtown::command};

/// Runs `mailtown lesson` in an empty directory. Returns the exit code, what it printed and what it complained of.
async fn lesson(arguments: &[&str]) -> (Option<i32>, String, String) {
    let directory = TempDir::new().unwrap();
    let mut command = command("mailtown");
    let done = command.arg("lesson").args(arguments).current_dir(directory.path()).output().await.unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The titles of what gave no points.
fn lost(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {report}"));
    let items = report["items"].as_array().unwrap().iter();
    let lost = items.filter(|item| item["problem"].is_string());
    lost.map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

/// Runs a lesson with the right answers against our own town.
async fn has_full_marks(name: &str) {
    let directory = TempDir::new().unwrap();
    let built_in = lessons::named(name).unwrap();
    let answers = built_in.answers(&built_in.lesson().unwrap()).unwrap().given();
    let path = directory.path().join("mine.toml");
    fs::write(&path, answers.to_toml()).unwrap();
    let path = path.to_str().unwrap();
    let (code, report, error) = lesson(&["run", name, "--answers", path, "--report", "json"]).await;
    assert!(code == Some(0), "{name}: {error}{report}");
    assert_eq!(lost(&report), [""; 0], "{name}");
}

#[tokio::test]
async fn our_own_town_has_full_marks_in_the_basic_lessons() {
    for name in ["tutorial", "trace-header", "mx-preference", "who-bounced", "open-relay", "dot-stuffing", "smuggling"]
    {
        has_full_marks(name).await;
    }
}

#[tokio::test]
async fn our_own_town_has_full_marks_where_something_goes_wrong() {
    for name in ["greylisting", "full-mailbox", "double-bounce", "pop3-lock", "duplicate", "tls-stripped"] {
        has_full_marks(name).await;
    }
}

#[tokio::test]
async fn our_own_town_has_full_marks_in_the_grading() {
    has_full_marks("grading").await;
}

#[tokio::test]
async fn wrong_answers_and_missing_ones_lose_their_marks_and_no_report_tells_the_right_ones() {
    let directory = TempDir::new().unwrap();
    let (answers, out) = (directory.path().join("mine.toml"), directory.path().join("report.xml"));
    fs::write(&answers, "path = \"<me & you>\"\n").unwrap();
    let [answers, out] = [&answers, &out].map(|path: &std::path::PathBuf| path.to_str().unwrap());
    let arguments = ["run", "double-bounce", "--answers", answers, "--report", "junit", "--out", out];
    let (code, printed, error) = lesson(&arguments).await;
    assert_eq!((code, error.as_str()), (Some(1), ""), "{printed}");
    assert!(printed.starts_with("A failure message never causes another one\n"), "{printed}");
    assert!(printed.ends_with(&format!("\n4 of 5 points; {out} has the report\n")), "{printed}");
    let xml = fs::read_to_string(out).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"1\""), "{xml}");
    assert!(xml.contains("<failure message=\"the answer `&lt;me &amp; you&gt;` is not right\">"), "{xml}");
    let (code, report, _) = lesson(&["run", "double-bounce"]).await;
    assert_eq!(code, Some(1));
    assert!(report.contains("  0/1  lost  Which reverse-path does a failure message have?\n"), "{report}");
    assert!(report.ends_with("  4/5  in all\n"), "{report}");
    // What the lesson itself tells is another matter.
    let (_, marks) = report.split_once("The console of this town").unwrap();
    assert!(!marks.contains("the null reverse-path"), "{report}");
}

/// A fault of a server, and what it loses by it.
const BROKEN: [(&str, &str, &[&str]); 9] = [
    (r#"{"service": "pop3-gateway", "verb": "STAT"}"#, r#"{"reply": "-ERR no"}"#, &["POP3: STAT"]),
    (
        r#"{"service": "pop3-gateway", "verb": "NOOP"}"#,
        r#"{"reply": "-ERR no"}"#,
        &["POP3: LIST, RETR, DELE, RSET, NOOP"],
    ),
    (r#"{"service": "pop3-gateway", "verb": "UIDL"}"#, r#"{"reply": "-ERR no"}"#, &["UIDL"]),
    (
        r#"{"service": "pop3-gateway", "verb": "QUIT"}"#,
        r#"{"cut": "before_command"}"#,
        &["POP3: QUIT deletes, then disconnects"],
    ),
    (
        r#"{"service": "smtp-gateway", "verb": "RCPT", "rcpt_to": "nobody@gmail.com"}"#,
        r#"{"reply": "550 5.1.1 no"}"#,
        &["SMTP: a failure message is mailed back"],
    ),
    (
        r#"{"service": "smtp-gateway", "verb": "MAIL", "mail_from": "nobody@mail.sustech.edu.cn"}"#,
        r#"{"reply": "250 everybody is welcome"}"#,
        &["SMTP: the sender is verified for agents, the receiver for servers"],
    ),
    (
        r#"{"service": "smtp-gateway", "verb": "QUIT"}"#,
        r#"{"cut": "before_reply"}"#,
        &["SMTP: QUIT with a farewell, even after errors"],
    ),
    (r#"{"service": "smtp-gateway", "verb": "VRFY"}"#, r#"{"reply": "502 5.5.1 no"}"#, &["VRFY"]),
    (r#"{"service": "smtp-gateway", "verb": "SOML"}"#, r#"{"reply": "502 5.5.1 no"}"#, &["SOML"]),
];

async fn broken(console: &ConsoleClient, place: &str, what: &str) {
    let [mut place, what] = [place, what].map(|text| serde_json::from_str::<Value>(text).unwrap());
    place["stack"] = json!(EXMAIL);
    let fault = json!({"where": place, "what": what});
    let (status, text) = console.answer(console.request(Method::PUT, "/v1/faults/broken").json(&fault)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

#[tokio::test]
async fn a_broken_server_loses_exactly_the_marks_for_its_fault() {
    // The program is built before a town waits.
    assert_eq!(lesson(&["list"]).await.0, Some(0));
    for chunk in BROKEN.chunks(3) {
        let marked = chunk.iter().map(|(place, what, expected)| async move {
            let town = TestTown::start_with_console(Plan::default()).await;
            broken(&town.console_client(), place, what).await;
            let at = |key, server| town.address(server, key).to_string();
            let places = [
                format!("smtp={}", at(PortKey::Smtp, EXMAIL)),
                format!("pop={}", at(PortKey::Pop, EXMAIL)),
                format!("{GMAIL}/smtp={}", at(PortKey::Smtp, GMAIL)),
                format!("{GMAIL}/pop={}", at(PortKey::Pop, GMAIL)),
            ];
            let mut arguments = vec!["run", "grading", "--report", "json"];
            arguments.extend(places.iter().flat_map(|place| ["--against", place]));
            let (_, report, error) = lesson(&arguments).await;
            assert_eq!(error, "");
            let lost: Vec<_> = lost(&report);
            assert_eq!(lost, **expected, "{place} {what}: {report}");
            town.stop().await;
        });
        futures_util::future::join_all(marked).await;
    }
}

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mine.toml");
    fs::write(&file, "title = \"t\"\ntext = \"x\"\n[[checkpoints]]\ntitel = \"c\"\n").unwrap();
    let path = file.to_str().unwrap();
    let expected = format!("error: {path}:4: checkpoints[0].titel: unknown field `titel`");
    let (code, _, error) = lesson(&["run", path]).await;
    assert!(code == Some(1) && error.starts_with(&expected), "{error}");
    let fault = "[faults]\ng = {where = {stack = \"x.test\", service = \"smtp-gateway\"}, what = \"stall\"}\n";
    fs::write(&file, format!("title = \"t\"\ntext = \"x\"\n[[checkpoints]]\ntitle = \"c\"\n{fault}")).unwrap();
    let (code, _, error) = lesson(&["run", path]).await;
    let expected =
        format!("error: {path}: faults.g: where.stack is \"x.test\", which is no server of this town; give ");
    assert!(code == Some(1) && error.starts_with(&expected) && error.lines().count() == 1, "{error}");
    // That is told before the lesson is played.
    let (code, printed, error) = lesson(&["run", "grading", "--report", "junit", "--out", "nowhere/x.xml"]).await;
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert_eq!(error, "error: cannot write nowhere/x.xml: No such file or directory (os error 2)\n");
    for (arguments, expected) in [
        (&["run", "nothing"][..], "error: there is no lesson nothing; `mailtown lesson list` prints their names"),
        (
            &["run", "greylisting", "--against", "127.0.0.1:1025"],
            "error: greylisting: this lesson needs a town of its own",
        ),
        (&["run", "grading", "--against", "somewhere"], "error: invalid value 'somewhere' for '--against"),
    ] {
        let (code, _, error) = lesson(arguments).await;
        assert!(code != Some(0) && error.starts_with(expected), "{arguments:?}: {error}");
    }
    let (_, list, _) = lesson(&["list"]).await;
    assert_eq!(list.lines().count(), lessons::all().len());
    assert!(list.contains("greylisting    Greylisting: come back later\n"), "{list}");
}

#[test]
fn each_file_of_data_lessons_is_built_in() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/lessons");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(lessons::named(name).is_some(), "{name}");
    }
}

/// Whoever has the questions and no answers can ask the console.
#[tokio::test]
async fn the_console_marks_answers_and_tells_none() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let console = town.console_client();
    let list = console.get("/v1/lessons").await;
    assert_eq!(list["lessons"].as_array().unwrap().len(), lessons::all().len());
    let shown = console.get("/v1/lessons/who-bounced").await;
    assert_eq!(shown["questions"][0]["key"], "refused");
    let mark = async |lesson: &str, answers: Value| {
        let path = format!("/v1/lessons/{lesson}/answers");
        let (status, text) = console.answer(console.request(Method::POST, &path).json(&answers)).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    for (answers, points) in [
        (json!({"refused": "GMAIL.com.", "wrote": "exmail.qq.com"}), [1, 1]),
        (json!({"refused": "exmail.qq.com", "wrote": "exmail.qq.com"}), [0, 1]),
        (json!({"wrote": "exmail.qq.com"}), [0, 1]),
        (json!({}), [0, 0]),
    ] {
        let (status, marks) = mark("who-bounced", answers.clone()).await;
        assert_eq!((status, &marks["of"]), (StatusCode::OK, &json!(2)), "{answers}: {marks}");
        assert_eq!(marks["points"], points.iter().sum::<u32>(), "{answers}: {marks}");
        assert_eq!([0, 1].map(|at| marks["items"][at]["points"].as_u64().unwrap()), points.map(u64::from), "{marks}");
        let told = answers["refused"] == "GMAIL.com." || !marks.to_string().contains("gmail.com");
        assert!(told, "the right answer is told: {marks}");
    }
    for (lesson, answers, status, words) in [
        ("nothing", json!({}), StatusCode::NOT_FOUND, "there is no lesson nothing"),
        ("who-bounced", json!({"x": "y"}), StatusCode::BAD_REQUEST, "no question x"),
        ("who-bounced", json!({"wrote": 3}), StatusCode::BAD_REQUEST, "is no text"),
        ("who-bounced", json!(["gmail.com"]), StatusCode::BAD_REQUEST, "expected an object"),
    ] {
        let (found, problem) = mark(lesson, answers.clone()).await;
        assert_eq!(found, status, "{answers}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{answers}: {problem}");
    }
    town.stop().await;
}
