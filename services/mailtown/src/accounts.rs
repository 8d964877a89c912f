//! The command line of `mailtown accounts`.

use anyhow::{Context, ensure};
use clap::Subcommand;
use std::io::{IsTerminal, Write, stdin};

/// What can be done about accounts.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Accounts {
    /// Print the hash of a password, an argon2 PHC string, which may stand in [accounts] of the configuration
    #[command(
        after_help = "Examples:\n  mailtown accounts hash\n  MAILTOWN_PASSWORD=secret mailtown accounts hash\n  \
                            mailtown accounts hash < FILE"
    )]
    Hash {
        /// The password; asked for, or read from standard input, if not given (better set in the environment)
        #[arg(long, env = "MAILTOWN_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
}

impl Accounts {
    /// Does it.
    ///
    /// # Errors
    /// One line that says why it cannot.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Hash { password } = self;
        let password = password.map_or_else(read, Ok)?;
        ensure!(!password.is_empty(), "the password is empty; give one");
        let hash = mailbox_store::accounts::hash(password).await?;
        writeln!(std::io::stdout(), "{hash}").context("cannot write to standard output")
    }
}

/// Asks for the password, or reads the first line of a file or a pipe.
fn read() -> anyhow::Result<String> {
    if stdin().is_terminal() {
        return Ok(rpassword::prompt_password("Password: ")?);
    }
    let mut line = String::new();
    stdin().read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
