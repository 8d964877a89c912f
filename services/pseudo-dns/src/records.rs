//! The zone as resource records.

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, MX, NULL, SOA, SRV},
};
use std::net::{IpAddr, Ipv4Addr};
use town_config::zone::{Host, Lookup, P_RECORD_TYPE, Port, SERVICE_PREFIXES, Zone};

/// How long an answer may be cached, in seconds: an edit of the zone file is in force everywhere soon after.
pub(crate) const TTL_SECONDS: u32 = 5;

/// The type of a P record: its RDATA has the format of TXT (RFC 1035 §3.3.14) and holds `port` or `host:port`.
pub(crate) const P: RecordType = RecordType::Unknown(P_RECORD_TYPE);

/// The records of this type under `name`, which is how they name their owner.
pub(crate) fn look_up(zone: &Zone, name: &Name, record_type: RecordType) -> Lookup<Vec<Record>> {
    let text = name.to_ascii();
    if !zone.contains(&text) {
        return Lookup::NameUnknown;
    }
    let data = match record_type {
        RecordType::MX => mail_exchanges(zone, &text),
        RecordType::A | RecordType::AAAA => addresses(zone, &text, record_type),
        RecordType::SRV => services(zone, &text),
        RecordType::SOA if name.is_root() => vec![RData::SOA(start_of_authority())],
        // One of the types that there are is enough (RFC 8482 §4.1).
        RecordType::ANY => {
            let types = [RecordType::MX, P, RecordType::SRV, RecordType::SOA];
            let found = types.iter().find_map(|&record_type| look_up(zone, name, record_type).found());
            return found.map_or(Lookup::NoRecords, Lookup::Found);
        }
        P => zone.ports(&text).found().map(|port| port_data(&port)).into_iter().collect(),
        _ => Vec::new(),
    };
    if data.is_empty() {
        return Lookup::NoRecords;
    }
    Lookup::Found(data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL_SECONDS, data)).collect())
}

/// What goes into the authority section of a negative answer (RFC 2308 §2): the town is the whole tree.
pub(crate) fn authority() -> Record {
    Record::from_rdata(Name::root(), TTL_SECONDS, RData::SOA(start_of_authority()))
}

fn start_of_authority() -> SOA {
    let host = |labels: &[&str]| Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap_or_default();
    // Nobody transfers this zone, so the numbers for secondaries mean nothing; the last is the negative TTL.
    SOA::new(host(&["localhost"]), host(&["postmaster", "localhost"]), 1, 3600, 600, 86400, TTL_SECONDS)
}

fn mail_exchanges(zone: &Zone, name: &str) -> Vec<RData> {
    let exchanges = zone.mail_exchanges(name).found().unwrap_or_default();
    let data = |exchange: mail_proto::MailExchange| {
        Some(RData::MX(MX::new(exchange.preference, Name::from_ascii(&exchange.exchange).ok()?)))
    };
    exchanges.into_iter().filter_map(data).collect()
}

fn port_data(port: &Port) -> RData {
    RData::Unknown { code: P, rdata: NULL::with(port.to_rdata()) }
}

/// The port again, for those who know SRV (RFC 2782) and not P.
fn services(zone: &Zone, name: &str) -> Vec<RData> {
    let lower = name.to_ascii_lowercase();
    let Some(server) = SERVICE_PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix)) else {
        return Vec::new();
    };
    let Some(port) = zone.ports(server).found() else { return Vec::new() };
    let target = match &port.host {
        Host::Name(host) => Name::from_ascii(format!("{host}.")),
        Host::Local | Host::Address(_) => Name::from_ascii(server),
    };
    target.map(|target| RData::SRV(SRV::new(0, 0, port.number.get(), target))).into_iter().collect()
}

fn addresses(zone: &Zone, name: &str, record_type: RecordType) -> Vec<RData> {
    if zone.is_host(name) {
        // Everything listens on 127.0.0.1, and nothing on ::1.
        return match record_type {
            RecordType::A => vec![RData::A(A(Ipv4Addr::LOCALHOST))],
            _ => Vec::new(),
        };
    }
    let Some(port) = zone.ports(name).found() else { return Vec::new() };
    match (port.host, record_type) {
        (Host::Address(IpAddr::V4(address)), RecordType::A) => vec![RData::A(A(address))],
        (Host::Address(IpAddr::V6(address)), RecordType::AAAA) => vec![RData::AAAA(AAAA(address))],
        (Host::Local | Host::Address(_) | Host::Name(_), _) => Vec::new(),
    }
}
