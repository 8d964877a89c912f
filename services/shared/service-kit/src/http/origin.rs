//! Which callers a web browser may speak for: none but the town's own pages.
//!
//! A page of another site can send requests to loopback, and by DNS rebinding it can read the answers. Such requests
//! name a foreign host, or say that they come from another site.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use internal_api::{Problem, ProblemKind};
use town_config::{Hosts, OwnHosts, canonical_host};

/// Says how the page that makes a request stands to its target (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a page of another site has sent.
pub(super) async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if let Some(problem) = without_host(&request) {
        return problem.into_response();
    }
    match check(&hosts(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The same for a service with pages: links of other sites may lead to them, and forms may not. A page at another port of
/// the same host is another site, too. Other sites cannot show what is answered, unless the handler says otherwise.
pub(super) async fn guard_pages(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if let Some(problem) = without_host(&request) {
        return problem.into_response();
    }
    let checked = called_host(&hosts(), request.uri(), request.headers()).and_then(|called| {
        if request.method().is_safe() || is_same_origin(called.as_ref(), request.headers()) {
            return Ok(());
        }
        Err(ProblemKind::CrossSite.into())
    });
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().entry(policy).or_insert(HeaderValue::from_static("same-origin"));
    response
}

fn without_host(request: &Request) -> Option<Problem> {
    let is_missing = request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST);
    // RFC 9112 §3.2
    is_missing.then(|| Problem::new(ProblemKind::InvalidRequest, "HTTP/1.1 needs the header Host"))
}

/// Whether a page of this very origin, or no page, has sent a request.
fn is_same_origin(called: Option<&Authority>, headers: &HeaderMap) -> bool {
    let is_own = |origin: &[u8]| {
        let (Some(called), Some((default_port, origin))) = (called, origin_authority(origin)) else { return false };
        let port = origin.port_u16().unwrap_or(default_port);
        // Where the header Host has no port, it is that of the scheme.
        let ports = called.port_u16().map_or(vec![80, 443], |port| vec![port]);
        canonical_host(origin.host()) == canonical_host(called.host()) && ports.contains(&port)
    };
    headers.get_all(header::ORIGIN).iter().all(|origin| is_own(origin.as_bytes()))
        && headers.get_all(SEC_FETCH_SITE).iter().all(|site| [&b"same-origin"[..], b"none"].contains(&site.as_bytes()))
}

fn check(own: &OwnHosts, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let called = called_host(own, uri, headers)?;
    let host = called.as_ref().map(|authority| canonical_host(authority.host()));
    let same_host = |origin: &[u8]| origin_host(origin).is_some_and(|origin| Some(origin) == host);
    let same_site = |site: &[u8]| [&b"same-origin"[..], b"same-site", b"none"].contains(&site);
    let from_here = headers.get_all(header::ORIGIN).iter().all(|origin| same_host(origin.as_bytes()))
        && headers.get_all(SEC_FETCH_SITE).iter().all(|site| same_site(site.as_bytes()));
    if from_here { Ok(()) } else { Err(ProblemKind::CrossSite.into()) }
}

/// The host that is called, which has to be one of ours; `None` in a request of HTTP/1.0 without one.
fn called_host(own: &OwnHosts, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(authority(host.as_bytes()).ok_or_else(foreign_host)?),
        (Some(_), Some(_)) => return Err(foreign_host()),
    };
    // A whole URL as the target counts for more than Host (RFC 9112 §3.2.2), so both have to be right.
    let target = uri.authority();
    for authority in header.iter().chain(target) {
        if authority.as_str().contains('@') || !own.contains(authority.host()) {
            return Err(foreign_host());
        }
    }
    Ok(target.cloned().or(header))
}

fn foreign_host() -> Problem {
    let detail = "call it by an IP address, localhost or a name of the town, or add the name to [http] hosts";
    Problem::new(ProblemKind::ForeignHost, detail)
}

fn authority(text: &[u8]) -> Option<Authority> {
    Authority::try_from(text).ok()
}

/// The host of an origin such as `http://localhost:8025`; the opaque origin `null` has none.
fn origin_host(origin: &[u8]) -> Option<String> {
    origin_authority(origin).map(|(_, authority)| canonical_host(authority.host()))
}

/// Host and port of an origin, and the port of its scheme.
fn origin_authority(origin: &[u8]) -> Option<(u16, Authority)> {
    let text = std::str::from_utf8(origin).ok()?;
    let http = text.strip_prefix("http://").map(|rest| (80, rest));
    let (port, rest) = http.or_else(|| text.strip_prefix("https://").map(|rest| (443, rest)))?;
    Some((port, authority(rest.as_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(target: &str, headers: &[(&'static str, &str)]) -> Option<ProblemKind> {
        let own = OwnHosts::from_iter(["exmail.qq.com", "Town.Example."]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        check(&own, &target.parse().unwrap(), &map).err().map(|problem| problem.kind)
    }

    #[test]
    fn hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:1080",
            "192.168.1.5:1080",
            "[::1]",
            "[::1]:1080",
            "localhost:1080",
            "LOCALHOST",
            "localhost.",
            "exmail-store:1080",
            "exmail.qq.com",
            "EXMAIL.qq.com.:1080",
            "town.example",
        ] {
            assert_eq!(outcome("/v1/queue", &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:1080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "qq.com",
            "x.exmail.qq.com",
            "127.1",
            "exmail.qq.com@evil.example",
            "evil.example@localhost",
            "",
            "a b",
            "::1",
            "[evil.example]",
        ] {
            assert_eq!(outcome("/v1/queue", &[("host", host)]), Some(ProblemKind::ForeignHost), "{host:?}");
        }
        assert_eq!(outcome("/", &[]), None, "HTTP/1.0 has no Host");
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(outcome("/", &two), Some(ProblemKind::ForeignHost));
        let absolute = |target, host| outcome(target, &[("host", host)]);
        assert_eq!(absolute("http://localhost/", "localhost"), None);
        assert_eq!(absolute("http://evil.example/", "localhost"), Some(ProblemKind::ForeignHost));
        assert_eq!(absolute("http://localhost/", "evil.example"), Some(ProblemKind::ForeignHost));
    }

    #[tokio::test]
    async fn a_link_of_another_site_leads_to_a_page_and_a_form_changes_nothing() {
        use axum::{Router, body::Body, http::StatusCode, middleware, routing::get};
        use tower_service::Service;
        let hosts: Hosts = std::sync::Arc::new(OwnHosts::default);
        let pages = Router::new().route("/", get(|| async {}).post(|| async {}));
        let mut pages = pages.layer(middleware::from_fn_with_state(hosts, guard_pages));
        let mut status = async |method: &str, host: &str, site: &str| {
            let request = Request::builder().method(method).uri("/").header(header::HOST, host);
            let request = request.header(header::ORIGIN, "https://evil.example").header(SEC_FETCH_SITE, site);
            pages.call(request.body(Body::empty()).unwrap()).await.unwrap().status()
        };
        assert_eq!(status("GET", "localhost:8025", "cross-site").await, StatusCode::OK);
        assert_eq!(status("POST", "localhost:8025", "cross-site").await, StatusCode::FORBIDDEN);
        assert_eq!(status("POST", "localhost:8025", "same-origin").await, StatusCode::FORBIDDEN);
        assert_eq!(status("GET", "evil.example", "none").await, StatusCode::MISDIRECTED_REQUEST);
        let request = Request::builder().uri("/").header(header::HOST, "localhost").body(Body::empty()).unwrap();
        let answer = pages.call(request).await.unwrap();
        assert_eq!(answer.headers()["cross-origin-resource-policy"], "same-origin");
    }

    #[test]
    fn pages_of_another_port_or_host_of_the_site_change_nothing() {
        let is_own = |host: &str, name: &'static str, value: &str| {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]);
            is_same_origin(authority(host.as_bytes()).as_ref(), &headers)
        };
        for (host, origin, expected) in [
            ("localhost:8025", "http://localhost:8025", true),
            ("localhost:8025", "https://LOCALHOST:8025", true),
            ("localhost:8025", "http://localhost:3000", false),
            ("localhost:8025", "http://localhost", false),
            ("town.example", "https://town.example", true),
            ("town.example", "http://town.example:80", true),
            ("town.example", "http://town.example:8080", false),
            ("town.example", "null", false),
        ] {
            assert_eq!(is_own(host, "origin", origin), expected, "{host} {origin}");
        }
        for (site, expected) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
            assert_eq!(is_own("localhost:8025", "sec-fetch-site", site), expected, "{site}");
        }
        assert!(is_same_origin(None, &HeaderMap::new()), "no page has sent it");
    }

    #[test]
    fn origins() {
        type Case<'a> = (&'a [(&'static str, &'a str)], Option<ProblemKind>);
        let cross_site = Some(ProblemKind::CrossSite);
        let table: &[Case<'_>] = &[
            (&[], None),
            (&[("origin", "http://localhost:8025")], None),
            (&[("origin", "https://LOCALHOST")], None),
            (&[("origin", "http://127.0.0.1:1080")], cross_site),
            (&[("origin", "http://evil.example")], cross_site),
            (&[("origin", "http://localhost.evil.example")], cross_site),
            (&[("origin", "null")], cross_site),
            (&[("origin", "moz-extension://localhost")], cross_site),
            (&[("origin", "")], cross_site),
            (&[("origin", "http://localhost"), ("origin", "http://evil.example")], cross_site),
            (&[("sec-fetch-site", "same-origin")], None),
            (&[("sec-fetch-site", "none")], None),
            (&[("sec-fetch-site", "cross-site")], cross_site),
            (&[("sec-fetch-site", "whatever")], cross_site),
            (&[("origin", "http://localhost"), ("sec-fetch-site", "cross-site")], cross_site),
        ];
        for (headers, expected) in table {
            let headers = [&[("host", "localhost:1080")], *headers].concat();
            assert_eq!(outcome("/v1/queue/flush", &headers), *expected, "{headers:?}");
        }
    }
}
