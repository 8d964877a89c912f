//! The agent's binary on a pipe, and servers that follow a script.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};
use tempfile::TempDir;

/// What takes longer will never happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Who runs the agent.
const WHO: [&str; 2] = ["-e", "usr1@mail.sustech.edu.cn"];

/// Plays each script against one connection. `S:` lines are sent; `C:` lines must arrive, all of them; of a `C*` line, only
/// its beginning is given.
pub(crate) struct Server {
    pub(crate) port: u16,
    playing: JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(scripts: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let playing = thread::spawn(move || {
            for script in scripts {
                play(listener.accept().unwrap().0, script);
            }
        });
        Self { port, playing }
    }

    /// Ends the test unless every script was played to its end.
    pub(crate) fn finish(self) {
        self.playing.join().unwrap();
    }
}

fn play(mut stream: TcpStream, script: &str) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        match line.split_at(2) {
            ("S:", text) => {
                stream.write_all(format!("{}\r\n", text.strip_prefix(' ').unwrap_or(text)).as_bytes()).unwrap()
            }
            ("C:", text) => {
                let mut received = String::new();
                reader.read_line(&mut received).unwrap();
                assert_eq!(received, format!("{}\r\n", text.strip_prefix(' ').unwrap_or(text)), "{script}");
            }
            ("C*", text) => {
                let mut received = String::new();
                reader.read_line(&mut received).unwrap();
                assert!(received.starts_with(text.trim_start()), "{received:?} in {script}");
            }
            _ => panic!("{line}"),
        }
    }
    // Closed with octets unread, the connection would be reset, and what was said last could be lost.
    stream.shutdown(Shutdown::Write).unwrap();
    io::copy(&mut reader, &mut io::sink()).unwrap();
}

/// A configuration and a zone file with these ports, in a directory of their own.
pub(crate) struct Town {
    pub(crate) directory: TempDir,
}

impl Town {
    pub(crate) fn new(smtp: u16, pop: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = r#"
            profile = "tutorial"
            [server."exmail.qq.com"]
            smtp = 1025
            pop = 3110
            [agent."mail.sustech.edu.cn"]
            smtp = "smtp.exmail.qq.com"
            pop = "pop.exmail.qq.com"
        "#;
        fs::write(directory.path().join("config.toml"), config).unwrap();
        let zone =
            format!("[MX]\n[P]\n\"smtp.exmail.qq.com.\" = \"{smtp}\"\n\"pop.exmail.qq.com.\" = \"localhost:{pop}\"\n");
        fs::write(directory.path().join("fdns.toml"), zone).unwrap();
        Self { directory }
    }

    /// A town of profile `rfc`, the default.
    pub(crate) fn rfc(smtp: u16, pop: u16) -> Self {
        let town = Self::new(smtp, pop);
        let path = town.directory.path().join("config.toml");
        let config = fs::read_to_string(&path).unwrap().replace("\"tutorial\"", "\"rfc\"");
        fs::write(&path, config).unwrap();
        town
    }

    /// The configuration says that a pseudo-dns is at this port.
    pub(crate) fn with_dns(self, port: u16) -> Self {
        let path = self.directory.path().join("config.toml");
        let config = fs::read_to_string(&path).unwrap().replace("pop = 3110", &format!("pop = 3110\ndns = {port}"));
        fs::write(&path, config).unwrap();
        self
    }

    /// Runs `agent -e usr1@… <arguments>` and feeds it `input`: exit code, standard output, standard error.
    pub(crate) fn agent(&self, arguments: &str, input: impl AsRef<[u8]>) -> (i32, String, String) {
        self.agent_in(&[], arguments, input)
    }

    /// As [`Town::agent`], with these environment variables.
    pub(crate) fn agent_in(
        &self,
        environment: &[(&str, &str)],
        arguments: &str,
        input: impl AsRef<[u8]>,
    ) -> (i32, String, String) {
        let files = ["--config", "config.toml", "--zone", "fdns.toml"];
        let arguments: Vec<_> = WHO.into_iter().chain(files).chain(arguments.split_whitespace()).collect();
        self.run(environment, &arguments, input.as_ref())
    }

    /// As [`Town::agent`], without naming the files of the town.
    pub(crate) fn agent_without_files(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> (i32, String, String) {
        self.run(&[], &[&WHO, arguments].concat(), input.as_ref())
    }

    /// Runs `agent <arguments>` without input.
    pub(crate) fn agent_as_given(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run(&[], arguments, b"")
    }

    fn run(&self, environment: &[(&str, &str)], arguments: &[&str], input: &[u8]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        for variable in ["EMAIL", "PASSWORD", "CONFIG", "ZONE", "HOSTS", "DNS_SERVERS", "PORTS_FILE"] {
            command.env_remove(format!("MAILTOWN_{variable}"));
        }
        let mut agent = command
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read everything.
        let _ = agent.stdin.take().unwrap().write_all(input);
        let output = agent.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The dialogue, which always ends well: what it printed.
    pub(crate) fn dialogue(&self, input: &str) -> String {
        let (code, output, errors) = self.agent("-p pass1", input);
        assert_eq!((code, errors.as_str()), (0, ""), "{output}");
        output
    }
}

/// A port where nobody listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
