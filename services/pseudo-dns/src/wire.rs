//! The DNS protocol (RFC 1035): one message in, one message out, whatever carries them.

use crate::{
    CurrentZone,
    faulted::Wrong,
    metrics::{Metrics, Transport},
    records,
    served::{JustLost, ServedZone},
};
use hickory_proto::{
    op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder},
};
use town_config::zone::{Lookup, Zone};

/// The largest UDP response in octets: more would be fragmented (DNS flag day 2020).
const UDP_OCTETS: u16 = 1232;
/// The largest UDP response in octets to a client without EDNS (RFC 1035 §4.2.1).
const PLAIN_UDP_OCTETS: u16 = 512;

/// Answers queries from the zone in force.
pub(crate) struct Responder {
    zone: CurrentZone,
    metrics: Metrics,
}

/// A response without what it repeats of its query.
struct Answer {
    code: ResponseCode,
    authoritative: bool,
    records: Vec<Record>,
}

impl Answer {
    fn refusal(code: ResponseCode) -> Self {
        Self { code, authoritative: false, records: Vec::new() }
    }
}

impl Responder {
    pub(crate) fn new(zone: CurrentZone, metrics: Metrics) -> Self {
        Self { zone, metrics }
    }

    /// The response to a message, or what is wrong instead. There is none to what has no whole header, and none to another response.
    pub(crate) fn respond(&self, message: &[u8], transport: Transport, wrong: Option<&Wrong>) -> Option<Vec<u8>> {
        let header = Header::read(&mut BinDecoder::new(message)).ok()?;
        if header.metadata.message_type == MessageType::Response {
            return None;
        }
        // A message with several questions is not read at all (RFC 9619 §4): their number alone reserves memory.
        let query = if header.counts.queries > 1 { None } else { Message::from_vec(message).ok() };
        let Some(query) = query else {
            let mut response = response_to(&header.metadata);
            response.metadata.response_code = ResponseCode::FormErr;
            return encode(&response, PLAIN_UDP_OCTETS);
        };
        let answer = match wrong {
            None => Self::answer(&query, &self.zone.borrow().clone()),
            Some(Wrong::Zone(zone)) => Self::answer(&query, zone),
            Some(Wrong::Failure) => Answer::refusal(ResponseCode::ServFail),
            Some(Wrong::Unknown) => Answer { code: ResponseCode::NXDomain, authoritative: true, records: Vec::new() },
            Some(Wrong::Silence) => return None,
        };
        self.metrics.count(transport, type_label(&query.queries), format!("{:?}", answer.code).to_uppercase());
        let response = respond_with(answer, query);
        let most_octets = match transport {
            Transport::udp => response.edns.as_ref().map_or(PLAIN_UDP_OCTETS, Edns::max_payload),
            Transport::tcp | Transport::http => u16::MAX,
        };
        encode(&response, most_octets)
    }

    fn answer(message: &Message, zone: &ServedZone) -> Answer {
        if message.metadata.op_code != OpCode::Query {
            return Answer::refusal(ResponseCode::NotImp);
        }
        if message.version() > 0 {
            return Answer::refusal(ResponseCode::BADVERS);
        }
        let [query] = message.queries.as_slice() else {
            return Answer::refusal(ResponseCode::FormErr);
        };
        if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Answer::refusal(ResponseCode::Refused);
        }
        let look_up = |zone: &Zone| records::look_up(zone, query.name(), query.query_type());
        let (code, records) = match zone.look_up(look_up) {
            Ok(Lookup::Found(records)) => (ResponseCode::NoError, records),
            Ok(Lookup::NoRecords) => (ResponseCode::NoError, Vec::new()),
            Ok(Lookup::NameUnknown) => (ResponseCode::NXDomain, Vec::new()),
            Err(JustLost) => return Answer::refusal(ResponseCode::ServFail),
        };
        Answer { code, authoritative: true, records }
    }
}

fn response_to(query: &Metadata) -> Message {
    let mut response = Message::response(query.id, query.op_code);
    response.metadata = Metadata::response_from_request(query);
    response
}

fn respond_with(Answer { code, authoritative, records }: Answer, query: Message) -> Message {
    let mut response = response_to(&query.metadata);
    response.metadata.response_code = code;
    response.metadata.authoritative = authoritative;
    response.queries = query.queries;
    // RFC 2308 §2: what there is not is said with the SOA.
    response.authorities.extend((authoritative && records.is_empty()).then(records::authority));
    response.answers = records;
    response.edns = query.edns.map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().clamp(PLAIN_UDP_OCTETS, UDP_OCTETS)).set_rcode_high(code.high());
        edns
    });
    response
}

/// The octets of a response. Records for which there is no room are left out, and the TC bit tells so (RFC 2181 §9).
fn encode(response: &Message, most_octets: u16) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(usize::from(PLAIN_UDP_OCTETS));
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_max_size(most_octets);
    match response.emit(&mut encoder) {
        Ok(()) => Some(octets),
        Err(error) => {
            facts::DnsResponseFailed { error }.log();
            None
        }
    }
}

/// The name that a message asks for, and the type.
pub(crate) fn question(message: &[u8]) -> Option<(String, &'static str)> {
    let header = Header::read(&mut BinDecoder::new(message)).ok()?;
    let message = Message::from_vec(message).ok().filter(|_| header.counts.queries == 1)?;
    let query = message.queries.first()?;
    Some((query.name().to_string(), type_label(&message.queries)))
}

/// The type asked for, as a label: one of few, whatever clients ask.
fn type_label(queries: &[Query]) -> &'static str {
    match queries.first().map(Query::query_type) {
        Some(RecordType::MX) => "MX",
        Some(records::P) => "P",
        Some(RecordType::SRV) => "SRV",
        Some(RecordType::A) => "A",
        Some(RecordType::AAAA) => "AAAA",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
