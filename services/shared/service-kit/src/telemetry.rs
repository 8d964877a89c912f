//! Logs on standard error: text, coloured only on a terminal, or JSON.

mod json;
mod stderr;

use internal_api::ConnectionId;
use json::{JsonLines, JsonMembers};
use std::{future::Future, io::IsTerminal};
use stderr::GatheredStderr;
use tracing::{Instrument, Span};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The environment variable that selects what is logged.
pub const LOG_VARIABLE: &str = "MAILTOWN_LOG";
/// The environment variable that selects how it is logged.
pub const LOG_FORMAT_VARIABLE: &str = "MAILTOWN_LOG_FORMAT";

/// The level when nothing is selected.
const DEFAULT_FILTER: &str = "info";

/// The crates that a level without a target is for. From all others come warnings only.
const OWN_CRATES: [&str; 11] = [
    "internal_api",
    "mail_net",
    "mail_proto",
    "mailbox_store",
    "mailtown",
    "pop3_gateway",
    "pseudo_dns",
    "service_kit",
    "smtp_gateway",
    "town_config",
    "town_tls",
];

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one object a line
    Json,
}

/// The flags that select what is logged, and how.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace, off), and levels of single crates such as hyper=debug
    #[arg(long, env = LOG_VARIABLE, global = true, value_name = "FILTER", default_value = DEFAULT_FILTER)]
    log: String,
    /// How it is logged
    #[arg(long, env = LOG_FORMAT_VARIABLE, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,
}

impl LogArgs {
    /// Starts logging, once a process.
    ///
    /// # Errors
    /// When the filter is not of the form that [`InvalidFilter`] tells.
    pub fn start(&self) -> Result<(), InvalidFilter> {
        let filter = filter(&self.log)?;
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(GatheredStderr);
        let _ = match self.log_format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
            LogFormat::Json => lines.with_ansi(false).fmt_fields(JsonMembers).event_format(JsonLines).try_init(),
        };
        Ok(())
    }
}

/// Writes the lines that wait for others. For a program that is about to end.
pub fn flush() {
    stderr::flush();
}

/// The text selects nothing that could be logged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--log ({LOG_VARIABLE}): {directive:?} is no log filter; give error, warn, info, debug, trace or off, \
     or a crate's level such as smtp_gateway=debug, several with commas between them"
)]
pub struct InvalidFilter {
    directive: String,
}

/// Runs a service to its end. Each line that it logs meanwhile says whose it is.
pub async fn service<T, E>(
    service: &'static str,
    server: &str,
    run: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    // Shown with whatever the filter lets through, so of the level that is never left out.
    let span = tracing::error_span!("service", service, server);
    async {
        let ended = run.await?;
        facts::ServiceStopped {}.log();
        Ok(ended)
    }
    .instrument(span)
    .await
}

/// Runs a program of several services. Each line that it logs outside of them says that it is the program's.
pub async fn program<T>(name: &'static str, run: impl Future<Output = T>) -> T {
    run.instrument(tracing::error_span!("service", service = name)).await
}

/// Logs that a service listens.
pub fn listening(protocol: &'static str, address: std::io::Result<impl std::fmt::Display>) {
    if let Ok(address) = address {
        facts::ServiceListening { protocol, address }.log();
    }
}

/// Runs the work for one connection: all its lines and calls carry the connection's new id. `span` makes the span of
/// the lines.
///
/// The work is boxed: each `async fn` around a future holds room for it twice, as its argument and as what it awaits.
pub fn connection<F: Future + Send + 'static>(
    span: impl FnOnce(&ConnectionId) -> Span + Send + 'static,
    work: F,
) -> impl Future<Output = F::Output> + Send + 'static {
    let work = Box::pin(work);
    async {
        let id = ConnectionId::random();
        let span = span(&id);
        id.scope(work.instrument(span)).await
    }
}

/// Starts a task whose lines say whose they are, as those of the caller do.
pub fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let task = task.instrument(Span::current());
    match ConnectionId::current() {
        Some(id) => tokio::spawn(id.scope(task)),
        None => tokio::spawn(task),
    }
}

/// Runs blocking work whose lines say whose they are, as those of the caller do.
pub fn spawn_blocking<F, T>(work: F) -> tokio::task::JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// Turns a level without a target into a level of our own crates; without any, that is the default.
fn filter(text: &str) -> Result<EnvFilter, InvalidFilter> {
    let mut own = LevelFilter::INFO;
    let mut named = String::new();
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        let invalid = || InvalidFilter { directive: directive.to_owned() };
        match directive.rsplit_once('=') {
            None => own = level(directive).ok_or_else(invalid)?,
            Some((target, text)) => {
                let level = level(text).ok_or_else(invalid)?;
                // A crate is known by the name of its package too.
                named += &format!(",{}={level}", target.replace('-', "_"));
            }
        }
    }
    let others = own.min(LevelFilter::WARN);
    let own: String = OWN_CRATES.iter().map(|name| format!(",{name}={own}")).collect();
    let invalid = |_| InvalidFilter { directive: text.to_owned() };
    EnvFilter::builder().parse(format!("{others}{own}{named}")).map_err(invalid)
}

/// A level by its name. `LevelFilter` itself also takes numbers and an empty text.
fn level(text: &str) -> Option<LevelFilter> {
    let named = text.bytes().all(|octet| octet.is_ascii_alphabetic()) && !text.is_empty();
    named.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing::{Level, subscriber::with_default};

    /// What a logger with this filter has written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(text: &str, log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(text).unwrap())
            .with_writer(move || writer.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .finish();
        with_default(subscriber, log);
        written.text()
    }

    /// Each line is one flat object, whatever a client has put into a field.
    #[test]
    fn json_lines_are_flat_objects() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let subscriber = lines.fmt_fields(JsonMembers).event_format(JsonLines).finish();
        with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let run = connection(
                    |id| tracing::info_span!("smtp", connection = %id, user = tracing::field::Empty),
                    async {
                        Span::current().record("user", "ann");
                        let (recipient, reply) = ("b@c", "450 \"later\"\n\u{1b}");
                        facts::RelayDeferred { message_id: "18c", recipient, reply, retry_seconds: 5_u64 }.log();
                        tracing::warn!(octets = 7, "no fact");
                        Ok::<_, ()>(())
                    },
                );
                service("smtp-gateway", "gmail.com", run).await.unwrap();
            });
        });
        let text = written.text();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        let members =
            |line: &serde_json::Value, names: &[&str]| names.iter().map(|name| line[name].clone()).collect::<Vec<_>>();
        let expected = serde_json::json!([
            "INFO",
            "smtp-gateway",
            "gmail.com",
            "ann",
            "relay.deferred",
            "18c",
            "450 \"later\"\n\u{1b}",
            5
        ]);
        let names = ["level", "service", "server", "user", "fact", "message_id", "reply", "retry_seconds"];
        assert_eq!(serde_json::Value::from(members(&lines[0], &names)), expected);
        assert_eq!(lines[0]["connection"].as_str().unwrap().len(), 12);
        assert_eq!(
            members(&lines[1], &["level", "text", "octets"]),
            [serde_json::json!("WARN"), "no fact".into(), 7.into()]
        );
        assert_eq!(
            members(&lines[2], &["fact", "connection"]),
            [serde_json::json!("service.stopped"), serde_json::Value::Null]
        );
        let time = lines[0]["time"].as_str().unwrap();
        assert!(time.len() > 20 && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn lines_outside_of_a_service_are_those_of_the_program() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let run = || {
            runtime.block_on(program("mailtown", async {
                tracing::info!(target: "mailtown", "of the program");
                spawn(async { tracing::info!(target: "mailtown", "of its task") }).await.unwrap();
            }));
        };
        let span = "INFO service{service=\"mailtown\"}: ";
        assert_eq!(logged("info", run).replace(span, "-").replace(' ', ""), "-oftheprogram\n-ofitstask\n");
    }

    #[test]
    fn a_level_is_for_our_own_crates() {
        let table: &[(&str, &str)] = &[
            ("", "own info, own warn, hyper warn, hickory warn"),
            ("info", "own info, own warn, hyper warn, hickory warn"),
            ("INFO", "own info, own warn, hyper warn, hickory warn"),
            ("debug", "own debug, own info, own warn, hyper warn, hickory warn"),
            ("warn", "own warn, hyper warn, hickory warn"),
            ("error", ""),
            ("off", ""),
            ("off,hyper=debug", "hyper debug, hyper warn"),
            ("warn, hickory_server=info", "own warn, hyper warn, hickory info, hickory warn"),
            ("hyper=off", "own info, own warn, hickory warn"),
            ("smtp-gateway=debug", "own debug, own info, own warn, hyper warn, hickory warn"),
        ];
        for (text, expected) in table {
            let said = logged(text, || {
                tracing::event!(target: "smtp_gateway::relay", Level::DEBUG, "own debug");
                tracing::event!(target: "smtp_gateway::relay", Level::INFO, "own info");
                tracing::event!(target: "smtp_gateway", Level::WARN, "own warn");
                tracing::event!(target: "hyper::proto", Level::DEBUG, "hyper debug");
                tracing::event!(target: "hyper::proto", Level::WARN, "hyper warn");
                tracing::event!(target: "hickory_server::server", Level::INFO, "hickory info");
                tracing::event!(target: "hickory_server::server", Level::WARN, "hickory warn");
            });
            let said: Vec<_> = said.lines().map(|line| line.trim_start().split_once(' ').unwrap().1.trim()).collect();
            assert_eq!(said.join(", "), *expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_filter_is_named() {
        for (text, named) in [
            ("loud", "loud"),
            ("info,loud", "loud"),
            ("hyper", "hyper"),
            ("7", "7"),
            ("smtp_gateway=", "smtp_gateway="),
            ("smtp_gateway=loud", "smtp_gateway=loud"),
        ] {
            assert_eq!(filter(text).unwrap_err(), InvalidFilter { directive: named.to_owned() }, "{text:?}");
        }
    }

    #[test]
    fn each_line_says_whose_it_is() {
        let said = logged("warn", || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let run = async { spawn(async { tracing::warn!("slow") }).await };
            runtime.block_on(service("pseudo-dns", "gmail.com", run)).unwrap();
        });
        assert_eq!(said, " WARN service{service=\"pseudo-dns\" server=\"gmail.com\"}: slow\n");
    }
}
