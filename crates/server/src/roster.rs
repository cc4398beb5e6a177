//! Which target is watched for which service, as the engine last said: for requests that name a target or its
//! address. It follows the engine's effects and decides nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use pitcrew_model::{Service, Target, TargetId};

#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) target: Arc<Target>,
    pub(crate) service: Arc<Service>,
}

#[derive(Default)]
pub(crate) struct Roster(RwLock<Lists>);

#[derive(Default)]
struct Lists {
    by_id: HashMap<TargetId, Watched>,
    by_address: HashMap<Arc<str>, BTreeSet<TargetId>>,
}

impl Lists {
    fn remove(&mut self, id: &TargetId) {
        let Some(address) = self
            .by_id
            .remove(id)
            .and_then(|watched| watched.target.address.clone())
        else {
            return;
        };
        if let Some(ids) = self.by_address.get_mut(&*address.0) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_address.remove(&*address.0);
            }
        }
    }
}

impl Roster {
    pub(crate) fn watch(&self, target: Arc<Target>, service: Arc<Service>) {
        let mut lists = self.0.write().unwrap_or_else(PoisonError::into_inner);
        lists.remove(&target.id);
        if let Some(address) = &target.address {
            let ids = lists.by_address.entry(Arc::clone(&address.0)).or_default();
            ids.insert(target.id.clone());
        }
        lists
            .by_id
            .insert(target.id.clone(), Watched { target, service });
    }

    pub(crate) fn unwatch(&self, id: &TargetId) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Watched> {
        let lists = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lists.by_id.get(id).cloned()
    }

    /// All targets at `address`, written as discovery gave it.
    pub(crate) fn at(&self, address: &str) -> Vec<Watched> {
        let lists = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ids = lists.by_address.get(address).into_iter().flatten();
        ids.filter_map(|id| lists.by_id.get(id).cloned()).collect()
    }
}
