//! A whole pseudo-dns on ports of its own, asked over UDP, TCP and HTTP.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used)]

mod support;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use mail_net::Clock;
use std::fs;
use support::{PATIENCE, PseudoDns, query};
use tokio::{net::UdpSocket, time::timeout};

const P: RecordType = RecordType::Unknown(65280);
const ZONE: &str = r#"
    [MX]
    "mail.sustech.edu.cn." = "mxbiz1.qq.com."
    "no.mail." = "."
    "big.org." = [
        { preference = 20, exchange = "mx2.big.org." },
        { preference = 5, exchange = "mx_1.big.org." },
    ]
    [P]
    "mxbiz1.qq.com." = "1025"
    "elsewhere.org." = "192.168.1.5:25"
    "six.org." = "[2001:db8::5]:25"
    "named.org." = "alice.example:2025"
"#;

/// A response in one line: code, flags, answers, authorities.
fn text(message: &Message) -> String {
    let record = |record: &Record| {
        let data = match &record.data {
            RData::Unknown { code, rdata } => format!("TYPE{} {}", u16::from(*code), rdata.anything.escape_ascii()),
            data => format!("{} {data}", record.record_type()),
        };
        format!("{} {} {data}", record.name, record.ttl)
    };
    let code = format!("{:?}", message.metadata.response_code);
    let flags = if message.metadata.authoritative { " aa" } else { "" };
    let answers: Vec<_> = message.answers.iter().map(record).collect();
    let authorities: Vec<_> = message.authorities.iter().map(record).collect();
    format!("{code}{flags} | {} | {}", answers.join(", "), authorities.join(", "))
}

const SOA: &str = ". 5 SOA localhost. postmaster.localhost. 1 3600 600 86400 5";

#[tokio::test]
async fn dns_over_udp_and_tcp() {
    let found = |records: &str| format!("NoError aa | {records} | ");
    let none = format!("NoError aa |  | {SOA}");
    let unknown = format!("NXDomain aa |  | {SOA}");
    let table: Vec<(&str, RecordType, String)> = vec![
        ("mail.sustech.edu.cn.", RecordType::MX, found("mail.sustech.edu.cn. 5 MX 10 mxbiz1.qq.com.")),
        ("MAIL.Sustech.edu.cn.", RecordType::MX, found("MAIL.Sustech.edu.cn. 5 MX 10 mxbiz1.qq.com.")),
        ("no.mail.", RecordType::MX, found("no.mail. 5 MX 0 .")),
        ("big.org.", RecordType::MX, found("big.org. 5 MX 5 mx_1.big.org., big.org. 5 MX 20 mx2.big.org.")),
        ("mxbiz1.qq.com.", P, found(r"mxbiz1.qq.com. 5 TYPE65280 \x041025")),
        ("elsewhere.org.", P, found(r"elsewhere.org. 5 TYPE65280 \x0e192.168.1.5:25")),
        (
            "_smtp._tcp.mxbiz1.qq.com.",
            RecordType::SRV,
            found("_smtp._tcp.mxbiz1.qq.com. 5 SRV 0 0 1025 mxbiz1.qq.com."),
        ),
        ("_POP3._tcp.named.org.", RecordType::SRV, found("_POP3._tcp.named.org. 5 SRV 0 0 2025 alice.example.")),
        ("mxbiz1.qq.com.", RecordType::A, found("mxbiz1.qq.com. 5 A 127.0.0.1")),
        ("mxbiz1.qq.com.", RecordType::AAAA, none.clone()),
        ("server.example.", RecordType::A, found("server.example. 5 A 127.0.0.1")),
        ("server.example.", RecordType::AAAA, none.clone()),
        ("elsewhere.org.", RecordType::A, found("elsewhere.org. 5 A 192.168.1.5")),
        ("six.org.", RecordType::AAAA, found("six.org. 5 AAAA 2001:db8::5")),
        ("big.org.", RecordType::ANY, found("big.org. 5 MX 5 mx_1.big.org., big.org. 5 MX 20 mx2.big.org.")),
        (".", RecordType::SOA, found(SOA)),
        ("elsewhere.org.", RecordType::AAAA, none.clone()),
        ("named.org.", RecordType::A, none.clone()),
        ("mxbiz1.qq.com.", RecordType::MX, none.clone()),
        ("mail.sustech.edu.cn.", P, none.clone()),
        ("mx2.big.org.", P, none.clone()),
        ("edu.cn.", RecordType::MX, none.clone()),
        ("_tcp.six.org.", RecordType::ANY, none.clone()),
        ("mxbiz1.qq.com.", RecordType::TXT, none),
        ("nowhere.", RecordType::MX, unknown.clone()),
        ("_smtp._tcp.big.org.", RecordType::SRV, unknown.clone()),
        ("x.mxbiz1.qq.com.", P, unknown),
    ];
    let dns = PseudoDns::start(ZONE, None).await;
    for (name, record_type, expected) in table {
        let query = query(name, record_type);
        let octets = query.to_vec().unwrap();
        let over_udp = dns.udp(&octets).await;
        assert_eq!((over_udp.metadata.id, text(&over_udp)), (query.metadata.id, expected), "{name} {record_type}");
        assert_eq!(over_udp.queries, query.queries, "{name} {record_type}");
        assert_eq!(dns.tcp(&octets).await, over_udp, "{name} {record_type}");
    }
    dns.stop().await;
}

#[tokio::test]
async fn what_is_not_answered_is_refused_and_does_no_harm() {
    let dns = PseudoDns::start(ZONE, None).await;
    let good = query("mxbiz1.qq.com.", P);

    let mut notify = good.clone();
    notify.metadata.op_code = OpCode::Notify;
    let mut chaos = good.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut two_questions = good.clone();
    two_questions.add_query(Query::query(Name::root(), RecordType::MX));
    let mut future_edns = good.clone();
    let mut edns = Edns::new();
    edns.set_version(1);
    future_edns.set_edns(edns);
    let transfer = query("big.org.", RecordType::AXFR);
    for (message, expected) in [
        (&notify, ResponseCode::NotImp),
        (&chaos, ResponseCode::Refused),
        (&two_questions, ResponseCode::FormErr),
        (&future_edns, ResponseCode::BADVERS),
        (&transfer, ResponseCode::Refused),
    ] {
        let octets = message.to_vec().unwrap();
        for response in [dns.udp(&octets).await, dns.tcp(&octets).await] {
            // As numbers, since 16 has two names.
            assert_eq!(u16::from(response.metadata.response_code), u16::from(expected), "{message:?}");
            assert!(response.answers.is_empty() && !response.metadata.authoritative, "{response:?}");
        }
    }

    // Cut anywhere, an answer is an error or no answer at all; and a response is never answered.
    let octets = good.to_vec().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut response = good.clone();
    response.metadata.message_type = MessageType::Response;
    response.metadata.id = !good.metadata.id;
    for malformed in
        (0..octets.len()).map(|end| octets[..end].to_vec()).chain([response.to_vec().unwrap(), vec![255; 600]])
    {
        socket.send_to(&malformed, dns.dns).await.unwrap();
    }
    for at in 12..octets.len() {
        let mut answer = [0; 512];
        let length = timeout(PATIENCE, socket.recv(&mut answer)).await.unwrap().unwrap();
        let answer = Message::from_vec(&answer[..length]).unwrap();
        let expected = (good.metadata.id, ResponseCode::FormErr);
        assert_eq!((answer.metadata.id, answer.metadata.response_code), expected, "cut at {at}");
    }
    assert_eq!(text(&dns.udp(&octets).await), r"NoError aa | mxbiz1.qq.com. 5 TYPE65280 \x041025 | ");
    dns.stop().await;
}

#[tokio::test]
async fn a_large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let entries: Vec<_> =
        (0..100).map(|at| format!("{{ preference = {at}, exchange = \"exchange-number-{at}.big.org.\" }}")).collect();
    let dns = PseudoDns::start(&format!("[MX]\n\"big.org.\" = [{}]\n[P]\n", entries.join(",")), None).await;
    let mut query = query("big.org.", RecordType::MX);
    let plain = dns.udp(&query.to_vec().unwrap()).await;
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let with_edns = dns.udp(&query.to_vec().unwrap()).await;
    assert!(plain.metadata.truncation && with_edns.metadata.truncation);
    assert!(plain.answers.len() < with_edns.answers.len() && with_edns.answers.len() < 100);
    assert_eq!(with_edns.edns.map(|edns| edns.max_payload()), Some(1232));
    let whole = dns.tcp(&query.to_vec().unwrap()).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
    dns.stop().await;
}

#[tokio::test]
async fn http() {
    let dns = PseudoDns::start(ZONE, None).await;
    let problem = |kind: &str, title: &str, status: u16, detail: &str| {
        let kind = format!("urn:mailtown:problem:{kind}");
        (status, serde_json::json!({ "type": kind, "title": title, "status": status, "detail": detail }))
    };
    let found = |name: &str, record_type: &str, records: serde_json::Value| {
        (200, serde_json::json!({ "name": name, "type": record_type, "records": records }))
    };
    let exchange =
        |preference: u16, exchange: &str| serde_json::json!({ "preference": preference, "exchange": exchange });
    let table = [
        (
            "name=Mail.SUSTech.edu.cn&type=MX",
            found("mail.sustech.edu.cn.", "MX", serde_json::json!([exchange(10, "mxbiz1.qq.com.")])),
        ),
        ("name=no.mail.&type=MX", found("no.mail.", "MX", serde_json::json!([exchange(0, ".")]))),
        ("name=mxbiz1.qq.com.&type=P", found("mxbiz1.qq.com.", "P", serde_json::json!(["1025"]))),
        ("name=six.org&type=P", found("six.org.", "P", serde_json::json!(["[2001:db8::5]:25"]))),
        ("name=mxbiz1.qq.com.&type=MX", found("mxbiz1.qq.com.", "MX", serde_json::json!([]))),
        ("name=big.org&type=P", found("big.org.", "P", serde_json::json!([]))),
        ("name=nowhere&type=MX", problem("name-unknown", "No such name", 404, "nowhere.")),
        ("name=[127.0.0.1]&type=MX", problem("name-unknown", "No such name", 404, "[127.0.0.1].")),
        ("name=&type=MX", problem("invalid-request", "Invalid request", 400, "name is empty")),
    ];
    for (query, expected) in table {
        assert_eq!(dns.resolve(query).await, expected, "{query}");
    }
    for query in ["", "name=a", "type=MX", "name=a&type=mx", "name=a&type=A", "name=a&type=MX&class=IN"] {
        let (status, body) = dns.resolve(query).await;
        assert_eq!((status, &body["type"]), (400, &"urn:mailtown:problem:invalid-request".into()), "{query}: {body}");
    }

    dns.udp(&query("nowhere.", RecordType::TXT).to_vec().unwrap()).await;
    let metrics = reqwest::get(format!("{}/metrics", dns.http)).await.unwrap().text().await.unwrap();
    for line in [
        r#"mailtown_dns_queries_total{transport="http",record_type="MX",response="NOERROR"} 3"#,
        r#"mailtown_dns_queries_total{transport="http",record_type="MX",response="NXDOMAIN"} 2"#,
        r#"mailtown_dns_queries_total{transport="udp",record_type="other",response="NXDOMAIN"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let description = reqwest::get(format!("{}/v1/openapi.json", dns.http)).await.unwrap().text().await.unwrap();
    assert!(description.contains("\"/v1/resolve\""), "{description}");
    let ready = reqwest::get(format!("{}/readyz", dns.http)).await.unwrap();
    assert_eq!(ready.status().as_u16(), 200);
    dns.stop().await;
}

#[tokio::test]
async fn the_token_guards_the_api() {
    let dns = PseudoDns::start(ZONE, Some("secret")).await;
    assert_eq!(dns.resolve("name=big.org&type=MX").await.0, 401);
    let endpoint = internal_api::Endpoint::new(&dns.http, Some("secret")).unwrap();
    let client = internal_api::DnsClient::new(endpoint, Clock::system().io);
    assert_eq!(client.ports("six.org").await.unwrap(), Some(vec!["[2001:db8::5]:25".to_owned()]));
    assert_eq!(client.ports("big.org").await.unwrap(), Some(Vec::new()));
    assert_eq!(client.mail_exchanges(&"nowhere".parse().unwrap()).await.unwrap(), None);
    dns.stop().await;
}

#[tokio::test]
async fn the_zone_file_is_read_again_and_a_broken_one_is_not() {
    let dns = PseudoDns::start(ZONE, None).await;
    let path = dns.directory.path().join("fdns.toml");
    let octets = query("mxbiz1.qq.com.", P).to_vec().unwrap();
    // Answered, so the file has been read.
    dns.udp(&octets).await;
    fs::write(&path, ZONE.replace("1025", "broken")).unwrap();
    assert_eq!(text(&dns.udp(&octets).await), r"NoError aa | mxbiz1.qq.com. 5 TYPE65280 \x041025 | ");
    fs::write(&path, ZONE.replace("1025", "1026")).unwrap();
    let read_again = async {
        while text(&dns.udp(&octets).await) != r"NoError aa | mxbiz1.qq.com. 5 TYPE65280 \x041026 | " {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, read_again).await.unwrap();
    dns.stop().await;
}

#[tokio::test]
async fn a_zone_that_is_broken_at_the_start_is_an_error() {
    let dns = PseudoDns::start("[MX]\n[P]\n\"a.\" = \"0\"", None).await;
    let file = dns.directory.path().join("fdns.toml");
    let error = dns.running.await.unwrap().unwrap_err().to_string();
    let expected = format!("{}:3: [P] \"a.\": \"0\" is no TCP port; write a number from 1 to 65535", file.display());
    assert_eq!(error, expected);
}
