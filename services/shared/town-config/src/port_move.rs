//! The ports of a configuration, moved away from those of another town on the same machine.

use super::{ConfigError, Console, PortKey, Stack, meaning};
use std::path::Path;

/// A distance by which every port of a configuration is moved. By default it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortMove {
    /// Added modulo 65,536, so that ports move down as well.
    distance: u16,
    /// The lowest port before; 0 where there is none.
    lowest: u16,
}

impl PortMove {
    /// The move that makes `base` of the lowest port of these stacks. Port 0, a free port, is no port to move.
    ///
    /// # Errors
    /// Names the port that would be too high, and the highest base for which none is.
    pub fn to_base<'s>(base: u16, stacks: impl IntoIterator<Item = &'s Stack>) -> Result<Self, ConfigError> {
        let ports: Vec<_> = stacks.into_iter().flat_map(configured).collect();
        let (Some((_, _, lowest)), Some((stack, key, highest))) =
            (ports.iter().min_by_key(|port| port.2), ports.iter().max_by_key(|port| port.2))
        else {
            return Ok(Self::default());
        };
        let most = u16::MAX - (highest - lowest);
        if base > most {
            let (name, key, port) = (&stack.name, key.as_str(), u32::from(base) + u32::from(highest - lowest));
            let message = format!("--port-base {base} makes server.\"{name}\".{key} {port}; give at most {most}");
            return Err(meaning(stack.config_path(), message));
        }
        Ok(Self { distance: base.wrapping_sub(*lowest), lowest: *lowest })
    }

    /// Refuses a move by which the console's port would be too high, or no port at all. The console keeps its distance to the
    /// others, and never is the lowest port.
    ///
    /// # Errors
    /// Names the port that it would be.
    pub(crate) fn check_console(self, base: u16, console: &Console, file: Option<&Path>) -> Result<(), ConfigError> {
        let distance =
            if base < self.lowest { i32::from(base) - i32::from(self.lowest) } else { i32::from(self.distance) };
        let moved = i32::from(console.port) + distance;
        if !console.enabled || console.port == 0 || (1..=i32::from(u16::MAX)).contains(&moved) {
            return Ok(());
        }
        let message =
            format!("--port-base {base} makes console.port {moved}; give another base, or set console.port to 0");
        Err(meaning(file.unwrap_or(Path::new("")), message))
    }

    /// Where this port of the configuration is moved to. 0 stays 0.
    pub fn apply(self, port: u16) -> u16 {
        if port == 0 { 0 } else { port.wrapping_add(self.distance) }
    }
}

/// The ports of a stack that have a number.
fn configured(stack: &Stack) -> impl Iterator<Item = (&Stack, PortKey, u16)> {
    let ports = PortKey::ALL.into_iter().filter_map(move |key| Some((stack, key, stack.configured_port(key)?)));
    ports.filter(|(_, _, port)| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::path::Path;

    const SHIPPED: &str = include_str!("../../../../data/config.toml");

    fn moved(text: &str, base: u16) -> Result<PortMove, String> {
        let config = Config::parse(text, Path::new("config.toml")).unwrap();
        PortMove::to_base(base, config.stacks()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_lowest_port_becomes_the_base_and_the_others_keep_their_distance() {
        for base in [1, 1025, 21_000, 62_565] {
            let moved = moved(SHIPPED, base).unwrap();
            let ports = [1025, 1026, 2110, 3110].map(|port| moved.apply(port));
            assert_eq!(ports, [base, base + 1, base + 1085, base + 2085]);
        }
        let expected = "config.toml: --port-base 62566 makes server.\"exmail.qq.com\".pops 65536; give at most 62565";
        assert_eq!(moved(SHIPPED, 62_566).unwrap_err(), expected);
    }

    #[test]
    fn zero_is_no_port_to_move() {
        let free = moved("[server.a]\nsmtp = 0\npop = 3110\n", 65_535).unwrap();
        assert_eq!([0, 3110].map(|port| free.apply(port)), [0, 65_535]);
        let none = moved("[server.a]\nsmtp = 0\npop = 0\n", 65_535).unwrap();
        assert_eq!(none, PortMove::default());
    }
}
