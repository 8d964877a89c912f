//! Processes that the benchmark starts, watches and stops, by their own ids.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to start to listen, and to stop once it was told to.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);
/// For how long a process that is at rest has computed nothing, one hundredth of a second aside.
const REST: Duration = Duration::from_millis(300);
/// How much of a log is shown when a process fails.
const LOG_LINES: usize = 10;
/// A town is measured without a console, unless that is asked for: two towns run at once.
const NO_CONSOLE: &str = "\n[console]\nenabled = false\n";

/// A running process. It is stopped when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stop: Option<Command>,
}

impl Process {
    /// Starts a command, with its standard error in the file `log`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn start(name: &str, command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(name, command, log, Stdio::null())
    }

    /// As [`Process::start`], for a process that says a line once it is ready.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn start_speaking(name: &str, command: &mut Command, log: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(name, command, log, Stdio::piped())
    }

    fn start_with(name: &str, command: &mut Command, log: PathBuf, stdout: Stdio) -> anyhow::Result<Self> {
        let file = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} cannot be started ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log, stop: None })
    }

    /// The same process, which `stop` will ask to end.
    pub(crate) fn stopped_by(mut self, stop: Command) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Waits for the first line on its standard output.
    ///
    /// # Errors
    /// When the process ends without one.
    pub(crate) fn first_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if let Some(stdout) = self.child.stdout.as_mut() {
            BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        }
        if line.is_empty() { Err(self.failure("ended at its start")) } else { Ok(line) }
    }

    /// Waits until somebody listens at this address.
    ///
    /// # Errors
    /// When the process ends, or takes too long.
    pub(crate) fn await_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if started.elapsed() > PATIENCE {
                return Err(self.failure(&format!("does not listen on {address}")));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The memory it has resident, in KiB.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(number.parse()?)
    }

    /// Waits until it has computed nothing for [`REST`]: after its start it may still hash passwords.
    ///
    /// # Errors
    /// When it is gone, or does not come to rest.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut before = processor_ticks(self.child.id())?;
        loop {
            tokio::time::sleep(REST).await;
            let now = processor_ticks(self.child.id())?;
            if now <= before + 1 {
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "{}", self.failure("does not come to rest"));
            before = now;
        }
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        anyhow::anyhow!("{} {what}\n{tail}", self.name)
    }

    fn ended(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(POLL);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        match &mut self.stop {
            Some(stop) => drop(stop.stdout(Stdio::null()).stderr(Stdio::null()).status()),
            None => {
                if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
        }
        if !self.ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The time that this program has used of the processors.
///
/// # Errors
/// When the system does not tell it.
pub(crate) fn own_processor_time() -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(10 * processor_ticks(std::process::id())?))
}

/// The time that a process has used of the processors, in hundredths of a second.
fn processor_ticks(process: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program, in parentheses, may hold anything. User and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
    fields.map(|ticks| Ok(ticks.parse::<u64>()?)).sum()
}

/// The programs that are measured.
const MEASURED: [&str; 3] = ["mailtown", "smtp-gateway", "mailbox-store"];

/// Our own programs, in release builds.
#[derive(Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    /// What the configuration of their towns says besides.
    pub(crate) settings: String,
}

impl Binaries {
    /// Builds what is to be measured, with the profile of this program, beside it.
    ///
    /// # Errors
    /// When it does not compile.
    pub(crate) fn build() -> anyhow::Result<Self> {
        anyhow::ensure!(!cfg!(debug_assertions), "measure release builds: cargo run --release -p town-bench");
        let directory = env::current_exe()?.parent().map(Path::to_owned).context("this program is nowhere")?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--release", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"));
        build.args(MEASURED.iter().flat_map(|program| ["-p", program]));
        // `target/release` is below the directory that cargo calls its target.
        build.env("CARGO_TARGET_DIR", directory.parent().unwrap_or(&directory));
        let status = build.status().context("cargo cannot be started")?;
        anyhow::ensure!(status.success(), "mailtown does not compile");
        Ok(Self { directory, settings: NO_CONSOLE.to_owned() })
    }

    /// Those of another build of mailtown, in this directory.
    ///
    /// # Errors
    /// When one is missing.
    pub(crate) fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        for program in MEASURED {
            let file = directory.join(program);
            anyhow::ensure!(file.is_file(), "{} is missing; build it with cargo build --release", file.display());
        }
        let binaries = Self { directory: directory.canonicalize()?, settings: String::new() };
        let settings = if binaries.know_console()? { NO_CONSOLE } else { "" };
        Ok(Self { settings: settings.to_owned(), ..binaries })
    }

    /// None, for tests that start nothing.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self { directory: PathBuf::new(), settings: NO_CONSOLE.to_owned() }
    }

    /// The same, without records of sessions.
    pub(crate) fn without_records(&self) -> Self {
        let settings = format!("{NO_CONSOLE}\n[trace]\nenabled = false\n");
        Self { directory: self.directory.clone(), settings }
    }

    /// The same, with a console that follows everything.
    pub(crate) fn with_console(&self) -> Self {
        Self { directory: self.directory.clone(), settings: "\n[console]\nport = 0\n".to_owned() }
    }

    /// Whether this build has a console. An earlier one does not know the table in the configuration.
    fn know_console(&self) -> anyhow::Result<bool> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config.toml");
        fs::write(&config, NO_CONSOLE)?;
        let check = self.command("mailtown").arg("--config").arg(config).arg("check").output()?;
        Ok(!String::from_utf8_lossy(&check.stderr).contains("unknown field"))
    }

    /// One of them.
    pub(crate) fn command(&self, name: &str) -> Command {
        Command::new(self.directory.join(name))
    }
}
