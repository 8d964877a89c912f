//! A town of eight processes, each of which can be killed and started again.

use crate::{EXMAIL, ForgetfulDisk, GMAIL, PATIENCE, Plan, Site, TOKEN, binaries, eventually};
use service_kit::cli;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    ops::Deref,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};
use tokio::process::{Child, Command};
use town_config::PortKey;

/// What Linux says of the memory of a process in `/proc/PID/status`, in KiB: `VmRSS` now, `VmHWM` at most so far.
///
/// # Panics
/// When it does not run.
pub fn memory_kib(process: &Child, what: &str) -> u64 {
    let process = process.id().expect("it runs");
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).expect("such a line");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One of the eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Its binary.
    pub binary: &'static str,
    /// Its stack.
    pub server: &'static str,
}

impl Service {
    /// All of a town, in an order in which they can be started.
    pub const ALL: [Self; 8] = [
        Self { binary: "mailbox-store", server: EXMAIL },
        Self { binary: "mailbox-store", server: GMAIL },
        Self { binary: "pseudo-dns", server: EXMAIL },
        Self { binary: "pseudo-dns", server: GMAIL },
        Self { binary: "pop3-gateway", server: EXMAIL },
        Self { binary: "pop3-gateway", server: GMAIL },
        Self { binary: "smtp-gateway", server: EXMAIL },
        Self { binary: "smtp-gateway", server: GMAIL },
    ];

    /// The port key of its HTTP side.
    pub fn http(self) -> PortKey {
        match self.binary {
            "mailbox-store" => PortKey::Store,
            "pseudo-dns" => PortKey::DnsHttp,
            "pop3-gateway" => PortKey::PopHttp,
            _ => PortKey::SmtpHttp,
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|&service| service == self).unwrap()
    }
}

/// A town of processes; they are killed when it is dropped.
#[derive(Debug)]
pub struct ProcessTown {
    site: Site,
    processes: [Option<Child>; Service::ALL.len()],
    disks: BTreeMap<&'static str, ForgetfulDisk>,
    /// Whether gateways call their neighbours over Unix sockets.
    over_sockets: bool,
}

impl ProcessTown {
    /// Starts a town, and returns once all of it is ready.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(plan: Plan) -> Self {
        Self::start_on(plan, |_| BTreeMap::new()).await
    }

    /// As [`ProcessTown::start`], with gateways that call their stores and name servers over Unix sockets.
    ///
    /// # Panics
    /// As [`ProcessTown::start`].
    pub async fn start_over_sockets(plan: Plan) -> Self {
        let mut town = Self::new(plan.write(), BTreeMap::new());
        town.over_sockets = true;
        town.all_started().await
    }

    /// As [`ProcessTown::start`], with each store on a [`ForgetfulDisk`].
    ///
    /// # Panics
    /// As [`ProcessTown::start`].
    pub async fn start_on_forgetful_disks(plan: Plan) -> Self {
        let disk = |site: &Site, server| (server, ForgetfulDisk::new(&site.disk(server)));
        Self::start_on(plan, |site| [EXMAIL, GMAIL].map(|server| disk(site, server)).into()).await
    }

    /// As [`ProcessTown::start`], with a server's store on the file system that has this directory.
    ///
    /// # Panics
    /// As [`ProcessTown::start`].
    pub async fn start_with_disk(plan: Plan, server: &str, directory: &Path) -> Self {
        let link = |site: &Site| {
            fs::create_dir(site.state()).unwrap();
            symlink(directory, site.disk(server)).unwrap();
            BTreeMap::new()
        };
        Self::start_on(plan, link).await
    }

    async fn start_on(plan: Plan, disks: impl FnOnce(&Site) -> BTreeMap<&'static str, ForgetfulDisk>) -> Self {
        let site = plan.write();
        let disks = disks(&site);
        Self::new(site, disks).all_started().await
    }

    fn new(site: Site, disks: BTreeMap<&'static str, ForgetfulDisk>) -> Self {
        Self { site, processes: Default::default(), disks, over_sockets: false }
    }

    async fn all_started(mut self) -> Self {
        for service in Service::ALL {
            self.spawn(service);
        }
        for service in Service::ALL {
            self.ready(service).await;
        }
        self
    }

    /// Starts a service again, and returns once it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&mut self, service: Service) {
        self.spawn(service);
        self.ready(service).await;
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it does not run, or has ended by itself.
    pub async fn kill(&mut self, service: Service) {
        let mut process = self.processes[service.index()].take().expect("it runs");
        assert_eq!(process.try_wait().unwrap(), None, "{service:?} has ended by itself");
        process.kill().await.unwrap();
    }

    /// The directory of a server's store: one that the store makes itself, on its disk.
    pub fn data(&self, server: &str) -> PathBuf {
        self.site.disk(server).join("data")
    }

    /// The disk of a server's store.
    ///
    /// # Panics
    /// When it is a usual one.
    pub fn disk(&self, server: &str) -> &ForgetfulDisk {
        &self.disks[server]
    }

    /// What a service has logged.
    ///
    /// # Panics
    /// When it never ran.
    pub fn logged(&self, service: Service) -> String {
        fs::read_to_string(self.log(service)).unwrap()
    }

    /// SIGTERM, after which the service has the time to finish; see [`ProcessTown::ended`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn terminate(&self, service: Service) {
        let process = self.processes[service.index()].as_ref().and_then(Child::id).expect("it runs");
        let process = rustix::process::Pid::from_raw(process.try_into().unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    }

    /// How a service has ended, once it has.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self, service: Service) -> ExitStatus {
        let mut process = self.processes[service.index()].take().expect("it runs");
        tokio::time::timeout(PATIENCE, process.wait()).await.expect("it should have ended").unwrap()
    }

    /// As [`memory_kib`], of a service.
    ///
    /// # Panics
    /// When it does not run.
    pub fn memory_kib(&self, service: Service, what: &str) -> u64 {
        memory_kib(self.processes[service.index()].as_ref().expect("it runs"), what)
    }

    /// Starts a service, and does not wait for it.
    ///
    /// # Panics
    /// When its program cannot be run.
    pub fn spawn(&mut self, service: Service) {
        let log = File::options().append(true).create(true).open(self.log(service)).unwrap();
        let mut command = Command::new(binaries::path(service.binary));
        command.args(["--name", service.server, "--config"]).arg(self.config());
        match service.binary {
            "mailbox-store" => {
                if let Some(disk) = self.disks.get(service.server) {
                    disk.put_under(&mut command);
                }
                command.arg("--data").arg(self.data(service.server))
            }
            "pseudo-dns" => command.arg("--zone").arg(self.zone()),
            _ => &mut command,
        };
        if self.over_sockets {
            command.args(self.socket_arguments(service));
        }
        command.env("MAILTOWN_TOKEN", TOKEN).current_dir(self.directory()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes[service.index()] = Some(command.spawn().unwrap());
    }

    /// The Unix socket of a server's store or name server.
    pub fn socket(&self, binary: &str, server: &str) -> PathBuf {
        self.directory().join(format!("{binary}.{server}.sock"))
    }

    /// Where a service listens for gateways, or where a gateway finds them.
    fn socket_arguments(&self, service: Service) -> Vec<String> {
        let socket = |binary: &str| self.socket(binary, service.server).display().to_string();
        let url = |binary: &str| format!("unix:{}", socket(binary));
        match service.binary {
            "mailbox-store" | "pseudo-dns" => vec!["--http-socket".to_owned(), socket(service.binary)],
            "pop3-gateway" => vec!["--store".to_owned(), url("mailbox-store")],
            _ => vec!["--store".to_owned(), url("mailbox-store"), "--dns".to_owned(), url("pseudo-dns")],
        }
    }

    /// Waits until a service is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn ready(&mut self, service: Service) {
        let address = self.address(service.server, service.http());
        let Self { processes, .. } = self;
        let process = processes[service.index()].as_mut().expect("it runs");
        eventually(&format!("{service:?} is ready"), PATIENCE, async || {
            assert_eq!(process.try_wait().unwrap(), None, "{service:?} has ended");
            cli::ready(address).await.ok()
        })
        .await;
    }

    /// Waits until a service answers, ready or not.
    ///
    /// # Panics
    /// When it does not.
    pub async fn alive(&mut self, service: Service) {
        let address = self.address(service.server, service.http());
        let process = self.processes[service.index()].as_mut().expect("it runs");
        eventually(&format!("{service:?} is alive"), PATIENCE, async || {
            assert_eq!(process.try_wait().unwrap(), None, "{service:?} has ended");
            cli::alive(address).await.ok()
        })
        .await;
    }

    fn log(&self, service: Service) -> PathBuf {
        self.directory().join(format!("{}.{}.log", service.binary, service.server))
    }
}

impl Deref for ProcessTown {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for ProcessTown {
    /// What the services have logged helps to understand why a test failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in Service::ALL {
                let log = fs::read_to_string(self.log(service)).unwrap_or_default();
                eprintln!("--- {} of {}\n{log}", service.binary, service.server);
            }
        }
    }
}
