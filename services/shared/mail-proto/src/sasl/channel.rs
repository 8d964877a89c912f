//! Channel bindings: what both ends of one TLS connection know, and nobody in between (RFC 5056).

use sha2::{Digest, Sha256, Sha384, Sha512};

/// A kind of channel binding, as clients name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `tls-exporter`: keying material of the connection (RFC 9266).
    Exporter,
    /// `tls-server-end-point`: a hash of the server's certificate (RFC 5929 §4).
    EndPoint,
}

impl Binding {
    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exporter => "tls-exporter",
            Self::EndPoint => "tls-server-end-point",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Exporter, Self::EndPoint].into_iter().find(|binding| binding.as_str() == name)
    }
}

/// The octets of the channel bindings of one connection. Without TLS there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelBindings {
    /// The 32 octets of `tls-exporter`.
    pub exporter: Option<Vec<u8>>,
    /// The hash of `tls-server-end-point`; see [`end_point_binding`].
    pub end_point: Option<Vec<u8>>,
}

impl ChannelBindings {
    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.end_point.is_none()
    }

    /// The octets of this one, if the connection has it.
    pub fn octets(&self, binding: Binding) -> Option<&[u8]> {
        match binding {
            Binding::Exporter => self.exporter.as_deref(),
            Binding::EndPoint => self.end_point.as_deref(),
        }
    }
}

/// The octets of `tls-server-end-point` for a certificate in DER: its hash by the hash function of its signature, or by
/// SHA-256 where that is MD5 or SHA-1 (RFC 5929 §4.1). `None` where the signature has no such function.
pub fn end_point_binding(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The object identifiers of signatures (RFC 8017 appendix C, RFC 5758 §3.2), as DER has them.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];

/// The hash function of a certificate's signature algorithm: `SEQUENCE { tbs, SEQUENCE { OID … }, … }` (RFC 5280 §4.1).
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (fields, _) = element(certificate, SEQUENCE)?;
    let (_, rest) = element(fields, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    if let Some(scheme) = identifier.strip_prefix(RSA) {
        return match scheme {
            [4 | 5 | 11] => Some(Hash::Sha256),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            _ => None,
        };
    }
    match identifier.strip_prefix(ECDSA_SHA2) {
        Some([2]) => Some(Hash::Sha256),
        Some([3]) => Some(Hash::Sha384),
        Some([4]) => Some(Hash::Sha512),
        _ => (identifier == ECDSA_SHA1).then_some(Hash::Sha256),
    }
}

/// The content of the DER element of this tag at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (octets, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |octets, octet| octets << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(octets).filter(|_| found == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate of which only the signature's algorithm is real.
    fn certificate(identifier: &[u8]) -> Vec<u8> {
        let sequence = |content: &[u8]| [&[0x30, 0x82, 0, content.len() as u8], content].concat();
        let algorithm = sequence(&[&[6, identifier.len() as u8], identifier].concat());
        sequence(&[sequence(b"signed"), algorithm, b"signature".to_vec()].concat())
    }

    #[test]
    fn a_certificate_is_hashed_as_it_was_signed() {
        let table: &[(&[u8], &[u8], Option<usize>)] = &[
            (RSA, &[5], Some(32)),
            (RSA, &[11], Some(32)),
            (RSA, &[12], Some(48)),
            (RSA, &[13], Some(64)),
            // RSASSA-PSS names its hash function elsewhere.
            (RSA, &[10], None),
            (ECDSA_SHA1, &[], Some(32)),
            (ECDSA_SHA2, &[2], Some(32)),
            (ECDSA_SHA2, &[3], Some(48)),
            (ECDSA_SHA2, &[4], Some(64)),
            // Ed25519 (RFC 8410 §3).
            (&[0x2b, 0x65], &[0x70], None),
        ];
        for (prefix, last, expected) in table {
            let certificate = certificate(&[*prefix, last].concat());
            let octets = end_point_binding(&certificate);
            assert_eq!(octets.as_ref().map(Vec::len), *expected, "{prefix:x?} {last:x?}");
            for end in 0..certificate.len() - b"signature".len() {
                assert_eq!(end_point_binding(&certificate[..end]), None, "cut at {end}");
            }
        }
        let signed = certificate(&[ECDSA_SHA2, &[2]].concat());
        assert_eq!(end_point_binding(&signed).as_deref(), Some(&Sha256::digest(&signed)[..]));
    }
}
