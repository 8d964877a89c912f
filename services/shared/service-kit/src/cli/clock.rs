//! `--virtual-clock`: what time a program goes by.

use jiff::Timestamp;
use mail_net::{Clock, WallClock};
use std::str::FromStr;
use town_config::ClockKind;

/// What time a program goes by.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct ClockArgs {
    /// Let time stand still until the clock is moved (mailtown clock), at the present moment or at a TIMESTAMP such as 2026-01-01T00:00:00Z [default: clock of the configuration]
    #[arg(
        long,
        env = "MAILTOWN_CLOCK",
        value_name = "TIMESTAMP",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "virtual"
    )]
    virtual_clock: Option<Start>,
}

/// Where the clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// As the configuration says.
    Configured,
    /// It is that of the machine.
    Real,
    /// It is virtual, and starts at the present time.
    Now,
    /// It is virtual, and starts at this time.
    At(Timestamp),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::Configured),
            "real" => Ok(Self::Real),
            "virtual" => Ok(Self::Now),
            _ => match text.parse::<Timestamp>() {
                Ok(at) if at.as_second() >= 0 && at < WallClock::END => Ok(Self::At(at)),
                Ok(_) => Err(format!("give a time from 1970-01-01T00:00:00Z and before {}", WallClock::END)),
                Err(_) => Err("give a time such as 2026-01-01T00:00:00Z, or virtual for the present time".to_owned()),
            },
        }
    }
}

impl ClockArgs {
    /// The clock for a program whose configuration says `configured`. `system` tells the present time.
    pub fn clock(self, configured: ClockKind, system: Clock) -> Clock {
        let now = system.wall.now();
        // In whole seconds, which are easy to compare.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        self.starting_at(now, configured).unwrap_or(system)
    }

    /// The same for a program that takes the time from others: without TIMESTAMP, a virtual clock starts before theirs.
    pub fn follower(self, configured: ClockKind, system: Clock) -> Clock {
        self.starting_at(Timestamp::UNIX_EPOCH, configured).unwrap_or(system)
    }

    /// The virtual clock, if it is to be that. Without TIMESTAMP, it starts at `now`.
    fn starting_at(self, now: Timestamp, configured: ClockKind) -> Option<Clock> {
        match (self.virtual_clock.unwrap_or(Start::Configured), configured) {
            (Start::At(start), _) => Some(Clock::virtual_at(start)),
            (Start::Now, _) | (Start::Configured, ClockKind::Virtual) => Some(Clock::virtual_at(now)),
            (Start::Real, _) | (Start::Configured, ClockKind::Real) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_comes_before_the_configuration() {
        let machine = Clock::virtual_at("2026-06-01T00:00:00.5Z".parse().unwrap());
        let clock = |text: Option<&str>, configured| {
            let virtual_clock = text.map(|text| text.parse().unwrap());
            ClockArgs { virtual_clock }.clock(configured, machine.clone()).wall.now().to_string()
        };
        let (real, now, at) = ("2026-06-01T00:00:00.5Z", "2026-06-01T00:00:00Z", "2026-01-01T00:00:00Z");
        for (text, configured, expected) in [
            (None, ClockKind::Real, real),
            (None, ClockKind::Virtual, now),
            (Some(""), ClockKind::Virtual, now),
            (Some("real"), ClockKind::Virtual, real),
            (Some("virtual"), ClockKind::Real, now),
            (Some("2026-01-01T00:00:00Z"), ClockKind::Real, at),
        ] {
            assert_eq!(clock(text, configured), expected, "{text:?} {configured:?}");
        }
        for wrong in ["yes", "2089-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "10m"] {
            assert!(wrong.parse::<Start>().unwrap_err().starts_with("give a time "), "{wrong}");
        }
    }
}
