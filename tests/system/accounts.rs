//! `mailtown accounts`.

use crate::logs::NativeTown;
use internal_api::LoginSupport;
use std::{
    fs,
    process::{Output, Stdio},
};
use tokio::io::AsyncWriteExt;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, Pop3Client, TOKEN, TestTown, USR1, mailtown};

const EMPTY: &str =
    "the password is empty; type it at the prompt, write it to standard input, or set MAILTOWN_PASSWORD";

/// Hashes what is written to standard input.
async fn hash(input: &str) -> Output {
    let mut command = mailtown::command("mailtown");
    command.args(["accounts", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    process.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn a_printed_hash_is_a_password_of_the_configuration() {
    let printed = String::from_utf8(hash("a b c\r\n").await.stdout).unwrap();
    let phc = printed.strip_suffix('\n').unwrap();
    assert!(phc.starts_with("$argon2id$") && !phc.contains('\n'), "{printed}");
    assert_ne!(hash("a b c").await.stdout, printed.as_bytes(), "each hash has its own salt");
    let town = TestTown::start(Plan::default()).await;
    let config = fs::read_to_string(town.config()).unwrap();
    assert!(config.contains("\"pass1\""));
    fs::write(town.config(), config.replace("pass1", phc)).unwrap();
    town_tests::eventually("the new password", town_tests::PATIENCE, async || {
        let mut client = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
        client.log_in(USR1, "a b c").await.ok()
    })
    .await;
    town.stop().await;
    let empty = hash("\n").await;
    assert_eq!(empty.status.code(), Some(1));
    assert_eq!(String::from_utf8(empty.stderr).unwrap(), format!("error: {EMPTY}\n"));
}

/// `mailtown accounts` with this input, on a running town.
async fn accounts(town: &TestTown, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = mailtown::command("mailtown");
    command.args(["accounts", "--config"]).arg(town.config()).args(arguments).env("MAILTOWN_TOKEN", TOKEN);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let Output { status, stdout, stderr } = process.wait_with_output().await.unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// Whether this user can log in.
async fn can_log_in(town: &TestTown, user: &str, password: &str) -> bool {
    let mut pop = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
    pop.log_in(user, password).await.is_ok()
}

/// Each change counts at the next login.
#[tokio::test]
async fn accounts_come_and_go_while_the_town_runs() {
    const NEW: &str = "new@mail.sustech.edu.cn";
    let town = TestTown::start(Plan::default()).await;
    let done = |what: &str| (true, format!("exmail.qq.com: {NEW} {what}\n"));
    assert_eq!(accounts(&town, &["add", NEW], "one\n").await, done("is added"));
    assert!(can_log_in(&town, NEW, "one").await && !can_log_in(&town, NEW, "two").await);
    town.send(USR1, &[NEW], b"Subject: x\r\n\r\nx\r\n").await;
    town.send(NEW, &[USR1], b"Subject: x\r\n\r\nx\r\n").await;
    // It has a SCRAM verifier, so SCRAM is offered on.
    assert_eq!(
        town.store(EXMAIL).login_support().await.unwrap(),
        Some(LoginSupport { scram: true, proved_sessions: true })
    );
    assert_eq!(accounts(&town, &["passwd", NEW, "--password", "two"], "one").await, done("has a new password"));
    assert!(can_log_in(&town, NEW, "two").await && !can_log_in(&town, NEW, "one").await);
    let disabled = done("is disabled: nobody can log in, mail still comes");
    assert_eq!(accounts(&town, &["disable", NEW], "").await, disabled);
    assert!(!can_log_in(&town, NEW, "two").await);
    let (_, listed) = accounts(&town, &["list"], "").await;
    let expected = "\
address                         source    state     messages  octets
new@mail.sustech.edu.cn         api       disabled         1      17
postmaster@mail.sustech.edu.cn  built in  disabled         0       0
usr1@mail.sustech.edu.cn        config    enabled          1      17
usr2@mail.sustech.edu.cn        config    enabled          0       0
postmaster@gmail.com            built in  disabled         0       0
usr@gmail.com                   config    enabled          0       0
";
    assert_eq!(listed, expected);
    let (_, listed) = accounts(&town, &["list", "--json", "-n", "gmail.com"], "").await;
    let lines: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers = serde_json::json!([lines[0]["source"], lines[1]["address"], lines[1]["messages"], lines.len()]);
    assert_eq!(numbers, serde_json::json!(["built_in", "usr@gmail.com", 0, 2]));
    assert_eq!(accounts(&town, &["passwd", NEW], "three").await, done("has a new password"));
    assert!(!can_log_in(&town, NEW, "three").await);
    assert_eq!(accounts(&town, &["enable", NEW], "").await, done("is enabled"));
    assert!(can_log_in(&town, NEW, "three").await);
    let removed = done("is removed, with the messages in its maildrop");
    assert_eq!(accounts(&town, &["delete", NEW], "").await, removed);
    assert!(!can_log_in(&town, NEW, "three").await);
    // Whoever gets the address next does not get the mail.
    assert_eq!(accounts(&town, &["add", NEW], "four").await, done("is added"));
    assert_eq!(town.store(EXMAIL).mailbox(&NEW.parse().unwrap()).await.unwrap().unwrap().messages, 0);
    let configured = format!("{USR1} is an account of {}; change it there", town.config().display());
    for (arguments, input, expected) in [
        (
            &["add", NEW][..],
            "x",
            "exmail.qq.com has an account new@mail.sustech.edu.cn already; `mailtown accounts passwd` changes its password",
        ),
        (&["add", "x@far.test"], "x", "no server has the mail domain far.test; the domains are: "),
        (
            &["add", "y@mail.sustech.edu.cn"],
            "\n",
            "the password of y@mail.sustech.edu.cn is empty; type it at the prompt, ",
        ),
        (&["add", "y@mail.sustech.edu.cn"], "$argon2id$x", "no valid argon2 PHC string"),
        (&["passwd", USR1], "x", &configured),
        (
            &["remove", "postmaster@mail.sustech.edu.cn"],
            "",
            "postmaster@mail.sustech.edu.cn is built in, as in every mail domain; add it to [accounts.\"exmail.qq.com\"] in ",
        ),
        (
            &["disable", "nobody@mail.sustech.edu.cn"],
            "",
            "exmail.qq.com has no account nobody@mail.sustech.edu.cn; `mailtown accounts list` shows those that it has",
        ),
    ] {
        let (succeeded, said) = accounts(&town, arguments, input).await;
        assert!(!succeeded && said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(can_log_in(&town, USR1, "pass1").await);
    town.stop().await;
}

/// Mail to `bob+x` is bob's, but who removes `bob+x` does not mean bob.
#[tokio::test]
async fn an_address_with_a_detail_is_no_name_of_an_account() {
    const BOB: &str = "bob@mail.sustech.edu.cn";
    const OLD: &str = "bob+old@mail.sustech.edu.cn";
    const TYPO: &str = "bob+typo@mail.sustech.edu.cn";
    let town = TestTown::start(Plan::default().rfc()).await;
    for account in [BOB, OLD] {
        assert!(accounts(&town, &["add", account], "one\n").await.0);
    }
    town.send(USR1, &[TYPO], b"Subject: x\r\n\r\nx\r\n").await;
    // In other case it is the same account.
    assert!(accounts(&town, &["remove", "BOB+old@mail.sustech.edu.cn"], "").await.0);
    for (command, address) in [("remove", OLD), ("remove", TYPO), ("disable", TYPO), ("passwd", TYPO)] {
        let (succeeded, said) = accounts(&town, &[command, address], "two\n").await;
        assert!(!succeeded && said.contains(&format!("has no account {address}")), "{command} {address}: {said}");
    }
    assert!(can_log_in(&town, BOB, "one").await);
    assert_eq!(town.store(EXMAIL).mailbox(&BOB.parse().unwrap()).await.unwrap().unwrap().messages, 1);
    town.stop().await;
}

/// Case counts in the tutorial's profile, and not in the other one. An account stays in the store.
#[tokio::test]
async fn spellings_of_one_account_are_told_at_the_start() {
    let mut town = NativeTown::start(Plan::default()).await;
    let config = town.site.config().to_owned();
    let mut text = fs::read_to_string(&config).unwrap();
    for (old, new) in [("\"usr@gmail.com\"", "\"USR@gmail.com\""), ("profile = \"tutorial\"", "profile = \"rfc\"")] {
        assert!(text.contains(old), "{text}");
        text = text.replace(old, new);
    }
    town.restart(|| fs::write(config, text).unwrap()).await;
    town.logged(&["store.accounts_alike", "account=USR@gmail.com other=usr@gmail.com"]).await;
}
