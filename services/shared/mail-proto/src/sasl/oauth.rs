//! OAUTHBEARER (RFC 7628) and XOAUTH2. The bearer token is the user's password.

use super::scram::message::decode_name;

/// What separates the parts of a message, and ends it.
const SEPARATOR: char = '\u{1}';

/// What a server says of a token that it does not take (RFC 7628 §3.2.2).
pub(super) const BEARER_REFUSED: &str = r#"{"status":"invalid_token","schemes":"bearer"}"#;
/// The same for XOAUTH2.
pub(super) const XOAUTH2_REFUSED: &str = r#"{"status":"401","schemes":"bearer"}"#;

/// Who logs in, and with what.
// No `Debug` outside of tests: there is a password inside.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
pub(super) struct BearerMessage {
    pub(super) user: String,
    pub(super) token: String,
}

/// Parses OAUTHBEARER's message (RFC 7628 §3.1): `n,a=USER,^Ahost=HOST^Aport=PORT^Aauth=Bearer TOKEN^A^A`.
pub(super) fn parse_bearer(message: &[u8]) -> Option<BearerMessage> {
    let text = std::str::from_utf8(message).ok()?;
    let (header, pairs) = text.split_once(SEPARATOR)?;
    let mut fields = header.strip_suffix(',')?.split(',');
    // There is no channel binding (RFC 7628 §3.1); `y` says that the client could bind if the server could.
    let ("n" | "y", Some(name), None) = (fields.next()?, fields.next(), fields.next()) else { return None };
    let user = decode_name(name.strip_prefix("a=")?)?;
    bearer(user, pairs.strip_suffix(SEPARATOR)?)
}

/// Parses XOAUTH2's message: `user=USER^Aauth=Bearer TOKEN^A^A`.
pub(super) fn parse_xoauth2(message: &[u8]) -> Option<BearerMessage> {
    let text = std::str::from_utf8(message).ok()?;
    let (user, pairs) = text.strip_prefix("user=")?.split_once(SEPARATOR)?;
    bearer(user.to_owned(), pairs.strip_suffix(SEPARATOR)?)
}

/// Finds the token among `key=value^A` pairs.
fn bearer(user: String, pairs: &str) -> Option<BearerMessage> {
    let mut token = None;
    for pair in pairs.strip_suffix(SEPARATOR)?.split(SEPARATOR) {
        let (key, value) = pair.split_once('=')?;
        if key.is_empty() || !key.bytes().all(|octet| octet.is_ascii_alphabetic()) {
            return None;
        }
        if key == "auth" {
            let (scheme, credentials) = value.split_once(' ')?;
            // RFC 7235 §2.1: the scheme is in any case.
            if token.is_some() || !scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            token = Some(credentials.to_owned());
        }
    }
    let token = token.filter(|token| !token.is_empty() && !user.is_empty())?;
    Some(BearerMessage { user, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parse = fn(&[u8]) -> Option<BearerMessage>;
    type Case = (Parse, &'static str, Option<(&'static str, &'static str)>);

    #[test]
    fn user_and_token_are_found() {
        let table: &[Case] = &[
            // RFC 7628 §4.1 and §4.3.
            (
                parse_bearer,
                "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}",
                Some(("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")),
            ),
            (parse_bearer, "n,a=u=2Cv=3D@x,\u{1}auth=bearer t u\u{1}\u{1}", Some(("u,v=@x", "t u"))),
            (parse_bearer, "y,a=u,\u{1}auth=Bearer t\u{1}\u{1}", Some(("u", "t"))),
            // RFC 7628 §3.1: the client asks how to authenticate.
            (parse_bearer, "n,a=u,\u{1}auth=\u{1}\u{1}", None),
            (parse_bearer, "n,a=u,\u{1}\u{1}", None),
            (parse_bearer, "n,,\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "n,a=,\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "n,a=u=,\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "p=tls-exporter,a=u,\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "n,a=u,\u{1}auth=Bearer \u{1}\u{1}", None),
            (parse_bearer, "n,a=u,\u{1}auth=Basic t\u{1}\u{1}", None),
            (parse_bearer, "n,a=u,\u{1}auth=Bearer t\u{1}", None),
            (parse_bearer, "n,a=u,\u{1}auth=Bearer t\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "n,a=u,auth=Bearer t\u{1}\u{1}", None),
            (parse_bearer, "", None),
            (
                parse_xoauth2,
                "user=someuser@example.com\u{1}auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\u{1}\u{1}",
                Some(("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")),
            ),
            (parse_xoauth2, "user=\u{1}auth=Bearer t\u{1}\u{1}", None),
            (parse_xoauth2, "auth=Bearer t\u{1}\u{1}", None),
            (parse_xoauth2, "user=u\u{1}auth=Bearer t\u{1}", None),
        ];
        for (parse, message, expected) in table {
            let parsed = parse(message.as_bytes()).map(|BearerMessage { user, token }| (user, token));
            let expected = expected.map(|(user, token)| (user.to_owned(), token.to_owned()));
            assert_eq!(parsed, expected, "{message:?}");
        }
        assert_eq!(parse_bearer(b"n,a=\xff,\x01auth=Bearer t\x01\x01"), None);
    }
}
