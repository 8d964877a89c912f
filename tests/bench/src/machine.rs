//! The machine, as far as it explains the results.

use crate::statistics::Summary;
use anyhow::Context;
use serde::Serialize;
use std::{
    fs::{self, File, Permissions},
    io::{self, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::Instant,
};
use tempfile::TempDir;

/// How often the disk is asked.
const FSYNCS: usize = 50;

/// What ran the benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many of it there are.
    pub(crate) processors: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The file system that queues and maildrops are on.
    pub(crate) file_system: String,
    /// How many milliseconds it takes there to make 4 KiB durable that were appended to a file.
    pub(crate) fsync_ms: f64,
    /// The same where they overwrite what was there, as in a write-ahead log.
    pub(crate) fsync_overwriting_ms: f64,
    /// How many processes wanted to run in the minute before: beyond 0.5, others disturb.
    pub(crate) load_before: f64,
}

impl Machine {
    /// Describes this machine, with queues and maildrops in `state`.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(crate) fn describe(state: &Path) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (fsync_ms, fsync_overwriting_ms) = fsync_ms(state)?;
        let cpu_info = read("/proc/cpuinfo");
        let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), &state.canonicalize()?),
            fsync_ms,
            fsync_overwriting_ms,
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }
}

/// A new directory that Postfix's and Dovecot's users may pass through.
///
/// # Errors
/// When it cannot be created.
pub(crate) fn state_directory(parent: &Path) -> anyhow::Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("town-bench-")
        .tempdir_in(parent)
        .with_context(|| format!("no directory can be created in {}; choose another with --state", parent.display()))?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// The type of the file system that a path is on: that of the longest mount point above it.
fn file_system(mounts: &str, path: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or("unknown", |(_, name)| name).to_owned()
}

/// Appending, then overwriting.
fn fsync_ms(directory: &Path) -> anyhow::Result<(f64, f64)> {
    let path = directory.join("fsync");
    let mut file = File::create(&path)?;
    let appending = synced_writes(&mut file, File::sync_all)?;
    file.rewind()?;
    let overwriting = synced_writes(&mut file, File::sync_data)?;
    fs::remove_file(path)?;
    Ok((appending, overwriting))
}

/// The median time of a write made durable, in milliseconds.
fn synced_writes(file: &mut File, sync: fn(&File) -> io::Result<()>) -> anyhow::Result<f64> {
    let mut milliseconds = Vec::new();
    for _ in 0..FSYNCS {
        file.write_all(&[0; 4096])?;
        let begun = Instant::now();
        sync(file)?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Summary::of(milliseconds).context("no write")?.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /var/tmp tmpfs rw 0 0\n/dev/b /var xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/var/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/var/lib")), "xfs");
        assert_eq!(file_system(mounts, Path::new("/vary")), "ext4");
    }
}
