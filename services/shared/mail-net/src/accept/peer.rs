//! Whose connection it is.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What the connections of one client are counted by: an IPv4 address, or the network of an IPv6 address, since every
/// client may choose from 2^64 of them (RFC 4291 §2.5.1).
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// The addresses that many clients share: loopback, and the default gateway, which is the container bridge.
#[derive(Debug, Clone, Default)]
pub struct SharedAddresses {
    gateways: Vec<IpAddr>,
}

impl SharedAddresses {
    /// Reads the routing tables. Where there is none, only loopback is shared.
    pub fn of_this_machine() -> Self {
        let read = |path, gateways: fn(&str) -> Vec<IpAddr>| fs::read_to_string(path).map(|table| gateways(&table));
        let tables = [read("/proc/net/route", default_gateways), read("/proc/net/ipv6_route", default_ipv6_gateways)];
        Self { gateways: tables.into_iter().flatten().flatten().collect() }
    }

    /// The address of a client, if it is one by which clients can be told apart.
    pub fn telling(&self, address: IpAddr) -> Option<IpAddr> {
        (!self.contain(address)).then_some(address)
    }

    /// Whether many clients share this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.gateways.contains(&address)
    }
}

/// The gateways of the default routes in the kernel's table (proc_net(5)): hexadecimal in the machine's byte order.
fn default_gateways(table: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        let bits = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && bits != 0).then(|| IpAddr::V4(Ipv4Addr::from(bits.to_ne_bytes())))
    };
    table.lines().filter_map(gateway).collect()
}

/// The same for IPv6 (`/proc/net/ipv6_route`): destination and its prefix length, source and its prefix length, gateway,
/// all hexadecimal in the order of the network.
fn default_ipv6_gateways(table: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [destination, prefix, _, _, gateway, ..] = fields[..] else { return None };
        let [destination, gateway] = [destination, gateway].map(|field| u128::from_str_radix(field, 16));
        let gateway = gateway.ok().filter(|bits| *bits != 0)?;
        (destination == Ok(0) && prefix == "00").then(|| IpAddr::V6(Ipv6Addr::from_bits(gateway)))
    };
    table.lines().filter_map(gateway).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("fe80::1", "fe80::"),
        ];
        for (address, expected) in table {
            assert_eq!(client_network(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{address}");
        }
    }

    #[test]
    fn the_default_gateway_is_shared() {
        let hexadecimal = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t{}\t0003\neth0\t{}\t00000000\t0001\n",
            hexadecimal([172, 17, 0, 1]),
            hexadecimal([172, 17, 0, 0]),
        );
        let shared = SharedAddresses { gateways: default_gateways(&table) };
        for (address, expected) in [
            ("127.0.0.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("172.17.0.1", true),
            ("172.17.0.2", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(shared.contain(address), expected, "{address}");
            assert_eq!(shared.telling(address), (!expected).then_some(address));
        }
        assert_eq!(default_gateways("garbage\n\nx 00000000 zz\n"), [] as [IpAddr; 0]);
    }
    #[test]
    fn the_default_gateway_of_ipv6_is_shared() {
        let zero = "0".repeat(32);
        let gateway = "fd000000000000000000000000000001";
        let table = format!(
            "fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 60 {zero} 00 {gateway} 00000400 00000001 00000000 00000003     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let gateways = default_ipv6_gateways(&table);
        assert_eq!(gateways, ["fd00::1".parse::<IpAddr>().unwrap()]);
        let shared = SharedAddresses { gateways };
        assert!(shared.contain("fd00::1".parse().unwrap()) && !shared.contain("fd00::2".parse().unwrap()));
        assert_eq!(default_ipv6_gateways("garbage\n\nx 00 0 00 zz\n"), [] as [IpAddr; 0]);
    }
}
