//! HTTP requests on a port of another protocol.
//!
//! A web page can make a browser send a request to any port of the user's machine. The lines after the request line
//! are the page's own, and could be commands that send or delete mail. So a server closes at the request line.

/// RFC 9110 §9, RFC 5789, and the preface of HTTP/2 (RFC 9113 §3.4).
const METHODS: [&[u8]; 10] =
    [b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT", b"TRACE"];

/// Whether a line begins like the request line of HTTP: a method, a space, and something to request.
pub(crate) fn is_request(line: &[u8]) -> bool {
    METHODS.iter().any(|method| line.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" ") && rest.len() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        for line in
            ["GET / HTTP/1.1", "POST http://a/ HTTP/1.0", "PRI * HTTP/2.0", "OPTIONS *", "CONNECT a:25 HTTP/1.1"]
        {
            assert!(is_request(line.as_bytes()), "{line}");
        }
        for line in ["", "GET", "GET ", "GETS / HTTP/1.1", "NOOP GET /", "RETR 1", "HELO GET", "get /"] {
            assert!(!is_request(line.as_bytes()), "{line}");
        }
    }
}
