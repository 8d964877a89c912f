//! The mechanisms that there are, and sets of them.

use std::{fmt, str::FromStr};

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// Name and password in one message (RFC 4616).
    Plain,
    /// Name and password in a message each (draft-murchison-sasl-login).
    Login,
    /// A proof that the client knows the password (RFC 7677).
    ScramSha256,
    /// The same, bound to the TLS connection (RFC 5802 §6).
    ScramSha256Plus,
    /// Google's form of OAUTHBEARER. The token is the password.
    XOAuth2,
    /// A token, which is the password (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Login, Self::ScramSha256, Self::ScramSha256Plus, Self::XOAuth2, Self::OAuthBearer];

    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Whether whoever listens on the wire learns the password.
    pub fn is_plain_text(self) -> bool {
        !matches!(self, Self::ScramSha256 | Self::ScramSha256Plus)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No mechanism that this crate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such mechanism")]
pub struct UnknownMechanism;

/// In any case (RFC 4954 §4).
impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(text: &str) -> Result<Self, UnknownMechanism> {
        let named = |mechanism: &Self| mechanism.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or(UnknownMechanism)
    }
}

/// A set of mechanisms. It is displayed as in `AUTH PLAIN LOGIN`, without the keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether this one is among them.
    pub fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & bit(mechanism) != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The mechanisms, in the order of [`Mechanism::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.contains(*mechanism))
    }
}

fn bit(mechanism: Mechanism) -> u8 {
    1 << mechanism as u8
}

impl FromIterator<Mechanism> for Mechanisms {
    fn from_iter<I: IntoIterator<Item = Mechanism>>(mechanisms: I) -> Self {
        Self(mechanisms.into_iter().fold(0, |set, mechanism| set | bit(mechanism)))
    }
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mechanism) in self.iter().enumerate() {
            write!(f, "{}{mechanism}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_written_in_upper_case() {
        for mechanism in Mechanism::ALL {
            let name = mechanism.to_string();
            assert_eq!(name.to_ascii_lowercase().parse(), Ok(mechanism));
            assert_eq!(name, name.to_ascii_uppercase());
        }
        for none in ["", "PLAI", "PLAIN ", "CRAM-MD5", "SCRAM-SHA-1"] {
            assert_eq!(none.parse::<Mechanism>(), Err(UnknownMechanism), "{none}");
        }
    }

    #[test]
    fn a_set_is_a_list_in_one_order() {
        let all: Mechanisms = Mechanism::ALL.into_iter().rev().collect();
        assert_eq!(all.to_string(), "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS XOAUTH2 OAUTHBEARER");
        let some: Mechanisms = [Mechanism::Login, Mechanism::Login, Mechanism::ScramSha256].into_iter().collect();
        assert_eq!(some.to_string(), "LOGIN SCRAM-SHA-256");
        assert!(some.contains(Mechanism::Login) && !some.contains(Mechanism::Plain) && !some.is_empty());
        assert_eq!((Mechanisms::NONE.to_string(), Mechanisms::NONE.is_empty()), (String::new(), true));
    }
}
