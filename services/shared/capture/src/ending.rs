//! How a connection ends.

use crate::segment::Side;
use internal_api::{RecordedSession, Role};

/// How a connection ends, and which side begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Finish(Side),
    Reset(Side),
}

impl Ending {
    /// As the words say with which the session ended. Without any that are known here, the service has closed it.
    pub(crate) fn of(session: &RecordedSession, has_quit: bool) -> Self {
        let own = match session.role {
            Role::Server => Side::Server,
            Role::Client => Side::Client,
        };
        let reason = session.ended.as_deref().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["reset", "broken pipe", "connection refused"]) {
            Self::Reset(own.other())
        } else if says(&["abort"]) {
            Self::Reset(own)
        } else if has_quit {
            // The server answers, and closes (RFC 5321 §4.1.1.10, RFC 1939 §6).
            Self::Finish(Side::Server)
        } else if says(&["connection was closed", "closed by", "cut off", "end of file"]) {
            Self::Finish(own.other())
        } else {
            Self::Finish(own)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{ConnectionId, Protocol, SessionId};
    use jiff::Timestamp;

    fn session(role: Role, ended: &str) -> RecordedSession {
        RecordedSession {
            ended: Some(ended.to_owned()),
            ..RecordedSession::opened(
                (SessionId::new(Timestamp::UNIX_EPOCH, &ConnectionId::random()), Timestamp::UNIX_EPOCH),
                ("a.test".parse().unwrap(), "smtp-gateway".into()),
                (role, Protocol::Smtp),
            )
        }
    }

    #[test]
    fn the_words_tell_how_a_connection_ends() {
        use Ending::{Finish, Reset};
        use Side::{Client, Server};
        for (ended, has_quit, of_server, of_client) in [
            ("QUIT", true, Finish(Server), Finish(Server)),
            ("the connection was closed", false, Finish(Client), Finish(Server)),
            ("the connection was closed", true, Finish(Server), Finish(Server)),
            ("idle for too long", false, Finish(Server), Finish(Client)),
            ("closed to make room for another", false, Finish(Server), Finish(Client)),
            ("Connection reset by peer (os error 104)", true, Reset(Client), Reset(Server)),
            ("Broken pipe (os error 32)", false, Reset(Client), Reset(Server)),
            ("Connection refused (os error 111)", false, Reset(Client), Reset(Server)),
            ("Software caused connection abort (os error 103)", false, Reset(Server), Reset(Client)),
            ("dropped", false, Finish(Server), Finish(Client)),
        ] {
            assert_eq!(Ending::of(&session(Role::Server, ended), has_quit), of_server, "{ended}");
            assert_eq!(Ending::of(&session(Role::Client, ended), has_quit), of_client, "{ended}");
        }
    }
}
