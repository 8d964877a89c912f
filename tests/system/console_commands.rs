//! The commands of `mailtown` that ask the console: sessions, trace, wait, capture.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};
use town_tests::{EXMAIL, GMAIL, Mailtown, PATIENCE, Plan, Site, TestTown, USR, USR1, USR2, eventually, mailtown};

const NOBODY: &str = "nobody@mail.sustech.edu.cn";

/// `mailtown` with these arguments, told where the town is.
fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut command = mailtown::command("mailtown");
    command.args(arguments).arg("--config").arg(site.config());
    command
}

/// The exit code of a command, what it printed, and what it complained of.
async fn run(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(site, arguments).output().await.unwrap();
    (status.code().unwrap(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8(stderr).unwrap())
}

/// What a command prints; it must succeed without a complaint.
async fn printed(site: &Site, arguments: &[&str]) -> String {
    let (code, printed, complaints) = run(site, arguments).await;
    assert!(code == 0 && complaints.is_empty(), "{arguments:?}: {code}: {complaints}");
    printed
}

/// The objects that a command prints with `--json`.
async fn objects(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let text = printed(site, &[arguments, &["--json"]].concat()).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A town in which a recipient was refused, in a session that has ended.
async fn town_with_a_refusal() -> TestTown {
    let town = TestTown::start_with_console(Plan::default()).await;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.command("MAIL FROM:<x@far.test>").await.unwrap();
    let refusal = client.command(&format!("RCPT TO:<{NOBODY}>")).await.unwrap();
    assert!(refusal.starts_with("550 5.1.1"), "{refusal}");
    client.write(b"NOOP\n").await.unwrap();
    client.command("").await.unwrap();
    client.command("QUIT").await.unwrap();
    let console = town.console_client();
    eventually("the session has ended", PATIENCE, async || {
        let page = console.get("/v1/sessions?failed=true&open=false").await;
        (!page["sessions"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    town
}

#[tokio::test]
async fn a_refused_session_is_found_and_read() {
    let town = town_with_a_refusal().await;
    town.send(USR1, &[USR2], b"Subject: fine\r\n\r\n").await;
    let failed = objects(&town, &["sessions", "failed", "stack:exmail.qq.com"]).await;
    assert_eq!((failed.len(), &failed[0]["service"]), (1, &Value::from("smtp-gateway")), "{failed:?}");
    let id = failed[0]["id"].as_str().unwrap();
    let list = printed(&town, &["sessions", "failed"]).await;
    assert!(list.starts_with("opened                id "), "{list}");
    assert!(list.contains(&format!("  {id} !  exmail.qq.com  smtp-gateway  from 127.0.0.1:")), "{list}");
    assert!(list.ends_with("-- 1 session, 1 failed.\n"), "{list}");
    let refused = objects(&town, &["sessions", &format!("refused:{NOBODY}")]).await;
    assert_eq!(refused, failed);
    let all = printed(&town, &["sessions", "--limit", "1"]).await;
    assert!(all.contains("\n-- 1 session, "), "{all}");
    let none = printed(&town, &["sessions", "user:nobody"]).await;
    assert_eq!(none, "There is no such session.\n");

    let dialogue = printed(&town, &["sessions", id]).await;
    for part in [
        &format!("session    {id} !\nserver     exmail.qq.com, smtp-gateway\npeer       from 127.0.0.1:"),
        &format!("s  C: RCPT TO:<{NOBODY}>\n"),
        "s  S: 550 5.1.1 ",
        "\n               5.1.1: There is no such mailbox (RFC 3463 §3.2).\n",
        "\n               ! The line ends with LF alone",
        "s  -- The policy refuses RCPT",
    ] {
        assert!(dialogue.contains(part), "{part} is not in {dialogue}");
    }
    assert!(!dialogue.contains('\u{1b}'), "colours are for terminals");
    let whole = &objects(&town, &["sessions", id]).await[0];
    assert_eq!(whole["session"]["id"], id);
    assert!(whole["lines"].as_array().unwrap().iter().any(|line| line["remarks"][0]["name"] == "bare-lf"), "{whole}");

    let (code, _, said) = run(&town, &["sessions", "faild"]).await;
    assert!(
        code == 1 && said.starts_with("error: \"faild\" is neither the ID of a session nor one of failed"),
        "{said}"
    );
    let (code, _, said) = run(&town, &["sessions", "019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a"]).await;
    assert!(code == 1 && said.contains("no such session, or not any more"), "{said}");
    town.stop().await;
}

#[tokio::test]
async fn what_happens_is_told_line_by_line() {
    let town = town_with_a_refusal().await;
    let id = town.send(USR1, &[USR], b"Subject: far\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    let lines = eventually("all is told", PATIENCE, async || {
        let lines = printed(&town, &["trace", "--limit", "1000"]).await;
        lines.contains("  delivered to usr@gmail.com\n").then_some(lines)
    })
    .await;
    for part in [
        format!("C: RCPT TO:<{NOBODY}>\n"),
        "  S: 550 5.1.1 ".to_owned(),
        format!("  exmail.qq.com  mailbox-store  {id}  accepted from <{USR1}>, "),
        "  exmail.qq.com  smtp-gateway   ".to_owned(),
        "  gmail.com      smtp-gateway   ".to_owned(),
        "  gmail.com      pop3-gateway   ".to_owned(),
    ] {
        assert!(lines.contains(&part), "{part} is not in {lines}");
    }
    let times: Vec<_> = lines.lines().map(|line| &line[..13]).collect();
    assert!(times.is_sorted(), "{times:?}");
    let refused = objects(&town, &["trace", "--limit", "1000"]).await;
    assert!(refused.iter().any(|line| line["refused"] == true && line["kind"] == "server"), "{refused:?}");

    let journey = printed(&town, &["trace", "--message", &id]).await;
    assert!(journey.starts_with(&format!("{id}\n\n")), "{journey}");
    for part in
        ["Message and final dot → 250 2.0.0 ", "  mailbox-store  Commit", "gmail.com", "RETR 1", "usr@gmail.com: "]
    {
        assert!(journey.contains(part), "{part} is not in {journey}");
    }
    let whole = &objects(&town, &["trace", "--message", &id]).await[0];
    assert_eq!((&whole["message"], &whole["outcome"]), (&Value::from(id), &Value::from("ok")));
    let (code, _, said) = run(&town, &["trace", "--message", "0000000000001"]).await;
    assert!(code == 1 && said.lines().count() == 1, "{said}");
    town.stop().await;
}

#[tokio::test]
async fn what_happens_is_followed() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let mut following =
        command(&town, &["trace", "--follow", "--limit", "1000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // It has asked before this mail is sent, or finds it among what was before.
    let id = town.send(USR1, &[USR2], b"Subject: live\r\n\r\n").await;
    let delivered = format!("{id}  delivered to {USR2}");
    let reading = async { while !lines.next_line().await.unwrap().expect("it has ended").ends_with(&delivered) {} };
    timeout(PATIENCE, reading).await.expect("the delivery is not told");

    let mut journey = command(&town, &["trace", "--follow", "--message", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut steps = BufReader::new(journey.stdout.take().unwrap()).lines();
    let mut read = async |part: &str| {
        let reading = async { while !steps.next_line().await.unwrap().expect("it has ended").contains(part) {} };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{part} is not told"));
    };
    read("Commit").await;
    town.mail_of(USR2, 1).await;
    read("RETR 1").await;
    journey.kill().await.unwrap();
    following.kill().await.unwrap();
    town.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_the_mail_or_with_why_not() {
    let plan = Plan::default();
    let silent = plan.silent_port();
    let town = TestTown::start_with_console(plan.peer("peer.test", silent)).await;
    let waiting =
        async { printed(&town, &["wait", "--timeout", "60", &format!("to:{USR2}"), "subject:Welcome"]).await };
    let message = format!("To: {USR2}\r\nSubject: Welcome\r\n\r\nYour code is 123456.\r\n");
    let (line, id) = tokio::join!(waiting, town.send(USR1, &[USR2], message.as_bytes()));
    assert!(
        line.starts_with(&format!("{id}  ")) && line.ends_with(&format!("<{USR1}> to {USR2}  Welcome\n")),
        "{line}"
    );
    let mail = &objects(&town, &["wait", "subject:welcome"]).await[0];
    assert_eq!((&mail["id"], &mail["codes"][0]), (&Value::from(id.clone()), &Value::from("123456")));

    let (code, out, why) = run(&town, &["wait", "--timeout", "1", "subject:Wellcome"]).await;
    assert_eq!((code, &*out), (1, ""));
    assert!(why.starts_with("time is up     0 of 1 messages for \"subject:Wellcome\" within 1 s\n"), "{why}");
    let near = run(&town, &["wait", "--timeout", "0", &format!("to:{USR2} subject:Wellcome")]).await.2;
    assert!(near.contains(&format!("nearly         {id} \"Welcome\" does not match: subject:wellcome\n")), "{near}");

    town.send(USR1, &["x@peer.test"], b"Subject: waits\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    let queued = run(&town, &["wait", "--timeout", "0", "rcpt:x@peer.test state:delivered"]).await.2;
    assert!(queued.contains("in the queue   exmail.qq.com: ") && queued.contains("refused"), "{queued}");
    assert!(queued.contains(" for x@peer.test, 1 attempt, next attempt "), "{queued}");
    assert!(queued.contains("\nthe clock      it stands still at "), "{queued}");

    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client.command("MAIL FROM:<x@far.test>").await.unwrap();
    client.command(&format!("RCPT TO:<{NOBODY}>")).await.unwrap();
    let refused = eventually("the refusal is known", PATIENCE, async || {
        let why = run(&town, &["wait", "--timeout", "0", &format!("rcpt:{NOBODY}")]).await.2;
        why.contains("refused  ").then_some(why)
    })
    .await;
    assert!(refused.contains(&format!("refused        RCPT {NOBODY}: 550 5.1.1 ")), "{refused}");
    let session = refused.rsplit_once("(mailtown sessions ").unwrap().1.split(')').next().unwrap();
    assert!(printed(&town, &["sessions", session]).await.contains(NOBODY));

    let (code, out, _) = run(&town, &["wait", "--timeout", "0", "--json", "subject:nothing"]).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&out).unwrap()["timed_out"]), (1, &Value::from(true)));
    let (code, _, said) = run(&town, &["wait", "subject:"]).await;
    assert!(code == 2 && said.starts_with("error: "), "{code}: {said}");
    town.stop().await;
}

/// The subjects in a capture.
fn subjects(file: &Path) -> Vec<String> {
    let mut tshark = std::process::Command::new("tshark");
    tshark.arg("-r").arg(file).args(["-T", "fields", "-e", "imf.subject", "-Y", "imf.subject"]);
    let output = tshark.output().expect("tshark is missing; install Debian's package tshark");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn sessions_are_captured() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let [file, live] = ["town.pcapng", "live.pcapng"].map(|name| directory.path().join(name));
    let live_name = live.to_str().unwrap();
    let capture = command(&town, &["capture", "--live", live_name]).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the capture has begun", PATIENCE, async || {
        fs::metadata(&live).is_ok_and(|metadata| metadata.len() > 0).then_some(())
    })
    .await;
    let id = town.send(USR1, &[USR2], b"From: <a@b>\r\nSubject: captured\r\n\r\n").await;
    town.send(USR1, &[USR2], b"From: <a@b>\r\nSubject: another\r\n\r\n").await;
    eventually("both are captured", PATIENCE, async || (subjects(&live) == ["captured", "another"]).then_some(()))
        .await;
    kill_process(Pid::from_raw(capture.id().unwrap().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    let Output { status, stderr, .. } = timeout(PATIENCE, capture.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success() && said.starts_with(&format!("{live_name}: ")) && said.ends_with(" packets\n"), "{said}");
    assert_eq!(subjects(&live), ["captured", "another"], "what was stopped is whole");

    let name = file.to_str().unwrap();
    let (code, out, said) = run(&town, &["capture", name, "--message", &id]).await;
    assert!(code == 0 && out.is_empty() && said.ends_with(" packets\n"), "{said}");
    assert_eq!(subjects(&file), ["captured"]);
    let Output { status, stdout, stderr } = command(&town, &["capture", "-"]).output().await.unwrap();
    assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    fs::write(&file, stdout).unwrap();
    assert_eq!(subjects(&file).len(), 2);

    let unknown = ["capture", name, "--session", "019ac8f2-7d3a-7c51-8000-1f0e2d3c4b5a"];
    let (code, _, said) = run(&town, &unknown).await;
    assert!(code == 1 && said.contains("no such session"), "{said}");
    assert_eq!(subjects(&file).len(), 2, "a file is not emptied for nothing");
    let (code, _, said) = run(&town, &["capture", "/no/such/directory/x.pcapng"]).await;
    assert!(code == 1 && said.starts_with("error: cannot write /no/such/directory/x.pcapng: "), "{said}");
    town.stop().await;
}

#[tokio::test]
async fn a_console_that_cannot_be_asked_is_named_with_a_cure() {
    let site = Plan::default().write();
    let url = format!("http://{}", site.console());
    for (arguments, expected_code) in [(&["sessions"][..], 1), (&["trace"], 1), (&["capture", "x"], 1), (&["wait"], 2)]
    {
        let (code, out, said) = run(&site, arguments).await;
        let expected = format!(
            "error: {url} is silent: Connection refused (os error 111); is the town running, and its console? if that is \
             elsewhere, give --console URL\n"
        );
        assert_eq!((code, &*out, said), (expected_code, "", expected), "{arguments:?}");
        let help = printed(&site, &[&arguments[..1], &["--help"]].concat()).await;
        assert!(help.contains("Examples:\n  mailtown ") && help.contains("--console <URL>"), "{help}");
    }
    let (_, _, said) = run(&site, &["sessions", "--console", "127.0.0.1:8025"]).await;
    assert!(said.starts_with("error: --console: \"127.0.0.1:8025\" is no URL of a console"), "{said}");
}

/// A town as a user starts it, whose console has a password.
#[tokio::test]
async fn a_console_with_a_password_wants_it() {
    let site = Plan::default().write();
    let mut options = vec!["--config".into(), site.config().as_os_str().to_owned()];
    options.extend(["--zone".into(), site.zone().as_os_str().to_owned()]);
    options.extend(["--console-password", "a secret"].map(Into::into));
    let mut town = Mailtown::start(options);
    let ports = town.ports().await;
    let url = format!("http://{}", ports.console().unwrap());
    let file = town.ports_file();
    let at_file = ["--ports-file", file.to_str().unwrap()];
    let (code, _, said) = run(&site, &[&["sessions"][..], &at_file].concat()).await;
    let cure = "set MAILTOWN_CONSOLE_PASSWORD, or give --console-password PASSWORD";
    assert_eq!((code, said), (1, format!("error: {url} wants a password; {cure}\n")));
    let (_, _, said) = run(&site, &[&["sessions", "--console-password", "x"][..], &at_file].concat()).await;
    assert_eq!(said, format!("error: {url} refuses this password; {cure}, to that of the console\n"));
    mailtown::send(mailtown::address(&ports, GMAIL, town_config::PortKey::Smtp), USR, USR, "inside").await;
    let with_password = ["--console-password", "a secret"];
    let mail = printed(&site, &[&["wait", "subject:inside"][..], &with_password, &at_file].concat()).await;
    assert!(mail.ends_with("  inside\n"), "{mail}");
    // The configuration has the port, too.
    let list = printed(&site, &[&["sessions", "protocol:smtp"][..], &with_password].concat()).await;
    assert!(list.contains("gmail.com  smtp-gateway"), "{list}");
    assert!(town.stop().await.success());
}
