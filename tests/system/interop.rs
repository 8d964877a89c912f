//! Python's own mail clients against a whole town.

use std::{io, process::Output};
use tokio::process::Command;
use town_tests::{Plan, TestTown};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/test_interop.py");

async fn run(town: &TestTown) -> io::Result<Output> {
    let mut python = Command::new("python3");
    python.arg(SCRIPT).arg("--config").arg(town.config()).arg("--zone").arg(town.zone());
    python.kill_on_drop(true).output().await
}

async fn assert_pythons_clients_are_content(plan: Plan) {
    let town = TestTown::start(plan).await;
    match run(&town).await {
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
    assert_pythons_clients_are_content(Plan::default()).await;
}

#[tokio::test]
async fn pythons_clients_in_profile_rfc() {
    assert_pythons_clients_are_content(Plan::default().rfc()).await;
}
