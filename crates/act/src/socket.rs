//! Who listens on a TCP port of this host, as `/proc` shows it. Nothing here changes anything.

use std::{collections::BTreeSet, fs, io};

/// `LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The sockets that listen on `port`, by inode.
pub(crate) fn listening(port: u16) -> io::Result<BTreeSet<u64>> {
    let mut inodes = parse(&fs::read_to_string("/proc/net/tcp")?, port);
    match fs::read_to_string("/proc/net/tcp6") {
        Ok(text) => inodes.extend(parse(&text, port)),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(inodes)
}

/// The processes among `pids` that hold one of the sockets.
pub(crate) fn holders(inodes: &BTreeSet<u64>, pids: impl Iterator<Item = u32>) -> Vec<u32> {
    pids.filter(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| inode(link.to_str()?))
            .any(|inode| inodes.contains(&inode))
    })
    .collect()
}

/// `socket:[123]`
fn inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

fn parse(text: &str, port: u16) -> BTreeSet<u64> {
    let listener = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let (_, hex) = local.rsplit_once(':')?;
        let is_it = u16::from_str_radix(hex, 16) == Ok(port) && fields.nth(1)? == LISTEN;
        is_it.then(|| fields.nth(5)?.parse().ok()).flatten()
    };
    text.lines().filter_map(listener).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_holder_of_a_listening_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inodes = listening(port).unwrap();
        assert_eq!(inodes.len(), 1);
        let me = std::process::id();
        assert_eq!(holders(&inodes, [1, me].into_iter()), [me]);
        drop(listener);
        assert!(listening(port).unwrap().is_empty());
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 x\n\
             1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1 x\n\
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 x\n";
        assert_eq!(parse(text, 8_080), BTreeSet::from([111]));
    }

    proptest! {
        #[test]
        fn no_table_panics_the_reader(text in "[0-9A-F: \n]{0,300}") {
            parse(&text, 80);
        }
    }
}
