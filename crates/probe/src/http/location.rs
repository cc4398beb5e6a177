//! Where a request goes, and where a redirect sends it.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, beginning with `/`.
    pub(super) path: String,
}

impl Location {
    /// Host and port as the Host header writes them: brackets around IPv6, no port where it is usual.
    pub(super) fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let usual = usual_port(self.tls);
        if self.port == usual {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }

    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.tls, self.port) == (other.tls, other.port)
            && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// What a `Location` header means here (RFC 3986, 5.2, without dot segments: servers resolve those).
    /// `None` is nothing that can be asked by HTTP.
    pub(super) fn redirected(&self, reference: &[u8]) -> Option<Self> {
        let reference = std::str::from_utf8(reference).ok()?;
        if !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let reference = reference.split('#').next().unwrap_or(reference);
        let (tls, after_scheme) = match split_scheme(reference) {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
            None => (self.tls, reference),
        };
        if let Some(rest) = after_scheme.strip_prefix("//") {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (host, port) = split_authority(&rest[..end])?;
            return Some(Self {
                tls,
                host,
                port: port.unwrap_or_else(|| usual_port(tls)),
                path: rooted(&rest[end..]),
            });
        }
        if after_scheme.len() != reference.len() {
            return None;
        }
        let (own_path, _query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let path = if reference.is_empty() {
            self.path.clone()
        } else if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{own_path}{reference}")
        } else {
            let directory = own_path.rfind('/').map_or("/", |slash| &own_path[..=slash]);
            format!("{directory}{reference}")
        };
        Some(Self {
            path,
            ..self.clone()
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

pub(super) fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// The scheme in lower case, and what follows its colon.
fn split_scheme(reference: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let known = ["http", "https"]
        .into_iter()
        .find(|known| scheme.eq_ignore_ascii_case(known));
    is_scheme.then(|| (known.unwrap_or("another"), rest))
}

fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    if authority.contains('@') {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some("") => None,
        Some(digits) => Some(digits.parse().ok()?),
        None if port.is_empty() => None,
        None => return None,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Location {
        Location {
            tls: false,
            host: "10.0.0.1".to_owned(),
            port: 8080,
            path: "/a/b?c=d".to_owned(),
        }
    }

    #[test]
    fn references_resolve_as_rfc_3986_says() {
        for (reference, wanted) in [
            ("/x", "http://10.0.0.1:8080/x"),
            ("x?y", "http://10.0.0.1:8080/a/x?y"),
            ("?y", "http://10.0.0.1:8080/a/b?y"),
            ("#part", "http://10.0.0.1:8080/a/b?c=d"),
            ("//other/x", "http://other/x"),
            ("https://other", "https://other/"),
            ("HTTP://other:81?q", "http://other:81/?q"),
            ("http://[::1]:82/", "http://[::1]:82/"),
        ] {
            let location = base().redirected(reference.as_bytes()).unwrap();
            assert_eq!(location.to_string(), wanted, "{reference}");
        }
    }

    #[test]
    fn what_http_cannot_ask_is_refused() {
        for reference in [
            "ftp://x/",
            "mailto:x",
            "http:x",
            "http://",
            "http://user@x/",
            "http://x:99999/",
            "/a b",
            "/a\r\nX: y",
            "http://[::1",
        ] {
            assert_eq!(base().redirected(reference.as_bytes()), None, "{reference}");
        }
    }

    proptest! {
        #[test]
        fn no_reference_panics_or_smuggles_a_line(reference in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(location) = base().redirected(&reference) {
                prop_assert!(location.path.starts_with('/'));
                prop_assert!(location.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
