//! CAPA (RFC 2449 §5): what the server can do, as a function of the session's state.

use super::{Session, SessionConfig, State};
use crate::{
    pop3::{Reply, UniqueId},
    sasl::{Mechanism, Mechanisms},
};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl SessionConfig {
    /// RFC 2449 §6.7: the days that the server keeps a message at least. EXPIRE 0 would say that it keeps none, so
    /// less than a day is not announced.
    fn expire(&self) -> Option<String> {
        let Some(retention) = self.retention else { return Some("EXPIRE NEVER".to_owned()) };
        let days = retention.as_secs() / DAY.as_secs();
        (days > 0).then(|| format!("EXPIRE {days}"))
    }
}

/// RFC 2449 §6.5: a client that waits this number of seconds is not refused.
fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

impl<U: UniqueId> Session<U> {
    pub(super) fn capabilities(&self) -> Reply {
        let fixed = |tag: &str| Some(tag.to_owned());
        let mechanisms = self.mechanisms();
        let is_before_login = matches!(self.state, State::Authorization(_));
        let lines = [
            fixed("TOP"),
            fixed("UIDL"),
            self.takes_passwords().then(|| "USER".to_owned()),
            // RFC 5034 §3: also when nobody may use it any more.
            (!mechanisms.is_empty()).then(|| format!("SASL {mechanisms}")),
            // RFC 2595 §4: only where it is possible now.
            (is_before_login && self.config.has_tls && !self.is_encrypted).then(|| "STLS".to_owned()),
            fixed("PIPELINING"),
            fixed("RESP-CODES"),
            fixed("AUTH-RESP-CODE"),
            self.config.login_delay.map(|delay| format!("LOGIN-DELAY {}", whole_seconds(delay))),
            fixed("UTF8 USER"),
            fixed("LANG"),
            self.config.expire(),
            fixed("IMPLEMENTATION mailtown"),
        ];
        Reply::lines("capability list follows", lines.into_iter().flatten())
    }

    /// Whether this client may send a password with USER and PASS now.
    pub(super) fn takes_passwords(&self) -> bool {
        self.is_encrypted || !self.config.require_tls
    }

    /// The mechanisms that this client may use now.
    pub(super) fn mechanisms(&self) -> Mechanisms {
        let plain_text = self.is_encrypted || self.takes_passwords() && self.config.plain_text_in_clear;
        let is_usable = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus => self.is_encrypted && !self.bindings.is_empty(),
            mechanism => plain_text || !mechanism.is_plain_text(),
        };
        self.config.mechanisms.iter().filter(is_usable).collect()
    }
}
