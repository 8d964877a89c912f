//! What is done to a store besides running it: backup, restore, check, export, import, move-backend, schema.

/// Prints a line. Who does not read to the end, as `head`, is not told the rest.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod copies;
mod export;
mod import;
mod mbox;

use crate::store::{
    check,
    postgres::{self, DatabaseUrl},
    store_location::StoreLocation,
};
use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use mail_net::Clock;
use mail_proto::Mailbox;
use service_kit::cli::{ServiceArgs, ServiceCommand};
use std::path::PathBuf;
use town_config::Stack;

/// The subcommands of `mailbox-store`.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Command {
    /// Those of every service.
    #[command(flatten)]
    Service(ServiceCommand),
    /// Its own.
    #[command(flatten)]
    Admin(AdminCommand),
}

/// What is done to a store besides running it.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum AdminCommand {
    /// Back up the store to one file, while it is running or not
    #[command(after_help = "Example:\n  mailbox-store --name gmail.com backup gmail-2026-01-01.db\n\n\
        A backup is an SQLite database with everything in it, whatever the store keeps its mail in.")]
    Backup {
        /// The file to write, which must not exist
        file: PathBuf,
    },
    /// Put a backup into an empty data directory or database
    #[command(
        after_help = "Example:\n  mailbox-store --name gmail.com --data /srv/new restore gmail-2026-01-01.db\n\n\
        What was backed up from SQLite can be restored into PostgreSQL, and the other way round."
    )]
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Check every reference, sum and checksum of the store, while it is running or not
    #[command(after_help = "Example:\n  mailbox-store --name gmail.com check\n\nExits with 1 when something is wrong.")]
    Check,
    /// Write maildrops to mbox files or Maildir directories, while the store is running or not
    #[command(after_help = "Example:\n  mailbox-store --name gmail.com export --format maildir mail/\n\n\
        Writes DIRECTORY/ADDRESS.mbox (mboxrd) or DIRECTORY/ADDRESS/{cur,new,tmp} for each mailbox.")]
    Export {
        /// How to write them
        #[arg(long, value_enum, default_value_t = Format::Mbox)]
        format: Format,
        /// Only this mailbox; can be repeated [default: all]
        #[arg(long = "mailbox", value_name = "ADDRESS")]
        mailboxes: Vec<Mailbox>,
        /// The directory to write to
        directory: PathBuf,
    },
    /// Put the mail of an mbox file or a Maildir directory into a maildrop
    #[command(after_help = "Example:\n  mailbox-store --name gmail.com import --mailbox usr@gmail.com old.mbox\n\n\
        Repeating the same import within a day stores nothing twice, so it can simply be tried again.")]
    Import {
        /// Whose maildrop
        #[arg(long, value_name = "ADDRESS")]
        mailbox: Mailbox,
        /// The mbox file (mboxrd, mboxo) or Maildir directory
        source: PathBuf,
    },
    /// Move the stopped store from SQLite to PostgreSQL, or the other way round
    #[command(after_help = "Example:\n  \
        mailbox-store --name gmail.com move-backend --to postgres://user:password@host:5432/gmail\n  \
        mailbox-store --name gmail.com --database postgres://user:password@host:5432/gmail move-backend --to /srv/mail\
        \n\nThe store that --data or --database names is copied, checked, and left as it was: remove it when the new \
        one is\nin use. What is interrupted can be repeated.")]
    MoveBackend {
        /// The directory or the URL of the database, which must be empty
        #[arg(long, env = "MAILTOWN_TO", hide_env_values = true, value_name = "DIR|URL")]
        to: String,
    },
    /// Print the statements that make a store's schema in an empty PostgreSQL database
    #[command(after_help = "Example:\n  mailbox-store schema --distributed citus | psql --set=ON_ERROR_STOP=1 \
        postgres://user:password@host:5432/gmail\n\nA store makes its schema itself. This is for who must read the \
        statements first,\nor distributes the tables over several machines.")]
    Schema {
        /// Also distribute the tables with this engine
        #[arg(long, value_enum, value_name = "ENGINE")]
        distributed: Option<postgres::Engine>,
    },
}

/// How exported mail is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One file a mailbox, lines that begin with "From " quoted as mboxrd does
    Mbox,
    /// One directory a mailbox, one file a message
    Maildir,
}

impl Command {
    /// Parts what every service does from what only a store does.
    pub(crate) fn split(args: ServiceArgs<Self>) -> (ServiceArgs, Option<AdminCommand>) {
        let (service, admin) = match args.command.clone() {
            Some(Self::Service(command)) => (Some(command), None),
            Some(Self::Admin(command)) => (None, Some(command)),
            None => (None, None),
        };
        (args.with_command(service), admin)
    }
}

/// Where a stack's store keeps everything unless `data` says otherwise.
pub(crate) fn directory(data: Option<PathBuf>, stack: &Stack) -> PathBuf {
    data.unwrap_or_else(|| PathBuf::from(".mailtown").join(stack.name.as_str()))
}

/// The store that an administrator works on, which need not be running.
pub(crate) struct Subject {
    pub(crate) stack: Stack,
    pub(crate) place: StoreLocation,
    pub(crate) clock: Clock,
}

impl Subject {
    fn name(&self) -> &str {
        self.stack.name.as_str()
    }
}

impl AdminCommand {
    /// Carries it out on the store in `database`, or else in `data`. Blocks.
    ///
    /// # Errors
    /// One line that names what is wrong and what to do.
    pub(crate) fn run(
        self,
        args: &ServiceArgs,
        data: Option<PathBuf>,
        database: Option<DatabaseUrl>,
    ) -> anyhow::Result<()> {
        let subject = || {
            let stack = args.stack()?;
            let in_directory = || StoreLocation::Directory(directory(data, &stack));
            let place = database.map_or_else(in_directory, StoreLocation::Database);
            anyhow::Ok(Subject { stack, place, clock: Clock::system() })
        };
        match self {
            Self::Backup { file } => copies::backup(&subject()?, &file),
            Self::Restore { file } => copies::restore(&subject()?, &file),
            Self::MoveBackend { to } => {
                let to = to.parse().context("--to (MAILTOWN_TO)")?;
                copies::move_backend(&subject()?, &to)
            }
            Self::Check => {
                let subject = subject()?;
                check(&subject, &subject.place)
            }
            Self::Schema { distributed } => {
                say!("{}", postgres::schema_script(distributed).trim_end());
                Ok(())
            }
            Self::Export { format, mailboxes, directory } => {
                let subject = subject()?;
                let mut snapshot = subject.place.snapshot(subject.name(), subject.clock.io)?;
                export::export(&mut *snapshot, &directory, format, &mailboxes, &progress("messages"))
            }
            Self::Import { mailbox, source } => {
                import::import(args, subject()?, &mailbox, &source, &progress("messages"))
            }
        }
    }
}

/// A progress bar on standard error, if that is a terminal.
fn progress(what: &'static str) -> ProgressBar {
    let template = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_finish(indicatif::ProgressFinish::AndClear)
}

/// Checks the store of the subject's stack in `place`, and prints what was found.
fn check(subject: &Subject, place: &StoreLocation) -> anyhow::Result<()> {
    let Subject { clock, .. } = subject;
    let mut snapshot = place.snapshot(subject.name(), clock.io)?;
    let report = check::check(&mut *snapshot, &progress("messages"), clock.wall.now())?;
    for note in &report.notes {
        say!("note: {note}");
    }
    for finding in &report.findings {
        say!("finding: {finding}");
    }
    let counts = report.counts.iter().map(|(what, count)| (*what, *count));
    for (what, count) in counts.chain([("findings", report.findings.len() as u64)]) {
        say!("{what:<18}{count:>12}");
    }
    let findings = report.findings.len();
    ensure!(findings == 0, "{place} has {findings} findings; restore a backup, or go on without");
    Ok(())
}
