//! A snapshot as one file: written, and opened on another machine.

use anyhow::{Context, bail, ensure};
use console::client::{CaptureStream, ClientError, TownSnapshot};
use mailbox_store::Unpacked;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use tar::{Archive, EntryType, Header};

/// The configuration, which this machine adds: the console does not read it.
const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
/// The name of the zone file that is written.
const ZONE: &str = "fdns.toml";
/// The longest manifest and configuration: a note of a snapshot, with space for people's eyes, and the zone.
const TEXT_OCTETS: u64 = 64 * 1024 * 1024;
/// Nobody else reads people's mail.
const PRIVATE: u32 = 0o600;

/// Writes what the console sends, with the configuration before it.
pub(super) async fn write(
    mut export: CaptureStream,
    config: Option<String>,
    file: &Path,
    failed: impl Fn(ClientError) -> anyhow::Error,
) -> anyhow::Result<()> {
    let is_output = file.as_os_str() == "-";
    ensure!(!is_output || !io::stdout().is_terminal(), "an archive is not for a terminal; give a file");
    let cannot_write = || format!("cannot write {}", file.display());
    let mut output: Box<dyn Write + Send> = if is_output {
        Box::new(io::stdout())
    } else {
        let options = OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE).clone();
        Box::new(options.open(file).with_context(cannot_write)?)
    };
    if let Some(config) = config {
        output.write_all(&entry(CONFIG, config.as_bytes())?).with_context(cannot_write)?;
    }
    while let Some(chunk) = export.chunk().await.map_err(&failed)? {
        output.write_all(&chunk).with_context(cannot_write)?;
    }
    output.flush().with_context(cannot_write)
}

/// A file of an archive that goes on.
fn entry(path: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_path(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(PRIVATE);
    header.set_cksum();
    let mut octets = [header.as_bytes().as_slice(), content].concat();
    octets.resize(octets.len().next_multiple_of(512), 0);
    Ok(octets)
}

/// What an archive has.
#[derive(Default)]
struct Contents {
    manifest: Option<TownSnapshot>,
    config: Option<String>,
    /// The stacks with the files of their stores, unpacked.
    stores: Vec<(String, PathBuf)>,
}

/// Makes a town of an archive; returns what to say of it.
pub(super) async fn open(file: &Path, state: &Path) -> anyhow::Result<String> {
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    DirBuilder::new().recursive(true).mode(0o700).create(state).with_context(|| cannot_make(state))?;
    let unpacked = tempfile::tempdir_in(state).with_context(|| cannot_make(state))?;
    let Contents { manifest, config, stores } =
        read(input, unpacked.path()).with_context(|| format!("{} is no snapshot of a town", file.display()))?;
    let snapshot = manifest.with_context(|| format!("{} has no {MANIFEST}; use another file", file.display()))?;
    let missing: Vec<_> = snapshot.stacks.iter().filter(|stack| !stores.iter().any(|(it, _)| it == *stack)).collect();
    ensure!(missing.is_empty(), "{} is not whole: the stores of {missing:?} are missing", file.display());
    let files = [(CONFIG, &config), (ZONE, &snapshot.manifest.zone)];
    let files: Vec<_> = files.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))).collect();
    let stacks: Vec<_> = stores.iter().map(|(stack, _)| stack.clone()).collect();
    for name in stacks.iter().map(String::as_str).chain(files.iter().map(|(name, _)| *name)) {
        let path = state.join(name);
        ensure!(!path.exists(), "{} is there already; give another --state DIR", path.display());
    }
    // All of it is made beside its place first: what breaks off leaves no town that lacks mail.
    let whole = unpacked.path().join("whole");
    fs::create_dir(&whole).with_context(|| cannot_make(state))?;
    for (stack, store) in stores {
        let (directory, now) = (whole.join(&stack), snapshot.manifest.now);
        let name = snapshot.name.clone();
        mailbox_store::unpack(Unpacked { directory, stack, name, file: store, now }).await?;
    }
    for (name, text) in &files {
        let path = whole.join(name);
        let written = File::options().write(true).create_new(true).mode(PRIVATE).open(&path);
        let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<_> = stacks.iter().map(String::as_str).chain(files.iter().map(|(name, _)| *name)).collect();
    put_in_place(&names, &whole, state).with_context(|| cannot_make(state))?;
    Ok(how_to_start(&snapshot, config.is_some(), state))
}

/// Moves these from one directory to another: all of them, or none.
fn put_in_place(names: &[&str], from: &Path, to: &Path) -> io::Result<()> {
    for (count, name) in names.iter().enumerate() {
        let Err(error) = fs::rename(from.join(name), to.join(name)) else { continue };
        for moved in &names[..count] {
            // The failure is told.
            let _ = fs::rename(to.join(moved), from.join(moved));
        }
        return Err(error);
    }
    File::open(to)?.sync_all()
}

fn cannot_make(state: &Path) -> String {
    format!("cannot write in {}; give another --state DIR", state.display())
}

/// Reads an archive, and puts the files of the stores into a directory. What it does not know is passed.
fn read(input: File, directory: &Path) -> anyhow::Result<Contents> {
    let mut contents = Contents::default();
    for entry in Archive::new(input).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let text = |entry: &mut dyn Read| {
            let mut text = String::new();
            entry.take(TEXT_OCTETS).read_to_string(&mut text).map(|_| text)
        };
        match path.as_str() {
            MANIFEST => contents.manifest = Some(serde_json::from_str(&text(&mut entry)?)?),
            CONFIG => contents.config = Some(text(&mut entry)?),
            _ => {
                let Some(stack) = path.strip_prefix("stores/").and_then(|name| name.strip_suffix(".db")) else {
                    continue;
                };
                // It becomes the name of a directory.
                if stack.parse::<mail_proto::Domain>().is_err() || stack.contains('/') {
                    bail!("it has a store of \"{stack}\", which is no name of a server");
                }
                let store = directory.join(format!("{}.db", contents.stores.len()));
                let octets = io::copy(&mut entry, &mut File::create_new(&store)?)?;
                ensure!(octets == entry.size(), "the store of {stack} breaks off");
                contents.stores.push((stack.to_owned(), store));
            }
        }
    }
    Ok(contents)
}

fn how_to_start(snapshot: &TownSnapshot, has_config: bool, state: &Path) -> String {
    let TownSnapshot { name, manifest, stacks, .. } = snapshot;
    let state = state.display();
    let files = match (has_config, manifest.zone.is_some()) {
        (true, true) => format!(" --config {state}/{CONFIG} --zone {state}/{ZONE}"),
        (true, false) => format!(" --config {state}/{CONFIG} --zone ZONE"),
        (false, true) => format!(" --config CONFIG --zone {state}/{ZONE}"),
        (false, false) => " --config CONFIG --zone ZONE".to_owned(),
    };
    let clock = if manifest.is_virtual { format!(" --virtual-clock={}", manifest.now) } else { String::new() };
    let seed = manifest.seed.as_ref().map(|seed| format!(", seed {seed}")).unwrap_or_default();
    format!(
        "opened {name} (of mailtown {}, {}{seed}) in {state}; start it:\n  mailtown --state {state}{files}{clock}\nand set its \
         faults and its time again at any moment:\n  mailtown snapshot restore {name}",
        manifest.version,
        stacks.join(" and "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_town_is_put_in_place_whole_or_not_at_all() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["a", "b"] {
            fs::write(from.path().join(name), name).unwrap();
        }
        put_in_place(&["a", "b", "missing"], from.path(), to.path()).unwrap_err();
        assert_eq!((names(from.path()), names(to.path())), (vec!["a".to_owned(), "b".to_owned()], vec![]));
        put_in_place(&["a", "b"], from.path(), to.path()).unwrap();
        assert_eq!((names(from.path()), names(to.path())), (vec![], vec!["a".to_owned(), "b".to_owned()]));
    }
}
