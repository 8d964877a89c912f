//! The name of a message.

use std::{fmt, str::FromStr};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

/// Crockford's base 32 in lower case: no i, l, o or u to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 13 digits of 5 bits hold 64 bits.
const DIGITS: usize = 13;
/// What a message id looks like, for descriptions. The first digit of 13 has no more than 4 bits.
const MESSAGE_ID_PATTERN: &str = "^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$";

/// Names a message for ever: in `queued as <id>`, in UIDL, in the store's API. Opaque and never reused.
///
/// Later messages of one store have greater ids, so sorting by id is sorting by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The id with this number.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number behind the text.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl From<u64> for MessageId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<MessageId> for u64 {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..DIGITS).rev() {
            let value = (self.0 >> (5 * digit)) & 31;
            write!(f, "{}", char::from(ALPHABET[value as usize]))?;
        }
        Ok(())
    }
}

/// The text names no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message id has {DIGITS} characters: digits, and lower-case letters except i, l, o and u")]
pub struct InvalidMessageId;

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        if text.len() != DIGITS {
            return Err(InvalidMessageId);
        }
        let mut number: u64 = 0;
        for digit in text.bytes() {
            let value = ALPHABET.iter().position(|&letter| letter == digit).ok_or(InvalidMessageId)?;
            number = number.checked_mul(32).ok_or(InvalidMessageId)? | value as u64;
        }
        Ok(Self(number))
    }
}

impl serde::Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for MessageId {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(MESSAGE_ID_PATTERN));
        schema.examples(["06gk2w1s8n4qz"]).description(Some("Names a message for ever; opaque.")).into()
    }
}

impl ToSchema for MessageId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree_and_sort_alike() {
        let numbers = [0, 1, 31, 32, 1 << 40, u64::MAX - 1, u64::MAX];
        for pair in numbers.windows(2) {
            let [low, high] = [pair[0], pair[1]].map(|number| MessageId::from_number(number).to_string());
            assert!(low < high, "{low} {high}");
        }
        for number in numbers {
            assert_eq!(MessageId::from_number(number).to_string().parse(), Ok(MessageId(number)));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "0", "00000000000000", "zzzzzzzzzzzzz", "000000000000i", "000000000000A", "../../../etc/"] {
            assert_eq!(text.parse::<MessageId>(), Err(InvalidMessageId), "{text}");
        }
    }
}
