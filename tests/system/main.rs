//! Whole towns, seen from outside. Each test has a town of its own; see the harness in `tests/src`.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accept_any;
mod accounts;
mod added_domain;
mod addresses;
mod aliases;
mod auth;
mod campaign;
mod chunks;
mod claims;
mod cli;
mod deletions;
mod descriptors;
mod dialogues;
mod documented;
mod failure_messages;
mod fairness;
mod faults;
mod http_api;
mod inquiries;
mod interop;
mod journey;
mod kill;
mod limits;
mod live_config;
mod logs;
mod lookup;
mod mail_flow;
mod many_recipients;
mod memory;
mod open_relay;
mod options;
mod ports;
mod power;
mod quotas;
mod rates;
mod refusals;
mod relay;
mod relay_tls;
mod reports;
mod smarthost;
mod starttls;
mod storage;
mod submission;
mod tutorial;
