//! The command line.

use crate::{
    ConsoleOptions, FileArgs, InternalCalls, Options, PortsFile, Town,
    accounts::Accounts,
    add_domain::AddDomain,
    certificates::{self, Certificates},
    check,
    client::Stores,
    console_commands::{
        Capture, ClockCommand, ConsoleArgs, FaultsCommand, NOT_ASKED, Place, Sessions, SnapshotCommand, TIME_IS_UP,
        TownConsole, Trace, Wait,
    },
    health, help,
    lesson::{LessonCommand, NOT_FULL},
    output,
    queue::Queue,
    table,
};
use anyhow::Context;
use clap::{Args as _, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use ipnet::IpNet;
use mail_net::Clock;
use records::Records;
use service_kit::{
    cli::{self, ClockArgs},
    http::Token,
    shutdown::{self, Signals},
    telemetry::{self, LogArgs},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitCode,
};
use town_config::{LiveConfig, PortKey, descriptors};

const EXAMPLES: &str = "\
Examples:
  mailtown
  mailtown -n exmail.qq.com
  mailtown --state /tmp/town
  mailtown --state /tmp/town2 --port-base 21000          a second town beside the first
  mailtown --state /tmp/town3 --ports-file ports.json    tell other programs where it listens
  mailtown --virtual-clock                               time stands still until `mailtown clock advance 1h`
  mailtown check";

/// Runs a whole town of mail servers, each with SMTP, POP3, a mailbox store and DNS, on this machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = EXAMPLES
)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// Run only the stack of this server; can be repeated [default: all]
    #[arg(short, long = "name", value_name = "NAME", global = true)]
    names: Vec<String>,
    /// Where SMTP, POP3 and DNS listen
    #[arg(long, env = "MAILTOWN_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    bind: IpAddr,
    /// Where HTTP listens; beyond loopback, a token is required
    #[arg(long, env = "MAILTOWN_HTTP_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS", global = true)]
    http_bind: IpAddr,
    /// Write there, as JSON, where everything listens; the file is there once the town is ready, and removed at the end
    #[arg(long, env = "MAILTOWN_PORTS_FILE", value_name = "FILE", global = true)]
    ports_file: Option<PathBuf>,
    /// Who may submit without authentication, comma separated [default: trusted_networks of the configuration]
    #[arg(long, env = "MAILTOWN_TRUSTED_NETWORKS", value_name = "NETWORKS", value_delimiter = ',')]
    trusted_networks: Option<Vec<IpNet>>,
    /// The directory to keep all mail in
    #[arg(long, env = "MAILTOWN_STATE", default_value = ".mailtown", value_name = "DIR", global = true)]
    state: PathBuf,
    /// The bearer token of the HTTP APIs; without one, anybody on this machine may call (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// How gateways call their store
    #[arg(long, env = "MAILTOWN_INTERNAL_CALLS", value_enum, default_value_t, value_name = "HOW")]
    internal_calls: InternalCalls,
    /// The password of the console; without one, the console listens on this machine only (better set in the environment)
    #[arg(long, env = "MAILTOWN_CONSOLE_PASSWORD", hide_env_values = true, value_name = "PASSWORD", global = true)]
    console_password: Option<String>,
    /// With the value none, the console listens where SMTP does and lets everybody in; there is no other value
    #[arg(long, env = "MAILTOWN_CONSOLE_AUTH", value_name = "HOW")]
    console_auth: Option<String>,
    #[command(flatten)]
    clock: ClockArgs,
    #[command(flatten)]
    log: LogArgs,
    /// Instead of running the town:
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Check configuration and zone without starting anything
    Check,
    /// Add a mail domain to configuration, zone and compose file
    AddDomain(AddDomain),
    /// Accounts of the running town: add, passwd, disable, enable, remove, list; and hash a password
    #[command(subcommand)]
    Accounts(Accounts),
    /// What waits to be sent on by the running town: list, show, retry, hold, release, remove
    Queue(Queue),
    /// The recorded sessions of the running town, refused ones too; or what was said in one of them
    Sessions(Sessions),
    /// What happens in the running town, a line each; or the journey of a message
    Trace(Trace),
    /// Wait until mail has come, and exit with 1 and say why if it has not
    Wait(Wait),
    /// Write recorded sessions, or those that begin from now on, as a file for Wireshark
    Capture(Capture),
    /// What goes wrong on purpose in the running town: list, set, remove, clear
    Faults(FaultsCommand),
    /// The time of the running town, which stands still with --virtual-clock: show it, or move it forward
    Clock(ClockCommand),
    /// What the whole running town was at one moment: take, list, restore, delete, export; or open on another machine
    Snapshot(SnapshotCommand),
    /// Lessons, with marks: list, run
    #[command(subcommand)]
    Lesson(LessonCommand),
    /// Print the certificate of the town's authority, which clients trust
    Ca,
    /// Issue the certificates of all servers, for gateways that run by themselves; those that are good stay
    Certificates {
        /// Where to: ca.pem, and the certificates and keys in servers [default: tls in the state, where the authority's key is]
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Ask every service of the running town whether it is ready, and exit with 0 if all are
    Healthcheck,
}

impl Args {
    /// Reads the command line. If it is wrong or asks for help, prints that and ends the process.
    pub fn from_command_line() -> Self {
        let matches = help::fitted(Self::command()).get_matches();
        let mut args = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let is_chosen = matches.value_source("log").is_some_and(|source| source != ValueSource::DefaultValue);
        // The town of a lesson is not what its student reads about.
        if let (Some(Command::Lesson(_)), false) = (&args.command, is_chosen) {
            let quiet =
                LogArgs::augment_args(clap::Command::new("lesson")).get_matches_from(["lesson", "--log", "warn"]);
            args.log = LogArgs::from_arg_matches(&quiet).unwrap_or_default();
        }
        args
    }

    /// Runs the town, or one of the subcommands.
    pub fn run(self) -> ExitCode {
        let mut exit = None;
        let code = cli::block_on(&self.log.clone(), async {
            let outcome = match self.command.clone() {
                Some(Command::Check) => check::run(&self.files),
                Some(Command::AddDomain(new)) => new.run(&self.files.files()),
                Some(Command::Accounts(accounts)) => accounts.run(|| stores(&self)).await,
                Some(Command::Queue(queue)) => queue.run(stores(&self)?).await,
                Some(Command::Sessions(sessions)) => sessions.run(console(&self, &sessions.console)?).await,
                Some(Command::Trace(trace)) => trace.run(console(&self, &trace.console)?).await,
                Some(Command::Faults(faults)) => faults.run(|| console(&self, &faults.console)).await,
                Some(Command::Capture(capture)) => capture.run(console(&self, &capture.console)?).await,
                Some(Command::Wait(wait)) => {
                    exit = Some(NOT_ASKED);
                    let has_come = wait.run(console(&self, &wait.console)?).await;
                    exit = has_come.as_ref().map_or(exit, |has_come| Some(TIME_IS_UP).filter(|_| !has_come));
                    has_come.map(drop)
                }
                Some(Command::Clock(clock)) => clock.run(|| console(&self, &clock.console)).await,
                Some(Command::Snapshot(snapshot)) => {
                    snapshot.run(|| console(&self, &snapshot.console), &self.files.files(), &self.state).await
                }
                Some(Command::Lesson(lesson)) => {
                    let config = || self.files.open_config(Clock::system().io);
                    let is_full = lesson.run(config).await;
                    exit = is_full.as_ref().map_or(exit, |is_full| Some(NOT_FULL).filter(|_| !is_full));
                    is_full.map(drop)
                }
                Some(Command::Ca) => certificates::print_authority(&self.state),
                Some(Command::Certificates { to }) => certificates(&self, to),
                Some(Command::Healthcheck) => healthy(&self).await,
                // A town that ends says why.
                None => return telemetry::program("mailtown", run(self)).await,
            };
            if outcome.as_ref().is_err_and(output::is_unread) {
                exit = Some(output::UNREAD);
                return Ok(());
            }
            outcome
        });
        exit.map_or(code, ExitCode::from)
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let system = Clock::system();
    let (config, zone) = args.files.open(system.io)?;
    let clock = args.clock.clock(config.clock(), system);
    let config = chosen(config, &args.names)?;
    let token = args.token.as_deref().filter(|token| !token.is_empty()).map(Token::from);
    cli::require_token(args.http_bind, token.as_ref())?;
    let console = ConsoleOptions::new(args.bind, args.console_password.as_deref(), args.console_auth.as_deref())?;
    descriptors::raise();
    let services = [PortKey::Smtp, PortKey::Pop, PortKey::Store, PortKey::Dns];
    let needed =
        config.stacks().flat_map(|stack| services.map(move |service| descriptors::needed(&stack.current(), service)));
    descriptors::expect(needed.sum());
    let mut ports_file = args.ports_file.as_deref().map(PortsFile::prepare).transpose()?;
    let Signals { shutdown, reload } = shutdown::on_signal()?;
    let options = Options {
        config,
        zone,
        state: args.state,
        bind: args.bind,
        http_bind: args.http_bind,
        trusted_networks: args.trusted_networks,
        internal_calls: args.internal_calls,
        records: Records::default(),
        token,
        reload,
        console: Some(console),
        clock,
    };
    let mut town = Town::start(options).await?;
    if let Some(file) = &mut ports_file {
        file.write(town.stacks(), town.console())?;
    }
    table::write(town.stacks(), town.console(), args.ports_file.as_deref(), &mut anstream::stdout())
        .context(output::NO_OUTPUT)?;
    let failure = tokio::select! {
        () = shutdown.cancelled() => None,
        error = town.failed() => Some(error),
    };
    let stopped = town.stop().await;
    failure.map_or(stopped, Err)
}

/// Keeps the stacks that the command line names; without names, all.
fn chosen(config: LiveConfig, names: &[String]) -> anyhow::Result<LiveConfig> {
    Ok(if names.is_empty() { config } else { config.only_these(names)? })
}

fn certificates(args: &Args, to: Option<PathBuf>) -> anyhow::Result<()> {
    let clock = Clock::system();
    let (config, zone) = args.files.open(clock.io)?;
    let config = chosen(config, &args.names)?;
    Certificates::open(&args.state, to, zone, clock)?.print_all(&config)
}

fn stores(args: &Args) -> anyhow::Result<Stores<'_>> {
    let io = Clock::system().io;
    let config = chosen(args.files.open_config(io)?, &args.names)?;
    let token = args.token.as_deref().filter(|token| !token.is_empty());
    Ok(Stores {
        config,
        are_named: !args.names.is_empty(),
        http_bind: args.http_bind,
        ports_file: args.ports_file.as_deref(),
        token,
        io,
    })
}

/// The console that a command asks.
fn console(args: &Args, which: &ConsoleArgs) -> anyhow::Result<TownConsole> {
    which.open(Place {
        config: || args.files.open_config(Clock::system().io),
        bind: args.bind,
        ports_file: args.ports_file.as_deref(),
        password: args.console_password.as_deref(),
    })
}

async fn healthy(args: &Args) -> anyhow::Result<()> {
    let config = chosen(args.files.open_config(Clock::system().io)?, &args.names)?;
    health::check(&config, args.http_bind, args.ports_file.as_deref()).await
}
