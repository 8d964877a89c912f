//! What a native town logs, and what it does on signals.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use service_kit::cli;
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, PATIENCE, Plan, Site, USR, USR1, binaries, eventually, memory_kib};

/// `mailtown` as a process; it is killed when this is dropped.
pub(crate) struct NativeTown {
    pub(crate) site: Site,
    process: Child,
}

impl NativeTown {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(plan: Plan) -> Self {
        Self::run(plan.write(), Command::new(binaries::path("mailtown"))).await
    }

    /// As [`NativeTown::start`], with its state on the file system that has this directory.
    pub(crate) async fn start_on(plan: Plan, directory: &Path) -> Self {
        let site = plan.write();
        symlink(directory, site.state()).unwrap();
        Self::run(site, Command::new(binaries::path("mailtown"))).await
    }

    /// As [`NativeTown::start`], and logs more than usual.
    pub(crate) async fn start_verbose(plan: Plan) -> Self {
        let mut command = Command::new(binaries::path("mailtown"));
        command.args(["--log", "debug"]);
        Self::run(plan.write(), command).await
    }

    /// Stops it in order, and starts it again after `meanwhile`.
    pub(crate) async fn restart(&mut self, meanwhile: impl FnOnce()) {
        self.signal(Signal::TERM);
        tokio::time::timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap();
        meanwhile();
        self.process = spawn(&self.site, Command::new(binaries::path("mailtown")));
        self.ready().await;
    }

    /// As [`NativeTown::start`], with at most this many file descriptors.
    pub(crate) async fn start_with_descriptors(plan: Plan, descriptors: usize) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
        command.arg(binaries::path("mailtown"));
        Self::run(plan.write(), command).await
    }

    async fn run(site: Site, command: Command) -> Self {
        let process = spawn(&site, command);
        let mut town = Self { site, process };
        town.ready().await;
        town
    }

    async fn ready(&mut self) {
        for server in [EXMAIL, GMAIL] {
            let address = self.site.address(server, PortKey::SmtpHttp);
            eventually("the town is ready", PATIENCE, async || {
                assert_eq!(self.process.try_wait().unwrap(), None, "it has ended");
                cli::ready(address).await.ok()
            })
            .await;
        }
    }

    /// How much processor time it has used (proc_pid_stat(5)), in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        /// The unit of the file, on all usual machines.
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id().unwrap())).unwrap();
        // The name, which may contain anything, is in parentheses; user and system time are the 14th and 15th field.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
    }

    /// As [`town_tests::memory_kib`].
    pub(crate) fn memory_kib(&self, what: &str) -> u64 {
        memory_kib(&self.process, what)
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.site.directory().join("log")
    }

    /// Waits until a line with all of these texts was logged.
    pub(crate) async fn logged(&self, texts: &[&str]) {
        eventually(&format!("a line with {texts:?}"), PATIENCE, async || {
            let log = fs::read_to_string(self.log()).unwrap();
            log.lines().any(|line| texts.iter().all(|text| line.contains(text))).then_some(())
        })
        .await;
    }
}

fn spawn(site: &Site, mut command: Command) -> Child {
    let log = File::options().create(true).append(true).open(site.directory().join("log")).unwrap();
    command.arg("--config").arg(site.config()).arg("--zone").arg(site.zone()).arg("--state").arg(site.state());
    command.env_remove("MAILTOWN_LOG").env_remove("MAILTOWN_TOKEN").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

#[tokio::test]
async fn every_line_says_what_happens_and_to_which_service() {
    let mut town = NativeTown::start(Plan::default()).await;
    let table = [
        ("smtp-gateway", "SMTP", PortKey::Smtp),
        ("smtp-gateway", "HTTP", PortKey::SmtpHttp),
        ("pop3-gateway", "POP3", PortKey::Pop),
        ("pop3-gateway", "HTTP", PortKey::PopHttp),
        ("mailbox-store", "HTTP", PortKey::Store),
        ("pseudo-dns", "DNS", PortKey::Dns),
        ("pseudo-dns", "HTTP", PortKey::DnsHttp),
    ];
    for server in [EXMAIL, GMAIL] {
        for (service, protocol, key) in table {
            let address = town.site.address(server, key);
            let whose = format!("service=\"{service}\" server=\"{server}\"");
            town.logged(&[
                &whose,
                "service.listening",
                &format!("protocol=\"{protocol}\""),
                &format!("address={address}"),
            ])
            .await;
        }
    }
    town.signal(Signal::TERM);
    let status = tokio::time::timeout(PATIENCE, town.process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    town.logged(&["service.stopping", "SIGTERM"]).await;
    for (service, _, _) in table {
        town.logged(&[&format!("service=\"{service}\" server=\"{EXMAIL}\""), "service.stopped"]).await;
    }
    let log = fs::read_to_string(town.log()).unwrap();
    let nobodys = log.lines().filter(|line| !line.contains("service{service=") && !line.contains("stopping"));
    assert_eq!(nobodys.collect::<Vec<_>>(), Vec::<&str>::new(), "each line has an owner");
}

#[tokio::test]
async fn sighup_stops_nobody() {
    let mut town = NativeTown::start(Plan::default()).await;
    town.signal(Signal::HUP);
    town.logged(&["service.reload", "SIGHUP"]).await;
    town.ready().await;
}

/// What a program finds in the lines of a town: one message, over both of its hops, by its ids.
#[tokio::test]
async fn one_message_can_be_followed_by_its_ids() {
    let mut command = Command::new(binaries::path("mailtown"));
    command.args(["--log", "info,mailbox_store=debug", "--log-format", "json"]);
    let town = NativeTown::run(Plan::default().write(), command).await;
    town.site.send(USR1, &[USR], b"Subject: followed\r\n\r\nsecret body\r\n").await;
    assert_eq!(town.site.mail_of(USR, 1).await.len(), 1);
    let lines = eventually("the message was relayed", PATIENCE, async || {
        let log = fs::read_to_string(town.log()).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().any(|line| line["fact"] == "relay.relayed").then_some(lines)
    })
    .await;
    let facts = |name: &str, server: &str| {
        let is_it = |line: &&Value| line["fact"] == name && line["server"] == server;
        lines.iter().filter(is_it).collect::<Vec<_>>()
    };
    for server in [EXMAIL, GMAIL] {
        let (accepted, submitted) = (facts("smtp.accepted", server), facts("store.submitted", server));
        assert_eq!((accepted.len(), submitted.len()), (1, 1), "{lines:#?}");
        for field in ["connection", "message_id"] {
            assert_eq!(accepted[0][field], submitted[0][field], "{field}");
        }
        assert_eq!(accepted[0]["connection"].as_str().unwrap().len(), 12);
        assert!(accepted[0]["peer"].is_string() && accepted[0]["seconds"].is_number(), "{:?}", accepted[0]);
    }
    let relayed = facts("relay.relayed", EXMAIL);
    assert_eq!(relayed[0]["message_id"], facts("smtp.accepted", EXMAIL)[0]["message_id"]);
    let log = fs::read_to_string(town.log()).unwrap();
    assert!(!log.contains("secret body"), "no body: {log}");
}

/// As `mailtown check` tells it: at the start, and after each change of the configuration.
#[tokio::test]
async fn a_file_that_the_relay_cannot_read_is_told_with_its_line() {
    let town = NativeTown::start(Plan::default().relay("ca = \"lost.pem\"")).await;
    let whose = format!("service=\"smtp-gateway\" server=\"{EXMAIL}\"");
    let told = |config: &str, file: &str| {
        let line = 1 + config.lines().position(|line| line.starts_with("ca = ")).unwrap();
        [format!("{}:{line}: relay.ca: ", town.site.config().display()), file.to_owned()]
    };
    let config = fs::read_to_string(town.site.config()).unwrap();
    let [place, file] = told(&config, "lost.pem");
    town.logged(&[&whose, "WARN", "relay.file_unusable", &place, &file]).await;
    let changed = format!("# A comment.\n{}", config.replace("lost.pem", "elsewhere.pem"));
    fs::write(town.site.config(), &changed).unwrap();
    let [place, file] = told(&changed, "elsewhere.pem");
    town.logged(&[&whose, "WARN", "relay.file_unusable", &place, &file]).await;
}
