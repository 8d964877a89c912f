//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), version 1.0, in little-endian order.
//!
//! Written by hand: of the crates that know pcapng, none has a stable release with the options that are needed here.

use std::net::Ipv4Addr;

/// Packets that begin with their IPv4 header (LINKTYPE_RAW).
const LINK_TYPE_RAW: u16 = 101;
/// The longest packet of a file, in octets. An IPv4 packet has at most 65,535.
const SNAP_OCTETS: u32 = 262_144;
/// How long the text of an option may be, in octets: its length is a 16-bit number.
const OPTION_OCTETS: usize = 60_000;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const COMMENT: u16 = 1;

/// Which way a packet went, seen from the service that recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// A packet, and what is said of it.
#[derive(Debug)]
pub(crate) struct EnhancedPacket<'a> {
    /// The number of its interface.
    pub(crate) interface: u32,
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    pub(crate) direction: Direction,
    /// No other packet of the file has this number.
    pub(crate) id: u64,
    /// Empty where there is nothing to say.
    pub(crate) comment: &'a str,
    pub(crate) octets: &'a [u8],
}

/// The section header: the first block of a file.
pub(crate) fn section_header(application: &str, comment: &str, out: &mut Vec<u8>) {
    block(SECTION_HEADER, out, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        // The length of the section is not known.
        out.extend(u64::MAX.to_le_bytes());
        option(out, COMMENT, comment.as_bytes());
        option(out, 4, application.as_bytes());
        end_of_options(out);
    });
}

/// An interface. Its number is how many came before it.
pub(crate) fn interface_description(name: &str, description: &str, out: &mut Vec<u8>) {
    block(INTERFACE_DESCRIPTION, out, |out| {
        out.extend(LINK_TYPE_RAW.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(SNAP_OCTETS.to_le_bytes());
        option(out, 2, name.as_bytes());
        option(out, 3, description.as_bytes());
        // Time stamps are in units of 10⁻⁹ s.
        option(out, 9, &[9]);
        end_of_options(out);
    });
}

/// Names of addresses.
pub(crate) fn name_resolution<'a>(names: impl IntoIterator<Item = (Ipv4Addr, &'a str)>, out: &mut Vec<u8>) {
    block(NAME_RESOLUTION, out, |out| {
        for (address, name) in names {
            let mut value = address.octets().to_vec();
            value.extend(clipped(name.as_bytes()));
            value.push(0);
            record(out, 1, &value);
        }
        out.extend([0; 4]);
    });
}

/// A packet.
pub(crate) fn enhanced_packet(packet: &EnhancedPacket<'_>, out: &mut Vec<u8>) {
    block(ENHANCED_PACKET, out, |out| {
        out.extend(packet.interface.to_le_bytes());
        time(out, packet.at);
        let length = u32::try_from(packet.octets.len()).unwrap_or(u32::MAX);
        // As long in the file as on the wire.
        out.extend(length.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend_from_slice(packet.octets);
        pad(out, packet.octets.len());
        if !packet.comment.is_empty() {
            option(out, COMMENT, packet.comment.as_bytes());
        }
        let flags: u32 = match packet.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        option(out, 2, &flags.to_le_bytes());
        option(out, 5, &packet.id.to_le_bytes());
        end_of_options(out);
    });
}

/// What is known of an interface at the end: how many packets it has in the file, and how many things are not there.
pub(crate) fn interface_statistics(
    interface: u32,
    at: u64,
    (received, dropped): (u64, u64),
    comment: &str,
    out: &mut Vec<u8>,
) {
    block(INTERFACE_STATISTICS, out, |out| {
        out.extend(interface.to_le_bytes());
        time(out, at);
        if !comment.is_empty() {
            option(out, COMMENT, comment.as_bytes());
        }
        option(out, 4, &received.to_le_bytes());
        option(out, 5, &dropped.to_le_bytes());
        end_of_options(out);
    });
}

/// A block: its type, its length, its content, its length.
fn block(kind: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    content(out);
    let length = u32::try_from(out.len() + 4 - start).unwrap_or(u32::MAX).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

/// A time stamp: its upper and its lower half.
fn time(out: &mut Vec<u8>, at: u64) {
    let [a, b, c, d, e, f, g, h] = at.to_le_bytes();
    out.extend([e, f, g, h, a, b, c, d]);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    record(out, code, clipped(value));
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

fn record(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

fn clipped(value: &[u8]) -> &[u8] {
    &value[..value.len().min(OPTION_OCTETS)]
}

/// Fills up to a multiple of four octets.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.extend(&[0; 3][..length.next_multiple_of(4) - length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn a_section_header_is_as_the_draft_says() {
        let mut out = Vec::new();
        section_header("town", "hello", &mut out);
        let expected = "0a0d0d0a 34000000 4d3c2b1a 0100 0000 ffffffffffffffff
            0100 0500 68656c6c6f 000000  0400 0400 746f776e  0000 0000  34000000";
        assert_eq!(out, octets(expected));
    }

    #[test]
    fn an_interface_has_a_name_and_nanoseconds() {
        let mut out = Vec::new();
        interface_description("a", "bc", &mut out);
        let expected = "01000000 30000000 6500 0000 00000400
            0200 0100 61000000  0300 0200 62630000  0900 0100 09000000  0000 0000  30000000";
        assert_eq!(out, octets(expected));
    }

    #[test]
    fn names_end_with_a_zero() {
        let mut out = Vec::new();
        name_resolution([(Ipv4Addr::new(10, 1, 0, 25), "a.test")], &mut out);
        let expected = "04000000 20000000 0100 0b00 0a010019 612e7465737400 00  0000 0000 20000000";
        assert_eq!(out, octets(expected));
    }

    #[test]
    fn a_packet_is_padded_and_has_its_options() {
        let mut out = Vec::new();
        let packet = EnhancedPacket {
            interface: 2,
            at: 0x0102_0304_0506_0708,
            direction: Direction::Outbound,
            id: 7,
            comment: "x",
            octets: &[0xaa; 5],
        };
        enhanced_packet(&packet, &mut out);
        let expected = "06000000 48000000 02000000 04030201 08070605 05000000 05000000 aaaaaaaaaa 000000
            0100 0100 78000000  0200 0400 02000000  0500 0800 0700000000000000  0000 0000  48000000";
        assert_eq!(out, octets(expected));
    }

    #[test]
    fn statistics_count() {
        let mut out = Vec::new();
        interface_statistics(1, 1 << 32, (3, 4), "", &mut out);
        let expected = "05000000 34000000 01000000 01000000 00000000
            0400 0800 0300000000000000  0500 0800 0400000000000000  0000 0000  34000000";
        assert_eq!(out, octets(expected));
    }
}
