//! That the disk forgets what it should, and nothing else.

use super::*;
use tempfile::TempDir;

/// A disk, and programs that use it: each `sync` is an fsync of one file or directory.
struct Bench {
    disk: ForgetfulDisk,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { disk: ForgetfulDisk::new(&directory.path().join("live")), _directory: directory }
    }

    /// Runs a program in the live directory; returns whether it succeeded.
    async fn run(&self, command: &str) -> bool {
        let mut words = command.split(' ');
        let mut program = Command::new(words.next().unwrap());
        program.args(words).current_dir(&self.disk.live).env("LC_ALL", "C");
        self.disk.put_under(&mut program);
        program.output().await.unwrap().status.success()
    }

    /// Writes the letters of `text` to a file in one process, from this offset.
    async fn write(&self, file: &str, offset: usize, text: &str, synced: bool) -> bool {
        let source = self.disk.live.with_file_name("source");
        fs::write(&source, text).unwrap();
        let sync = if synced { "fsync,notrunc" } else { "notrunc" };
        let (source, live) = (source.display(), self.disk.live.display());
        self.run(&format!("dd if={source} of={live}/{file} bs=1 seek={offset} conv={sync}")).await
    }

    fn left(&self) -> Vec<(String, String)> {
        let name = |name: &PathBuf| name.to_str().unwrap().to_owned();
        let left = files(&self.disk.live);
        left.iter().map(|file| (name(file), fs::read_to_string(self.disk.live.join(file)).unwrap())).collect()
    }
}

fn pair(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

#[tokio::test]
async fn octets_need_a_sync_and_names_another() {
    let bench = Bench::new();
    assert!(bench.write("nothing", 0, "lost", false).await);
    assert!(bench.write("octets", 0, "lost", true).await);
    bench.disk.forget();
    assert_eq!(bench.left(), []);

    assert!(bench.write("name", 0, "lost", false).await);
    assert!(bench.write("both", 0, "kept", true).await);
    assert!(bench.run(&format!("sync {}", bench.disk.live.display())).await);
    assert!(bench.write("both", 4, ", and lost", false).await);
    assert_eq!(bench.left(), [pair("both", "kept, and lost"), pair("name", "lost")]);
    bench.disk.forget();
    assert_eq!(bench.left(), [pair("both", "kept"), pair("name", "")]);
}

#[tokio::test]
async fn a_directory_needs_a_name_as_well() {
    let bench = Bench::new();
    let live = bench.disk.live.display();
    for directory in ["named", "nameless"] {
        assert!(bench.run(&format!("mkdir {live}/{directory}")).await);
        if directory == "named" {
            assert!(bench.run(&format!("sync {live}")).await);
        }
        assert!(bench.write(&format!("{directory}/file"), 0, "text", true).await);
        assert!(bench.run(&format!("sync {live}/{directory}")).await);
    }
    bench.disk.forget();
    assert_eq!(bench.left(), [pair("named/file", "text")]);
}

#[tokio::test]
async fn what_is_removed_comes_back_unless_its_directory_is_synced() {
    let bench = Bench::new();
    let live = bench.disk.live.display();
    for file in ["a", "b"] {
        assert!(bench.write(file, 0, file, true).await);
    }
    assert!(bench.run(&format!("sync {live}")).await);
    assert!(bench.run(&format!("unlink {live}/a")).await);
    assert!(bench.run(&format!("sync {live}")).await);
    assert!(bench.run(&format!("unlink {live}/b")).await);
    // It may well get the inode of the one that is gone.
    assert!(bench.write("b", 0, "another", true).await);
    bench.disk.forget();
    assert_eq!(bench.left(), [pair("b", "b")]);
}

#[tokio::test]
async fn a_failed_sync_loses_what_was_to_be_synced_and_a_swallowed_one_says_nothing() {
    let bench = Bench::new();
    let sync = format!("sync {}", bench.disk.live.display());
    assert!(bench.write("file", 0, "old ", true).await);
    assert!(bench.run(&sync).await);
    bench.disk.fail(&[Operation::Sync], Errno::IO);
    assert!(!bench.write("file", 0, "lost", true).await);
    assert!(!bench.run(&sync).await);
    bench.disk.mend();
    assert!(bench.write("file", 4, "new", true).await);
    bench.disk.swallow_syncs();
    assert!(bench.write("file", 7, "lost", true).await);
    assert!(bench.write("other", 0, "lost", true).await);
    assert!(bench.run(&sync).await);
    bench.disk.forget();
    assert_eq!(bench.left(), [pair("file", "old new")]);
}

#[tokio::test]
async fn operations_fail_as_told_and_only_those() {
    let bench = Bench::new();
    let path = bench.disk.live.join("file");
    let (file, other) = (path.display(), bench.disk.live.with_file_name("elsewhere"));
    assert!(bench.write("file", 0, "text", true).await);
    let commands = [
        format!("dd if=/dev/zero of={file} count=1 conv=notrunc"),
        format!("dd if={file} of=/dev/null"),
        format!("sync {file}"),
    ];
    let outcomes = async || {
        let mut outcomes = Vec::new();
        for command in &commands {
            outcomes.push(bench.run(command).await);
        }
        assert!(bench.run(&format!("dd if=/dev/zero of={} count=1 conv=fsync", other.display())).await);
        outcomes
    };
    for (operations, expected) in [
        (&[][..], [true, true, true]),
        (&[Operation::Write], [false, true, true]),
        (&[Operation::Name], [false, true, true]),
        (&[Operation::Read], [true, false, true]),
        (&[Operation::Sync], [true, true, false]),
        (&[Operation::Write, Operation::Read, Operation::Sync], [false, false, false]),
    ] {
        bench.disk.fail(operations, Errno::IO);
        assert_eq!(outcomes().await, expected, "{operations:?}");
    }
    bench.disk.mend();
    bench.disk.fail_only("other", &[Operation::Write], Errno::IO);
    assert_eq!(outcomes().await, [true, true, true]);
    assert!(!bench.write("other", 0, "text", false).await);
    bench.disk.mend();
    bench.disk.fail(&[Operation::Name], Errno::ROFS);
    assert!(!bench.run(&format!("unlink {file}")).await);
    assert!(path.exists());
}

#[test]
fn a_disk_that_writes_early_leaves_whole_sectors_of_either_time() {
    let directory = TempDir::new().unwrap();
    let disk = ForgetfulDisk::new(&directory.path().join("live"));
    let file = disk.live.join("file");
    let (mut olds, mut news, mut random) = (0, 0, Random(7));
    for _ in 0..50 {
        fs::write(&file, [b'o'; 8 * SECTOR_OCTETS]).unwrap();
        disk.all_is_synced();
        fs::write(&file, [b'n'; 8 * SECTOR_OCTETS]).unwrap();
        fs::write(disk.live.join("new"), "n").unwrap();
        disk.forget_some(&mut random);
        for sector in fs::read(&file).unwrap().chunks(SECTOR_OCTETS) {
            assert!(sector.iter().all(|octet| *octet == sector[0]));
            *if sector[0] == b'n' { &mut news } else { &mut olds } += 1;
        }
        let _ = fs::remove_file(disk.live.join("new"));
    }
    assert!(olds > 50 && news > 50, "{olds} {news}");
}
