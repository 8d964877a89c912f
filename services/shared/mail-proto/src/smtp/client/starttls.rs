//! What a client wants of STARTTLS.

/// Whether a client asks for TLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Starttls {
    /// Never.
    #[default]
    Never,
    /// Where the server offers it. Without an offer, or after a refusal, the dialogue goes on without TLS.
    WhereOffered,
    /// Always. Without TLS there is no login and no transaction.
    Required,
}
