//! Whether an address is this machine's: the kernel is asked how it would route a packet there.
//!
//! One request to rtnetlink(7), answered before `send` returns, so nothing here waits. What was
//! rejected: binding to the address (with `ip_nonlocal_bind`, which every host with a floating address
//! sets, all of them bind), the source address that a connected socket gets (the primary one, when the
//! address is a secondary one), and `/proc/net/fib_trie` (has every route of a router).

use std::{io, net::IpAddr};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send,
        socket_with,
    },
};

/// 0, which is what no protocol at all is.
const NETLINK_ROUTE: Option<Protocol> = None;
/// `nlmsghdr` and `rtmsg`, which both kinds of answer outlast.
const HEADER_LEN: usize = 16;
const ROUTE_LEN: usize = 12;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const RTA_DST: u16 = 1;
/// `rtm_type` of what this machine itself receives.
const RTN_LOCAL: u8 = 2;
const TYPE_AT: usize = HEADER_LEN + 7;

/// Loopback and unspecified addresses are. An error says that the kernel could not be asked.
pub(crate) fn ends_here(address: IpAddr) -> io::Result<bool> {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return Ok(true);
    }
    let asking = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        NETLINK_ROUTE,
    )?;
    send(&asking, &request(address), SendFlags::empty())?;
    let mut answer = [0; 1_024];
    let (_, len) = recv(&asking, &mut answer, RecvFlags::DONTWAIT)?;
    judge(answer.get(..len).unwrap_or(&answer))
}

fn request(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
    };
    let octets_len = u8::try_from(octets.len()).expect("4 or 16");
    let attribute_len = 4 + u16::from(octets_len);
    let len = u32::from(attribute_len) + 28;
    let mut bytes = Vec::with_capacity(44);
    bytes.extend(len.to_ne_bytes());
    bytes.extend(RTM_GETROUTE.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    let family = u8::try_from(family.as_raw()).expect("2 or 10");
    bytes.extend([family, octets_len * 8]);
    bytes.extend([0; ROUTE_LEN - 2]);
    bytes.extend(attribute_len.to_ne_bytes());
    bytes.extend(RTA_DST.to_ne_bytes());
    bytes.extend(octets);
    bytes
}

fn judge(answer: &[u8]) -> io::Result<bool> {
    match message_type(answer) {
        Some(RTM_NEWROUTE) => match answer.get(TYPE_AT) {
            Some(kind) => Ok(*kind == RTN_LOCAL),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        },
        Some(NLMSG_ERROR) => no_route(answer),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn message_type(answer: &[u8]) -> Option<u16> {
    let bytes = answer.get(4..6)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

/// An address to which there is no route is not ours; any other error leaves the question open.
fn no_route(answer: &[u8]) -> io::Result<bool> {
    let Some(number) = answer.get(HEADER_LEN..HEADER_LEN + 4) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let number = i32::from_ne_bytes(number.try_into().expect("4 bytes"));
    let error = io::Error::from_raw_os_error(number.saturating_neg());
    match Errno::from_io_error(&error) {
        Some(
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::AFNOSUPPORT
            | Errno::OPNOTSUPP,
        ) => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const INSIDE: &str = "PITCREW_TEST_INSIDE_A_NAMESPACE";
    /// A host with a secondary address, a route to everywhere, and leave to bind to any address.
    const HOST: &str = "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind && ip link set lo up \
        && ip addr add 10.1.2.3/24 dev lo && ip addr add 10.1.2.4/24 dev lo \
        && ip -6 addr add fd12::3/64 dev lo nodad && ip route add default dev lo src 10.1.2.3 \
        && exec \"$0\" --exact --nocapture \"$1\"";

    fn is_ours(address: &str) -> bool {
        ends_here(address.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_this_hosts_addresses_are_local_even_where_any_address_can_be_bound() {
        if std::env::var_os(INSIDE).is_none() {
            return in_a_namespace(
                "route::tests::only_this_hosts_addresses_are_local_even_where_any_address_can_be_bound",
            );
        }
        std::net::UdpSocket::bind("192.0.2.1:0").expect("any address binds here");
        for ours in ["10.1.2.3", "10.1.2.4", "fd12::3", "::ffff:10.1.2.4"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["10.1.9.5", "192.0.2.1", "fd12::4", "::ffff:192.0.2.1"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn in_a_namespace(test: &str) {
        let output = Command::new("unshare")
            .args(["--map-root-user", "--net", "sh", "-ec", HOST])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env(INSIDE, "1")
            .output();
        let words = match &output {
            Ok(output) => format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => error.to_string(),
        };
        if words.contains("test result:") {
            assert!(output.unwrap().status.success(), "{words}");
            return;
        }
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "in CI nothing is skipped: {words}"
        );
        eprintln!("skipped: no network namespace (apt-get install iproute2): {words}");
    }

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_ours("127.0.0.1") && is_ours("127.99.0.1") && is_ours("::1"));
        assert!(!is_ours("203.0.113.77") && !is_ours("2001:db8::77"));
    }

    #[test]
    fn an_error_that_is_not_about_the_route_leaves_it_open() {
        let error = |number: i32| {
            let mut bytes = vec![0; HEADER_LEN];
            bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            bytes.extend((-number).to_ne_bytes());
            judge(&bytes)
        };
        assert!(!error(Errno::NETUNREACH.raw_os_error()).unwrap());
        assert!(error(Errno::NOBUFS.raw_os_error()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(
            kind in prop_oneof![Just(NLMSG_ERROR), Just(RTM_NEWROUTE), any::<u16>()],
            mut bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(place) = bytes.get_mut(4..6) {
                place.copy_from_slice(&kind.to_ne_bytes());
            }
            judge(&bytes).ok();
        }
    }
}
