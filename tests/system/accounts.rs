//! `mailtown accounts`.

use std::{
    fs,
    process::{Output, Stdio},
};
use tokio::io::AsyncWriteExt;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, Pop3Client, TestTown, USR1, mailtown};

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
    assert_eq!(String::from_utf8(empty.stderr).unwrap(), "error: the password is empty; give one\n");
}
