//! Ports that are not those of the configuration: chosen by the system, or moved.

use internal_api::{DnsClient, Endpoint};
use mail_net::Clock;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use town_config::{PortKey, ports_file::Ports};
use town_tests::{
    EXMAIL, GMAIL, Mailtown, PATIENCE, Plan, PortBlock, Site, USR, USR1, eventually,
    mailtown::{address, arrives, command, send},
};

/// Sends a message from each domain to the other.
pub(crate) async fn exchange_mail(exmail: &Ports, gmail: &Ports, subject: &str) {
    let [exmail, gmail] = [(exmail, EXMAIL), (gmail, GMAIL)]
        .map(|(ports, server)| [PortKey::Smtp, PortKey::Pop].map(|key| address(ports, server, key)));
    send(exmail[0], USR1, USR, subject).await;
    send(gmail[0], USR, USR1, subject).await;
    arrives(gmail[1], USR, "pass", subject).await;
    arrives(exmail[1], USR1, "pass1", subject).await;
}

/// What a pseudo-dns of a town without a token says.
pub(crate) async fn p_record(ports: &Ports, name: &str) -> Vec<String> {
    let base = format!("http://{}", address(ports, EXMAIL, PortKey::DnsHttp));
    let dns = DnsClient::new(Endpoint::new(&base, None).unwrap(), Clock::system().io);
    dns.ports(name).await.unwrap().unwrap_or_default()
}

/// The configuration and the zone of a site, for a town that keeps its mail in its own directory.
pub(crate) fn options(site: &Site) -> Vec<PathBuf> {
    ["--config".into(), site.config().into(), "--zone".into(), site.zone().into()].into()
}

/// The same files with every port 0.
fn with_free_ports(plan: Plan) -> Site {
    let site = plan.write();
    free_ports(&site);
    site
}

/// Makes every port of a configuration 0.
pub(crate) fn free_ports(site: &Site) {
    let text = fs::read_to_string(site.config()).unwrap();
    let line = |line: &str| match line.split_once(" = ") {
        Some((key, number)) if number.parse::<u16>().is_ok() => format!("{key} = 0\n"),
        _ => format!("{line}\n"),
    };
    fs::write(site.config(), text.lines().map(line).collect::<String>()).unwrap();
}

async fn runs(binary: &str, directory: &Path, arguments: &[&str]) -> String {
    let output = command(binary).args(arguments).current_dir(directory).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{binary} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_system_chooses_every_port_and_the_file_tells_them() {
    let site = with_free_ports(Plan::default());
    let mut town = Mailtown::start(options(&site));
    let ports = town.ports().await;
    let all: BTreeSet<SocketAddr> = [EXMAIL, GMAIL]
        .into_iter()
        .flat_map(|server| PortKey::ALL.map(|key| address(&ports, server, key)))
        .inspect(|address| assert!(address.port() != 0 && address.ip().is_loopback(), "{address}"))
        .collect();
    assert_eq!(all.len(), 2 * PortKey::ALL.len());
    exchange_mail(&ports, &ports, "first").await;

    let config = site.config().display().to_string();
    let common = ["--ports-file", "ports.json", "--config", &config];
    let agent = |action: &[&'static str]| [&["-e", USR, "-p", "pass"], &common[..], action].concat();
    assert!(runs("agent", town.directory(), &agent(&["fetch", "--keep"])).await.contains("Subject: first\n"));
    runs("agent", town.directory(), &agent(&["send", "--to", USR1, "--subject", "agent"])).await;
    arrives(address(&ports, EXMAIL, PortKey::Pop), USR1, "pass1", "agent").await;
    runs("mailtown", town.directory(), &[&["healthcheck"], &common[..]].concat()).await;
    assert!(town.printed().contains(" -p PASSWORD --ports-file ports.json\n"), "{}", town.printed());

    assert!(town.stop().await.success());
    assert!(!town.ports_file().exists());
}

#[tokio::test]
async fn records_follow_the_ports_after_each_edit_of_a_file() {
    let site = with_free_ports(Plan::default().relay("lookup = \"dns\""));
    let mut town = Mailtown::start(options(&site));
    let ports = town.ports().await;
    let smtp = [address(&ports, EXMAIL, PortKey::Smtp).port().to_string()];
    assert_eq!(p_record(&ports, "mxbiz1.qq.com").await, smtp);
    let zone = fs::read_to_string(site.zone()).unwrap();
    let record = zone.lines().find(|line| line.starts_with("\"mxbiz1.qq.com.\" = \"")).unwrap();
    fs::write(site.zone(), zone.replace(record, "\"new.example.\" = \"1\"")).unwrap();
    eventually("the new zone", PATIENCE, async || (p_record(&ports, "new.example").await == ["1"]).then_some(())).await;
    assert_eq!(p_record(&ports, "mxbiz1.qq.com").await, smtp);
    exchange_mail(&ports, &ports, "after the edit").await;

    // Another domain of the same server, of which the zone knows the exchange alone.
    let config = fs::read_to_string(site.config()).unwrap();
    let accounts = format!("[accounts.\"{EXMAIL}\"]\n");
    let zone = fs::read_to_string(site.zone()).unwrap();
    fs::write(site.zone(), zone.replace("[MX]\n", "[MX]\n\"second.example.\" = \"mx.second.example.\"\n")).unwrap();
    eventually("the exchange without a port", PATIENCE, async || {
        let base = format!("http://{}", address(&ports, EXMAIL, PortKey::DnsHttp));
        let dns = DnsClient::new(Endpoint::new(&base, None).unwrap(), Clock::system().io);
        dns.mail_exchanges(&"second.example".parse().unwrap()).await.unwrap()
    })
    .await;
    assert_eq!(p_record(&ports, "mx.second.example").await, Vec::<String>::new());
    fs::write(site.config(), config.replace(&accounts, &format!("{accounts}\"a@second.example\" = \"a\"\n"))).unwrap();
    eventually("its port", PATIENCE, async || (p_record(&ports, "mx.second.example").await == smtp).then_some(()))
        .await;
}

#[tokio::test]
async fn without_the_file_nobody_looks_at_port_0() {
    let site = with_free_ports(Plan::default());
    let config = site.config().display().to_string();
    let said = async |binary: &str, arguments: &[&str]| {
        let mut command = command(binary);
        let output = command.args(["--config", &config]).args(arguments).output().await.unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{binary}");
        String::from_utf8(output.stderr).unwrap()
    };
    let expected = "error: server.\"exmail.qq.com\".store is 0, so the port is not known here; \
                    give --ports-file FILE as the town has it\n";
    assert_eq!(said("mailtown", &["healthcheck"]).await, expected);
    let remedy = "the port of pseudo-dns is 0; give --ports-file FILE, as the town has it";
    assert!(said("agent", &["-e", USR, "-p", "pass", "fetch"]).await.contains(remedy));
    let expected = format!(
        "error: {config}: server.\"{EXMAIL}\".store is 0, so nobody else knows the port; give a number, or run mailtown\n"
    );
    assert_eq!(said("pop3-gateway", &["--name", EXMAIL]).await, expected);
    let zone = site.zone().to_str().unwrap();
    let said = said("mailtown", &["--zone", zone, "--ports-file", "/no/such/ports.json"]).await;
    assert!(said.starts_with("error: cannot write /no/such/ports.json; give --ports-file a path "), "{said}");
}

#[tokio::test]
async fn two_towns_of_one_configuration_run_side_by_side() {
    let site = Plan::default().write();
    let (blocks, mut towns) = ([PortBlock::find(), PortBlock::find()], Vec::new());
    for block in &blocks {
        let base = ["--port-base".into(), block.port(0).to_string().into()];
        towns.push(Mailtown::start(options(&site).into_iter().chain(base)));
    }
    for (town, block) in towns.iter_mut().zip(&blocks) {
        let ports = town.ports().await;
        // The first ports of a plan are those of the first server, in the order of the keys.
        let first = PortKey::ALL.map(|key| address(&ports, EXMAIL, key).port());
        assert_eq!(first, std::array::from_fn(|index| block.port(index as u16)));
        let own = format!("town {}", block.port(0));
        exchange_mail(&ports, &ports, &own).await;
        let base = block.port(0).to_string();
        let config = site.config().to_str().unwrap();
        runs("mailtown", town.directory(), &["healthcheck", "--port-base", &base, "--config", config]).await;
    }
    let edited = fs::read_to_string(site.config()).unwrap().replace("[limits]\n", "[limits]\nrecipients = 100\n");
    fs::write(site.config(), edited).unwrap();
    for town in &towns {
        eventually("the new configuration", PATIENCE, async || town.log().contains("config.read").then_some(())).await;
        assert!(!town.log().contains("config.restart_needed"), "{}", town.log());
    }
    for town in &mut towns {
        assert!(town.stop().await.success());
        assert!(!town.ports_file().exists());
    }
}
