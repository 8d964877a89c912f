//! The schema that the binary prints, applied by `psql`, is what a store makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

#[path = "../src/store/postgres/tests/server.rs"]
mod postgres;
mod support;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};
use support::{Server, admin::blocking};

/// What the binary prints, without a configuration.
fn schema(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailbox-store"));
    let output = command.current_dir("/").env_clear().arg("schema").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn psql(database: &str, arguments: &[&str], script: &str) -> Output {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", database]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// All of a database's catalogs that a schema is in, and what the store notes about itself.
fn catalogs(database: &str) -> String {
    let output = Command::new("pg_dump").args(["--schema-only", "--no-owner", "--dbname", database]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Newer versions put a random word there.
    let dump = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = dump.lines().filter(|line| !line.contains("restrict ")).collect();
    let select = "SELECT name, value FROM properties ORDER BY name";
    let properties = psql(database, &["--csv"], select);
    assert!(properties.status.success(), "{properties:?}");
    lines.join("\n") + &String::from_utf8(properties.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_schema_is_what_a_store_makes() {
    let Some(server) = postgres::Server::shared() else { return };
    let (printed, made) = (server.new_database().await, server.new_database().await);
    Server::start_over(&made).await.stop().await;
    let expected = blocking(move || catalogs(&made)).await;
    assert!(expected.contains("CREATE TABLE public.maildrop_locks"), "{expected}");

    let applied = blocking({
        let printed = printed.clone();
        move || {
            let output = psql(&printed, &[], &schema(&[]));
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            catalogs(&printed)
        }
    });
    // A store also notes whose mail it keeps.
    let applied = applied.await;
    assert_eq!(applied, expected.replace("stack,local.test\n", ""));
    assert_ne!(applied, expected);
    // It can be started there, and has nothing left to do.
    Server::start_over(&printed).await.stop().await;
    assert_eq!(blocking(move || catalogs(&printed)).await, expected);
}

/// Without the extension, the database says so at once, and nothing is half done.
#[tokio::test(flavor = "multi_thread")]
async fn the_distributed_schema_needs_its_engine() {
    let Some(server) = postgres::Server::shared() else { return };
    let database = server.new_database().await;
    blocking(move || {
        let output = psql(&database, &[], &schema(&["--distributed", "citus"]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("citus"), "{said}");
        let tables =
            psql(&database, &["--csv", "--tuples-only"], "SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
        assert_eq!(String::from_utf8(tables.stdout).unwrap(), "");
    })
    .await;
}
