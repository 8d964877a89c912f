//! Where configuration and zone come from: files, or the shipped ones, which are built in.

use crate::{
    Config, ConfigError, KeyLines, small_file,
    zone::{Zone, ZoneError},
};
use std::{
    io,
    path::{Path, PathBuf},
};

const DEFAULT_CONFIG: &str = "data/config.toml";
const DEFAULT_ZONE: &str = "data/fdns.toml";
const BUILT_IN_CONFIG: &str = "the built-in configuration";
const BUILT_IN_ZONE: &str = "the built-in zone";
const CONFIG: &str = include_str!("../../../../data/config.toml");
const ZONE: &str = include_str!("../../../../data/fdns.toml");

/// The two files of a town, as a command line names them.
///
/// If it names neither, and neither is at its usual place, the built-in ones are meant. A file that is named must exist,
/// and one of the two alone would not fit to a built-in one.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The configuration file that is named.
    pub config: Option<PathBuf>,
    /// The zone file that is named.
    pub zone: Option<PathBuf>,
}

impl Files {
    /// Whether both are the built-in ones.
    pub fn is_built_in(&self) -> bool {
        let exists = |path: &str| Path::new(path).exists();
        self.config.is_none() && self.zone.is_none() && !exists(DEFAULT_CONFIG) && !exists(DEFAULT_ZONE)
    }

    /// The configuration file that is named, or the usual one, whether or not it exists.
    pub fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into())
    }

    /// The zone file that is named, or the usual one, whether or not it exists.
    pub fn zone_path(&self) -> PathBuf {
        self.zone.clone().unwrap_or_else(|| DEFAULT_ZONE.into())
    }

    /// What messages call the configuration: its path, or that it is built in.
    pub fn config_name(&self) -> PathBuf {
        if self.is_built_in() { BUILT_IN_CONFIG.into() } else { self.config_path() }
    }

    /// What messages call the zone.
    pub fn zone_name(&self) -> PathBuf {
        if self.is_built_in() { BUILT_IN_ZONE.into() } else { self.zone_path() }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_config(&self) -> Result<Config, ConfigError> {
        if self.is_built_in() { built_in_config() } else { Config::load(&self.config_path()) }
    }

    /// Reads the zone.
    ///
    /// # Errors
    /// As [`Zone::load`].
    pub fn load_zone(&self) -> Result<Zone, ZoneError> {
        if self.is_built_in() { built_in_zone() } else { Zone::load(&self.zone_path()) }
    }

    /// Reads the configuration and looks for everything that is wrong with it.
    ///
    /// # Errors
    /// As [`Config::check_file`].
    pub fn check_config(&self) -> Result<Config, Vec<ConfigError>> {
        if self.is_built_in() {
            built_in_config().map_err(|error| vec![error])
        } else {
            Config::check_file(&self.config_path())
        }
    }

    /// Reads the zone and looks for everything that is wrong with it.
    ///
    /// # Errors
    /// As [`Zone::check_file`].
    pub fn check_zone(&self) -> Result<Zone, Vec<ZoneError>> {
        if self.is_built_in() {
            built_in_zone().map_err(|error| vec![error])
        } else {
            Zone::check_file(&self.zone_path())
        }
    }

    /// The configuration as it is written, with its passwords.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn config_text(&self) -> io::Result<String> {
        if self.is_built_in() {
            return Ok(CONFIG.to_owned());
        }
        String::from_utf8(small_file::read(&self.config_path())?).map_err(io::Error::other)
    }

    /// The zone as it is written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn zone_text(&self) -> io::Result<String> {
        if self.is_built_in() {
            return Ok(ZONE.to_owned());
        }
        String::from_utf8(small_file::read(&self.zone_path())?).map_err(io::Error::other)
    }

    /// The lines of the configuration's keys. A file that cannot be read has none.
    pub fn config_lines(&self) -> KeyLines {
        self.lines(&self.config_path(), CONFIG)
    }

    /// The lines of the zone's keys, as [`Files::config_lines`].
    pub fn zone_lines(&self) -> KeyLines {
        self.lines(&self.zone_path(), ZONE)
    }

    fn lines(&self, path: &Path, built_in: &str) -> KeyLines {
        if self.is_built_in() {
            return KeyLines::of(built_in);
        }
        small_file::read_to_string(path).map(|text| KeyLines::of(&text)).unwrap_or_default()
    }
}

fn built_in_config() -> Result<Config, ConfigError> {
    Config::parse(CONFIG, Path::new(BUILT_IN_CONFIG))
}

fn built_in_zone() -> Result<Zone, ZoneError> {
    Zone::parse(ZONE, Path::new(BUILT_IN_ZONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_town_is_the_shipped_one() {
        // There is no `data` beside the sources of this crate.
        let files = Files::default();
        assert!(files.is_built_in());
        assert_eq!(files.check_config().unwrap().stacks().count(), 2);
        assert!(files.check_zone().unwrap().ports("smtp.gmail.com").found().is_some());
        assert_eq!(files.config_name(), Path::new("the built-in configuration"));
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let missing = || Some("no/such.toml".into());
        let of_config = Files { config: missing(), zone: None };
        let error = of_config.load_config().unwrap_err().to_string();
        assert!(error.starts_with("no/such.toml: No such file"), "{error}");
        let of_zone = Files { config: None, zone: missing() };
        let error = of_zone.load_config().unwrap_err().to_string();
        assert!(error.starts_with("data/config.toml: No such file"), "{error}");
    }
}
