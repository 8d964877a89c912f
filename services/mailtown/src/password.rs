//! How the commands get a password: each in the same ways.

use anyhow::{Context, ensure};
use mail_proto::Mailbox;
use std::{
    fmt,
    io::{IsTerminal, stdin},
};

/// The options of a command that needs a password.
#[derive(Clone, clap::Args)]
pub(crate) struct PasswordArgs {
    /// The password, in plain text or as an argon2 PHC string; without it, it is asked for, or read from standard input
    /// (better set in the environment: others can see command lines)
    #[arg(long, env = "MAILTOWN_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

impl fmt::Debug for PasswordArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordArgs").finish_non_exhaustive()
    }
}

impl PasswordArgs {
    /// Whether the password is among the options or in the environment.
    pub(crate) fn is_given(&self) -> bool {
        self.password.is_some()
    }

    /// The password that is given; or else one that is asked for, or the first line of a file or a pipe. It is not empty.
    /// `owner` is whose it is.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn read(self, owner: Option<&Mailbox>) -> anyhow::Result<String> {
        let of_owner = owner.map(|owner| format!(" of {owner}")).unwrap_or_default();
        let password = match self.password {
            Some(password) => password,
            None if stdin().is_terminal() => rpassword::prompt_password(format!("Password{of_owner}: "))?,
            None => {
                let mut line = String::new();
                stdin().read_line(&mut line).context("cannot read standard input")?;
                line.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        let ways = "type it at the prompt, write it to standard input, or set MAILTOWN_PASSWORD";
        ensure!(!password.is_empty(), "the password{of_owner} is empty; {ways}");
        Ok(password)
    }
}
