//! `mailtown`: every stack of the configuration in one process.

use anyhow::Context;
use clap::{Parser, Subcommand};
use ipnet::IpNet;
use mailtown::{
    FileArgs, Options, PortsFile, Town,
    add_domain::AddDomain,
    check::{self, Severity},
    health, table,
};
use service_kit::{
    cli,
    http::Token,
    shutdown::{self, Signals},
    telemetry::{self, LogArgs},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitCode,
};
use town_config::{Config, LiveConfig, PortKey, descriptors, zone::Zone};

const EXAMPLES: &str = "\
Examples:
  mailtown
  mailtown -n exmail.qq.com
  mailtown --state /tmp/town
  mailtown --state /tmp/town2 --port-base 21000          a second town beside the first
  mailtown --state /tmp/town3 --ports-file ports.json    tell other programs where it listens
  mailtown check";

/// Runs a whole town of mail servers, each with SMTP, POP3, a mailbox store and DNS, on this machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = EXAMPLES
)]
struct Args {
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
    #[arg(long, env = "MAILTOWN_STATE", default_value = ".mailtown", value_name = "DIR")]
    state: PathBuf,
    /// The bearer token of the HTTP APIs; without one, anybody on this machine may call (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true)]
    token: Option<String>,
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
    /// Ask every service of the running town whether it is ready, and exit with 0 if all are
    Healthcheck,
}

fn main() -> ExitCode {
    let args = Args::parse();
    cli::block_on(&args.log.clone(), async {
        match args.command.clone() {
            Some(Command::Check) => checked(&args),
            Some(Command::AddDomain(new)) => new.run(&args.files.config(), &args.files.zone()),
            Some(Command::Healthcheck) => healthy(&args).await,
            None => telemetry::program("mailtown", run(args)).await,
        }
    })
}

async fn run(args: Args) -> anyhow::Result<()> {
    let (config, zone) = args.files.open()?;
    let config = chosen(config, &args.names)?;
    let token = args.token.as_deref().filter(|token| !token.is_empty()).map(Token::from);
    cli::require_token(args.http_bind, token.as_ref())?;
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
        token,
        reload,
    };
    let mut town = Town::start(options).await?;
    if let Some(file) = &mut ports_file {
        file.write(town.stacks())?;
    }
    table::write(town.stacks(), args.ports_file.as_deref(), &mut anstream::stdout())
        .context("cannot write to standard output")?;
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

async fn healthy(args: &Args) -> anyhow::Result<()> {
    let config = chosen(args.files.open_config()?, &args.names)?;
    health::check(&config, args.http_bind, args.ports_file.as_deref()).await
}

fn checked(args: &Args) -> anyhow::Result<()> {
    let (config_path, zone_path) = (args.files.config(), args.files.zone());
    // Each file is read, whatever is wrong with the other.
    let (config, zone) = match (Config::check_file(&config_path), Zone::check_file(&zone_path)) {
        (Ok(config), Ok(zone)) => (config, zone),
        (config, zone) => {
            let errors = config.err().into_iter().chain(zone.err()).flatten();
            let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
            anyhow::bail!("{}", errors.join("\nerror: "));
        }
    };
    args.files.check_port_base(&config)?;
    let findings = check::findings(&config, &zone);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let errors: Vec<_> = errors.into_iter().map(|error| error.text).collect();
    anyhow::ensure!(errors.is_empty(), "{}", errors.join("\nerror: "));
    let (config, zone) = (config_path.display(), zone_path.display());
    match warnings.len() {
        0 => println!("{config} and {zone} are valid and fit together"),
        warnings => println!("{config} and {zone} are valid; warnings: {warnings}"),
    }
    Ok(())
}
