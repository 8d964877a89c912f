//! The command line.

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};
use mail_proto::Mailbox;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  agent -e usr1@mail.sustech.edu.cn -p pass1
  echo Hello | agent -e usr1@mail.sustech.edu.cn send --to usr@gmail.com --subject Greeting
  agent -e usr@gmail.com -p pass fetch --keep
  agent fetch --wait 10 -e usr@gmail.com -p pass fail if no mail came within 10 s
  agent -v -e usr@gmail.com -p pass              the same dialogue, and what is sent (C:) and received (S:)
  agent -e usr@gmail.com --ports-file ports.json a town that was started with the same option
  docker compose run --rm agent -e usr1@mail.sustech.edu.cn -p pass1

In the dialogue, mail marked by dele is deleted by quit or exit only: the end of the input deletes nothing.";

/// The mail client of mailtown: reads commands, or does one thing and ends
// No `Debug`: there is a password inside.
#[derive(clap::Parser)]
#[command(
    name = "agent",
    version,
    after_help = EXAMPLES,
    override_usage = "agent [OPTIONS] -e <ADDRESS> [COMMAND]",
    // In the help of a subcommand, its own options are first.
    next_display_order = 100
)]
pub struct Args {
    /// Who you are
    // Clap has no global options that are required: `from_command_line` looks.
    #[arg(short = 'e', long = "email", required = false, global = true, env = "MAILTOWN_EMAIL", value_name = "ADDRESS", value_parser = mailbox)]
    pub address: Mailbox,
    /// Your password, asked for when needed (better set in the environment: others can see command lines)
    #[arg(short, long, global = true, env = "MAILTOWN_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// The name of the SMTP server, in place of the configuration's
    #[arg(long, global = true, value_name = "NAME")]
    pub smtp: Option<String>,
    /// The name of the POP3 server, in place of the configuration's
    #[arg(long, global = true, value_name = "NAME")]
    pub pop: Option<String>,
    /// The configuration file [default: data/config.toml; built-in when neither that nor the zone file exists]
    #[arg(long, global = true, env = "MAILTOWN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The zone file, read where no pseudo-dns answers, unless --dns or --ports-file is given [default: data/fdns.toml; built-in when neither that nor the configuration file exists]
    #[arg(long, global = true, env = "MAILTOWN_ZONE", value_name = "FILE")]
    pub zone: Option<PathBuf>,
    /// A pseudo-dns to ask, in place of the configuration's; repeat it for more
    #[arg(long, global = true, env = "MAILTOWN_DNS_SERVERS", value_delimiter = ',', value_name = "HOST:PORT", value_parser = host_and_port)]
    pub dns: Vec<String>,
    /// The file in which mailtown tells where it listens: its pseudo-dns is asked, in place of the configuration's
    #[arg(long, global = true, env = "MAILTOWN_PORTS_FILE", value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// Where a server is whose P record is a port only
    #[arg(long, global = true, env = "MAILTOWN_HOSTS", value_enum, default_value = "loopback")]
    pub hosts: Hosts,
    /// Print the dialogue with each server on standard error; passwords are masked
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Instead of the dialogue:
    #[command(subcommand)]
    pub action: Option<Action>,
}

impl Args {
    /// Reads the command line. If it is wrong or asks for help, prints that and ends the process.
    pub fn from_command_line() -> Self {
        let mut command = Self::command();
        let matches = command.get_matches_mut();
        if !matches.contains_id("address") {
            command
                .error(ErrorKind::MissingRequiredArgument, "who are you? give -e ADDRESS or set MAILTOWN_EMAIL")
                .exit()
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }
}

/// Reads an address of a user.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    match text.parse() {
        Ok(mailbox) => Ok(mailbox),
        Err(_) if !text.contains('@') => Err("an address has the form user@domain".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let is_host =
        |host: &str| !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0) => Ok(text.to_owned()),
        _ => Err("give HOST:PORT, such as 127.0.0.1:1053".to_owned()),
    }
}

/// Where the hosts of the zone are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Hosts {
    /// All on this machine
    Loopback,
    /// Each under its own name, as containers on one network are
    Names,
}

/// What can be done without a dialogue.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Send a message whose text is read from the standard input
    Send(Send),
    /// Print the messages of your maildrop as an mbox, and delete them
    Fetch(Fetch),
}

/// The flags of `send`.
#[derive(Debug, clap::Args)]
pub struct Send {
    /// A recipient; repeat it for more
    #[arg(long, required = true, value_name = "ADDRESS", value_parser = mailbox)]
    pub to: Vec<Mailbox>,
    /// What it is about
    #[arg(long, default_value = "")]
    pub subject: String,
}

/// The flags of `fetch`.
#[derive(Debug, clap::Args)]
pub struct Fetch {
    /// Wait for a message, at most this long; fail if none came
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// Leave the messages in the maildrop
    #[arg(long)]
    pub keep: bool,
    /// Write each message, octet for octet, to a file <uid>.eml there instead of printing it
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_user_and_a_domain() {
        for (text, expected) in [
            ("usr1", "an address has the form user@domain"),
            ("", "an address has the form user@domain"),
            ("@b", "invalid local part"),
        ] {
            assert_eq!(mailbox(text).unwrap_err(), expected, "{text}");
        }
        assert_eq!(mailbox("a@b").unwrap().to_string(), "a@b");
    }

    #[test]
    fn a_subcommand_shows_its_own_options_and_then_those_of_the_agent() {
        let shown = |name: &str| {
            let mut command = Args::command();
            command.build();
            let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            let options =
                help.lines().filter(|line| line.trim().starts_with('-')).filter_map(|line| line.split_once("--"));
            let names = options.map(|(_, option)| option.split([' ', '.']).next().unwrap_or_default().to_owned());
            names.collect::<Vec<_>>()
        };
        let common =
            ["email", "password", "smtp", "pop", "config", "zone", "dns", "ports-file", "hosts", "verbose", "help"];
        assert_eq!(shown("send"), [&["to", "subject"], &common[..]].concat());
        assert_eq!(shown("fetch"), [&["wait", "keep", "output"], &common[..]].concat());
    }

    #[test]
    fn a_name_server_has_a_host_and_a_port() {
        for good in ["127.0.0.1:1053", "exmail-dns:1053", "[::1]:53"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in ["", "127.0.0.1", "::1", "::1:53", ":53", "a:0", "a:70000", "a:b"] {
            assert_eq!(host_and_port(bad).unwrap_err(), "give HOST:PORT, such as 127.0.0.1:1053", "{bad}");
        }
    }
}
