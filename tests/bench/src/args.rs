//! The command line, and how much is measured.

use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Measures mailtown beside Postfix, Dovecot and smtp-sink on this machine, and reports ratios.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  cargo run --release -p town-bench\n  cargo run --release -p town-bench -- --quick --no-peers --before-unrecorded --console\n  cargo run --release -p town-bench -- --quick --only start,idle\n  cargo run --release -p town-bench -- --no-peers --before ../earlier/target/release"
)]
pub(crate) struct Args {
    /// Less of everything, in under 3 minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Measure>,
    /// Where results.json and bench.svg go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Where queues and maildrops live meanwhile; all of them on this one file system
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) state: PathBuf,
    /// How many connections submit at once [default: 1,10,50,200; quick: 10,50; of `pop3`: 1,10,100]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    connections: Vec<usize>,
    /// How often each measurement is repeated [default: 3; quick: 2]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each system is sent mail at a time [default: 2; quick: 1]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// How Dovecot stores mail: `maildir` or `mdbox`
    #[arg(long, value_enum, default_value = "maildir")]
    pub(crate) dovecot_format: MailFormat,
    /// How the Dovecot of `pop3` stores passwords: `sha1`, as if all were in its cache, or `argon2id`, as mailtown does
    #[arg(long, value_enum, value_name = "SCHEME", default_value = "sha1")]
    pub(crate) dovecot_hash: HashScheme,
    /// Measure mailtown alone
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// Also measure an earlier mailtown in the same rounds: the release binaries in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) before: Option<PathBuf>,
    /// Have a console follow the mailtown that is measured
    #[arg(long)]
    pub(crate) console: bool,
    /// Also measure the same mailtown without records of sessions, as `before`
    #[arg(long, conflicts_with = "before")]
    pub(crate) before_unrecorded: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Start-up time, and memory of a town at rest
    Start,
    /// Memory for each of 10,000 idle connections
    Idle,
    /// Messages a second from SMTP to the durable maildrop
    SmtpAccept,
    /// The same over TLS
    SmtpAcceptTls,
    /// Messages a second across two domains, end to end
    Relay,
    /// Rate and login time with up to a million messages stored
    Growth,
    /// POP3 sessions, messages and octets a second, and the login to a large maildrop
    Pop3,
}

/// A Dovecot mail storage format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailFormat {
    /// A file for each message
    Maildir,
    /// Dovecot's own, many messages in a file
    Mdbox,
}

/// How Dovecot keeps a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HashScheme {
    /// What Dovecot's cache holds of a password that another service has checked
    Sha1,
    /// What mailtown stores; Dovecot computes it for each login, cached or not
    Argon2id,
}

impl Args {
    /// Whether this is to be measured.
    pub(crate) fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }
}

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scale {
    /// How many connections submit at once, one entry for each measurement.
    pub(crate) connections: Vec<usize>,
    /// How many connections submit at once when mail is relayed.
    pub(crate) relay_connections: Vec<usize>,
    /// How many POP3 clients log in at once, one entry for each measurement.
    pub(crate) pop3_clients: Vec<usize>,
    /// How many messages the large maildrop holds that POP3 clients log in to.
    pub(crate) pop3_stored: u64,
    /// How Dovecot keeps the passwords of its POP3 users.
    pub(crate) dovecot_hash: HashScheme,
    /// How often each is repeated.
    pub(crate) rounds: usize,
    /// How long each system is sent mail at a time.
    pub(crate) seconds: f64,
    /// The octets of each message.
    pub(crate) message_octets: usize,
    /// How many messages are stored at each step of the growth.
    pub(crate) stored: Vec<u64>,
    /// How long all the growing may take; what is not stored then is left out.
    pub(crate) growth_seconds: u64,
    /// How many connections idle.
    pub(crate) idle_connections: usize,
    /// How often a town is started.
    pub(crate) starts: usize,
}

impl Scale {
    /// What the command line asks for.
    pub(crate) fn new(args: &Args) -> Self {
        let quick = args.quick;
        let given = |default: &[usize]| {
            if args.connections.is_empty() { default.to_vec() } else { args.connections.clone() }
        };
        Self {
            relay_connections: if quick { vec![10] } else { vec![10, 50] },
            connections: given(if quick { &[10, 50] } else { &[1, 10, 50, 200] }),
            pop3_clients: given(&[1, 10, 100]),
            pop3_stored: if quick { 10_000 } else { 100_000 },
            dovecot_hash: args.dovecot_hash,
            rounds: args.rounds.unwrap_or(if quick { 2 } else { 3 }).max(1),
            seconds: args.seconds.unwrap_or(if quick { 1.0 } else { 2.0 }),
            message_octets: 4096,
            stored: if quick { vec![0, 10_000, 100_000] } else { vec![0, 100_000, 1_000_000] },
            growth_seconds: if quick { 40 } else { 300 },
            idle_connections: 10_000,
            starts: if quick { 3 } else { 7 },
        }
    }

    /// How long each system is sent mail at a time.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.1, 60.0))
    }
}
