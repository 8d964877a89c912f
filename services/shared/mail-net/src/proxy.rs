//! The header of the PROXY protocol, versions 1 and 2: a proxy tells the address of its client.

use crate::IoClock;
use ppp::{v1, v2};
use std::{io, net::SocketAddr, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What each header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its CRLF.
const V1_OCTETS: usize = 107;
/// The octets of version 2 that come before the addresses.
const V2_START: usize = 16;
/// The most octets of addresses and TLVs that are read.
const V2_OCTETS: usize = 2048;

/// Why there is no usable header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection failed, or ended within the header.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The header was not there in time.
    #[error("the PROXY header did not arrive in time")]
    Late,
    /// This is no header, or not one of a TCP connection.
    #[error("the connection does not begin with a valid PROXY header")]
    Malformed,
}

/// Reads the header that a fresh connection begins with, and not one octet beyond it.
///
/// Returns the client's address, or `None` if the header tells none: then the address of the connection itself stands.
pub async fn read_proxy_header(
    io: &mut (impl AsyncRead + Unpin + ?Sized),
    patience: Duration,
    clock: IoClock,
) -> Result<Option<SocketAddr>, ProxyError> {
    clock.timeout(patience, read(io)).await.map_err(|_| ProxyError::Late)?
}

async fn read(io: &mut (impl AsyncRead + Unpin + ?Sized)) -> Result<Option<SocketAddr>, ProxyError> {
    // The shortest header has 15 octets.
    let mut header = vec![0; SIGNATURE.len()];
    io.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(V2_START, 0);
        io.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[V2_START - 2], header[V2_START - 1]]));
        if rest > V2_OCTETS {
            return Err(ProxyError::Malformed);
        }
        header.resize(V2_START + rest, 0);
        io.read_exact(&mut header[V2_START..]).await?;
        return second(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed);
    }
    while !header.ends_with(b"\r\n") {
        if header.len() == V1_OCTETS {
            return Err(ProxyError::Malformed);
        }
        header.push(io.read_u8().await?);
    }
    first(&header)
}

fn first(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    match v1::Header::try_from(line).map_err(|_| ProxyError::Malformed)?.addresses {
        v1::Addresses::Tcp4(told) => Ok(Some((told.source_address, told.source_port).into())),
        v1::Addresses::Tcp6(told) => Ok(Some((told.source_address.to_canonical(), told.source_port).into())),
        v1::Addresses::Unknown => Ok(None),
    }
}

fn second(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let header = v2::Header::try_from(header).map_err(|_| ProxyError::Malformed)?;
    match (header.command, header.addresses, header.protocol) {
        (v2::Command::Local, ..) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_), _) => Ok(None),
        (_, v2::Addresses::IPv4(told), v2::Protocol::Stream) => {
            Ok(Some((told.source_address, told.source_port).into()))
        }
        (_, v2::Addresses::IPv6(told), v2::Protocol::Stream) => {
            Ok(Some((told.source_address.to_canonical(), told.source_port).into()))
        }
        _ => Err(ProxyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0, 25];
        let with_tlv = [&v4[..], &[4, 0, 2, 0, 0]].concat();
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 1, 7, 9);
        vec![
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 25\r\n".to_vec(), Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001::7 ::1 9 25\r\n".to_vec(), Some("[2001::7]:9")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some("192.0.2.7:4660")),
            (version_2(0x21, 0x11, &with_tlv), Some("192.0.2.7:4660")),
            (version_2(0x21, 0x21, &v6), Some("[2001::7]:9")),
            (version_2(0x21, 0x31, &[b'x'; 216]), None),
            (version_2(0x21, 0x00, &[]), None),
            (version_2(0x20, 0x00, &[]), None),
        ]
    }

    #[tokio::test]
    async fn a_good_header_is_read_to_its_end_and_no_further() {
        for (header, told) in good() {
            let input = [&header[..], b"EHLO"].concat();
            let mut rest = &input[..];
            let read = read_proxy_header(&mut rest, PATIENCE, Clock::system().io).await.unwrap();
            assert_eq!((read, rest), (told.map(|told| told.parse().unwrap()), &b"EHLO"[..]), "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_header_that_is_cut_anywhere_is_an_error() {
        for (header, _) in good() {
            for length in 0..header.len() {
                let mut cut = &header[..length];
                assert!(read_proxy_header(&mut cut, PATIENCE, Clock::system().io).await.is_err(), "{cut:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_bad_header_is_refused() {
        let bad = [
            b"EHLO client.example\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.300 127.0.0.1 1 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 127.0.0.1 65536 25\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 25\r\n".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(),
            version_2(0x11, 0x11, &[0; 12]),
            version_2(0x21, 0x12, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            version_2(0x21, 0x11, &[0; V2_OCTETS + 1]),
        ];
        for header in bad {
            let read = read_proxy_header(&mut &header[..], PATIENCE, Clock::system().io).await;
            assert!(matches!(read, Err(ProxyError::Malformed)), "{header:?}: {read:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_is_not_waited_for_forever() {
        let (mut here, _there) = tokio::io::duplex(64);
        let read = read_proxy_header(&mut here, PATIENCE, Clock::system().io).await;
        assert!(matches!(read, Err(ProxyError::Late)));
    }
}
