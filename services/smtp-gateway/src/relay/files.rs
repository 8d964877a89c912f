//! The files that the configuration of the relay names.

use service_kit::shutdown::CancellationToken;
use town_config::{LiveStack, Stack};
use town_tls::Trust;

/// A file that the relay cannot use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableFile {
    /// The path of the key that names it.
    pub key: &'static [&'static str],
    /// The key, what is wrong with the file, and what to do.
    pub text: String,
}

/// The files of `[relay]` that cannot be used. The relay reads them again for each connection, so they may come later.
/// Blocks.
pub fn unusable_relay_files(stack: &Stack) -> Vec<UnusableFile> {
    let mut unusable = Vec::new();
    if let Some(file) = stack.relay_authorities()
        && let Err(error) = Trust::new(None).verified(Some(&file))
    {
        let text = format!(
            "relay.ca: {error}; name a file with the certificates of authorities in PEM, because mail that needs a \
             verified certificate waits until then"
        );
        unusable.push(UnusableFile { key: &["relay", "ca"], text });
    }
    if let Some(smarthost) = &stack.relay.smarthost
        && let Err(error) = smarthost.password(stack.config_path())
    {
        let text = format!(
            "relay.smarthost.password_file: {error}; name a file that mailtown can read, because no mail leaves until then"
        );
        unusable.push(UnusableFile { key: &["relay", "smarthost", "password_file"], text });
    }
    unusable
}

/// Logs each file that cannot be used: now, and after each change of the configuration until `shutdown`.
pub(crate) async fn watch(mut stack: LiveStack, shutdown: CancellationToken) {
    loop {
        let current = stack.current();
        if current.relay.ca.is_some() || current.relay.smarthost.is_some() {
            let span = tracing::Span::current();
            // A panic there is logged already.
            let _ = tokio::task::spawn_blocking(move || span.in_scope(|| log(&current))).await;
        }
        if shutdown.run_until_cancelled(stack.changed()).await.is_none() {
            return;
        }
    }
}

fn log(stack: &Stack) {
    for UnusableFile { key, text } in unusable_relay_files(stack) {
        facts::RelayFileUnusable { error: stack.located(key, &text) }.log();
    }
}
