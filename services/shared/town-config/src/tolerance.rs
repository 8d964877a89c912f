//! `[tolerance]`: what is taken from clients and servers although the RFCs forbid it.

use crate::Profile;
use mail_proto::smtp::Tolerance;
use serde::Deserialize;

/// `[tolerance]` as it is written. What is not given is as the profile says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ToleranceKeys {
    lf_commands: Option<bool>,
    lf_replies: Option<bool>,
    paths_without_brackets: Option<bool>,
    odd_spaces: Option<bool>,
    odd_dots: Option<bool>,
    early_talk: Option<bool>,
    bare_lf_in_data: Option<bool>,
}

impl ToleranceKeys {
    pub(super) fn of(&self, profile: Profile) -> Tolerance {
        let is_tutorial = profile == Profile::Tutorial;
        Tolerance {
            lf_commands: self.lf_commands.unwrap_or(is_tutorial),
            lf_replies: self.lf_replies.unwrap_or(is_tutorial),
            paths_without_brackets: self.paths_without_brackets.unwrap_or(is_tutorial),
            odd_spaces: self.odd_spaces.unwrap_or(is_tutorial),
            odd_dots: self.odd_dots.unwrap_or(is_tutorial),
            early_talk: self.early_talk.unwrap_or(is_tutorial),
            bare_lf_in_data: self.bare_lf_in_data.unwrap_or(false),
        }
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
