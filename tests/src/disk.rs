//! The simulated disk: what was written is there until the power goes, what was synced is there after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::boot::BootVars;
use model::durable::Durable;
use model::ids::RevisionId;
use model::progress::Progress;

/// What lies on it.
///
/// Trails, documents and boot variables are written by effects of the shell, each of which syncs before it reports: one
/// that was under way when the power went has happened whole or not at all (temporary file, fsync, rename). Which, is a
/// [`Choice`](crate::choice::Choice).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    slots: [Slot; 2],
    /// Revisions whose trail is there, whole.
    pub trails: BTreeSet<RevisionId>,
    /// Progress documents.
    pub progress: BTreeMap<RevisionId, Progress>,
    /// What the boot loader reads; nothing where it was never set.
    pub boot: Option<BootVars>,
}

/// One of the two places for `Durable`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Slot {
    synced: Page,
    /// Written over it and not synced yet.
    cached: Option<Page>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Page {
    /// Nothing, or something whose checksum is wrong.
    #[default]
    Unreadable,
    Copy {
        generation: u64,
        durable: Arc<Durable>,
    },
}

/// What a power cut makes of a write that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// It was on its way and arrived.
    Kept,
    /// As if never written.
    Lost,
    /// Half of it arrived.
    Torn,
}

impl Loss {
    pub const ALL: [Loss; 3] = [Loss::Kept, Loss::Lost, Loss::Torn];
}

impl Slot {
    fn page(&self) -> &Page {
        self.cached.as_ref().unwrap_or(&self.synced)
    }
}

impl Page {
    fn generation(&self) -> Option<u64> {
        match self {
            Page::Unreadable => None,
            Page::Copy { generation, .. } => Some(*generation),
        }
    }
}

impl Disk {
    /// As it leaves the factory: revision 0, and no `Durable` yet.
    pub fn factory(trails: BTreeSet<RevisionId>) -> Disk {
        Disk { slots: Default::default(), trails, progress: BTreeMap::new(), boot: None }
    }

    /// The newest readable copy, as an agent reads it when its life begins. That it was read does not say that it was
    /// synced (a former agent's save may have failed half way), so it is synced before the other is ever written over.
    pub fn open(&mut self) -> Option<Arc<Durable>> {
        self.sync();
        if self.newest() == 1 {
            self.trust();
        }
        self.durable().cloned()
    }

    /// The newest readable copy.
    pub fn durable(&self) -> Option<&Arc<Durable>> {
        match self.slots[self.newest()].page() {
            Page::Unreadable => None,
            Page::Copy { durable, .. } => Some(durable),
        }
    }

    /// Every copy that a boot could find, depending on what the power takes with it.
    pub fn durables(&self) -> impl Iterator<Item = &Durable> {
        let pages =
            self.slots.iter().flat_map(|slot| std::iter::once(&slot.synced).chain(slot.cached.as_ref()));
        pages.filter_map(|page| match page {
            Page::Unreadable => None,
            Page::Copy { durable, .. } => Some(&**durable),
        })
    }

    fn newest(&self) -> usize {
        usize::from(self.slots[1].page().generation() > self.slots[0].page().generation())
    }

    /// Writes over the copy that is not relied on; it is not synced yet.
    pub fn write(&mut self, durable: &Durable) {
        let newest = self.slots.iter().filter_map(|slot| slot.page().generation()).max();
        let generation = newest.map_or(0, |generation| generation + 1);
        self.slots[1].cached = Some(Page::Copy { generation, durable: Arc::new(durable.clone()) });
        self.canonical();
    }

    /// Leaves half a write in the place that is not relied on, which the checksum will tell.
    pub fn tear(&mut self) {
        self.slots[1] = Slot::default();
    }

    /// What was written is on the disk.
    pub fn sync(&mut self) {
        for slot in &mut self.slots {
            if let Some(page) = slot.cached.take() {
                slot.synced = page;
            }
        }
    }

    /// From now on the copy that was written last is relied on, and the other is the one to write over.
    pub fn trust(&mut self) {
        self.slots.swap(0, 1);
        self.canonical();
    }

    /// Makes two disks equal that no reader can tell apart now or later, for the search to see each once: generations
    /// only ever say which copy is newer, and once the newest is synced the other is only written over, never read (the
    /// newest is not touched before something newer is there).
    fn canonical(&mut self) {
        let relied_on = self.slots[0].cached.is_none() && self.slots[0].synced != Page::Unreadable;
        if relied_on && self.newest() == 0 {
            self.slots[1] = Slot::default();
        }
        let mut known: Vec<u64> = self.pages().filter_map(|page| page.generation()).collect();
        known.sort_unstable();
        known.dedup();
        for page in self.pages() {
            if let Page::Copy { generation, .. } = page {
                *generation = known.iter().take_while(|older| **older < *generation).map(|_| 1).sum();
            }
        }
    }

    fn pages(&mut self) -> impl Iterator<Item = &mut Page> {
        self.slots.iter_mut().flat_map(|slot| std::iter::once(&mut slot.synced).chain(slot.cached.as_mut()))
    }

    /// How many writes a power cut could undo.
    pub fn unsynced(&self) -> usize {
        self.slots.iter().filter(|slot| slot.cached.is_some()).count()
    }

    /// The power is gone. One loss for each un-synced write, in the order of the places.
    pub fn cut(&mut self, losses: &[Loss]) {
        let mut losses = losses.iter();
        for slot in &mut self.slots {
            let Some(page) = slot.cached.take() else { continue };
            match losses.next().unwrap_or(&Loss::Lost) {
                Loss::Kept => slot.synced = page,
                Loss::Lost => {}
                Loss::Torn => slot.synced = Page::Unreadable,
            }
        }
        self.canonical();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_starts(unsettled_starts: u32) -> Durable {
        Durable { unsettled_starts, ..Durable::factory() }
    }

    fn disk(saved: &[u32]) -> Disk {
        let mut disk = Disk::factory(BTreeSet::new());
        for starts in saved {
            disk.write(&with_starts(*starts));
            disk.sync();
            disk.trust();
        }
        disk
    }

    fn starts(disk: &Disk) -> Option<u32> {
        disk.durable().map(|durable| durable.unsettled_starts)
    }

    #[test]
    fn a_synced_copy_survives_and_an_unsynced_one_may_not() {
        let mut disk = disk(&[1, 2]);
        disk.write(&with_starts(3));
        assert_eq!(starts(&disk), Some(3));
        for (loss, expected) in [(Loss::Kept, 3), (Loss::Lost, 2), (Loss::Torn, 2)] {
            let mut cut = disk.clone();
            cut.cut(&[loss]);
            assert_eq!(starts(&cut), Some(expected));
        }
    }

    #[test]
    fn two_unsynced_writes_can_take_both_copies() {
        let mut disk = disk(&[1]);
        for starts in [2, 3] {
            disk.write(&with_starts(starts));
            disk.trust();
        }
        assert_eq!(disk.unsynced(), 2);
        disk.cut(&[Loss::Torn, Loss::Torn]);
        assert_eq!(starts(&disk), None);
    }

    #[test]
    fn a_save_that_failed_half_way_endangers_no_later_one() {
        let mut disk = disk(&[1]);
        disk.write(&with_starts(2));
        disk.write(&with_starts(3));
        disk.cut(&[Loss::Torn]);
        assert_eq!(starts(&disk), Some(1));
    }

    #[test]
    fn the_number_of_saves_leaves_no_trace() {
        assert_eq!(disk(&[7]), disk(&[1, 2, 3, 7]));
    }
}
