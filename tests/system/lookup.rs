//! How the relay looks exchanges up: over HTTP, or over DNS.

use reqwest::Method;
use std::{collections::BTreeMap, fs};
use tokio::net::UdpSocket;
use town_config::PortKey;
use town_tests::{
    EXMAIL, FakePeer, GMAIL, PATIENCE, Plan, ProcessTown, Service, Site, TestTown, USR, USR1, eventually, polite,
};

const DNS: Service = Service { binary: "pseudo-dns", server: EXMAIL };

/// How many queries the name server of exmail.qq.com has answered, by labels such as
/// `transport="udp",record_type="MX",response="NOERROR"`.
async fn queries(site: &Site) -> BTreeMap<String, u64> {
    let metrics = site.call(Method::GET, EXMAIL, PortKey::DnsHttp, "/metrics").await.text().await.unwrap();
    let count = |line: &str| {
        let (labels, count) = line.strip_prefix("mailtown_dns_queries_total{")?.split_once("} ")?;
        Some((labels.to_owned(), count.parse().unwrap())).filter(|(_, count)| *count > 0)
    };
    metrics.lines().filter_map(count).collect()
}

async fn queries_over(site: &Site, transport: &str) -> u64 {
    let label = format!("transport=\"{transport}\"");
    queries(site).await.iter().filter(|(labels, _)| labels.contains(&label)).map(|(_, count)| count).sum()
}

/// Domains with what becomes of mail to them. Nobody listens on the silent port.
fn outcomes(plan: Plan) -> (Plan, Vec<(&'static str, String)>) {
    let silent = plan.silent_port();
    let own = plan.port(EXMAIL, PortKey::Smtp);
    let refused = |name: &str, host: &str| format!("451 4.4.1 {name} ({host}:{silent}): connection refused");
    // More than one datagram has room for.
    let many: Vec<_> = (0..100)
        .map(|number| format!("{{ preference = {number}, exchange = \"exchange-number-{number}.many.example.\" }}"))
        .collect();
    let plan = plan
        .relay("retry = [\"1h\"]")
        .mx("null.example", "\".\"")
        .mx("lost.example", "\"mx.lost.example.\"")
        .mx("portless.example", "\"mx.portless.example.\"")
        .p("below.bare.example", silent)
        .mx("self.example", "\"mxbiz1.qq.com.\"")
        .p("mxbiz1.qq.com", own)
        .p("implicit.example", silent)
        .mx("local.example", "\"mx.local.example.\"")
        .p("mx.local.example", silent)
        .mx("numbered.example", "\"mx.numbered.example.\"")
        .p_elsewhere("mx.numbered.example", &format!("127.0.0.2:{silent}"))
        .mx("named.example", "\"mx.named.example.\"")
        .p_elsewhere("mx.named.example", &format!("localhost:{silent}"))
        .mx(
            "two.example",
            "[{ preference = 20, exchange = \"mx.local.example.\" }, { preference = 10, exchange = \"MX2.two.example.\" }]",
        )
        .p("mx2.two.example", silent)
        .mx("many.example", &format!("[{}]", many.join(", ")))
        .p("exchange-number-99.many.example", silent);
    let outcomes = vec![
        ("unknown.example", "550 5.1.2 unknown.example: no such domain".to_owned()),
        ("null.example", "556 5.1.10 null.example takes no mail (null MX, RFC 7505)".to_owned()),
        ("portless.example", "550 5.4.4 portless.example: no exchange has a P record: mx.portless.example".to_owned()),
        ("bare.example", "550 5.4.4 bare.example has neither an MX record nor a P record".to_owned()),
        (
            "self.example",
            "554 5.4.6 mail for self.example loops back: its exchange mxbiz1.qq.com is this server".to_owned(),
        ),
        ("lost.example", "451 4.4.3 lost.example: the name cannot be looked up now".to_owned()),
        ("implicit.example", refused("implicit.example", "127.0.0.1")),
        ("local.example", refused("mx.local.example", "127.0.0.1")),
        ("numbered.example", refused("mx.numbered.example", "127.0.0.2")),
        ("named.example", refused("mx.named.example", "localhost")),
        ("two.example", refused("mx2.two.example", "127.0.0.1")),
        ("many.example", refused("exchange-number-99.many.example", "127.0.0.1")),
    ];
    (plan, outcomes)
}

/// Removes the MX of lost.example from the zone, and waits until the name server does not deny it yet.
async fn lose_a_record(site: &Site) {
    let zone = fs::read_to_string(site.zone()).unwrap();
    let record = "\"lost.example.\" = \"mx.lost.example.\"\n";
    assert!(zone.contains(record), "{zone}");
    fs::write(site.zone(), zone.replace(record, "")).unwrap();
    eventually("a zone that has lost a record", PATIENCE, async || {
        let path = "/v1/resolve?name=lost.example&type=MX";
        (site.call(Method::GET, EXMAIL, PortKey::DnsHttp, path).await.status() == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn both_ways_have_the_same_outcomes() {
    for lookup in ["http", "dns"] {
        let (plan, outcomes) = outcomes(Plan::default());
        let town = TestTown::start(plan.relay(&format!("lookup = \"{lookup}\""))).await;
        lose_a_record(&town).await;
        let before = queries_over(&town, "http").await;
        for (domain, _) in &outcomes {
            town.send(USR1, &[&format!("a@{domain}")], b"Subject: outcome\r\n\r\n").await;
        }
        let is_permanent = |reply: &str| reply.starts_with('5');
        let reports = outcomes.iter().filter(|(_, reply)| is_permanent(reply)).count();
        let reports = town.mail_of(USR1, reports).await;
        let reports: Vec<_> = reports.iter().map(|report| String::from_utf8_lossy(report)).collect();
        let queue = eventually("deferred mail", PATIENCE, async || {
            let queue = town.queue(EXMAIL).await;
            queue.iter().all(|entry| !entry.last_reply.is_empty()).then_some(queue)
        })
        .await;
        for (domain, reply) in &outcomes {
            if is_permanent(reply) {
                assert!(reports.iter().any(|report| report.contains(reply)), "{lookup}, {domain}: {reports:?}");
            } else {
                let entry = queue.iter().find(|entry| entry.recipient.to_string() == format!("a@{domain}")).unwrap();
                assert_eq!(entry.last_reply, *reply, "{lookup}, {domain}");
            }
        }
        let after = queries(&town).await;
        let over = |transport: &str| after.keys().any(|labels| labels.contains(&format!("transport=\"{transport}\"")));
        match lookup {
            "http" => assert!(!over("udp") && !over("tcp"), "{after:?}"),
            _ => {
                assert!(over("udp") && over("tcp"), "{after:?}");
                assert_eq!(queries_over(&town, "http").await, before, "{after:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_lookup_over_dns_is_in_force_at_once() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default().relay("lookup = \"http\"").peer("peer.example", peer.port());
    let town = TestTown::start(plan.mx("peer.example", "\"peer.example.\"")).await;
    let mut sent = 0;
    let mut send = async || {
        sent += 1;
        town.send(USR1, &["a@peer.example"], b"Subject: http\r\n\r\n").await;
        // Until then, the next message would need no look-up.
        peer.heard("-- closed", sent).await;
    };
    send().await;
    assert_eq!(queries_over(&town, "udp").await, 0);
    let text = fs::read_to_string(town.config()).unwrap();
    fs::write(town.config(), text.replace("lookup = \"http\"", "lookup = \"dns\"")).unwrap();
    eventually("the look-up of a host over UDP", PATIENCE, async || {
        send().await;
        queries(&town)
            .await
            .keys()
            .any(|labels| labels.starts_with("transport=\"udp\",record_type=\"A\""))
            .then_some(())
    })
    .await;
    let answered = queries(&town).await;
    for record_type in ["MX", "P", "A"] {
        let labels = format!("transport=\"udp\",record_type=\"{record_type}\",response=\"NOERROR\"");
        assert!(answered.contains_key(&labels), "{labels} in {answered:?}");
    }
}

#[tokio::test]
async fn mail_flows_between_processes_that_ask_over_dns() {
    let town = ProcessTown::start(Plan::default().relay("lookup = \"dns\"")).await;
    town.send(USR1, &[USR], b"Subject: there\r\n\r\n").await;
    town.mail_of(USR, 1).await;
    town.send(USR, &[USR1], b"Subject: back\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    town.drained(GMAIL).await;
    let answered = queries(&town).await;
    assert!(answered.keys().all(|labels| labels.contains("transport=\"udp\"")), "{answered:?}");
}

#[tokio::test]
async fn a_name_server_that_is_down_or_silent_puts_mail_off() {
    let mut town = ProcessTown::start(Plan::default().relay("lookup = \"dns\"\nretry = [\"1s\"]")).await;
    town.kill(DNS).await;
    let silent = UdpSocket::bind(town.address(EXMAIL, PortKey::Dns)).await.unwrap();
    town.send(USR1, &[USR], b"Subject: patience\r\n\r\n").await;
    let expected = "451 4.4.3 gmail.com: the name cannot be looked up now";
    assert_eq!(town.deferred(EXMAIL).await.last_reply, expected);
    drop(silent);
    eventually("another attempt", PATIENCE, async || {
        let [entry] = &town.queue(EXMAIL).await[..] else { panic!("one entry") };
        (entry.attempts > 1 && entry.last_reply == expected).then_some(())
    })
    .await;
    town.restart(DNS).await;
    town.mail_of(USR, 1).await;
}
