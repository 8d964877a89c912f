//! A command whose output nobody reads.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io,
    process::{Command, Output, Stdio},
};

fn authority(output: impl Into<Stdio>) -> Output {
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join("tls")).unwrap();
    fs::write(state.path().join("tls/ca.pem"), "a certificate\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailtown"));
    command.args(["ca", "--state"]).arg(state.path()).env_remove("MAILTOWN_LOG").stdout(output);
    command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn it_ends_silently_when_nobody_reads_and_complains_of_other_failures() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let Output { status, stderr, .. } = authority(writer);
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(141), ""));

    let full = File::options().write(true).open("/dev/full").unwrap();
    let Output { status, stderr, .. } = authority(full);
    let expected = "error: cannot write to standard output: No space left on device (os error 28)\n";
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(1), expected));

    let Output { status, stdout, .. } = authority(Stdio::piped());
    assert_eq!((status.code(), &stdout[..]), (Some(0), &b"a certificate\n"[..]));
}

/// Whatever a command says.
#[test]
fn a_check_that_nobody_reads_ends_silently() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailtown"));
    let directory = tempfile::tempdir().unwrap();
    command.arg("check").current_dir(directory.path()).env_remove("MAILTOWN_LOG").stdout(writer).stderr(Stdio::piped());
    let Output { status, stderr, .. } = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(141), ""));
}
