//! Whose processes are started, and the clean environment that they get.
//!
//! Users come from `/etc/passwd` alone: name services would need code of the system's C library in this
//! process. Nothing of Pitcrew's own environment is handed on but the search path and the language.

use std::{env, fs};

/// Where programs are looked for when Pitcrew itself was started without a path.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

impl User {
    pub(crate) fn lookup(name: &str) -> Result<Self, String> {
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(|error| format!("user `{name}`: /etc/passwd can't be read: {error}"))?;
        parse(&passwd)
            .find(|user| user.name == name)
            .ok_or_else(|| format!("user `{name}` is not in /etc/passwd"))
    }

    /// The user Pitcrew runs as; a number without a name in a bare container.
    fn own() -> Option<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        parse(&passwd).find(|user| user.uid == uid)
    }

    pub(crate) fn is_own(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.uid
    }
}

/// The number of a user of this host.
pub fn user_id(name: &str) -> Result<u32, String> {
    User::lookup(name).map(|user| user.uid)
}

fn parse(passwd: &str) -> impl Iterator<Item = User> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        Some(User {
            name,
            uid,
            gid,
            home,
        })
    })
}

/// `PATH`, `LANG`, `HOME` and `USER`, in this order.
pub(crate) fn environment(user: Option<&User>) -> Vec<(String, String)> {
    let own = |name: &str, otherwise: &str| {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        (
            name.to_owned(),
            value.unwrap_or_else(|| otherwise.to_owned()),
        )
    };
    let mut variables = vec![own("PATH", PATH_DEFAULT), own("LANG", "C.UTF-8")];
    if let Some(user) = user.cloned().or_else(User::own) {
        variables.push(("HOME".to_owned(), user.home));
        variables.push(("USER".to_owned(), user.name));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_are_read_and_broken_lines_passed_over() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbad:x:y:0::/:\nwww-data:x:33:34:w:/var/www:\n";
        let users: Vec<User> = parse(passwd).collect();
        assert_eq!(users.len(), 2);
        assert_eq!((users[1].uid, users[1].gid), (33, 34));
        assert_eq!(users[1].home, "/var/www");
    }

    #[test]
    fn an_unknown_user_is_named() {
        let error = User::lookup("no-such-user").unwrap_err();
        assert!(error.contains("no-such-user"), "{error}");
    }

    proptest! {
        #[test]
        fn no_passwd_panics_the_reader(text in "[a-z0-9:\n]{0,200}") {
            parse(&text).count();
        }
    }
}
