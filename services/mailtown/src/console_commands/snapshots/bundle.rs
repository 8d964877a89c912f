//! A snapshot as one file: written, and opened on another machine.

use super::opened::OpenedTown;
use crate::{
    new::New,
    output::{NO_OUTPUT, printable},
};
use anyhow::{Context, anyhow, bail, ensure};
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
pub(super) const CONFIG: &str = "config.toml";
const MANIFEST: &str = "manifest.json";
/// The name of the zone file that is written.
pub(super) const ZONE: &str = "fdns.toml";
/// The longest manifest and configuration: a note of a snapshot, with space for people's eyes, and the zone.
const TEXT_OCTETS: u64 = 64 * 1024 * 1024;
/// Nobody else reads people's mail.
const PRIVATE: u32 = 0o600;

/// Writes what the console sends, with the configuration before it. Returns how many octets a file has; `None` stands for
/// standard output.
pub(super) async fn write(
    mut export: CaptureStream,
    config: Option<String>,
    file: &Path,
    failed: impl Fn(ClientError) -> anyhow::Error,
) -> anyhow::Result<Option<u64>> {
    let is_output = file.as_os_str() == "-";
    ensure!(!is_output || !io::stdout().is_terminal(), "an archive is not for a terminal; give a file");
    let cannot_write = || if is_output { NO_OUTPUT.to_owned() } else { format!("cannot write {}", file.display()) };
    let mut new = None;
    let mut output: Box<dyn Write + Send> = if is_output {
        Box::new(io::stdout())
    } else {
        let (opened, made) = create(file)?;
        new = made;
        Box::new(opened)
    };
    let mut octets = 0;
    if let Some(config) = config {
        let entry = entry(CONFIG, config.as_bytes())?;
        output.write_all(&entry).with_context(cannot_write)?;
        octets += entry.len() as u64;
    }
    while let Some(chunk) = export.chunk().await.map_err(&failed)? {
        output.write_all(&chunk).with_context(cannot_write)?;
        octets += chunk.len() as u64;
    }
    output.flush().with_context(cannot_write)?;
    if let Some(new) = new {
        new.keep();
    }
    Ok((!is_output).then_some(octets))
}

/// Makes a file, which must be new. A pipe and a device are written to as they are.
fn create(file: &Path) -> anyhow::Result<(File, Option<New>)> {
    let options = OpenOptions::new().write(true).mode(PRIVATE).clone();
    let cannot_write = || format!("cannot write {}", file.display());
    if file.metadata().is_ok_and(|it| !it.is_file()) {
        return Ok((options.open(file).with_context(cannot_write)?, None));
    }
    match options.clone().create_new(true).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists; remove it, or give another name", file.display())
        }
        opened => Ok((opened.with_context(cannot_write)?, Some(New::file(file)))),
    }
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

/// Makes a town of an archive. What cannot be opened leaves no new directory.
pub(super) async fn open(file: &Path, state: &Path) -> anyhow::Result<OpenedTown> {
    let name = printable(&file.display().to_string());
    let input = File::open(file).with_context(|| format!("cannot read {name}"))?;
    // Dropped last, when what is in it is gone.
    let new = New::directory(state);
    DirBuilder::new().recursive(true).mode(0o700).create(state).with_context(|| cannot_make(state))?;
    let unpacked = tempfile::tempdir_in(state).with_context(|| cannot_make(state))?;
    let Contents { manifest, config, stores } =
        read(input, unpacked.path()).with_context(|| format!("{name} is no export of a town"))?;
    let snapshot = manifest.with_context(|| format!("{name} is no export of a town: it has no {MANIFEST}"))?;
    let missing: Vec<_> = snapshot.stacks.iter().filter(|stack| !stores.iter().any(|(it, _)| it == *stack)).collect();
    ensure!(missing.is_empty(), "{name} is not whole: the stores of {missing:?} are missing");
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
    new.keep();
    Ok(OpenedTown::new(&snapshot, config.is_some(), state))
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

/// Why an archive cannot be read. It has nothing of what is in the file, which may be anything.
fn unreadable(error: io::Error) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    let of_system =
        error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error);
    match of_system {
        Some(code) => io::Error::from_raw_os_error(code).into(),
        None => anyhow!("it is no tar archive, or it breaks off"),
    }
}

/// Reads an archive, and puts the files of the stores into a directory. What it does not know is passed.
fn read(input: File, directory: &Path) -> anyhow::Result<Contents> {
    let mut contents = Contents::default();
    for entry in Archive::new(input).entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        let text = |entry: &mut dyn Read| {
            let mut octets = Vec::new();
            entry.take(TEXT_OCTETS).read_to_end(&mut octets).map_err(unreadable)?;
            String::from_utf8(octets).map_err(|_| anyhow!("its {path} is no text"))
        };
        match path.as_str() {
            MANIFEST => {
                let manifest = serde_json::from_str(&text(&mut entry)?);
                contents.manifest = Some(manifest.map_err(|_| anyhow!("its {MANIFEST} is none of mailtown"))?);
            }
            CONFIG => contents.config = Some(text(&mut entry)?),
            _ => {
                let Some(stack) = path.strip_prefix("stores/").and_then(|name| name.strip_suffix(".db")) else {
                    continue;
                };
                // It becomes the name of a directory.
                if stack.parse::<mail_proto::Domain>().is_err() || stack.contains('/') {
                    bail!("it has a store whose name is no name of a server");
                }
                let store = directory.join(format!("{}.db", contents.stores.len()));
                let octets = io::copy(&mut entry, &mut File::create_new(&store)?).map_err(unreadable)?;
                ensure!(octets == entry.size(), "the store of {stack} breaks off");
                contents.stores.push((stack.to_owned(), store));
            }
        }
    }
    Ok(contents)
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

    /// Opens a file with this content as a town in a new directory. Returns why it cannot be, and whether the directory stays.
    async fn opened(content: &[u8]) -> (String, bool) {
        let directory = tempfile::tempdir().unwrap();
        let (file, state) = (directory.path().join("town.tar"), directory.path().join("a/b"));
        fs::write(&file, content).unwrap();
        let error = open(&file, &state).await.unwrap_err();
        let told = format!("{error:#}").replace(&file.display().to_string(), "FILE");
        (told, directory.path().join("a").exists())
    }

    #[tokio::test]
    async fn what_is_no_export_is_one_line_without_its_content_and_leaves_nothing() {
        let archive = |path: &str, content: &str| entry(path, content.as_bytes()).unwrap();
        for (content, expected) in [
            ("root:x:0:0:\u{1b}[1m\n".repeat(100).into_bytes(), "it is no tar archive, or it breaks off"),
            (Vec::new(), "it has no manifest.json"),
            (archive("config.toml", "secret"), "it has no manifest.json"),
            (archive("config.toml", "secret")[..515].to_vec(), "it is no tar archive, or it breaks off"),
            (archive("manifest.json", "{\"secret\": 1}"), "its manifest.json is none of mailtown"),
            (archive("stores/\u{1b}.db", "x"), "it has a store whose name is no name of a server"),
        ] {
            assert_eq!(opened(&content).await, (format!("FILE is no export of a town: {expected}"), false));
        }
    }

    #[tokio::test]
    async fn a_directory_that_was_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let error = open(Path::new("/proc/self"), directory.path()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "/proc/self is no export of a town: Is a directory (os error 21)");
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("town.tar");
        let (file, new) = create(&path).unwrap();
        drop((file, new));
        assert!(!path.exists(), "what breaks off is removed");
        let (_, new) = create(&path).unwrap();
        new.unwrap().keep();
        let expected = format!("{} exists; remove it, or give another name", path.display());
        assert_eq!(create(&path).unwrap_err().to_string(), expected);
        assert!(path.exists());
        create(Path::new("/dev/null")).unwrap();
    }
}
