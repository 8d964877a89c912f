//! What Wireshark makes of the files, without being told anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dns;
mod pop3;
#[path = "../support/script.rs"]
mod script;
mod smtp;
mod tshark;
