//! The workspace's binaries, as they are now.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// All that a town is made of.
const NAMES: [&str; 7] =
    ["agent", "console", "mailbox-store", "mailtown", "pop3-gateway", "pseudo-dns", "smtp-gateway"];

#[derive(Deserialize)]
struct BuildMessage {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The binary of this name, built anew if its source has changed. `cargo test` builds only the binaries of the packages
/// that it tests; with `-p town-tests` these are none of the services.
///
/// # Panics
/// When it cannot be built.
pub fn path(name: &str) -> &'static Path {
    static BINARIES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let binaries = BINARIES.get_or_init(build);
    binaries.get(name).unwrap_or_else(|| panic!("no binary {name} among {:?}", binaries.keys()))
}

/// Selects what `cargo test` selects, all packages and their development dependencies, and so the same features:
/// then all that is left to do is to see that nothing is.
fn build() -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace", "--test", "system", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(NAMES.iter().flat_map(|name| ["--bin", name]));
    command.args(["--profile", &profile()]).current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "the binaries cannot be built: {}", output.status);
    let messages = output.stdout.split(|&octet| octet == b'\n').filter(|line| !line.is_empty());
    messages
        .filter_map(|line| {
            let message: BuildMessage = serde_json::from_slice(line).unwrap();
            Some((message.target?.name, message.executable?))
        })
        .collect()
}

/// The profile that this test was built with: its directory's name, except `dev`.
fn profile() -> String {
    let test = std::env::current_exe().unwrap();
    match test.ancestors().nth(2).and_then(Path::file_name).and_then(|name| name.to_str()) {
        None | Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}
