//! What the options of `mailtown` change, seen from outside the process.

use crate::ports::{exchange_mail, options, p_record};
use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};
use tokio::net::TcpStream;
use town_config::PortKey;
use town_tests::{
    EXMAIL, GMAIL, Mailtown, PATIENCE, Plan, PortBlock,
    mailtown::{address, command},
};

const HTTP: [PortKey; 4] = [PortKey::Store, PortKey::DnsHttp, PortKey::SmtpHttp, PortKey::PopHttp];

async fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[tokio::test]
async fn bind_is_for_mail_and_dns_and_http_bind_for_http() {
    let site = Plan::default().write();
    let (bind, http_bind) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let binds = ["--bind".into(), bind.to_string().into(), "--http-bind".into(), http_bind.to_string().into()];
    let mut town = Mailtown::start(options(&site).into_iter().chain(binds));
    let ports = town.ports().await;
    for (server, key) in [EXMAIL, GMAIL].into_iter().flat_map(|server| PortKey::ALL.map(|key| (server, key))) {
        let (mail, http) = (IpAddr::V4(bind), IpAddr::V4(http_bind));
        let (host, other) = if HTTP.contains(&key) { (http, mail) } else { (mail, http) };
        let port = site.address(server, key).port();
        assert_eq!(address(&ports, server, key), SocketAddr::new(host, port));
        TcpStream::connect((host, port)).await.unwrap();
        for silent in [other, Ipv4Addr::LOCALHOST.into()] {
            assert!(refuses(SocketAddr::new(silent, port)).await, "{server} {key:?} on {silent}");
        }
    }
    // The servers find each other at the address that they have.
    let smtp = format!("{bind}:{}", site.address(EXMAIL, PortKey::Smtp).port());
    assert_eq!(p_record(&ports, "mxbiz1.qq.com").await, [smtp]);
    exchange_mail(&ports, &ports, "on other addresses").await;
}

#[tokio::test]
async fn two_processes_with_one_stack_each_are_one_town() {
    let site = Plan::default().write();
    let block = PortBlock::find();
    let moved = ["--port-base".into(), block.port(0).to_string().into()];
    for base in [&[][..], &moved] {
        let only = |name: &str| {
            let name = ["-n".into(), name.into()];
            Mailtown::start(options(&site).into_iter().chain(name).chain(base.to_vec()))
        };
        let (mut exmail, mut gmail) = (only(EXMAIL), only(GMAIL));
        let (exmail_ports, gmail_ports) = (exmail.ports().await, gmail.ports().await);
        assert_eq!(exmail_ports.servers().collect::<Vec<_>>(), [EXMAIL]);
        assert_eq!(gmail_ports.servers().collect::<Vec<_>>(), [GMAIL]);
        exchange_mail(&exmail_ports, &gmail_ports, "between processes").await;
        assert!(exmail.stop().await.success() && gmail.stop().await.success());
    }
}

/// A number for `--port-base` with which every port of the shipped configuration is free. No other test takes ports here.
fn free_base() -> u16 {
    const SHIPPED: [u16; 20] = [
        1025, 3110, 1080, 1053, 1054, 1026, 1111, 1587, 1465, 3995, 2025, 2110, 2080, 2053, 2054, 2026, 2111, 2587,
        2465, 2995,
    ];
    let free = |port: u16| {
        let address = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let start = RandomState::new().hash_one(std::process::id());
    let bases = (0..1000).map(|step| 10_000 + (start.wrapping_add(step) % 7_000) as u16);
    let is_free = |base: &u16| SHIPPED.iter().all(|port| free(port - 1025 + base));
    bases.into_iter().find(is_free).expect("no free base")
}

#[tokio::test]
async fn an_empty_directory_is_enough_for_the_built_in_town() {
    let base = free_base();
    let mut town = Mailtown::start(["--port-base", &base.to_string()]);
    let ports = town.ports().await;
    assert_eq!(address(&ports, EXMAIL, PortKey::Smtp).port(), base);
    assert_eq!(address(&ports, GMAIL, PortKey::Pop).port(), base + 2110 - 1025);
    exchange_mail(&ports, &ports, "built in").await;
    let run = async |binary: &str, arguments: &[&str]| {
        let mut command = command(binary);
        let output = command.args(arguments).current_dir(town.directory()).output().await.unwrap();
        assert!(output.status.success(), "{binary}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run("mailtown", &["check"]).await;
    assert_eq!(said, "the built-in configuration and the built-in zone are valid and fit together\n");
    let fetch = ["-e", "usr@gmail.com", "-p", "pass", "--ports-file", "ports.json", "fetch", "--keep"];
    assert!(run("agent", &fetch).await.contains("Subject: built in"));
    assert!(town.directory().join(".mailtown").join(EXMAIL).is_dir());
    assert!(town.log().contains("running with the built-in ones"), "{}", town.log());
    assert!(town.printed().contains(" -p PASSWORD --ports-file ports.json\n"), "{}", town.printed());
    assert!(town.stop().await.success());
}

/// The second town would take free ports. It must not have listened on one when it says why it does not start.
#[tokio::test]
async fn a_state_that_is_in_use_is_found_before_a_port_is_opened() {
    let site = Plan::default().write();
    let mut town = Mailtown::start(options(&site));
    town.ports().await;
    let block = PortBlock::find();
    let state = town.directory().join(".mailtown");
    let others = ["--port-base".into(), block.port(0).to_string().into(), "--state".into(), state.clone()];
    let mut second = command("mailtown");
    let output = second.args(options(&site).into_iter().chain(others)).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it should not start").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let directory = state.join(EXMAIL);
    let expected = format!(
        "error: {} is in use by a town or a mailbox-store that runs; stop it, or start a second town with --state DIR and \
         --port-base N\n",
        directory.display()
    );
    assert_eq!((output.status.code(), said), (Some(1), expected), "and no line of the log tells of a port");
    assert!(output.stdout.is_empty());
    assert!(town.stop().await.success());
}
