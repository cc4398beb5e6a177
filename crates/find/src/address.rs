//! The text of an entry as an address.
//!
//! `host`, `host:port`, `[v6]:port`, a bare IPv6 address, or an `http` or `https` URL as blackbox estates list
//! them. A mistake must show here: later it would look like a target that is down.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `host[:port]` of a valid text; the error fits after "is not an address: ".
pub fn parse(text: &str) -> Result<String, &'static str> {
    match text.split_once("://") {
        None => check(text).map(|()| text.to_owned()),
        Some((scheme, rest)) => {
            let port = match scheme.to_ascii_lowercase().as_str() {
                "http" => 80,
                "https" => 443,
                _ => return Err("of URLs only http and https are known"),
            };
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_user, host)| host);
            check(host)?;
            Ok(if has_port(host) {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            })
        }
    }
}

fn has_port(host: &str) -> bool {
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after_brackets.contains(':')
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("`]` is missing")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| "between the brackets is no IPv6 address")?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok(()),
            None => Err("after `]` only `:port` may follow"),
            Some(port) => check_port(port),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    match text.split_once(':') {
        None => check_host(text),
        Some((_, port)) if port.contains(':') => {
            Err("it has more than one `:`; write an IPv6 address in brackets")
        }
        Some((host, port)) => check_host(host).and_then(|()| check_port(port)),
    }
}

fn check_port(port: &str) -> Result<(), &'static str> {
    match port.parse::<u16>() {
        Ok(1..) if !port.starts_with('+') => Ok(()),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.len() > 253 {
        return Err("the host is longer than 253 bytes");
    }
    if host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return host
            .parse::<Ipv4Addr>()
            .map(|_| ())
            .map_err(|_| "the host has only digits and is no IPv4 address");
    }
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err("a host has only letters, digits, `-`, `_` and `.`");
    }
    if host.starts_with(['-', '.']) || host.contains("..") {
        return Err("a part of the host is empty or begins with `-`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_taken_as_they_are_and_urls_give_theirs() {
        for (text, address) in [
            ("10.0.0.1:9100", "10.0.0.1:9100"),
            ("10.0.0.1", "10.0.0.1"),
            ("web-1.example.org:80", "web-1.example.org:80"),
            ("my_host.", "my_host."),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[::1]", "[::1]"),
            ("2001:db8::1", "2001:db8::1"),
            ("https://example.org/health?x=1", "example.org:443"),
            ("http://user:pass@[::1]/", "[::1]:80"),
            ("HTTP://a:8080", "a:8080"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(address), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            " a",
            "a b:80",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:http",
            ":80",
            "a:1:2",
            "9100",
            "10.0.0:80",
            "10.0.0.256",
            "[::1",
            "[::1]x",
            "[10.0.0.1]:80",
            "ftp://a",
            "http://",
            "-a",
            ".a",
            "a..b",
            "a/b",
            "ä",
            "a\0",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_it(text in ".{0,40}") {
            parse(&text).ok();
        }

        #[test]
        fn a_host_and_port_that_are_taken_come_apart_again(host in "[a-z][a-z0-9-]{0,20}", port in 1u16..) {
            let address = pitcrew_model::Address(parse(&format!("{host}:{port}")).unwrap().into());
            prop_assert_eq!((address.host(), address.port()), (host.as_str(), Some(port)));
        }
    }
}
