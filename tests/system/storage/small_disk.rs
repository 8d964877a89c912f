//! A file system of a few megabytes that fills up. It needs the right to mount one; where there is none the test says
//! so and is skipped.

use super::{FULL, Patient, SIZES, STORE, message};
use crate::{campaign::sound, logs::NativeTown};
use reqwest::StatusCode;
use std::{
    fs::{self, File},
    io::Write,
    process::Command,
};
use tempfile::TempDir;
use town_tests::{EXMAIL, Plan, ProcessTown, USR1, USR2};

/// In memory, for as long as this lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Result<Self, String> {
        let disk = Self(TempDir::new().unwrap());
        disk.run_mount(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).map(|()| disk)
    }

    /// Makes it read-only, which takes that nobody writes, or writable (`ro`, `rw`).
    fn remount(&self, how: &str) {
        self.run_mount(&["-o", &format!("remount,{how}")]).unwrap();
    }

    fn run_mount(&self, arguments: &[&str]) -> Result<(), String> {
        match Command::new("mount").args(arguments).arg(self.0.path()).output() {
            Ok(output) if output.status.success() => Ok(()),
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

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_seen_to_have_space_again() {
    let disk = match SmallDisk::mount(32) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: no small file system can be mounted here: {reason}"),
    };
    let town = ProcessTown::start_with_disk(Plan::default(), EXMAIL, disk.0.path()).await;
    let mut patient = Patient { town, acknowledged: Default::default() };
    let mut client = patient.town.smtp(EXMAIL).await;
    client.hello().await;
    for round in 1..=3 {
        patient.accepts(&mut client, &format!("before round {round}")).await;
        disk.fill();
        let mut refused = [0; SIZES.len()];
        // Some small ones may still fit into what the log has already.
        for number in 1..=300 {
            let kind = number % SIZES.len();
            let message = message(&format!("{round} {number}"), SIZES[kind]);
            match client.send(USR1, &[USR2], message.as_bytes()).await {
                Ok(_) => drop(patient.acknowledged.insert(message)),
                Err(refusal) => {
                    assert_eq!(refusal.to_string(), FULL);
                    refused[kind] += 1;
                }
            }
            if refused.iter().all(|refused| *refused >= 5) {
                break;
            }
        }
        assert!(refused.iter().all(|refused| *refused >= 5), "the disk was never full: {refused:?}");
        assert_eq!(patient.ready().await, StatusCode::SERVICE_UNAVAILABLE);
        // What is there can be read all the while, and what was refused is gone.
        patient.has_all("full").await;
        let files = fs::read_dir(patient.town.data(EXMAIL).join("bodies")).unwrap().count();
        let large = patient.acknowledged.iter().filter(|message| message.len() > SIZES[2] / 2).count();
        assert_eq!(files, large);
        disk.free();
        patient.accepts(&mut client, &format!("after round {round}")).await;
        assert_eq!(patient.ready().await, StatusCode::OK);
    }
    starts_where_there_is_no_room(&mut patient, &disk).await;
    patient.town.terminate(STORE);
    assert!(patient.town.ended(STORE).await.success());
    starts_only_where_it_can_write(&mut patient, &disk).await;
}

#[tokio::test]
async fn a_town_starts_on_a_full_disk() {
    let disk = match SmallDisk::mount(32) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: no small file system can be mounted here: {reason}"),
    };
    let mut town = NativeTown::start_on(Plan::default(), disk.0.path()).await;
    town.site.send(USR1, &[USR2], b"Subject: before\r\n\r\n").await;
    town.restart(|| disk.fill()).await;
    town.logged(&["WARN", "nothing can be written: the disk may be full", EXMAIL]).await;
    town.logged(&["WARN", "a store is not ready; the town starts all the same", "0 octets are free"]).await;
    assert_eq!(town.site.listing(USR2).await.messages.len(), 1);
    disk.free();
    town.site.send(USR1, &[USR2], b"Subject: after\r\n\r\n").await;
    assert_eq!(town.site.listing(USR2).await.messages.len(), 2);
}

/// After it was killed, when the log is there, and after it has ended in order.
async fn starts_where_there_is_no_room(patient: &mut Patient, disk: &SmallDisk) {
    for is_killed in [true, false] {
        if is_killed {
            patient.town.kill(STORE).await;
        } else {
            patient.town.terminate(STORE);
            assert!(patient.town.ended(STORE).await.success());
        }
        disk.fill();
        patient.town.spawn(STORE);
        patient.town.alive(STORE).await;
        assert_eq!(patient.ready().await, StatusCode::SERVICE_UNAVAILABLE);
        patient.has_all(&format!("started on a full disk, {is_killed}")).await;
        disk.free();
        let mut client = patient.town.smtp(EXMAIL).await;
        client.hello().await;
        patient.accepts(&mut client, &format!("after a start on a full disk, {is_killed}")).await;
        assert_eq!(patient.ready().await, StatusCode::OK);
    }
}

async fn starts_only_where_it_can_write(patient: &mut Patient, disk: &SmallDisk) {
    disk.remount("ro");
    patient.town.spawn(STORE);
    assert_eq!(patient.town.ended(STORE).await.code(), Some(1));
    let said = patient.town.logged(STORE);
    let error = "(os error 30); choose a directory that can be written to";
    assert!(said.lines().last().unwrap().ends_with(error), "{said}");
    // It can be looked at all the same.
    sound(&patient.town, EXMAIL);
    disk.remount("rw");
    patient.town.restart(STORE).await;
    patient.has_all("read-only for a while").await;
    patient.town.kill(STORE).await;
    sound(&patient.town, EXMAIL);
}
