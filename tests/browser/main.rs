//! The pages of the console in a browser. They need Chromium and its driver; screenshots are in `target/browser`.
#![allow(clippy::disallowed_methods, reason = "a test waits for a browser in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod browser;
mod canary;
mod hostile;
mod journey;
mod looks;
mod mail;
mod map;
mod narrow;
mod sessions;
mod story;
