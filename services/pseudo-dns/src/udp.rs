//! DNS over UDP (RFC 1035 §4.2.1).

use crate::{metrics::Transport, wire::Responder};
use mail_net::IoClock;
use service_kit::shutdown::CancellationToken;
use std::time::Duration;
use tokio::net::UdpSocket;

/// More octets of a query are not read. It is cut then, and refused.
const MOST_OCTETS: usize = 4096;
/// How long nothing is received after that has failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers queries until `shutdown`.
pub(crate) async fn serve(socket: UdpSocket, responder: &Responder, io: IoClock, shutdown: CancellationToken) {
    let mut datagram = vec![0; MOST_OCTETS];
    while let Some(received) = shutdown.run_until_cancelled(socket.recv_from(&mut datagram)).await {
        let (octets, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                facts::DnsReceiveFailed { error }.log();
                io.sleep(PAUSE).await;
                continue;
            }
        };
        let Some(response) = responder.respond(&datagram[..octets], Transport::udp) else { continue };
        if let Err(error) = socket.send_to(&response, peer).await {
            tracing::debug!(%error, %peer, "a response could not be sent");
        }
    }
}
