//! A PostgreSQL server of Debian's, of our own: in a temporary directory, on a free port of the loopback interface.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Runs a server until its standard input ends, which it does with our process however that ends. `stop` pulls the
/// plug, `start` plugs it in again. What is durable by accident only would not be noticed, so commits do not wait for
/// the disk unless the session says so.
const SCRIPT: &str = r#"
set -eu
bin=$1 port=$2
cd /
dir=$(mktemp -d "${TMPDIR:-/tmp}/mailtown-postgres.XXXXXX")
ctl() { "$bin/pg_ctl" --pgdata="$dir/data" "$@" >>"$dir/log" 2>&1; }
start() {
    ctl --wait --log="$dir/log" --options="-p $port -k $dir -c listen_addresses=127.0.0.1 -c max_connections=400 \
        -c fsync=on -c synchronous_commit=off" start
}
trap 'ctl --mode=immediate stop || true; rm -rf "$dir"' EXIT
printf %s s3cret >"$dir/password"
"$bin/initdb" --pgdata="$dir/data" --username=mailtown --pwfile="$dir/password" --auth=scram-sha-256 --no-sync \
    --locale=C.UTF-8 >"$dir/log" 2>&1 && start || { cat "$dir/log" >&2; exit 1; }
echo ready
# Whoever waits for the end of our output is not to wait for us.
exec 2>/dev/null
while read -r command; do
    case $command in
        stop) ctl --mode=immediate --wait stop ;;
        start) start ;;
    esac
    echo done
done
"#;

/// A running server.
pub(crate) struct Server {
    port: u16,
    databases: AtomicU32,
    /// Held by whoever talks to the script.
    script: Mutex<Script>,
}

struct Script {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// The server that all tests of this binary share, each with a database of its own. `None`, with a word about it,
    /// where PostgreSQL is not installed; only in CI that is a failure.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A server of one's own.
    pub(crate) fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            let missing = "no /usr/lib/postgresql/*/bin/initdb: apt-get install postgresql";
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{missing}");
            eprintln!("skipped: {missing}");
            return None;
        };
        // Another may take the port before the server does.
        let started = (0..5).find_map(|_| Script::start(&binaries, free_port()));
        let (script, port) = started.expect("PostgreSQL starts");
        Some(Self { port, databases: AtomicU32::new(0), script: Mutex::new(script) })
    }

    /// The URL of a database of this name.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://mailtown:s3cret@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a new database.
    pub(crate) async fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let (client, connection) =
            tokio_postgres::connect(&self.url("postgres"), tokio_postgres::NoTls).await.expect("the server answers");
        let connection = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a new database");
        drop(client);
        connection.await.expect("no panic").expect("a clean end");
        self.url(&name)
    }

    /// Ends the server as a loss of power would.
    #[allow(dead_code, reason = "not every test binary does")]
    pub(crate) fn stop(&self) {
        self.command("stop");
    }

    /// Starts it again where it was.
    #[allow(dead_code, reason = "not every test binary does")]
    pub(crate) fn start_again(&self) {
        self.command("start");
    }

    fn command(&self, command: &str) {
        let mut script = self.script.lock().unwrap();
        writeln!(script.commands.as_ref().unwrap(), "{command}").unwrap();
        assert_eq!(script.answer(), "done\n", "{command}");
    }
}

impl Script {
    fn start(binaries: &PathBuf, port: u16) -> Option<(Self, u16)> {
        // The server refuses to run as root.
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
        let mut command = if is_root { Command::new("setpriv") } else { Command::new("sh") };
        if is_root {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "sh"]);
        }
        command.args(["-c", SCRIPT, "sh"]).arg(binaries).arg(port.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("TMPDIR");
        let mut process = command.spawn().expect("sh and setpriv");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut script = Self { commands: process.stdin.take(), process, answers };
        (script.answer() == "ready\n").then_some((script, port))
    }

    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer of the script");
        answer
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.commands = None;
        // It stops the server first.
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Of the newest version that is installed.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let binaries = versions.flatten().map(|version| version.path().join("bin"));
    binaries.filter(|path| path.join("initdb").exists()).max()
}
