//! Names of services: words that a person would use, each once, whatever processes call themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    hello::Speech,
    runner,
    survey::{Found, Group},
};

/// A word for the service: of its unit, its container or its program.
pub(super) fn base_name(group: &Group<'_>, speech: &Speech) -> String {
    let of_store = match speech {
        Speech::Redis => Some("redis"),
        Speech::Postgres => Some("postgresql"),
        Speech::Mysql => Some("mysql"),
        Speech::Memcached => Some("memcached"),
        Speech::Amqp => Some("rabbitmq"),
        Speech::Http { .. } | Speech::Other { .. } => None,
    };
    if let Some(container) = &group.container {
        return clean(&container.name);
    }
    if let Some(name) = of_store {
        return name.to_owned();
    }
    let Some(process) = group.process else {
        return "web".to_owned();
    };
    let unit = runner::unit_of(process).map(|unit| unit.trim_end_matches(".service").to_owned());
    let name = unit.or_else(|| process.called());
    name.map_or_else(|| "web".to_owned(), |name| clean(&name))
}

/// Lower case letters, digits and dashes.
pub(super) fn clean(name: &str) -> String {
    let mut clean = String::new();
    for c in name.chars().take(60) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => clean.push(c),
            _ if clean.ends_with('-') || clean.is_empty() => {}
            _ => clean.push('-'),
        }
    }
    let name = clean.trim_end_matches('-');
    if name.is_empty() {
        "service".to_owned()
    } else {
        name.to_owned()
    }
}

/// Names that occur more than once get the port; ports differ, or one owner has both.
pub(super) fn name(found: &mut [Found]) {
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for one in found.iter() {
        *uses.entry(one.name.clone()).or_default() += 1;
    }
    let mut taken = BTreeSet::new();
    for one in found {
        if uses[&one.name] > 1 {
            one.name = format!("{}-{}", one.name, one.address.port());
        }
        let base = one.name.clone();
        let mut number = 1;
        while !taken.insert(one.name.clone()) {
            number += 1;
            one.name = format!("{base}-{number}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::init::runner::Choice;

    #[test]
    fn names_are_clean_and_each_is_used_once() {
        for (name, cleaned) in [
            ("redis-server", "redis-server"),
            ("My App@2 (x)", "my-app-2-x"),
            ("--\u{1b}[31m", "31m"),
            ("…", "service"),
        ] {
            assert_eq!(clean(name), cleaned);
        }
        let found = |name: &str, port: u16| Found {
            name: name.to_owned(),
            what: String::new(),
            pid: None,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            tests: Vec::new(),
            choice: Choice::default(),
            is_store: false,
            untested: Vec::new(),
        };
        let mut all = [
            found("redis", 1),
            found("web", 2),
            found("redis", 3),
            found("redis", 3),
            found("redis-3", 4),
        ];
        name(&mut all);
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            names,
            ["redis-1", "web", "redis-3", "redis-3-2", "redis-3-3"]
        );
    }
}
