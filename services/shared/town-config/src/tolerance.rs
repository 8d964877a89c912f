//! `[tolerance]`: what is taken from clients and servers although the RFCs forbid it.

use crate::Profile;
use serde::Deserialize;

/// `[tolerance]` as it is written. What is not given is as the profile says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToleranceKeys {
    lf_replies: Option<bool>,
}

/// What is taken although the RFCs forbid it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// Replies of other servers whose lines end with LF alone (RFC 5321 §2.3.8).
    pub lf_replies: bool,
}

impl ToleranceKeys {
    pub(super) fn of(&self, profile: Profile) -> Tolerance {
        let is_tutorial = profile == Profile::Tutorial;
        Tolerance { lf_replies: self.lf_replies.unwrap_or(is_tutorial) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_decides_where_no_key_does() {
        for (text, profile, lf_replies) in [
            ("", Profile::Tutorial, true),
            ("", Profile::Rfc, false),
            ("lf_replies = false", Profile::Tutorial, false),
            ("lf_replies = true", Profile::Rfc, true),
        ] {
            let keys: ToleranceKeys = toml::from_str(text).unwrap();
            assert_eq!(keys.of(profile).lf_replies, lf_replies, "{text} {profile:?}");
        }
    }
}
