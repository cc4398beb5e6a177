//! What each enrolled host last said it is and runs, kept over restarts: a host that is away is still a host.
//!
//! `agents/hosts/HOST.json`, as the installation keeps it: `{"peer":IP,"targets":[…],"boot":{…}}`, replaced whole, at most once a
//! second for each host and by nobody whom others wait for. What is lost with the last second is said again.
//!
//! Which boot a host runs is kept, because a new one is the only proof that it went down and came back, and a server that began
//! to lead while it was away must still know which boot was to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use pitcrew_find::address;
use pitcrew_model::{Target, TargetId, Timestamp};
use pitcrew_wire::HostName;
use serde::{Deserialize, Serialize};

use crate::kept::{Kept, KeptError};

const HOSTS: &str = "agents/hosts/";

pub(crate) struct Inventories {
    kept: Kept,
    by_host: BTreeMap<HostName, Known>,
    unsaved: BTreeSet<HostName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    /// Where the host's agent connected from.
    peer: IpAddr,
    targets: Arc<Vec<Target>>,
    #[serde(default)]
    boot: Option<Boot>,
}

/// Of a host, as its agent says with each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) id: String,
    /// When a server first heard of it.
    pub(crate) since: Timestamp,
    /// The one before; `None`: none was known.
    pub(crate) before: Option<String>,
}

struct Known {
    said: Said,
    /// What was said after it and is not believed until a person does.
    refused: Option<Arc<Vec<Target>>>,
}

/// What came of an inventory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Same,
    New,
    /// The same, of a host that connects from elsewhere.
    Moved,
    /// More than half has gone at once: `before` and `now` count it.
    Shrank {
        before: usize,
        now: usize,
        is_news: bool,
    },
}

impl Inventories {
    /// A file that can't be read is no host until its agent is back; the log says so.
    pub(crate) fn open(kept: &Kept) -> Result<Self, KeptError> {
        let mut inventories = Self {
            kept: kept.clone(),
            by_host: BTreeMap::new(),
            unsaved: BTreeSet::new(),
        };
        for (name, content) in kept.in_folder(HOSTS)? {
            let Some(host) = host_of(&name) else { continue };
            match serde_json::from_slice(&content) {
                Ok(said) => {
                    let refused = None;
                    inventories.by_host.insert(host, Known { said, refused });
                }
                Err(error) => tracing::warn!(%error, "failed to read {name}"),
            }
        }
        Ok(inventories)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }

    pub(crate) fn hear(&mut self, host: &HostName, peer: IpAddr, targets: Vec<Target>) -> Heard {
        let known = self.by_host.get(host);
        let said = Said {
            peer,
            targets: Arc::new(targets),
            boot: known.and_then(|known| known.said.boot.clone()),
        };
        let Some(known) = self.by_host.get_mut(host) else {
            self.believe(host, said);
            return Heard::New;
        };
        let (before, now) = (known.said.targets.len(), said.targets.len());
        if now * 2 < before {
            let refused = Some(said.targets);
            let is_news = known.refused != refused;
            known.refused = refused;
            return Heard::Shrank {
                before,
                now,
                is_news,
            };
        }
        known.refused = None;
        if known.said == said {
            return Heard::Same;
        }
        let heard = match known.said.targets == said.targets {
            true => Heard::Moved,
            false => Heard::New,
        };
        self.believe(host, said);
        heard
    }

    /// Whether there was something to accept.
    pub(crate) fn accept(&mut self, host: &HostName) -> bool {
        let known = self.by_host.get_mut(host);
        let Some((known, targets)) = known.and_then(|known| {
            let refused = known.refused.take()?;
            Some((known, refused))
        }) else {
            return false;
        };
        let said = Said {
            targets,
            ..known.said.clone()
        };
        self.believe(host, said);
        true
    }

    /// A known host is connected and says that it runs this boot. Whether that is a new one.
    pub(crate) fn booted(&mut self, host: &HostName, id: String, now: Timestamp) -> bool {
        let Some(known) = self.by_host.get_mut(host) else {
            return false;
        };
        let boot = &mut known.said.boot;
        if boot.as_ref().is_some_and(|boot| boot.id == id) {
            return false;
        }
        let before = boot.take().map(|boot| boot.id);
        let since = now;
        *boot = Some(Boot { id, since, before });
        self.unsaved.insert(host.clone());
        true
    }

    pub(crate) fn boot(&self, host: &HostName) -> Option<&Boot> {
        self.by_host.get(host)?.said.boot.as_ref()
    }

    fn believe(&mut self, host: &HostName, said: Said) {
        let known = Known {
            said,
            refused: None,
        };
        self.by_host.insert(host.clone(), known);
        self.unsaved.insert(host.clone());
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let all = self.by_host.values();
        all.flat_map(|known| known.said.targets.iter().cloned())
            .collect()
    }

    pub(crate) fn ids(&self, host: &HostName) -> Vec<TargetId> {
        let targets = self.by_host.get(host).map(|known| &known.said.targets);
        let targets = targets.into_iter().flat_map(|targets| targets.iter());
        targets.map(|target| target.id.clone()).collect()
    }

    pub(crate) fn knows(&self, host: &HostName) -> bool {
        self.by_host.contains_key(host)
    }

    /// Where the host connects from, when `target` has its address by that host's word alone and it is another one.
    pub(crate) fn claimed_elsewhere(&self, host: &HostName, target: &Target) -> Option<IpAddr> {
        let said = &self.by_host.get(host)?.said;
        let claimed = said.targets.iter().find(|said| said.id == target.id)?;
        let address = claimed.address.as_ref()?;
        if target.address.as_ref() != Some(address) {
            return None;
        }
        let ip: Option<IpAddr> = address.host().parse().ok();
        let is_peer = ip.is_some_and(|ip| ip.to_canonical() == said.peer);
        (!is_peer).then_some(said.peer)
    }

    /// Names, numbers of targets, and whether what was said last is not believed.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&HostName, usize, bool)> {
        self.by_host
            .iter()
            .map(|(host, known)| (host, known.said.targets.len(), known.refused.is_some()))
    }

    /// What must be written, to be given to [`Unsaved::write`] by somebody whom nobody waits for.
    pub(crate) fn take_unsaved(&mut self) -> Vec<Unsaved> {
        let hosts = std::mem::take(&mut self.unsaved);
        let unsaved = hosts.into_iter().filter_map(|host| {
            Some(Unsaved {
                kept: self.kept.clone(),
                said: self.by_host.get(&host)?.said.clone(),
                host,
            })
        });
        unsaved.collect()
    }

    /// It could not be written: the next time.
    pub(crate) fn unsaved(&mut self, host: HostName) {
        self.unsaved.insert(host);
    }
}

pub(crate) struct Unsaved {
    pub(crate) host: HostName,
    kept: Kept,
    said: Said,
}

impl Unsaved {
    pub(crate) fn write(&self) -> Result<(), String> {
        let content = serde_json::to_vec(&self.said).map_err(|error| error.to_string())?;
        let name = format!("{HOSTS}{}.json", self.host);
        (self.kept.write(&name, &content)).map_err(|error| error.to_string())
    }
}

/// `None` for a file that is none of these.
fn host_of(name: &str) -> Option<HostName> {
    let name = name.strip_prefix(HOSTS)?.strip_suffix(".json")?;
    HostName::new(name).ok()
}

/// Why these can't be what is on `host`.
pub(crate) fn objection(host: &HostName, targets: &[Target]) -> Option<String> {
    let own = host.target();
    if !targets.iter().any(|target| target.id == own) {
        return Some(format!("the host {host} itself is not among its targets"));
    }
    targets.iter().find_map(|target| {
        let is_placed = match target.id == own {
            true => target.run_on.is_none(),
            false => target.run_on.as_ref() == Some(&own),
        };
        if !host.may_have(&target.id) || !is_placed {
            return Some(format!("{host} can't speak for {}", target.id));
        }
        // Where it would be an option of a program, or no address at all, it never was one of the host's.
        let address = target.address.as_ref()?;
        let why = match address::parse(&address.0) {
            Ok(parsed) if parsed == *address.0 => return None,
            Ok(_) => "it is a URL",
            Err(why) => why,
        };
        Some(format!(
            "`{}` of {} is not an address: {why}",
            address.0, target.id
        ))
    })
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Address, Labels};

    use super::*;

    fn host() -> HostName {
        HostName::new("web-1").unwrap()
    }

    fn targets(count: usize) -> Vec<Target> {
        let named = |name: String, run_on| Target {
            id: name.parse().unwrap(),
            address: Some(Address("10.0.0.7:80".into())),
            labels: Labels::default(),
            run_on,
            runner: None,
            source: "agents-1".parse().unwrap(),
        };
        let own = named("web-1".into(), None);
        let on_host = (1..count).map(|n| named(format!("{n}@web-1"), Some(host().target())));
        [own].into_iter().chain(on_host).collect()
    }

    fn peer() -> IpAddr {
        IpAddr::from([10, 0, 0, 7])
    }

    #[test]
    fn a_host_of_which_more_than_half_has_gone_is_not_believed_until_a_person_does() {
        let directory = tempfile::tempdir().unwrap();
        let mut inventories =
            Inventories::open(&Kept::Directory(directory.path().to_owned())).unwrap();
        let mut hear = |count| inventories.hear(&host(), peer(), targets(count));
        assert_eq!(hear(4), Heard::New);
        assert_eq!(hear(2), Heard::New, "half");
        assert_eq!(hear(5), Heard::New);
        let shrank = |is_news| Heard::Shrank {
            before: 5,
            now: 2,
            is_news,
        };
        assert_eq!(hear(2), shrank(true));
        assert_eq!(hear(2), shrank(false));
        assert_eq!(inventories.targets().len(), 5);
        assert!(inventories.accept(&host()));
        assert!(!inventories.accept(&host()));
        assert_eq!(inventories.targets().len(), 2);
    }

    #[test]
    fn the_boot_of_before_is_known_after_a_restart_of_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Inventories::open(&Kept::Directory(directory.path().to_owned())).unwrap();
        let at = Timestamp::from_millis;
        let mut inventories = open();
        assert!(
            !inventories.booted(&host(), "a".into(), at(1)),
            "an unknown host"
        );
        inventories.hear(&host(), peer(), targets(3));
        assert!(inventories.booted(&host(), "a".into(), at(1)));
        assert!(!inventories.booted(&host(), "a".into(), at(2)));
        assert_eq!(inventories.boot(&host()).unwrap().before, None);
        for unsaved in inventories.take_unsaved() {
            unsaved.write().unwrap();
        }
        let mut inventories = open();
        assert!(inventories.booted(&host(), "b".into(), at(3)));
        assert_eq!(inventories.hear(&host(), peer(), targets(3)), Heard::Same);
        inventories.hear(&host(), peer(), targets(4));
        let boot = inventories.boot(&host()).unwrap();
        assert_eq!((&*boot.id, boot.since), ("b", at(3)));
        assert_eq!(boot.before.as_deref(), Some("a"));
    }

    #[test]
    fn what_was_said_is_known_after_a_restart_once_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Inventories::open(&Kept::Directory(directory.path().to_owned())).unwrap();
        let mut inventories = open();
        inventories.hear(&host(), peer(), targets(3));
        assert!(!open().knows(&host()));
        for unsaved in inventories.take_unsaved() {
            unsaved.write().unwrap();
        }
        assert!(inventories.take_unsaved().is_empty());
        let mut again = open();
        assert_eq!(again.hear(&host(), peer(), targets(3)), Heard::Same);
        let elsewhere = IpAddr::from([10, 0, 0, 8]);
        assert_eq!(again.hear(&host(), elsewhere, targets(3)), Heard::Moved);
        assert_eq!(
            again.claimed_elsewhere(&host(), &targets(2)[1]),
            Some(elsewhere)
        );
        again.hear(&host(), peer(), targets(3));
        assert_eq!(again.claimed_elsewhere(&host(), &targets(2)[1]), None);
    }

    #[test]
    fn what_is_no_address_is_no_address_of_a_host_either() {
        let mut targets = targets(2);
        assert_eq!(objection(&host(), &targets), None);
        for text in ["-oProxyCommand=x:80", "a b", "10.0.0.7:0", "http://a/"] {
            targets[1].address = Some(Address(text.into()));
            let objection = objection(&host(), &targets).unwrap();
            assert!(objection.contains(text), "{objection}");
        }
    }
}
