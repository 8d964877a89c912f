//! A store on a file system of a few megabytes that fills up. It needs the right to mount one, and is skipped, with
//! the reason printed, where there is none.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use mail_api::{ApiError, MessageId, ProblemKind};
use reqwest::StatusCode;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};
use support::{Server, mailbox, submission};
use tempfile::TempDir;

/// A small file system in memory, for as long as this lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Result<Self, String> {
        let directory = TempDir::new().unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self(directory)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut filler = File::create(self.0.path().join("filler")).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn body(octets: usize) -> Vec<u8> {
    let mut body: Vec<u8> = (0..octets - 2).map(|n| b'a' + (n % 17) as u8).collect();
    body.extend_from_slice(b"\r\n");
    body
}

async fn submit(server: &Server, transaction: &str, octets: usize) -> Result<MessageId, ApiError> {
    let submission = submission(transaction, &["a@local.test", "x@far.test"]);
    server.client.submit(&submission, Bytes::from(body(octets))).await.map(|accepted| accepted.id)
}

async fn read(server: &Server, id: MessageId) -> Vec<u8> {
    let mut message = server.client.message(id).await.unwrap();
    let mut octets = Vec::new();
    while let Some(chunk) = message.chunk().await.unwrap() {
        octets.extend_from_slice(&chunk);
    }
    octets
}

fn body_files(data: &Path) -> usize {
    fs::read_dir(data.join("bodies")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_is_seen_to_have_space_again() {
    let disk = match SmallDisk::mount(12) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: no small file system can be mounted here: {reason}"),
    };
    let data = TempDir::new_in(disk.0.path()).unwrap();
    let path = data.path().to_owned();
    let server = Server::start_in(data, "\"a@local.test\" = \"pass a\"").await;
    let mut stored = Vec::new();
    for (number, octets) in [5_000, 300_000, 100_000].into_iter().enumerate() {
        stored.push((submit(&server, &format!("before {number}"), octets).await.unwrap(), octets));
    }
    for round in 0..3 {
        disk.fill();
        let mut refused = 0;
        // Some small ones may still fit into the pages that the log has already.
        for number in 0..200 {
            let octets = [2_000, 200_000, 600_000, 60_000][number % 4];
            match submit(&server, &format!("full {round} {number}"), octets).await {
                Ok(id) => stored.push((id, octets)),
                Err(error) => {
                    assert_eq!(error.kind(), Some(ProblemKind::StorageUnavailable), "{error}");
                    refused += 1;
                }
            }
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "the disk was never full");
        assert_eq!(server.get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        // What is there can be read all the while.
        for (id, octets) in &stored {
            assert_eq!(read(&server, *id).await, body(*octets));
        }
        let summary = server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap();
        assert_eq!(summary.messages as usize, stored.len());
        let large = stored.iter().filter(|(_, octets)| *octets > 256 * 1024).count();
        assert_eq!(body_files(&path), large, "what was refused is gone");

        disk.free();
        // Nothing is restarted, and what was refused can simply be sent again.
        for octets in [2_000, 400_000] {
            stored.push((submit(&server, &format!("again {round} {octets}"), octets).await.unwrap(), octets));
        }
        assert_eq!(server.get("/readyz").await.status(), StatusCode::OK);
    }
    let check = async || {
        let config = TempDir::new().unwrap();
        let text = "[server.\"local.test\"]\nsmtp = 1\npop = 2\nstore = 3\n";
        fs::write(config.path().join("config.toml"), text).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_mailbox-store"));
        check.args(["--name", "local.test", "--config", "config.toml", "--data"]).arg(&path).arg("check");
        let output = check.current_dir(config.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    check().await;
    // The directory must be left before the disk goes.
    let data = server.stop().await;
    check().await;
    let server = Server::start_in(data, "\"a@local.test\" = \"pass a\"").await;
    for (id, octets) in &stored {
        assert_eq!(read(&server, *id).await, body(*octets));
    }
    server.stop().await;
}
