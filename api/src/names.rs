//! The accepted host names, and the origins of pages that may use the service.
//!
//! A browser sends requests for any page. The header `Host` reveals a page whose name was rebound to this machine (DNS
//! rebinding). The header `Origin` reveals a page of another site. Temporal's Web UI may use the codec, nothing else.

use std::net::{IpAddr, SocketAddr};

use poem::{
    Request, Response,
    http::{HeaderValue, Method, StatusCode, header, uri::Authority},
};

use crate::{dialect::Dialect, kind::Kind, problem::Problem};

/// Headers that pages of other origins may send.
const HEADERS: &str = "authorization, content-type, x-api-key, x-request-id";
/// The routes with which Temporal's Web UI decodes payloads.
const CODEC: &str = "/codec/";
/// Headers that Temporal's Web UI sends.
const CODEC_HEADERS: &str = "authorization, content-type, x-namespace";
/// A browser may cache the answer to a preflight for this time.
const MAX_AGE_SECONDS: u32 = 600;

/// Accepted hosts and origins.
#[derive(Clone, Debug, Default)]
pub struct Names {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Origins of Temporal's Web UI.
    codec_origins: Vec<String>,
}

/// What a page of another origin may read of an answer.
pub(crate) enum Sharing {
    /// Nothing: the request comes from our own page or from a program.
    None,
    /// Everything: the origin is configured.
    With(HeaderValue),
    /// The answers of the codec: the origin is Temporal's Web UI.
    Codec(HeaderValue),
}

impl Names {
    /// Host names without a port, and origins whose pages may use the API, e.g. `https://forum.example`.
    ///
    /// Loopback names, and the address that a connection came to, are always accepted. Empty entries are ignored. The
    /// error names the entry that is not a host or origin.
    pub fn new(hosts: &[String], origins: &[String]) -> Result<Self, String> {
        let given = |texts: &[String]| -> Vec<String> {
            texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
        };
        let (hosts, origins) = (given(hosts), given(origins));
        let is_host = |text: &str| text.parse::<Authority>().is_ok_and(|authority| authority.host() == text);
        if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
            return Err(format!("`{wrong}` is not a host name: leave out the scheme and the port"));
        }
        let is_origin = |text: &str| {
            let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            authority.is_some_and(|authority| authority.parse::<Authority>().is_ok())
        };
        if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!("`{wrong}` is not an origin like https://forum.example: leave out the path"));
        }
        Ok(Self { hosts, origins, codec_origins: Vec::new() })
    }

    /// Lets the page of Temporal's Web UI use the codec.
    ///
    /// A loopback address has two names.
    #[must_use]
    pub fn with_temporal_ui(mut self, url: Option<&str>) -> Self {
        let Some((scheme, rest)) = url.and_then(|url| url.split_once("://")) else { return self };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = authority.split_once(':').map_or((authority, String::new()), |(h, p)| (h, format!(":{p}")));
        let hosts = if matches!(host, "127.0.0.1" | "localhost") { vec!["127.0.0.1", "localhost"] } else { vec![host] };
        self.codec_origins = hosts.iter().map(|host| format!("{scheme}://{host}{port}")).collect();
        self
    }

    /// Refuses a request for another host, and a change from another site's page.
    pub(crate) fn check(&self, request: &Request) -> Result<Sharing, Problem> {
        let host = self.host_of(request)?;
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(Sharing::None) };
        let text = origin.to_str().unwrap_or_default();
        if self.origins.iter().any(|known| known.eq_ignore_ascii_case(text)) {
            return Ok(Sharing::With(origin.clone()));
        }
        let is_codec = request.uri().path().starts_with(CODEC);
        if is_codec && self.codec_origins.iter().any(|known| known.eq_ignore_ascii_case(text)) {
            return Ok(Sharing::Codec(origin.clone()));
        }
        let is_own = text.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        if is_own || request.method().is_safe() {
            return Ok(Sharing::None);
        }
        let detail = "The request comes from a page of another origin. See `serve --cors-origin`.";
        Err(Problem::new(StatusCode::FORBIDDEN, Kind::ForeignOrigin, detail))
    }

    /// The host that a request names, if it is accepted.
    fn host_of<'a>(&self, request: &'a Request) -> Result<&'a str, Problem> {
        let named = request.header(header::HOST);
        let absolute = request.original_uri().authority().map(Authority::as_str);
        let Some(host) = absolute.or(named) else {
            return Err(Problem::malformed("The header `Host` is missing."));
        };
        let here = request.local_addr().as_socket_addr().copied();
        if self.is_served(host, here) && named.is_none_or(|named| self.is_served(named, here)) {
            return Ok(host);
        }
        let detail = "The service does not accept the host that the request names. See `serve --host`.";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, Kind::Misdirected, detail))
    }

    fn is_served(&self, host: &str, here: Option<SocketAddr>) -> bool {
        let name = without_port(host);
        if name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return true;
        }
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // An address cannot be rebound. Health checks use it.
        address
            .is_ok_and(|address| address.is_loopback() || here.is_some_and(|here| here.ip().to_canonical() == address))
    }
}

/// `name` of `name:port`, `[::1]` of `[::1]:port`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !is_bare_ipv6(host) => {
            name
        }
        _ => host,
    }
}

fn is_bare_ipv6(host: &str) -> bool {
    !host.starts_with('[') && host.matches(':').count() > 1
}

impl Sharing {
    /// The answer to a preflight from a configured origin, else none.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response> {
        let is_preflight = *request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || matches!(self, Self::None) {
            return None;
        }
        // Clients of other services send their own headers, which are ignored here.
        let asked = request.header(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = match self {
            Self::Codec(_) => CODEC_HEADERS,
            _ => asked.filter(|_| Dialect::of(request.uri().path()).is_some()).unwrap_or(HEADERS),
        };
        let response = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST")
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed)
            .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        Some(response.finish())
    }

    /// Lets the origin's page read the answer.
    pub(crate) fn mark(self, response: &mut Response) {
        let headers = response.headers_mut();
        let origin = match self {
            Self::None => return,
            Self::With(origin) => origin,
            Self::Codec(origin) => {
                // For a proxy in front of us that uses cookies. The service itself uses none.
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                origin
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static("retry-after, server-timing, x-model-version, x-request-id");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_given_names_and_the_address_of_the_connection_are_served() {
        let given = ["threatwatch.example".to_owned(), " ".to_owned()];
        let names = Names::new(&given, &[]).unwrap();
        let here = Some("[::ffff:10.1.2.3]:8086".parse().unwrap());
        for host in [
            "localhost",
            "LOCALHOST:8086",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8086",
            "[::1]",
            "threatwatch.example",
            "Threatwatch.Example:443",
            "10.1.2.3:8086",
            "10.1.2.3",
        ] {
            assert!(names.is_served(host, here), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8086",
            "threatwatch.example.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.1.2.4",
            "[::2]:80",
            "localhost:80:80",
        ] {
            assert!(!names.is_served(host, here), "{host}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused_at_the_start() {
        let words = |text: &str| vec![text.to_owned()];
        for host in ["a:8086", "https://a", "a/b", "a b"] {
            assert!(Names::new(&words(host), &[]).is_err(), "{host}");
        }
        for origin in ["forum.example", "https://forum.example/", "ftp://a", "*", "https://"] {
            assert!(Names::new(&[], &words(origin)).is_err(), "{origin}");
        }
        let names = Names::new(&words(" a.example "), &words("http://localhost:3000")).unwrap();
        assert_eq!((names.hosts, names.origins), (words("a.example"), words("http://localhost:3000")));
    }
}
