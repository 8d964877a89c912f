//! The command lines: what is wrong is said in one line that names file, key and remedy.

use reqwest::{Method, StatusCode};
use std::{
    ffi::{OsStr, OsString},
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, ProcessTown, Service, Site, binaries};

const SERVICES: [&str; 4] = ["mailbox-store", "pseudo-dns", "pop3-gateway", "smtp-gateway"];

/// Runs a binary to its end, with nothing in its environment that could configure it.
fn run<S: AsRef<OsStr>>(directory: &Path, binary: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(binaries::path(binary));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MAILTOWN_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

/// The one line on standard error of a binary that could not do what it was told.
fn failure<S: AsRef<OsStr>>(directory: &Path, binary: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(directory, binary, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{binary}: {said}");
    assert_eq!(output.stdout, b"", "{binary}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("{binary}: {said:?}"));
    assert!(line.starts_with("error: ") && !line.contains('\n'), "{binary}: {said}");
    line.trim_start_matches("error: ").to_owned()
}

/// The arguments that would start a binary as part of this site.
fn arguments(site: &Site, binary: &str) -> Vec<OsString> {
    let path = |path: &Path| path.as_os_str().to_owned();
    let mut arguments = vec!["--config".into(), path(site.config())];
    match binary {
        "mailtown" => arguments.extend(["--zone".into(), path(site.zone()), "--state".into(), path(&site.state())]),
        _ => arguments.extend(["--name".into(), EXMAIL.into()]),
    }
    match binary {
        "pseudo-dns" => arguments.extend(["--zone".into(), path(site.zone())]),
        "mailbox-store" => arguments.extend(["--data".into(), path(&site.state())]),
        _ => {}
    }
    arguments
}

/// Each of these changes to the configuration keeps every binary from starting, for this reason.
#[test]
fn a_wrong_configuration_is_named_with_file_and_key() {
    let port = |plan: &Plan, key| plan.port(EXMAIL, key).to_string();
    let plan = Plan::default();
    let (smtp, pop) = (port(&plan, PortKey::Smtp), port(&plan, PortKey::Pop));
    let site = plan.write();
    let right = fs::read_to_string(site.config()).unwrap();
    let file = site.config().display().to_string();
    let smtp_line = 1 + right.lines().position(|line| line == format!("smtp = {smtp}")).unwrap();
    let table = [
        (
            "[limits]".to_owned(),
            "[limits]\nsise = 1".to_owned(),
            format!("{file}:3: limits.sise: unknown field `sise`, expected one of `smtp_line_octets`, "),
        ),
        (
            format!("smtp = {smtp}"),
            "smtp = 65536".to_owned(),
            format!(
                "{file}:{smtp_line}: server.\"exmail.qq.com\".smtp: 65536 is no port; give a number from 0 to 65535"
            ),
        ),
        (
            format!("pop = {pop}"),
            format!("pop = {smtp}"),
            format!(
                "{file}:{smtp_line}: server.\"exmail.qq.com\".smtp and server.\"exmail.qq.com\".pop are both {smtp}; give each its own port"
            ),
        ),
        (
            "[relay]".to_owned(),
            "[relay]\nretry = [\"soon\"]".to_owned(),
            format!("{file}:4: relay.retry: \"soon\" is no duration; give one such as "),
        ),
        (
            "\"tutorial\"".to_owned(),
            "\"fast\"".to_owned(),
            format!("{file}:1: profile: unknown variant `fast`, expected `tutorial` or `rfc`"),
        ),
        ("[limits]".to_owned(), "[limits".to_owned(), format!("{file}:2: ")),
    ];
    for (from, to, expected) in table {
        assert!(right.contains(&from), "{from}");
        fs::write(site.config(), right.replacen(&from, &to, 1)).unwrap();
        for binary in SERVICES.into_iter().chain(["mailtown"]) {
            let said = failure(site.directory(), binary, arguments(&site, binary));
            assert!(said.starts_with(&expected), "{binary}: {said}\nexpected: {expected}");
        }
    }
    fs::remove_file(site.config()).unwrap();
    for binary in SERVICES.into_iter().chain(["mailtown"]) {
        let said = failure(site.directory(), binary, arguments(&site, binary));
        assert_eq!(
            said,
            format!(
                "{file}: No such file or directory (os error 2); check the path, or name another file with --config"
            )
        );
    }
}

#[test]
fn a_port_in_use_is_named() {
    let site = Plan::default().write();
    let key = |binary| match binary {
        "mailbox-store" => (PortKey::Store, "store"),
        "pseudo-dns" => (PortKey::DnsHttp, "dns_http"),
        "pop3-gateway" => (PortKey::Pop, "pop"),
        _ => (PortKey::Smtp, "smtp"),
    };
    for binary in SERVICES.into_iter().chain(["mailtown"]) {
        let (key, name) = key(binary);
        let address = site.address(EXMAIL, key);
        let _owner = TcpListener::bind(address).unwrap();
        let said = failure(site.directory(), binary, arguments(&site, binary));
        let file = site.config().display();
        let expected = format!(
            "cannot listen on TCP {address} (server.\"exmail.qq.com\".{name} in {file}): \
             stop what listens there, or change the port: Address already in use (os error 98)"
        );
        let hint = "; a town may be running already: --port-base N and --state DIR start a second one";
        let hint = if binary == "mailtown" { hint } else { "" };
        assert_eq!(said, format!("{expected}{hint}"), "{binary}");
    }
}

#[test]
fn an_unknown_server_is_named_with_those_there_are() {
    let site = Plan::default().write();
    for binary in SERVICES {
        let mut arguments = arguments(&site, binary);
        arguments.extend(["--name".into(), "hotmail.com".into()]);
        let at = arguments.iter().position(|argument| argument == EXMAIL).unwrap();
        arguments.drain(at - 1..=at);
        let said = failure(site.directory(), binary, arguments);
        let file = site.config().display();
        assert_eq!(said, format!("{file}: no [server.\"hotmail.com\"]; the servers are: exmail.qq.com, gmail.com"));
    }
}

#[test]
fn nobody_listens_beyond_loopback_without_a_token() {
    let site = Plan::default().write();
    for binary in SERVICES {
        let mut arguments = arguments(&site, binary);
        arguments.extend(["--http-bind".into(), "0.0.0.0".into()]);
        let said = failure(site.directory(), binary, arguments);
        assert_eq!(
            said,
            "refusing to serve HTTP on 0.0.0.0 without a token; set MAILTOWN_TOKEN, or give --http-bind 127.0.0.1"
        );
    }
}

/// `arguments` says which subcommand; the options follow it.
#[test]
fn options_may_stand_after_the_subcommand() {
    let site = Plan::default().write();
    for binary in SERVICES {
        let mut arguments = arguments(&site, binary);
        arguments.insert(0, "healthcheck".into());
        let said = failure(site.directory(), binary, arguments);
        assert!(said.contains("/readyz is silent: ") && said.ends_with("is the town running?"), "{binary}: {said}");
    }
    let mut arguments = arguments(&site, "mailbox-store");
    arguments.splice(0..0, ["check".into()]);
    let said = failure(site.directory(), "mailbox-store", arguments);
    assert!(said.contains(&site.state().display().to_string()), "{said}");
}

#[test]
fn a_missing_name_is_asked_for() {
    let site = Plan::default().write();
    for binary in SERVICES {
        let said = failure(site.directory(), binary, [OsStr::new("--config"), site.config().as_os_str()]);
        assert_eq!(said, "give --name NAME (MAILTOWN_NAME), which is one of exmail.qq.com, gmail.com", "{binary}");
    }
}

#[test]
fn a_wrong_log_filter_is_named() {
    let site = Plan::default().write();
    for binary in SERVICES.into_iter().chain(["mailtown"]) {
        let mut arguments = arguments(&site, binary);
        arguments.extend(["--log".into(), "verbose".into()]);
        let said = failure(site.directory(), binary, arguments);
        let expected =
            "--log (MAILTOWN_LOG): \"verbose\" is no log filter; give error, warn, info, debug, trace or off, ";
        assert!(said.starts_with(expected), "{binary}: {said}");
    }
}

#[test]
fn a_broken_zone_is_named_with_file_and_line() {
    let site = Plan::default().write();
    let right = fs::read_to_string(site.zone()).unwrap();
    let file = site.zone().display().to_string();
    fs::write(site.zone(), format!("{right}\"broken.example.\" = \"70000\"\n")).unwrap();
    let line = right.lines().count() + 1;
    for binary in ["pseudo-dns", "mailtown"] {
        let said = failure(site.directory(), binary, arguments(&site, binary));
        assert!(said.contains(&format!("{file}:{line}: ")) && said.contains("broken.example."), "{binary}: {said}");
    }
    fs::remove_file(site.zone()).unwrap();
    for binary in ["pseudo-dns", "mailtown"] {
        let said = failure(site.directory(), binary, arguments(&site, binary));
        assert!(said.contains(&format!("{file}: ")) && said.contains("No such file or directory"), "{binary}: {said}");
    }
}

#[test]
fn mailtown_check_tells_whether_a_town_would_run() {
    let site = Plan::default().write();
    let check = ["check".into(), "--config".into(), site.config().into(), "--zone".into(), OsString::from(site.zone())];
    let output = run(site.directory(), "mailtown", &check);
    assert_eq!(output.status.code(), Some(0));
    let (config, zone) = (site.config().display(), site.zone().display());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{config} and {zone} are valid and fit together\n"));
    let text = fs::read_to_string(site.config()).unwrap();
    let line = 1 + text.lines().position(|line| line == "pop = \"pop.gmail.com\"").unwrap();
    let without = fs::read_to_string(site.zone()).unwrap().replace("\"pop.gmail.com.\"", "\"pop3.gmail.com.\"");
    fs::write(site.zone(), without).unwrap();
    let said = failure(site.directory(), "mailtown", &check);
    let what = "agent.\"gmail.com\".pop, which is \"pop.gmail.com\", has no P record; add one to the zone";
    assert_eq!(said, format!("{config}:{line}: {what}"));
}

#[test]
fn mailtown_check_lists_everything_that_is_wrong() {
    let site = Plan::default().write();
    let config = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), config.replacen("[limits]", "[limits]\nsise = 1\nrecipients = 1", 1)).unwrap();
    let zone = fs::read_to_string(site.zone()).unwrap();
    fs::write(site.zone(), format!("{zone}\"a\" = \"1\"\n\"b.\" = \"0\"\n")).unwrap();
    let check = ["check".into(), "--config".into(), site.config().into(), "--zone".into(), OsString::from(site.zone())];
    let output = run(site.directory(), "mailtown", &check);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let found: Vec<_> = said.lines().collect();
    let (config, zone) = (site.config().display(), site.zone().display());
    let expected = [
        format!("error: {config}:3: limits.sise: unknown field"),
        format!("error: {config}:4: limits.recipients is 1; give at least 100"),
        format!("error: {zone}:"),
        format!("error: {zone}:"),
    ];
    assert_eq!(found.len(), expected.len(), "{said}");
    assert!(found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected)), "{said}");
}

#[tokio::test]
async fn mailtown_healthcheck_asks_every_service() {
    let mut town = ProcessTown::start(Plan::default()).await;
    let healthcheck = ["healthcheck".into(), "--config".into(), OsString::from(town.config())];
    let output = run(town.directory(), "mailtown", &healthcheck);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    town.kill(Service { binary: "pop3-gateway", server: "gmail.com" }).await;
    let said = failure(town.directory(), "mailtown", &healthcheck);
    assert!(said.starts_with("gmail.com pop_http: http://127.0.0.1:"), "{said}");
}

#[test]
fn help_has_an_example() {
    let directory = std::env::temp_dir();
    for binary in SERVICES.into_iter().chain(["mailtown", "agent"]) {
        let output = run(&directory, binary, ["--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{binary}");
        let (_, examples) = help.split_once("\nExample").unwrap_or_else(|| panic!("{binary}: {help}"));
        assert!(examples.lines().any(|line| line.starts_with(&format!("  {binary}"))), "{binary}: {help}");
        assert_eq!(help.contains("MAILTOWN_LOG"), binary != "agent", "{binary}: {help}");
    }
}

#[tokio::test]
async fn a_gateway_is_ready_while_its_store_answers() {
    let mut town = ProcessTown::start(Plan::default()).await;
    let store = Service { binary: "mailbox-store", server: EXMAIL };
    town.kill(store).await;
    for binary in ["smtp-gateway", "pop3-gateway"] {
        let url = format!("http://{}/readyz", town.address(EXMAIL, Service { binary, server: EXMAIL }.http()));
        let answer = town.call_with(Method::GET, &url, None).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{binary}");
        assert!(answer.text().await.unwrap().starts_with("the mailbox store: "), "{binary}");
    }
    town.restart(store).await;
    for service in Service::ALL {
        town.ready(service).await;
    }
}

#[tokio::test]
async fn a_health_check_tells_whether_a_service_is_ready() {
    let mut town = ProcessTown::start(Plan::default()).await;
    for service in Service::ALL.into_iter().rev().filter(|service| service.server == EXMAIL) {
        let healthcheck =
            ["--name".into(), EXMAIL.into(), "--config".into(), OsString::from(town.config()), "healthcheck".into()];
        let output = run(town.directory(), service.binary, &healthcheck);
        assert_eq!(output.status.code(), Some(0), "{service:?}: {}", String::from_utf8_lossy(&output.stderr));
        town.kill(service).await;
        let said = failure(town.directory(), service.binary, &healthcheck);
        let address = town.address(EXMAIL, service.http());
        assert!(said.starts_with(&format!("http://{address}/readyz is silent")), "{said}");
    }
}
