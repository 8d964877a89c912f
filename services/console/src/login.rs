//! Who is let in: everybody on this machine, and beyond it who knows the password.

use anyhow::ensure;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use sha2::{Digest, Sha256};
use std::{fmt, net::IpAddr};
use subtle::ConstantTimeEq;

/// What a browser is told, so that it asks for the password (RFC 7617 §2).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"mailtown console\", charset=\"UTF-8\"");
/// The environment variable that says whether a password is asked for.
const AUTH: &str = "MAILTOWN_CONSOLE_AUTH";
/// The paths that everybody may ask for: health and metrics, as at every service.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Who is let in.
#[derive(Clone)]
pub struct Login(Option<[u8; 32]>);

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Login(…)" } else { "Login(everybody)" })
    }
}

impl Login {
    /// Everybody is let in.
    pub fn everybody() -> Self {
        Self(None)
    }

    /// Who knows this password is let in, whatever the user's name.
    pub fn password(password: &str) -> Self {
        Self(Some(Sha256::digest(password.as_bytes()).into()))
    }

    /// Who is let in where the console listens on this address. `auth` is `none` where everybody is.
    ///
    /// # Errors
    /// When it is beyond loopback and there is no password, and when `auth` is something else.
    pub fn at(address: IpAddr, password: Option<&str>, auth: Option<&str>) -> anyhow::Result<Self> {
        let (auth, password) = (auth.unwrap_or_default(), password.filter(|password| !password.is_empty()));
        ensure!(["", "password", "none"].contains(&auth), "{AUTH} is \"{auth}\"; give none or password");
        match password {
            _ if auth == "none" => Ok(Self::everybody()),
            Some(password) => Ok(Self::password(password)),
            None if address.is_loopback() && auth.is_empty() => Ok(Self::everybody()),
            None => anyhow::bail!(
                "refusing to serve the console on {address} without a password; set MAILTOWN_CONSOLE_PASSWORD, or {AUTH}=none"
            ),
        }
    }

    /// Lets nobody else ask for anything but health and metrics.
    pub(crate) fn guard(self, router: Router) -> Router {
        if self.0.is_none() {
            return router;
        }
        router.layer(middleware::from_fn_with_state(self, check))
    }

    fn admits(&self, authorization: Option<&HeaderValue>) -> bool {
        let Some(expected) = &self.0 else { return true };
        let given = authorization.and_then(|value| {
            let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
            let octets = BASE64.decode(credentials.trim()).ok()?;
            let colon = octets.iter().position(|octet| *octet == b':')?;
            scheme.eq_ignore_ascii_case("Basic").then(|| octets[colon + 1..].to_vec())
        });
        // What is compared has a length that tells nothing.
        given.is_some_and(|given| Sha256::digest(&given).as_slice().ct_eq(expected).into())
    }
}

async fn check(State(login): State<Login>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) || login.admits(request.headers().get(header::AUTHORIZATION)) {
        return next.run(request).await;
    }
    let text = "a password is required: MAILTOWN_CONSOLE_PASSWORD of the console\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, CHALLENGE)], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_a_password_is_required() {
        let (here, everywhere): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "0.0.0.0".parse().unwrap());
        let open = |address, password, auth| Login::at(address, password, auth).map(|login| login.0.is_none());
        assert!(open(here, None, None).unwrap());
        assert!(!open(here, Some("x"), None).unwrap());
        assert!(open(everywhere, None, None).is_err());
        assert!(open(everywhere, Some(""), None).is_err());
        assert!(!open(everywhere, Some("x"), None).unwrap());
        assert!(open(everywhere, None, Some("none")).unwrap());
        assert!(open(here, None, Some("never")).is_err());
        assert!(open(here, None, Some("password")).is_err());
    }

    #[test]
    fn the_password_counts_and_the_name_does_not() {
        let login = Login::password("pass:word");
        let admits = |text: &str| login.admits(Some(&HeaderValue::from_str(text).unwrap()));
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        assert!(admits(&basic("anybody:pass:word")) && admits(&basic(":pass:word")));
        assert!(admits(&basic("x:pass:word").replace("Basic", "basic")));
        for wrong in ["x:", "x:pass", "pass:word", "x:pass:word ", ""] {
            assert!(!admits(&basic(wrong)), "{wrong}");
        }
        assert!(!admits("Bearer pass:word") && !admits("Basic ***") && !login.admits(None));
        assert!(Login::everybody().admits(None));
    }
}
