//! `[faults]`: what goes wrong on purpose.

use ::faults::{Fault, Settings};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `[faults]`: what goes wrong on purpose from the start on, and whether that can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultKeys {
    /// Whether faults can be set and cleared over HTTP.
    pub api: bool,
    /// Whether recipients such as `bounce+550-5.1.1@domain` make faults.
    pub magic_recipients: bool,
    /// The faults of the start, by their names.
    pub at_start: BTreeMap<String, Fault>,
}

impl Default for FaultKeys {
    fn default() -> Self {
        Self { api: true, magic_recipients: false, at_start: BTreeMap::new() }
    }
}

impl FaultKeys {
    /// The faults with which a service starts.
    pub fn settings(&self) -> Settings {
        Settings { faults: self.at_start.clone(), magic_recipients: self.magic_recipients }
    }
}
