//! What the schema of a field says and its type does not, for `#[serde(deserialize_with = …)]`.

use crate::Submission;
use serde::{Deserialize, Deserializer, de};
use std::{fmt, marker::PhantomData};

/// A whole number; in JSON `60.0` is one too (JSON Schema Core §4.2.3).
pub(crate) fn whole_number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Whole(PhantomData))
}

/// A list that is not empty.
pub(crate) fn at_least_one<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Vec::deserialize(deserializer)?;
    if items.is_empty() { Err(de::Error::invalid_length(0, &"at least one")) } else { Ok(items) }
}

/// The name of a transaction.
pub(crate) fn transaction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if Submission::is_transaction(&text) { Ok(text) } else { Err(de::Error::custom(Submission::TRANSACTION_RULE)) }
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of at most {} bits", 8 * size_of::<T>())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        // The cast is exact below 2^64.
        match number {
            _ if number.fract() == 0.0 && (0.0..u64::MAX as f64).contains(&number) => self.visit_u64(number as u64),
            _ => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
        }
    }
}

/// For a field that is left out where it says no, as a version before knows it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use crate::{Ending, Outcome, RecipientOutcome, Renewal, Settlement};
    use serde::Deserialize;

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_nothing() {
        let renewal = |text: &str| serde_json::from_str::<Renewal>(&format!("{{\"lease_seconds\":{text}}}"));
        for text in ["60", "60.0", "6e1"] {
            assert_eq!(renewal(text).unwrap().lease_seconds, 60, "{text}");
        }
        assert_eq!(renewal("0.0").unwrap().lease_seconds, 0);
        for text in ["60.5", "-1", "-1.0", "4294967296", "4294967296.0", "1e300", "\"60\"", "null", "true", "[60]"] {
            assert!(renewal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_settlement_of_nothing_is_none() {
        let settlement = r#"{"message":"0000000000000","outcomes":[]}"#;
        assert!(serde_json::from_str::<Settlement>(settlement).is_err());
    }

    #[test]
    fn also_beside_a_tag() {
        let text = r#"{"outcome":"deferred","retry_after_seconds":5.0,"reply":""}"#;
        let outcome: Outcome = serde_json::from_str(text).unwrap();
        assert_eq!(
            outcome,
            Outcome::Deferred { retry_after_seconds: 5, reply: String::new(), untried: false, delay_told: false }
        );
    }

    #[test]
    fn an_untried_recipient_reads_as_deferred_where_that_is_not_known() {
        let untried =
            Outcome::Deferred { retry_after_seconds: 5, reply: String::new(), untried: true, delay_told: false };
        let text = serde_json::to_string(&untried).unwrap();
        assert_eq!(text, r#"{"outcome":"deferred","retry_after_seconds":5,"reply":"","untried":true}"#);
        let known = serde_json::to_string(&Outcome::Deferred {
            retry_after_seconds: 5,
            reply: String::new(),
            untried: false,
            delay_told: false,
        });
        assert_eq!(known.unwrap(), r#"{"outcome":"deferred","retry_after_seconds":5,"reply":""}"#);
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), untried);
    }

    /// A gateway of the version before says only that a recipient is finished. A store of the version before ignores how.
    #[test]
    fn how_a_recipient_ended_stands_beside_what_was_said_before() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "outcome", rename_all = "snake_case")]
        enum KnownBefore {
            Finished,
        }
        #[derive(Deserialize)]
        struct RecipientBefore {
            #[serde(flatten)]
            outcome: KnownBefore,
        }
        let before = r#"{"recipient":"x@far.test","outcome":"finished"}"#;
        let mut settled: RecipientOutcome = serde_json::from_str(before).unwrap();
        assert_eq!(settled.outcome, Outcome::Finished { how: None });
        assert_eq!(serde_json::to_string(&settled).unwrap(), before);

        let (exchange, reply) = ("mx.far.test".to_owned(), "250 OK".to_owned());
        settled.outcome = Outcome::Finished { how: Some(Ending::Relayed { exchange, reply, peer_id: None }) };
        let now = serde_json::to_string(&settled).unwrap();
        let how = r#""how":{"ending":"relayed","exchange":"mx.far.test","reply":"250 OK"}"#;
        assert_eq!(now, format!(r#"{{"recipient":"x@far.test","outcome":"finished",{how}}}"#));
        assert_eq!(serde_json::from_str::<RecipientOutcome>(&now).unwrap(), settled);
        assert_eq!(serde_json::from_str::<RecipientBefore>(&now).unwrap().outcome, KnownBefore::Finished);
    }
}
