//! From the name in a target's address to IP addresses, and whether one of them is this machine's.
//!
//! A name that doesn't resolve is `Unknown`: an outage of DNS must never look like the death of every
//! target that has a name.

use std::{
    fs,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use hickory_resolver::{TokioResolver, net::NetError};

use crate::{Answer, Question, route};

/// The system's resolver, read again when its files change.
#[derive(Default)]
pub(crate) struct Resolver(Mutex<Option<(Edition, Arc<TokioResolver>)>>);

/// When `/etc/resolv.conf` and `/etc/hosts` were last changed.
type Edition = [Option<SystemTime>; 2];

impl Resolver {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        let lookup = self.current()?.lookup_ip(host).await?;
        Ok(lookup.iter().collect())
    }

    fn current(&self) -> Result<Arc<TokioResolver>, NetError> {
        let edition = ["/etc/resolv.conf", "/etc/hosts"]
            .map(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, resolver)) = &*current
            && *known == edition
        {
            return Ok(Arc::clone(resolver));
        }
        let resolver = Arc::new(TokioResolver::builder_tokio()?.build()?);
        *current = Some((edition, Arc::clone(&resolver)));
        Ok(resolver)
    }
}

/// The addresses of `host`; never empty. A literal address asks no resolver.
pub(crate) async fn addresses(question: &Question<'_>, host: &str) -> Result<Vec<IpAddr>, Answer> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    question
        .progress
        .waits_elsewhere("the resolver has not answered");
    match question.tools.resolver.addresses(host).await {
        Ok(found) if found.is_empty() => Err(Answer::unknown(format!("`{host}` has no address"))),
        Ok(found) => Ok(found),
        Err(error) => Err(Answer::unknown(format!(
            "`{host}` does not resolve: {error}"
        ))),
    }
}

/// `Ok` when the target is on this machine; a target without an address is.
pub(crate) async fn on_this_host(question: &Question<'_>) -> Result<(), Answer> {
    let Some(address) = &question.target.address else {
        return Ok(());
    };
    let host = address.host();
    if host == "localhost" {
        return Ok(());
    }
    for address in addresses(question, host).await? {
        match route::ends_here(address) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => {
                let words = format!("can't tell whether {address} is this host: {error}");
                return Err(Answer::unknown(words));
            }
        }
    }
    Err(Answer::unknown(format!("no agent on the host {host}")))
}
