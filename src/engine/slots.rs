//! Every container of the device, by name: copied in a moment, changed only where something changes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use model::ids::ContainerName;

use crate::container::{Keep, Slot};

/// Sorted by name. Each event is thought about on a copy of the engine, so a copy must cost next to nothing: it shares every
/// slot until that slot changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Slots(Vec<Arc<Slot>>);

impl Slots {
    pub(crate) fn values(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().map(|slot| &**slot)
    }

    pub(crate) fn get_mut(&mut self, name: &ContainerName) -> Option<&mut Slot> {
        let index = self.find(name).ok()?;
        self.0.get_mut(index).map(Arc::make_mut)
    }

    /// Adds one, unless its name is there.
    pub(crate) fn add(&mut self, slot: Slot) {
        if let Err(index) = self.find(slot.name()) {
            self.0.insert(index, Arc::new(slot));
        }
    }

    /// Changes those that `wants` it.
    pub(crate) fn change(&mut self, wants: impl Fn(&Slot) -> bool, mut change: impl FnMut(&mut Slot)) {
        for slot in self.0.iter_mut().filter(|slot| wants(slot)) {
            change(Arc::make_mut(slot));
        }
    }

    /// Changes those that `wants` it, and drops those of them that are not kept.
    pub(crate) fn sift(&mut self, wants: impl Fn(&Slot) -> bool, mut change: impl FnMut(&mut Slot) -> Keep) {
        self.0.retain_mut(|slot| !wants(slot) || change(Arc::make_mut(slot)) == Keep::Yes);
    }

    fn find(&self, name: &ContainerName) -> Result<usize, usize> {
        self.0.binary_search_by(|slot| slot.name().cmp(name))
    }

    #[cfg(test)]
    pub(crate) fn get(&self, name: &ContainerName) -> Option<&Slot> {
        self.values().find(|slot| slot.name() == name)
    }
}
