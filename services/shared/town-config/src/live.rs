//! The configuration of a running process: the file is read again whenever it changes.

use crate::{
    ClockKind, Config, ConfigError, Console, Hosts, Overrides, PortKey, PortMove, Reload, Stack, toml_file,
    watched_file::{self, WatchedFile},
};
use mail_net::IoClock;
use mail_proto::Domain;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The configuration of one stack, as it is now. Clones are cheap and see the same changes.
#[derive(Debug, Clone)]
pub struct LiveStack(watch::Receiver<Arc<Stack>>);

impl LiveStack {
    /// The configuration in force. Whoever asks twice may see two configurations.
    pub fn current(&self) -> Arc<Stack> {
        Arc::clone(&self.0.borrow())
    }

    /// The names that the HTTP services of this stack may be called by, at any moment.
    pub fn http_hosts(&self) -> Hosts {
        let stack = self.clone();
        Arc::new(move || stack.current().http_hosts.clone())
    }

    /// Waits for a configuration that this clone has not returned here yet.
    pub async fn changed(&mut self) -> Arc<Stack> {
        if self.0.changed().await.is_err() {
            // Nobody watches a file: the configuration stays as it is.
            std::future::pending::<()>().await;
        }
        Arc::clone(&self.0.borrow_and_update())
    }
}

/// A configuration that never changes.
impl From<Stack> for LiveStack {
    fn from(stack: Stack) -> Self {
        Self(watch::channel(Arc::new(stack)).1)
    }
}

/// The configuration of some or all stacks, and the file that it follows.
#[derive(Debug)]
pub struct LiveConfig {
    file: Option<WatchedFile>,
    running: BTreeMap<Domain, watch::Sender<Arc<Stack>>>,
    servers: Vec<String>,
    /// Every port of the file, of those stacks too that are not kept.
    ports: BTreeSet<u16>,
    port_move: PortMove,
    overrides: Overrides,
    console: Console,
    clock: ClockKind,
    /// Whether stacks that are not running are of interest.
    runs_all: bool,
}

impl LiveConfig {
    /// Reads and checks the file at `path`, and follows it from then on.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn open(path: &Path, io: IoClock) -> Result<Self, ConfigError> {
        let (file, content) = WatchedFile::open(path.to_owned(), watched_file::INTERVAL, io)
            .map_err(|reason| ConfigError::Read { path: path.to_owned(), option: "config", reason })?;
        let config = Config::parse(toml_file::utf8(&content, path)?, path)?;
        Ok(Self { file: Some(file), ..Self::from(config) })
    }

    /// Moves every port, so that the lowest of the file becomes `base` and the others keep their distance to it.
    /// Called before any stack is left out, so that all processes of one file move alike.
    ///
    /// # Errors
    /// As [`PortMove::to_base`].
    pub fn with_port_base(mut self, base: u16) -> Result<Self, ConfigError> {
        let stacks: Vec<_> = self.stacks().map(|stack| stack.current()).collect();
        self.port_move = PortMove::to_base(base, stacks.iter().map(Arc::as_ref))?;
        self.port_move.check_console(base, &self.console, stacks.first().map(|stack| stack.config_path()))?;
        for running in self.running.values() {
            running.send_modify(|stack| Arc::make_mut(stack).port_move = self.port_move);
        }
        Ok(self)
    }

    /// Puts these values in place of those of the file, now and after each change of it.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        for running in self.running.values() {
            running.send_modify(|stack| *stack = Arc::new(self.overrides.apply(Stack::clone(stack))));
        }
        self
    }

    /// Each port of the file with the one that it was moved to.
    pub fn moved_ports(&self) -> BTreeMap<u16, u16> {
        self.ports.iter().map(|&port| (port, self.port_move.apply(port))).collect()
    }

    /// Keeps only the stack of this name.
    ///
    /// # Errors
    /// Names the stacks that there are.
    pub fn only(mut self, name: &str) -> Result<(Self, LiveStack), ConfigError> {
        let wanted = |stack: &LiveStack| is_called(&stack.current().name, name);
        let stack = self.stacks().find(wanted).ok_or_else(|| self.no_such_stack(name))?;
        let name = stack.current().name.clone();
        self.running.retain(|running, _| *running == name);
        self.runs_all = false;
        Ok((self, stack))
    }

    /// Keeps only the stacks of these names.
    ///
    /// # Errors
    /// Names the stacks that there are.
    pub fn only_these(mut self, names: &[String]) -> Result<Self, ConfigError> {
        let unknown = names.iter().find(|name| !self.running.keys().any(|running| is_called(running, name)));
        if let Some(name) = unknown {
            return Err(self.no_such_stack(name));
        }
        self.running.retain(|running, _| names.iter().any(|name| is_called(running, name)));
        self.runs_all = false;
        Ok(self)
    }

    /// The names of all servers of the file, of those too that are not kept.
    pub fn servers(&self) -> Vec<String> {
        self.servers.clone()
    }

    /// Whether stacks of the file are left to other processes.
    pub fn is_part(&self) -> bool {
        !self.runs_all
    }

    /// The console as the file has it, with its port where it was moved to. Changes of the file need a restart.
    pub fn console(&self) -> Console {
        Console { port: self.port_move.apply(self.console.port), ..self.console.clone() }
    }

    /// What time the services go by. Changes of the file need a restart.
    pub fn clock(&self) -> ClockKind {
        self.clock
    }

    /// The stacks, by name.
    pub fn stacks(&self) -> impl Iterator<Item = LiveStack> {
        self.running.values().map(|stack| LiveStack(stack.subscribe()))
    }

    /// Follows the file until `shutdown`, and reads it at once when `reload` is requested. A broken edit is logged, and the configuration before it stays in force.
    pub async fn watch(mut self, mut reload: Reload, shutdown: CancellationToken) {
        let Some(mut file) = self.file.take() else { return shutdown.cancelled().await };
        loop {
            let read = tokio::select! {
                () = shutdown.cancelled() => return,
                read = file.changed() => read,
                () = reload.requested() => file.read_now().await,
            };
            match read_again(read, file.path()) {
                Ok(config) => {
                    facts::ConfigRead { file: file.path().display() }.log();
                    for key in self.apply(&config) {
                        facts::ConfigRestartNeeded { key }.log();
                    }
                }
                Err(error) => facts::ConfigRefused { error }.log(),
            }
        }
    }

    /// Puts a configuration in force, as far as it can be; returns the keys of which the change needs a restart.
    fn apply(&self, config: &Config) -> Vec<String> {
        let mut needs_restart = Vec::new();
        for (name, running) in &self.running {
            let Some(stack) = config.stacks.get(name) else {
                needs_restart.push(format!("server.\"{name}\" (removed)"));
                continue;
            };
            let before = Arc::clone(&running.borrow());
            needs_restart.extend(fixed_keys(&before, stack));
            let (ports, port_move) = (before.ports.clone(), before.port_move);
            let faults = before.faults.clone();
            let fixed = Stack { profile: before.profile, ports, port_move, faults, ..stack.clone() };
            let mut stack = self.overrides.apply(fixed);
            stack.address_rules.ignores_case = before.address_rules.ignores_case;
            running.send_if_modified(|current| {
                let is_change = **current != stack;
                *current = Arc::new(stack);
                is_change
            });
        }
        if self.clock != config.clock {
            needs_restart.push("clock".to_owned());
        }
        if self.runs_all && self.console != config.console {
            needs_restart.push("console".to_owned());
        }
        if self.runs_all {
            let added = config.stacks.keys().filter(|name| !self.running.contains_key(*name));
            needs_restart.extend(added.map(|name| format!("server.\"{name}\" (added)")));
        }
        needs_restart.sort();
        needs_restart.dedup();
        needs_restart
    }

    fn no_such_stack(&self, name: &str) -> ConfigError {
        let path = self.stacks().next().map(|stack| stack.current().path.clone()).unwrap_or_default();
        crate::no_such_stack(&path, name, self.running.keys())
    }
}

/// A configuration without a file to follow.
impl From<Config> for LiveConfig {
    fn from(config: Config) -> Self {
        let servers = config.stacks.keys().map(Domain::to_string).collect();
        let port = |stack, key| Stack::configured_port(stack, key).filter(|&port| port != 0);
        let ports = config.stacks().flat_map(|stack| PortKey::ALL.into_iter().filter_map(move |key| port(stack, key)));
        let (ports, port_move, overrides) = (ports.collect(), PortMove::default(), Overrides::default());
        let (console, clock) = (config.console, config.clock);
        let running = config.stacks.into_iter().map(|(name, stack)| (name, watch::channel(Arc::new(stack)).0));
        let running = running.collect();
        Self { file: None, running, servers, ports, port_move, overrides, console, clock, runs_all: true }
    }
}

fn is_called(server: &Domain, name: &str) -> bool {
    server.as_str().eq_ignore_ascii_case(name)
}

fn read_again(read: io::Result<Vec<u8>>, path: &Path) -> Result<Config, ConfigError> {
    let content = read.map_err(|reason| ConfigError::Read { path: path.to_owned(), option: "config", reason })?;
    Config::parse(toml_file::utf8(&content, path)?, path)
}

/// The keys that are read only at the start, where they differ.
fn fixed_keys(before: &Stack, after: &Stack) -> Vec<String> {
    let ports = PortKey::ALL.into_iter().filter(|&key| before.configured_port(key) != after.configured_port(key));
    let mut keys: Vec<_> = ports.map(|key| format!("server.\"{}\".{}", before.name, key.as_str())).collect();
    if before.profile != after.profile {
        keys.push("profile".to_owned());
    }
    if before.faults != after.faults {
        keys.push("faults".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accept, Auth, OwnHosts};
    use mail_net::Clock;

    const TEXT: &str = "[server.a]\nsmtp = 1\npop = 2\n[accounts.a]\n\"u@x\" = \"p\"\n";

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("config.toml")).unwrap()
    }

    #[tokio::test]
    async fn what_can_change_changes_and_the_rest_is_named() {
        let live = LiveConfig::from(parse(TEXT));
        let mut stack = live.stacks().next().unwrap();
        let text = TEXT.replace("smtp = 1", "smtp = 11").replace("\"p\"", "\"p\"\n\"v@y\" = \"q\"");
        let text = format!(
            "profile = \"tutorial\"\n{text}[limits]\nrecipients = 100\n[server.b]\nsmtp = 3\npop = 4\n[faults]\napi = false\n"
        );
        let expected = ["faults", "profile", "server.\"a\".smtp", "server.\"b\" (added)"];
        assert_eq!(live.apply(&parse(&text)), expected);
        let after = stack.changed().await;
        assert_eq!((after.limits.recipients, after.accounts.len()), (100, 2));
        assert!(after.is_local(&"y".parse().unwrap()));
        assert_eq!((after.port(PortKey::Smtp), after.profile), (Some(1), crate::Profile::Rfc));
        assert_eq!(live.apply(&parse("[server.b]\nsmtp = 3\npop = 4\n"))[0], "server.\"a\" (removed)");
        assert!(stack.current().is_local(&"y".parse().unwrap()));
    }

    #[tokio::test]
    async fn moved_ports_stay_where_they_are_and_need_no_restart() {
        let text = format!("{TEXT}[server.b]\nsmtp = 0\npop = 4\n");
        let live = LiveConfig::from(parse(&text)).with_port_base(1001).unwrap();
        let live = live.only_these(&["b".to_owned()]).unwrap();
        let mut stack = live.stacks().next().unwrap();
        let ports = |stack: &Arc<Stack>| [PortKey::Smtp, PortKey::Pop, PortKey::Store].map(|key| stack.port(key));
        assert_eq!(ports(&stack.current()), [Some(0), Some(1004), None]);
        assert_eq!(live.moved_ports(), BTreeMap::from([(1, 1001), (2, 1002), (4, 1004)]));
        assert_eq!(live.apply(&parse(&format!("{text}[limits]\nrecipients = 100\n"))), Vec::<String>::new());
        assert_eq!(ports(&stack.changed().await), [Some(0), Some(1004), None]);
        assert_eq!(live.apply(&parse(&text.replace("pop = 4", "pop = 5"))), ["server.\"b\".pop"]);
        assert_eq!(ports(&stack.current()), [Some(0), Some(1004), None]);
    }

    #[tokio::test]
    async fn what_comes_before_the_file_stays_when_the_file_changes() {
        let overrides = Overrides { auth: Some(Auth::Any), accept: Some(Accept::Any), ..Overrides::default() };
        let live = LiveConfig::from(parse(TEXT)).with_overrides(overrides);
        let stack = live.stacks().next().unwrap();
        assert_eq!(stack.current().auth, Auth::Any);
        assert_eq!(live.apply(&parse(&format!("auth = \"accounts\"\n{TEXT}"))), Vec::<String>::new());
        assert_eq!(stack.current().auth, Auth::Any);
    }

    #[tokio::test]
    async fn another_name_for_http_counts_at_once() {
        let text = format!("{TEXT}[agent.x]\nsmtp = \"smtp.a\"\npop = \"pop.a\"\n");
        let live = LiveConfig::from(parse(&text));
        let hosts = live.stacks().next().unwrap().http_hosts();
        assert_eq!(hosts(), OwnHosts::from_iter(["a", "smtp.a", "pop.a"]));
        let needs_restart = live.apply(&parse(&format!("{text}[http]\nhosts = [\"Town.Example\"]\n")));
        assert_eq!(needs_restart, Vec::<String>::new());
        assert_eq!(hosts(), OwnHosts::from_iter(["a", "smtp.a", "pop.a", "town.example"]));
    }

    #[tokio::test]
    async fn one_stack_does_not_care_about_the_others() {
        let text = format!("{TEXT}[server.b]\nsmtp = 3\npop = 4\n");
        let (live, stack) = LiveConfig::from(parse(&text)).only("A").unwrap();
        assert_eq!(stack.current().name.as_str(), "a");
        assert_eq!(live.apply(&parse(TEXT)), Vec::<String>::new());
        let both = LiveConfig::from(parse(&text)).only_these(&["B".to_owned()]).unwrap();
        assert_eq!(both.stacks().map(|stack| stack.current().name.to_string()).collect::<Vec<_>>(), ["b"]);
        let names = ["a".to_owned(), "c".to_owned()];
        let unknown = LiveConfig::from(parse(&text)).only_these(&names).unwrap_err().to_string();
        assert_eq!(unknown, "config.toml: no [server.\"c\"]; the servers are: a, b");
        let unknown = LiveConfig::from(parse(&text)).only("c").unwrap_err().to_string();
        assert_eq!(unknown, "config.toml: no [server.\"c\"]; the servers are: a, b");
    }

    #[tokio::test]
    async fn an_edit_of_the_file_counts_and_a_broken_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        std::fs::write(&path, TEXT).unwrap();
        let live = LiveConfig::open(&path, Clock::system().io).unwrap();
        let mut stack = live.stacks().next().unwrap();
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(live.watch(Reload::never(), shutdown.clone()));
        std::fs::write(&path, "[server.a\n").unwrap();
        std::fs::write(&path, format!("{TEXT}[limits]\nrecipients = 200\n")).unwrap();
        assert_eq!(stack.changed().await.limits.recipients, 200);
        shutdown.cancel();
        watching.await.unwrap();
    }
}
