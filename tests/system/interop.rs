//! Python's own mail clients, and those of Debian, against a whole town.

use std::{io, process::Output};
use tokio::process::Command;
use town_tests::{Plan, TOKEN, TestTown};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/test_interop.py");
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/test_programs.py");
const FETCHING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/test_pop3.py");

async fn run(script: &str, town: &TestTown) -> io::Result<Output> {
    let mut python = Command::new("python3");
    python.arg(script).arg("--config").arg(town.config()).arg("--zone").arg(town.zone());
    if script != PYTHON {
        python.arg("--ca").arg(town.state().join("tls/ca.pem"));
    }
    python.env("MAILTOWN_TOKEN", TOKEN).kill_on_drop(true).output().await
}

async fn assert_content(script: &str, plan: Plan) {
    let town = TestTown::start(plan).await;
    match run(script, &town).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => eprintln!("skipped: there is no python3 here"),
        output => {
            let output = output.unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    town.stop().await;
}

#[tokio::test]
async fn pythons_clients_in_profile_tutorial() {
    assert_content(PYTHON, Plan::default()).await;
}

#[tokio::test]
async fn pythons_clients_in_profile_rfc() {
    assert_content(PYTHON, Plan::default().rfc()).await;
}

/// swaks, msmtp, gsasl and curl log in with the mechanisms that each knows, in clear and over TLS. Python does the same
/// over TLS, so that there is always one of them.
#[tokio::test]
async fn clients_of_debian_log_in() {
    assert_content(PROGRAMS, Plan::default()).await;
}

/// mpop, getmail6, fetchmail, curl and poplib each fetch 200 odd messages unchanged, and none of them twice.
#[tokio::test]
async fn clients_of_debian_fetch_mail() {
    assert_content(FETCHING, Plan::default()).await;
}
