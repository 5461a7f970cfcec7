//! Who may ask: a browser that went to this machine by a name of the machine itself, and that bears the token.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::query;

/// The guard of a server.
///
/// The token stands in the address that the program prints, and every request must bear it. So neither another page in the same
/// browser nor another user of this machine, who can connect to the same port, reads or stops anything.
pub struct Guard {
    token: String,
}

impl Guard {
    /// A guard with a token of 128 random bits.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> std::io::Result<Self> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self { token: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    }

    /// The token, 32 hexadecimal digits.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The reason why a request is refused, if it is.
    pub fn refusal(&self, request: &Parts) -> Option<&'static str> {
        let Some(host) = only(&request.headers, &HOST) else { return Some("expected one Host, found none or several") };
        // A name that was made to lead here is the trick by which a foreign page becomes one of this origin.
        let target = request.uri.authority().map_or(host, |authority| authority.as_str());
        if ![host, target].into_iter().all(is_loopback) {
            return Some("expected a Host of this machine: 127.0.0.1, localhost or [::1]");
        }
        if request.headers.contains_key(ORIGIN) && !is_own(only(&request.headers, &ORIGIN), host) {
            return Some("expected a request by a page of this server, found another Origin");
        }
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let in_address = request.uri.query().filter(|_| reads).and_then(|text| query::value(text, "token"));
        let in_header = only(&request.headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if ![in_address.as_deref(), in_header].into_iter().flatten().any(|token| is_equal(token, &self.token)) {
            return Some("expected the token: open the address that the program printed when it started");
        }
        None
    }
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Whether a host, whatever its port, is this machine by a name that nobody else can give it.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = match name.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| inner.contains(':')),
        None => Some(name).filter(|name| !name.contains(':')),
    };
    let is_address = address.and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|address| address.is_loopback());
    is_address || name.eq_ignore_ascii_case("localhost")
}

/// Whether an `Origin` is that of the page which this host serves.
fn is_own(origin: Option<&str>, host: &str) -> bool {
    origin.and_then(|origin| origin.strip_prefix("http://")).is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// Whether two texts are equal, in a time that does not tell where they differ.
fn is_equal(a: &str, b: &str) -> bool {
    let differs = a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn hosts_of_this_machine_alone() {
        for host in [
            "localhost",
            "LocalHost:1",
            "localhost.:80",
            "127.0.0.1",
            "127.0.0.1:8717",
            "127.0.0.1.",
            "[::1]:8717",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "example.org",
            "example.org:80",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "::1",
            "[127.0.0.1]",
            "127.0.0.1:80:80",
            "me@127.0.0.1",
            "127.0.0.1:http",
            "2130706433",
            "localhost..",
            "a.localhost",
            "[::1].example.org",
            "[::1",
            "localhost/",
            " localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn tokens_differ_and_are_asked_for() {
        let (guard, other) = (Guard::new().unwrap(), Guard::new().unwrap());
        assert_eq!(guard.token().len(), 32);
        assert_ne!(guard.token(), other.token());
        let refusal = |method: &str, target: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(target.replace('@', guard.token()));
            for (name, value) in headers {
                request = request.header(*name, value.replace('@', guard.token()));
            }
            guard.refusal(&request.body(()).unwrap().into_parts().0)
        };
        let here = ("host", "localhost:1");
        assert_eq!(refusal("GET", "/?token=@", &[here]), None);
        assert_eq!(refusal("HEAD", "/x?a=1&token=@", &[here, ("origin", "http://localhost:1")]), None);
        assert_eq!(refusal("POST", "/stop", &[here, ("authorization", "Bearer @")]), None);
        // An address that was sent on cannot stop a run: a form may be pointed at it.
        assert!(refusal("POST", "/stop?token=@", &[here]).unwrap().contains("token"));
        for (target, wrong) in
            [("/", ""), ("/?token=", ""), ("/?token=@0", ""), ("/", "Bearer "), ("/", "@"), ("/", "Bearer @0")]
        {
            assert!(
                refusal("GET", target, &[here, ("authorization", wrong)]).unwrap().contains("token"),
                "{target} {wrong}"
            );
        }
        assert!(refusal("GET", "/?token=@", &[]).unwrap().contains("Host"));
        assert!(refusal("GET", "/?token=@", &[here, here]).unwrap().contains("Host"));
        assert!(refusal("GET", "http://example.org/?token=@", &[here]).unwrap().contains("Host"));
        assert!(refusal("GET", "http://localhost/?token=@", &[("host", "example.org")]).unwrap().contains("Host"));
        for origin in ["null", "http://localhost:2", "https://localhost:1", "http://example.org", "localhost:1"] {
            let headers = [here, ("authorization", "Bearer @"), ("origin", origin)];
            assert!(refusal("POST", "/stop", &headers).unwrap().contains("Origin"), "{origin}");
        }
    }
}
