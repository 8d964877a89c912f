//! What the commands for operators say when a town cannot be asked: one line with the cause and the cure.

use std::process::{Output, Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use town_config::{PortKey, ports_file::Ports};
use town_tests::{EXMAIL, GMAIL, Plan, Site, TestTown, USR1, mailtown};

/// Commands that ask the stores of both servers.
const OF_ALL: [&[&str]; 4] =
    [&["queue"], &["queue", "retry", "--all"], &["queue", "remove", "--all"], &["accounts", "list"]];
/// Commands that ask one of them.
const OF_ONE: [&[&str]; 2] = [&["accounts", "disable", USR1], &["accounts", "remove", USR1]];
const PLACES: &str = "(the units of systemd have it in /etc/mailtown/environment, compose in docker-compose.yml)";

/// What `mailtown` complains of with these arguments and this token; it must fail, and complain in one line.
async fn complaint(site: &Site, arguments: &[&str], token: Option<&str>) -> String {
    let mut command = mailtown::command("mailtown");
    command.args(arguments).arg("--config").arg(site.config()).envs(token.map(|token| ("MAILTOWN_TOKEN", token)));
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
    let line = said.strip_prefix("error: ").and_then(|said| said.strip_suffix('\n'));
    line.filter(|line| !line.contains('\n')).unwrap_or_else(|| panic!("{arguments:?}: {said}")).to_owned()
}

fn store(site: &Site, server: &str) -> String {
    format!("http://{}", site.address(server, PortKey::Store))
}

#[tokio::test]
async fn a_token_that_is_missing_or_wrong_is_asked_for() {
    let town = TestTown::start(Plan::default()).await;
    let (exmail, gmail) = (store(&town, EXMAIL), store(&town, GMAIL));
    for (token, one, both, what) in [
        (None, "wants", "want", "the town's token; set MAILTOWN_TOKEN, or give --token TOKEN"),
        (
            Some("wrong"),
            "refuses",
            "refuse",
            "this token; set MAILTOWN_TOKEN, or give --token TOKEN, to that of the town",
        ),
    ] {
        for arguments in OF_ALL {
            let expected = format!("{exmail} and {gmail} {both} {what} {PLACES}");
            assert_eq!(complaint(&town, arguments, token).await, expected, "{arguments:?}");
        }
        for arguments in OF_ONE {
            let expected = format!("{exmail} {one} {what} {PLACES}");
            assert_eq!(complaint(&town, arguments, token).await, expected, "{arguments:?}");
        }
    }
}

#[tokio::test]
async fn a_town_that_does_not_run_is_asked_about() {
    let site = Plan::default().write();
    let (exmail, gmail) = (store(&site, EXMAIL), store(&site, GMAIL));
    let cause = "Connection refused (os error 111); is the town running?";
    for arguments in OF_ALL {
        let expected = format!("{exmail} and {gmail} are silent: {cause}");
        assert_eq!(complaint(&site, arguments, None).await, expected, "{arguments:?}");
    }
    for arguments in OF_ONE {
        assert_eq!(complaint(&site, arguments, None).await, format!("{exmail} is silent: {cause}"), "{arguments:?}");
    }
}

/// Answers each request like a service that does not know the path.
async fn without_routes(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut lines = BufReader::new(&mut stream).lines();
        while lines.next_line().await.is_ok_and(|line| line.is_some_and(|line| !line.is_empty())) {}
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(answer).await;
    }
}

#[tokio::test]
async fn a_store_without_the_route_is_older() {
    let site = Plan::default().write();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut ports) = (listener.local_addr().unwrap(), Ports::default());
    tokio::spawn(without_routes(listener));
    for server in [EXMAIL, GMAIL] {
        ports.insert(server, PortKey::Store, address);
    }
    let file = site.directory().join("ports.json");
    std::fs::write(&file, ports.to_json()).unwrap();
    let expected = format!(
        "http://{address} has no such call: the store is older than this command; upgrade it, or use the mailtown of \
         its version"
    );
    for arguments in OF_ALL.into_iter().chain(OF_ONE) {
        let arguments = [arguments, &["--ports-file", file.to_str().unwrap()]].concat();
        assert_eq!(complaint(&site, &arguments, None).await, expected, "{arguments:?}");
    }
}

/// The help of each command has the option that the complaint asks for.
#[tokio::test]
async fn the_token_is_in_the_help() {
    for arguments in OF_ALL.into_iter().chain(OF_ONE) {
        let mut command = mailtown::command("mailtown");
        let Output { stdout, .. } =
            command.args(&arguments[..arguments.len() - 1]).arg("--help").output().await.unwrap();
        let help = String::from_utf8(stdout).unwrap();
        assert!(help.contains("--token <TOKEN>") && help.contains("MAILTOWN_TOKEN"), "{arguments:?}: {help}");
    }
}
