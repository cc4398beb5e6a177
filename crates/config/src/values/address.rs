//! Where things are: targets, servers, web addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an IP address with a port, such as 127.0.0.1:7400"))
}

/// A DNS server: port 53 unless it says otherwise.
pub(crate) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    address
        .or_else(|_| text.parse::<SocketAddr>())
        .ok()
        .filter(|address| address.port() != 0)
        .ok_or_else(|| format!("`{text}` is not an IP address, with or without a port"))
}

pub(crate) fn web_address(text: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("`{text}` is not a web address: {why}"));
    let after = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let Some(after) = after else {
        return bad("it must begin with http:// or https://");
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("it has white space");
    }
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match target(host) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => bad(&why),
    }
}

/// What a test connects to: `host:port`, `host`, `[v6]:port` or `v6`.
pub(crate) fn target(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it has no host".to_owned());
    }
    if text.contains("://") {
        return Err(format!(
            "`{text}` is not an address: leave out the scheme; for https write `tls: true` in the test"
        ));
    }
    if text.contains('/') {
        return Err(format!(
            "`{text}` is not an address: a path belongs to the test"
        ));
    }
    let (host, port) = host_and_port(text)?;
    if let Some(port) = port
        && !matches!(port.parse::<u16>(), Ok(1..))
    {
        return Err(format!(
            "`{text}` is not an address: `{port}` is not a port from 1 to 65535"
        ));
    }
    host_is_possible(host).map_err(|why| format!("`{text}` is not an address: {why}"))?;
    Ok(text.to_owned())
}

fn host_and_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or_else(|| format!("`{text}` is not an address: `[` without `]`"))?;
        if !is_ipv6(host) {
            return Err(format!(
                "`{text}` is not an address: `{host}` is not an IPv6 address"
            ));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!(
                "`{text}` is not an address: `:port` must follow the `]`"
            )),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => Ok((host, Some(port))),
        Some(_) if is_ipv6(text) => Ok((text, None)),
        Some(_) => Err(format!(
            "`{text}` is not an address: write host:port, or [IPv6]:port"
        )),
        None => Ok((text, None)),
    }
}

fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

fn host_is_possible(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    if is_ipv6(host) {
        return Ok(());
    }
    if host.len() > 253 {
        return Err("the host is longer than 253 bytes".to_owned());
    }
    if let Some(wrong) = host
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'))
    {
        return Err(format!("a host can't hold `{wrong}`"));
    }
    let is_numeric = host.bytes().all(|b| b == b'.' || b.is_ascii_digit());
    if is_numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("`{host}` is not an IPv4 address"));
    }
    Ok(())
}
