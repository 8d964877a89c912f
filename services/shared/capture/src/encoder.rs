//! The blocks of one capture, in their order.

use crate::{
    Options,
    address::Addresses,
    block::{self, EnhancedPacket},
    conversation::Packet,
};
use internal_api::Dropped;
use std::{
    fmt::Write as _,
    io::{self, Write},
};

const APPLICATION: &str = concat!("mailtown ", env!("CARGO_PKG_VERSION"));

/// Writes packets as blocks, and declares their interfaces before.
#[derive(Debug)]
pub(crate) struct Encoder {
    comment: String,
    /// How many packets each interface has. Those that are declared are in here.
    received: Vec<u64>,
    packets: u64,
    /// The time of the latest packet.
    at: u64,
    has_begun: bool,
    block: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(options: &Options, addresses: &Addresses) -> Self {
        let comment = comment(options, addresses);
        Self { comment, received: Vec::new(), packets: 0, at: 0, has_begun: false, block: Vec::new() }
    }

    /// Writes what comes before all packets, unless it is written.
    pub(crate) fn begin(&mut self, addresses: &Addresses, to: &mut impl Write) -> io::Result<()> {
        if !self.has_begun {
            self.has_begun = true;
            block::section_header(APPLICATION, &self.comment, &mut self.block);
        }
        self.declare(addresses);
        self.flush(to)
    }

    pub(crate) fn packet(&mut self, packet: &Packet, addresses: &Addresses, to: &mut impl Write) -> io::Result<()> {
        self.begin(addresses, to)?;
        self.packets += 1;
        self.at = self.at.max(packet.at);
        if let Some(received) = self.received.get_mut(packet.server) {
            *received += 1;
        }
        let packet = EnhancedPacket {
            interface: u32::try_from(packet.server).unwrap_or(u32::MAX),
            at: packet.at,
            direction: packet.direction,
            id: self.packets,
            comment: &packet.comment,
            octets: &packet.octets,
        };
        block::enhanced_packet(&packet, &mut self.block);
        self.flush(to)
    }

    /// Writes the statistics. What was dropped counts once, with the first interface.
    pub(crate) fn finish(&mut self, dropped: Dropped, addresses: &Addresses, to: &mut impl Write) -> io::Result<()> {
        self.begin(addresses, to)?;
        for (number, received) in self.received.iter().enumerate() {
            let (dropped, comment) = match number {
                0 => (dropped.sessions + dropped.records, dropped_comment(dropped)),
                _ => (0, String::new()),
            };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            block::interface_statistics(number, self.at, (*received, dropped), &comment, &mut self.block);
        }
        self.flush(to)
    }

    /// Declares the servers that are new.
    fn declare(&mut self, addresses: &Addresses) {
        let new = &addresses.servers()[self.received.len()..];
        for server in new {
            let real = server.real.map_or_else(String::new, |real| format!(", really {real}"));
            block::interface_description(&server.name, &format!("{}{real}", server.address), &mut self.block);
            self.received.push(0);
        }
        if !new.is_empty() {
            let names = new.iter().map(|server| (server.address, server.name.as_str()));
            block::name_resolution(names, &mut self.block);
        }
    }

    fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

/// The query, and the real addresses of the servers that are known.
fn comment(options: &Options, addresses: &Addresses) -> String {
    let mut text = format!("query: {}", options.query);
    text.push_str("\naddresses, handshakes and acknowledgements are made up; what was encrypted is shown in clear");
    for server in addresses.servers() {
        let real = server.real.map_or_else(|| "unknown".to_owned(), |real| real.to_string());
        let _ = write!(text, "\n{} is {}, really {real}", server.address, server.name);
    }
    text
}

fn dropped_comment(dropped: Dropped) -> String {
    format!("sessions that were forgotten: {}; records that were not kept: {}", dropped.sessions, dropped.records)
}
