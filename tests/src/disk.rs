//! A disk that forgets and fails, for a store that is a process of its own.
//!
//! The store's libc is told to keep an image of what was synced ([`forgetful_disk.c`](disk/forgetful_disk.c)). A cut
//! of the power leaves that, and any part of the rest: a disk may have written it unasked.

#[cfg(test)]
mod tests;

use crate::Random;
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// What a disk writes at once or not at all.
const SECTOR_OCTETS: usize = 512;
/// The least that a file system writes at once, unless the power goes.
const BLOCK_OCTETS: usize = 4096;

/// What can be made to fail, in the order of `struct faults`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writing octets, and changing a file's size.
    Write,
    /// fsync. What was to be synced is lost, as on Linux: a later one that succeeds says nothing of it.
    Sync,
    /// Opening a file to write, and removing one.
    Name,
    /// Reading octets.
    Read,
}

/// After [`Operation`]: whether fsync lies.
const SWALLOW: usize = 4;
/// After that, and this long in octets: the end of the paths that faults are about.
const ONLY_OCTETS: usize = 44;

/// The disk of one directory.
#[derive(Debug)]
pub struct ForgetfulDisk {
    live: PathBuf,
    image: PathBuf,
    library: PathBuf,
    faults: File,
}

impl ForgetfulDisk {
    /// A disk for the directory `live`, which is created, with files of its own beside it.
    ///
    /// # Panics
    /// When there is no C compiler.
    pub fn new(live: &Path) -> Self {
        fs::create_dir_all(live).unwrap();
        let [image, library, faults] = ["image", "so", "faults"].map(|kind| live.with_added_extension(kind));
        compile(&library);
        fs::write(&faults, [0; size_of::<i32>() * (SWALLOW + 1) + ONLY_OCTETS]).unwrap();
        let faults = File::options().write(true).open(&faults).unwrap();
        let disk = Self { live: live.to_owned(), image, library, faults };
        disk.all_is_synced();
        disk
    }

    /// Makes a program's directory this disk.
    pub fn put_under(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &self.library).env("DISK_LIVE", &self.live).env("DISK_IMAGE", &self.image);
        program.env("DISK_FAULTS", self.live.with_added_extension("faults"));
    }

    /// Makes these operations fail from now on, and all others succeed.
    ///
    /// # Panics
    /// When the program that uses this disk cannot be told.
    pub fn fail(&self, operations: &[Operation], error: Errno) {
        for operation in [Operation::Write, Operation::Sync, Operation::Name, Operation::Read] {
            let fault = if operations.contains(&operation) { error.raw_os_error() } else { 0 };
            self.set(operation as usize, fault);
        }
    }

    /// As [`ForgetfulDisk::fail`], only for files of this name.
    ///
    /// # Panics
    /// As [`ForgetfulDisk::fail`].
    pub fn fail_only(&self, name: &str, operations: &[Operation], error: Errno) {
        let mut only = [0; ONLY_OCTETS];
        only[..name.len() + 1].copy_from_slice(format!("/{name}").as_bytes());
        self.faults.write_all_at(&only, (size_of::<i32>() * (SWALLOW + 1)) as u64).unwrap();
        self.fail(operations, error);
    }

    /// Makes everything succeed from now on.
    pub fn mend(&self) {
        self.fail(&[], Errno::IO);
        self.faults.write_all_at(&[0; ONLY_OCTETS], (size_of::<i32>() * (SWALLOW + 1)) as u64).unwrap();
    }

    /// Makes fsync answer that it succeeded, and do nothing.
    pub fn swallow_syncs(&self) {
        self.set(SWALLOW, 1);
    }

    fn set(&self, index: usize, value: i32) {
        self.faults.write_all_at(&value.to_ne_bytes(), (index * size_of::<i32>()) as u64).unwrap();
    }

    /// Makes it empty.
    ///
    /// # Panics
    /// When a program still writes.
    pub fn erase(&self) {
        fs::remove_dir_all(&self.live).unwrap();
        fs::create_dir(&self.live).unwrap();
        self.all_is_synced();
    }

    /// The power has been cut: only what was synced is left.
    ///
    /// # Panics
    /// When a program still writes.
    pub fn forget(&self) {
        fs::remove_dir_all(&self.live).unwrap();
        fs::rename(self.image.join("names"), &self.live).unwrap();
        self.all_is_synced();
    }

    /// The power has been cut: what was synced is left, and some of the rest. A disk may write before it is told to, in any
    /// order, and stop within a block.
    ///
    /// # Panics
    /// When a program still writes.
    pub fn forget_some(&self, random: &mut Random) {
        let inodes = self.live_inodes();
        let unit_octets = if random.percent(50) { SECTOR_OCTETS } else { BLOCK_OCTETS };
        let early = Early { unit_octets, percent: random.within(0..=100) };
        for name in files(&self.live).union(&files(&self.image.join("names"))) {
            let (live, kept) = (self.live.join(name), self.image.join("names").join(name));
            match (live.metadata(), kept.metadata()) {
                // One name, two files: the older one, which is synced, stays.
                (Ok(new), Ok(old)) if inodes.get(&old.ino()) != Some(&new.ino()) => {}
                (Ok(_), Ok(_)) => early.write(&live, &kept, random),
                (Ok(new), Err(_)) if early.happens(random) => {
                    self.name(new.ino(), &kept);
                    early.write(&live, &kept, random);
                }
                (Err(_), Ok(_)) if early.happens(random) => fs::remove_file(&kept).unwrap(),
                _ => {}
            }
        }
        self.forget();
    }

    /// Which inode of the live directory an inode of the image stands for.
    fn live_inodes(&self) -> BTreeMap<u64, u64> {
        let entries = fs::read_dir(self.image.join("inodes")).unwrap().map(Result::unwrap);
        let number = |entry: &fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
        entries.map(|entry| (entry.metadata().unwrap().ino(), number(&entry))).collect()
    }

    /// Gives what was synced of an inode of the live directory a name in the image.
    fn name(&self, inode: u64, kept: &Path) {
        let inode = self.image.join("inodes").join(inode.to_string());
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        File::options().create(true).append(true).open(&inode).unwrap();
        fs::hard_link(inode, kept).unwrap();
    }

    /// Makes an image of all that is there.
    fn all_is_synced(&self) {
        let _ = fs::remove_dir_all(&self.image);
        let [inodes, names] = ["inodes", "names"].map(|directory| self.image.join(directory));
        fs::create_dir_all(&inodes).unwrap();
        fs::create_dir_all(&names).unwrap();
        for path in paths(&self.live) {
            let (live, kept) = (self.live.join(&path), names.join(&path));
            if live.is_dir() {
                fs::create_dir(kept).unwrap();
                continue;
            }
            let inode = live.metadata().unwrap().ino();
            fs::copy(&live, inodes.join(inode.to_string())).unwrap();
            self.name(inode, &kept);
        }
    }
}

/// How much a disk has written that it was not told to.
struct Early {
    unit_octets: usize,
    percent: u64,
}

impl Early {
    fn happens(&self, random: &mut Random) -> bool {
        random.percent(self.percent)
    }

    /// Brings some of a file's octets into the image.
    fn write(&self, live: &Path, kept: &Path, random: &mut Random) {
        let (new, mut old) = (fs::read(live).unwrap(), fs::read(kept).unwrap());
        if self.happens(random) {
            old.resize(new.len(), 0);
        }
        for (new, old) in new.chunks(self.unit_octets).zip(old.chunks_mut(self.unit_octets)) {
            let common = new.len().min(old.len());
            if new[..common] != old[..common] && self.happens(random) {
                old[..common].copy_from_slice(&new[..common]);
            }
        }
        fs::write(kept, old).unwrap();
    }
}

/// All files of a directory, by their paths in it.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    paths(directory).into_iter().filter(|path| directory.join(path).is_file()).collect()
}

/// All files and directories of a directory, by their paths in it, each after what it is in.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = PathBuf::from(entry.file_name());
        let below = if entry.file_type().unwrap().is_dir() { paths(&entry.path()) } else { Vec::new() };
        found.push(name.clone());
        found.extend(below.iter().map(|below| name.join(below)));
    }
    found
}

fn compile(library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/disk/forgetful_disk.c");
    let mut compiler = std::process::Command::new(std::env::var_os("CC").unwrap_or_else(|| OsString::from("gcc")));
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wno-format-truncation", "-o"]);
    let output = compiler.arg(library).arg(source).output().expect("gcc is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
