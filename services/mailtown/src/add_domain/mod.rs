//! `mailtown add-domain`: writes a new stack into the configuration, the zone and the compose file.

mod command;
mod compose;
mod ports;
mod tables;

pub(crate) use command::AddDomain;

use crate::check;
use anyhow::{Context, bail, ensure};
use mail_proto::MailExchange;
use mail_proto::{Domain, Mailbox};
use ports::Ports;
use similar::TextDiff;
use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use town_config::{
    Config,
    zone::{Lookup, Zone},
};

/// A mail domain that is to be added, and the files that are to tell of it.
#[derive(Debug, Clone)]
pub(crate) struct NewDomain {
    /// The mail domain, which is also the name of its server.
    pub domain: Domain,
    /// Its first account with the password, in plain text or as a PHC string.
    pub account: Option<(Mailbox, String)>,
    /// The configuration file.
    pub config: PathBuf,
    /// The zone file.
    pub zone: PathBuf,
    /// The compose file. It is left alone when it does not exist.
    pub compose: PathBuf,
}

/// The changes of one file.
#[derive(Debug)]
struct Edit {
    path: PathBuf,
    old: String,
    new: String,
}

/// All changes that add a domain, checked and not written yet.
#[derive(Debug)]
pub(crate) struct Changes {
    edits: Vec<Edit>,
    ports: Ports,
    domain: Domain,
}

impl NewDomain {
    /// Works out the changes. Writes nothing.
    ///
    /// # Errors
    /// One line that says why the domain cannot be added.
    pub(crate) fn changes(&self) -> anyhow::Result<Changes> {
        let (config, zone) = (Config::load(&self.config)?, Zone::load(&self.zone)?);
        self.ensure_new(&config, &zone)?;
        let ports = Ports::unused(&config, &zone).context("no set of free ports is left below 65536")?;
        let mut edits = vec![
            edit(&self.config, |text| tables::add_to_config(text, self, &ports))?,
            edit(&self.zone, |text| tables::add_to_zone(text, &self.domain, &ports))?,
        ];
        match fs::exists(&self.compose) {
            Ok(true) => edits.push(edit(&self.compose, |text| compose::add(text, &self.domain, &ports))?),
            _ => tracing::info!(path = %self.compose.display(), "there is no compose file, so none is changed"),
        }
        let changes = Changes { edits, ports, domain: self.domain.clone() };
        changes.check(&config, &zone)?;
        Ok(changes)
    }

    /// Refuses a domain that the town has, in part or whole.
    fn ensure_new(&self, config: &Config, zone: &Zone) -> anyhow::Result<()> {
        let (name, file) = (&self.domain, self.config.display());
        ensure!(!name.is_literal(), "{name} is an address; give the name of a mail domain, such as example.org");
        for stack in config.stacks() {
            ensure!(stack.name != *name, "{file} has a server \"{name}\" already");
            ensure!(!stack.is_local(name), "{name} is a mail domain of server \"{}\" already", stack.name);
        }
        ensure!(!config.agent.contains_key(name), "{file} has an [agent.\"{name}\"] already; remove it first");
        let taken: Option<Vec<MailExchange>> = zone.mail_exchanges(name.as_str()).found();
        ensure!(taken.is_none(), "{} has an MX of {name} already; remove it first", self.zone.display());
        for host in tables::hosts(name) {
            let taken = matches!(zone.ports(&host), Lookup::Found(_));
            ensure!(!taken, "{} has a P record of {host} already; remove it first", self.zone.display());
        }
        match &self.account {
            Some((address, _)) if address.domain() != name => {
                bail!("{address} is not in {name}; give a user of that domain")
            }
            _ => Ok(()),
        }
    }
}

fn edit(path: &Path, change: impl FnOnce(&str) -> anyhow::Result<String>) -> anyhow::Result<Edit> {
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let new = change(&old).with_context(|| path.display().to_string())?;
    Ok(Edit { path: path.to_owned(), old, new })
}

impl Changes {
    /// What the command did or would do, and what is left for its caller.
    pub(crate) fn next_steps(&self) -> String {
        let Self { ports, domain, .. } = self;
        format!(
            "{domain}: SMTP on port {}, POP3 on port {}\n\
             Without Docker, start mailtown anew: a new server has new ports.\n\
             With Docker, run: docker compose up --build --detach --wait\n\
             With profile postgres and a database that exists, first run: \
             docker compose exec postgres createdb --template=template0 --locale=C --username=mailtown {}\n",
            ports.smtp,
            ports.pop,
            compose::database(domain)
        )
    }

    /// The changes as a unified diff.
    pub(crate) fn diff(&self) -> String {
        let of = |Edit { path, old, new }: &Edit| {
            let name = path.display().to_string();
            TextDiff::from_lines(old, new).unified_diff().header(&name, &name).to_string()
        };
        self.edits.iter().map(of).collect()
    }

    /// Writes all files. Each is replaced whole, and none before all are ready to be.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let mut written = Vec::new();
        for Edit { path, new, old } in &self.edits {
            // A link stays what it is: the file that it leads to is replaced.
            let path = path.canonicalize().with_context(|| path.display().to_string())?;
            let changed = fs::read_to_string(&path).with_context(|| path.display().to_string())? != *old;
            ensure!(!changed, "{} has changed meanwhile; try again", path.display());
            written.push((replacement(&path, new).with_context(|| path.display().to_string())?, path));
        }
        for (file, path) in written {
            file.persist(&path).map_err(|error| error.error).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Makes sure that the new files are valid, and that nothing is wrong with them that was right before.
    fn check(&self, config: &Config, zone: &Zone) -> anyhow::Result<()> {
        let [new_config, new_zone, ..] = &self.edits[..] else { bail!("no files") };
        let before = check::findings(config, zone);
        let config = Config::parse(&new_config.new, &new_config.path)?;
        let zone = Zone::parse(&new_zone.new, &new_zone.path)?;
        let found = check::findings(&config, &zone).into_iter().find(|finding| !before.contains(finding));
        found.map_or(Ok(()), |finding| Err(anyhow::anyhow!("{}", finding.text)))
    }
}

/// A file beside `path` with the same permissions, which can take its place.
fn replacement(path: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::metadata(path)?.permissions())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
