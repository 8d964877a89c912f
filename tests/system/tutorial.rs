//! The tutorial, through the real agent on a pipe, to the byte: all that is printed is compared.

use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};
use town_tests::{Plan, TestTown, USR, USR1, USR2, binaries};

/// What the agent prints on standard output when it is told these lines; nothing on standard error.
async fn agent(town: &TestTown, address: &str, password: &str, lines: &str) -> String {
    let (output, errors) = outputs(town, address, password, lines).await;
    assert_eq!(errors, "");
    output
}

/// What the agent prints on standard output and on standard error.
async fn outputs(town: &TestTown, address: &str, password: &str, lines: &str) -> (String, String) {
    let mut command = Command::new(binaries::path("agent"));
    command.args(["-e", address, "-p", password, "--config"]).arg(town.config()).arg("--zone").arg(town.zone());
    command.env("MAILTOWN_TOKEN", town_tests::TOKEN).current_dir(town.directory()).kill_on_drop(true);
    let mut agent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    agent.stdin.take().unwrap().write_all(lines.as_bytes()).await.unwrap();
    let output = agent.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Sends one message of the tutorial; input on a pipe is not shown, so the prompts stand side by side.
async fn send(town: &TestTown, recipient: &str, content: &str) {
    let printed = agent(town, USR1, "pass1", &format!("smtp\n{recipient}\n\nTest\n{content}\nexit\n")).await;
    assert_eq!(printed, "[smtp|pop|exit]>>> To: To: Subject: Content: [smtp|pop|exit]>>> ");
    town.mail_of(recipient, 1).await;
}

/// Reads the only message of a user as the tutorial does.
async fn assert_reads(town: &TestTown, address: &str, password: &str, octets: usize, text: &[&str]) {
    let printed = agent(town, address, password, "pop\nstat\nlist\nretr 1\nquit\nexit\n").await;
    let text: String = text.iter().map(|line| format!("b'{line}'\n")).collect();
    let expected = format!(
        "[smtp|pop|exit]>>> b'+OK POP3 server ready'
b'+OK'
b'+OK user successfully logged on'
[pop]>>> 1 messages ({octets} bytes)
[pop]>>> [b'1 {octets}']
[pop]>>> b'Content-Type: text/plain; charset=\"utf-8\"'
b'MIME-Version: 1.0'
b'Content-Transfer-Encoding: base64'
b'Subject: Test'
b'From: usr1@mail.sustech.edu.cn'
b''
{text}[pop]>>> b'+OK'
[smtp|pop|exit]>>> "
    );
    assert_eq!(printed, expected);
}

#[tokio::test]
async fn the_three_messages_are_195_223_and_233_octets() {
    let town = TestTown::start(Plan::default()).await;
    send(&town, USR1, "This is a test emailing myself.").await;
    assert_reads(&town, USR1, "pass1", 195, &["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgbXlzZWxmLg=="]).await;
    send(&town, USR2, "This is a test emailing other user in the same domain.").await;
    let text = ["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgb3RoZXIgdXNlciBpbiB0aGUgc2FtZSBkb21haW4u"];
    assert_reads(&town, USR2, "pass2", 223, &text).await;
    send(&town, USR, "This is a test emailing other user in the different domain.").await;
    let text = ["VGhpcyBpcyBhIHRlc3QgZW1haWxpbmcgb3RoZXIgdXNlciBpbiB0aGUgZGlmZmVyZW50IGRvbWFp", "bi4="];
    assert_reads(&town, USR, "pass", 233, &text).await;
    town.stop().await;
}

#[tokio::test]
async fn an_empty_maildrop_and_commands_that_fail() {
    let town = TestTown::start(Plan::default()).await;
    let printed = agent(&town, USR1, "pass1", "pop\nstat\nlist\nretr 1\nnoop\nquit\nexit\n").await;
    let expected = "[smtp|pop|exit]>>> b'+OK POP3 server ready'
b'+OK'
b'+OK user successfully logged on'
[pop]>>> 0 messages (0 bytes)
[pop]>>> []
[pop]>>> -ERR no such message
[pop]>>> b'+OK'
[pop]>>> b'+OK'
[smtp|pop|exit]>>> ";
    assert_eq!(printed, expected);
    let (printed, errors) = outputs(&town, USR1, "wrong", "pop\nexit\n").await;
    assert!(errors.starts_with("usr1@mail.sustech.edu.cn was refused at pop.exmail.qq.com: P "), "{errors}");
    let expected = "[smtp|pop|exit]>>> b'+OK POP3 server ready'
b'+OK'
-ERR [AUTH] wrong user or password
[smtp|pop|exit]>>> ";
    assert_eq!(printed, expected);
    town.stop().await;
}

#[tokio::test]
async fn a_message_to_several_and_one_that_is_deleted() {
    let town = TestTown::start(Plan::default()).await;
    let input = format!("smtp\n{USR1}\n{USR}\n\nBoth\nhello\nexit\n");
    let printed = agent(&town, USR1, "pass1", &input).await;
    assert_eq!(printed, "[smtp|pop|exit]>>> To: To: To: Subject: Content: [smtp|pop|exit]>>> ");
    for address in [USR1, USR] {
        town.mail_of(address, 1).await;
    }
    let printed =
        agent(&town, USR, "pass", "pop\ndele 1\nstat\nrset\nstat\ndele 1\nquit\npop\nstat\nquit\nexit\n").await;
    let login = "b'+OK POP3 server ready'\nb'+OK'\nb'+OK user successfully logged on'\n";
    let octets = town.listing(USR1).await.messages[0].octets + 3;
    let expected = format!(
        "[smtp|pop|exit]>>> {login}[pop]>>> b'+OK message 1 deleted'
[pop]>>> 0 messages (0 bytes)
[pop]>>> b'+OK 1 messages ({octets} octets)'
[pop]>>> 1 messages ({octets} bytes)
[pop]>>> b'+OK message 1 deleted'
[pop]>>> b'+OK'
[smtp|pop|exit]>>> {login}[pop]>>> 0 messages (0 bytes)
[pop]>>> b'+OK'
[smtp|pop|exit]>>> "
    );
    assert_eq!(printed, expected);
    town.stop().await;
}
