//! Who may ask: the bearer token, and what a browser may be made to do.
//!
//! With a token, every path but `/-/healthy`, `/-/ready`, the runbooks, and the links in messages,
//! which bring a permission of their own for one thing or say less without it, wants it. Without one, which is only
//! on loopback, every program on this machine may ask. A web page that the owner happens to visit
//! may not: it must neither change anything nor read what the lab is made of. So
//!
//! - a request by a name that a foreign DNS server could point here is refused, since the page
//!   of that name would pass for ours (the name of `external_url` is known and good);
//! - pages of other sites are not told in CORS headers that they may read;
//! - a request that changes something and that a browser sends on behalf of a page (it has an
//!   `Origin`) is refused unless the page is this aggregator's own.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::listen;
use super::v2::ROOTS;
use crate::app::App;

/// The least length of a token: sixteen random letters cannot be guessed over a network.
pub(crate) const TOKEN_LEN_MIN: usize = 16;

/// Bytes of a token file that are read.
const TOKEN_FILE_LEN_MAX: u64 = 64 * 1024;

/// Paths that probes ask without a token; they tell nothing but that the aggregator runs.
const OPEN_PATHS: [&str; 2] = ["/-/healthy", "/-/ready"];

/// Where paths lead that carry their own permission: a token that is good for one thing.
const PERMITTED: &str = crate::links::PATH;

/// Whether a path tells nothing of the lab: probes, and what is written of each alert for everybody.
fn is_open(path: &str) -> bool {
    let rest = path.strip_prefix(super::runbooks::PATH);
    // The page behind an alert's link keeps to itself what only the token may see.
    let is_link = path == super::graph::PATH;
    is_link
        || OPEN_PATHS.contains(&path)
        || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Endings of names that are set aside for private networks and that no public DNS answers for.
const LOCAL_ENDINGS: [&str; 4] = [".localhost", ".local", ".internal", ".home.arpa"];

/// The secret that requests must carry. Never printed.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a file gives no token.
#[derive(Debug)]
pub(crate) enum TokenError {
    Read(io::Error),
    Unfit,
}

impl Token {
    /// The first line of a file.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        use std::io::Read;

        let file = std::fs::File::open(path).map_err(TokenError::Read)?;
        let mut text = String::new();
        file.take(TOKEN_FILE_LEN_MAX).read_to_string(&mut text).map_err(TokenError::Read)?;
        let line = text.lines().next().unwrap_or("").trim();
        if line.len() < TOKEN_LEN_MIN || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unfit);
        }
        Ok(Self(line.into()))
    }

    /// Whether an `Authorization` header carries this token; takes the same time for any wrong one
    /// of the same length.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let (scheme, rest) = value.split_at_checked(7).unwrap_or((b"", b""));
        let bearer = scheme.eq_ignore_ascii_case(b"bearer ");
        bearer && bool::from(rest.trim_ascii().ct_eq(self.0.as_bytes()))
    }
}

/// The middleware that lets a request through or not.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if request.uri().path().starts_with(PERMITTED) {
        return next.run(request).await;
    }
    let token = app.token.read().unwrap_or_else(PoisonError::into_inner).clone();
    let refusal = match token {
        Some(token) => {
            let open = is_open(request.uri().path());
            (!open && !token.is_in(request.headers())).then(unauthorized)
        }
        None => refuse_page(&request, app.config.external_url.as_deref()),
    };
    match refusal {
        Some(refusal) => {
            listen::drain(request.into_body()).await;
            refusal
        }
        None => next.run(request).await,
    }
}

/// What a request gets that a page of another site may have made, when anybody may ask.
fn refuse_page(request: &Request<Body>, external_url: Option<&str>) -> Option<Response> {
    let headers = request.headers();
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or(""));
    if host.is_some_and(|host| !is_ours(host, external_url)) {
        let text = "refused: without a token, labstat answers only to addresses, to localhost, to \
                    names of this network, and to the name in external_url\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    if changes(request.method(), request.uri().path()) && from_foreign_page(headers) {
        let text = "refused: a web page of another site may not change anything here\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    None
}

fn unauthorized() -> Response {
    let text = "a bearer token is needed: Authorization: Bearer TOKEN\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

/// Whether a request changes anything. Queries come by POST too.
fn changes(method: &Method, path: &str) -> bool {
    let reads = *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS;
    let writes_by_post = path == "/api/v1/write"
        || path.starts_with("/-/")
        || path.starts_with("/api/labstat/")
        || ROOTS.iter().any(|root| path.starts_with(root));
    !reads && (*method != Method::POST || writes_by_post)
}

/// Whether a browser sends this for a page that is not ours. By which name we were asked is
/// looked at elsewhere.
fn from_foreign_page(headers: &HeaderMap) -> bool {
    let text =
        |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let cross = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => cross,
        (Some(origin), Some(host)) => {
            authority_of(origin).is_none_or(|page| !page.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => true,
    }
}

/// Host and port of a URL.
fn authority_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split('/').next()
}

/// Whether no stranger decides where this host (and port) leads: an address, a name that no
/// public DNS has, or the one under which people are told to reach us.
fn is_ours(host: &str, external_url: Option<&str>) -> bool {
    let Some(name) = name_of(host) else { return false };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let external = external_url.and_then(authority_of).and_then(name_of);
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || external.is_some_and(|external| external == name)
}

/// The host of a host and port, in small letters.
fn name_of(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

/// The middleware that lets web pages read: as Prometheus does, the asking page's origin is named
/// back, and preflights are answered with 204. Which pages may is said by `cors_origin`; when
/// nothing is said and no token is wanted, only pages of this network may.
pub(crate) async fn cors(
    State(app): State<Arc<App>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let guarded = app.token.read().unwrap_or_else(PoisonError::into_inner).is_some();
    let external_url = app.config.external_url.as_deref();
    let may_read = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or("");
        match &app.config.cors_origin {
            Some(allowed) => allowed.matches(origin),
            None => guarded || authority_of(origin).is_some_and(|page| is_ours(page, external_url)),
        }
    };
    let origin = request.headers().get(header::ORIGIN).filter(|origin| may_read(origin)).cloned();
    let preflight = *request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn only_the_very_token_opens() {
        let token = Token("0123456789abcdef".into());
        let opens = |value| token.is_in(&headers(&[("authorization", value)]));
        assert!(opens("Bearer 0123456789abcdef"));
        assert!(opens("bearer 0123456789abcdef"));
        for wrong in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef"]
        {
            assert!(!opens(wrong), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn probes_and_runbooks_are_open_and_nothing_else_is() {
        for open in ["/-/healthy", "/-/ready", "/runbooks", "/runbooks/RaidDegraded"] {
            assert!(is_open(open), "{open}");
        }
        for guarded in ["/", "/runbooksx", "/metrics", "/api/v1/query", "/-/reload"] {
            assert!(!is_open(guarded), "{guarded}");
        }
    }

    #[test]
    fn pages_of_others_are_told_from_ours_and_from_programs() {
        for (foreign, pairs) in [
            (false, &[("host", "127.0.0.1:5227")][..]),
            (false, &[("host", "lab.example")]),
            (false, &[("host", "localhost:5227"), ("origin", "http://localhost:5227")]),
            (false, &[("host", "[::1]:5227"), ("origin", "http://[::1]:5227")]),
            (true, &[("host", "127.0.0.1:5227"), ("origin", "http://evil.example")]),
            (true, &[("host", "127.0.0.1:5227"), ("origin", "null")]),
            (true, &[("host", "127.0.0.1:5227"), ("origin", "http://127.0.0.1:3000")]),
            (true, &[("host", "127.0.0.1:5227"), ("sec-fetch-site", "cross-site")]),
        ] {
            assert_eq!(from_foreign_page(&headers(pairs)), foreign, "{pairs:?}");
        }
    }

    #[test]
    fn names_that_a_stranger_could_point_here_are_not_ours() {
        let external = Some("https://Lab.example/labstat");
        for ours in [
            "127.0.0.1:5227",
            "[::1]:5227",
            "localhost",
            "LOCALHOST:1",
            "vertex:5227",
            "vertex.local",
            "host.docker.internal:5227",
            "lab.example",
            "lab.example.:443",
        ] {
            assert!(is_ours(ours, external), "{ours}");
        }
        for not in ["evil.example", "127.0.0.1.evil.example:5227", "lab.example.evil.example", ""] {
            assert!(!is_ours(not, external), "{not}");
        }
        assert!(!is_ours("lab.example", None));
    }

    #[test]
    fn queries_by_post_change_nothing() {
        assert!(!changes(&Method::POST, "/api/v1/query"));
        assert!(!changes(&Method::GET, "/api/v1/write"));
        for path in [
            "/api/v1/write",
            "/-/reload",
            "/api/labstat/v1/compact",
            "/api/v2/silences",
            "/alertmanager/api/v2/alerts",
        ] {
            assert!(changes(&Method::POST, path), "{path}");
        }
        assert!(changes(&Method::DELETE, "/api/labstat/v1/nodes/vertex"));
    }
}
