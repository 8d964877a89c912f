//! The DNS protocol (RFC 1035) over UDP and TCP.

use crate::{
    CurrentZone,
    metrics::{Metrics, Transport},
    records,
    served::JustLost,
};
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, LowerQuery, MessageType, Metadata, OpCode, ResponseCode},
    rr::{DNSClass, Record, RecordType},
};
use hickory_server::{
    Server,
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use service_kit::{
    shutdown::CancellationToken,
    telemetry,
    zone::{Lookup, Zone},
};
use std::{io, time::Duration};
use tokio::net::{TcpListener, UdpSocket};

/// How long a TCP client may take for a query.
const TCP_IDLE: Duration = Duration::from_secs(5);
/// How many responses may wait for a TCP client that does not read.
const TCP_RESPONSES: usize = 16;
/// The largest UDP response: more would be fragmented (DNS flag day 2020).
const UDP_OCTETS: u16 = 1232;

/// Answers queries until `shutdown`.
pub(crate) async fn serve(
    udp: UdpSocket,
    tcp: TcpListener,
    zone: CurrentZone,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    telemetry::listening("DNS", udp.local_addr());
    let mut server = Server::new(Handler { zone, metrics });
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE, TCP_RESPONSES);
    let ended = tokio::select! {
        ended = server.block_until_done() => ended,
        () = shutdown.cancelled() => server.shutdown_gracefully().await,
    };
    ended.map_err(io::Error::other)
}

struct Handler {
    zone: CurrentZone,
    metrics: Metrics,
}

/// A response but for what it repeats of its query.
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

impl Handler {
    fn answer(&self, request: &Request) -> Answer {
        if request.metadata.op_code != OpCode::Query {
            return Answer::refusal(ResponseCode::NotImp);
        }
        if request.version() > 0 {
            return Answer::refusal(ResponseCode::BADVERS);
        }
        let [query] = request.queries.queries() else {
            return Answer::refusal(ResponseCode::FormErr);
        };
        if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return Answer::refusal(ResponseCode::Refused);
        }
        let zone = self.zone.borrow().clone();
        let look_up = |zone: &Zone| records::look_up(zone, query.original().name(), query.query_type());
        let (code, records) = match zone.look_up(look_up) {
            Ok(Lookup::Found(records)) => (ResponseCode::NoError, records),
            Ok(Lookup::NoRecords) => (ResponseCode::NoError, Vec::new()),
            Ok(Lookup::NameUnknown) => (ResponseCode::NXDomain, Vec::new()),
            Err(JustLost) => return Answer::refusal(ResponseCode::ServFail),
        };
        Answer { code, authoritative: true, records }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let Answer { code, authoritative, records } = self.answer(request);
        let transport = if request.protocol() == Protocol::Udp { Transport::udp } else { Transport::tcp };
        self.metrics.count(transport, type_label(request.queries.queries()), format!("{code:?}").to_uppercase());

        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = code;
        metadata.authoritative = authoritative;
        // RFC 2308 §2: what there is not is said with the SOA.
        let authority = (authoritative && records.is_empty()).then(records::authority);
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_OCTETS)).set_rcode_high(code.high());
            edns
        });
        let mut response = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            response.edns(edns);
        }
        let response = response.build(metadata, records.iter(), [], authority.iter(), []);
        match response_handle.send_response(response).await {
            Ok(information) => information,
            Err(error) => {
                tracing::debug!(%error, peer = %request.src(), "a response could not be sent");
                metadata.message_type = MessageType::Response;
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

/// The type asked for, as a label: one of few, whatever clients ask.
fn type_label(queries: &[LowerQuery]) -> &'static str {
    match queries.first().map(LowerQuery::query_type) {
        Some(RecordType::MX) => "MX",
        Some(records::P) => "P",
        Some(RecordType::SRV) => "SRV",
        Some(RecordType::A) => "A",
        Some(RecordType::AAAA) => "AAAA",
        _ => "other",
    }
}
