//! The mailbox store: everything durable of one stack, behind an HTTP API.
//!
//! ```text
//! api        the routes, each a few lines over the store
//! admission  mailboxes for every address, for test-beds
//! logins     passwords, checked slowly once and then from memory
//! admin      backup, restore, check, export, import, move-backend, schema
//! accounts   the configuration's accounts, kept in step with the store's
//! passwords  hashing in bounded memory, each client in its turn
//! throttle   delays for those who guess passwords
//! unpack     a store of a snapshot that was taken on another machine
//! store      what is durable: seven traits, two backends, a pure plan; and a store as a whole: snapshot, copy, check
//! ```

mod account_changes;
pub mod accounts;
mod admin;
mod admission;
mod api;
mod args;
mod logins;
mod metrics;
mod passwords;
mod service;
pub mod store;
mod throttle;
mod unpack;

/// Its name.
pub const SERVICE: &str = "mailbox-store";

pub use args::Args;
pub use metrics::Metrics;
pub use service::{Config, Listeners, ServiceError, run};
pub use unpack::{Unpacked, unpack};
