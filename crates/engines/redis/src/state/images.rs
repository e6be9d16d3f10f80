//! What the disks of a dataset's instances hold: the data as they were when each append-only file was last synced.
//!
//! An image is an overlay like a replica's: the old value of each key that was written since the sync. It costs a copy of
//! a value at the first write to its key in each second, and only with an append-only file that is not synced always.

use super::dataset::{Dataset, Follower, Undone};
use super::keyspace::Entry;
use super::overlay::{Overlay, Position};

/// The disk of one instance.
#[derive(Clone, Debug)]
struct Image {
    instance: usize,
    /// What was synced.
    position: Position,
    /// The newest position at which the instance may stand when it syncs next.
    mark: Position,
    /// By database.
    overlays: Vec<Overlay>,
}

/// The disks of all instances of a dataset. In lockstep one image stands for all of them.
#[derive(Debug, Default)]
pub(crate) struct Images {
    list: Vec<Image>,
    databases: usize,
}

impl Images {
    /// True if there is nothing to keep: every write is synced before it is acknowledged, or nothing ever is.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Keeps what a key is before it is written.
    #[inline]
    pub(super) fn save(&mut self, database: usize, key: &[u8], offset: Position, before: Option<&Entry>) {
        for image in &mut self.list {
            image.overlays[database].save(key, offset, image.mark, before);
        }
    }

    #[inline]
    pub(super) fn owner_wrote(&mut self, database: usize, key: &[u8]) {
        for image in &mut self.list {
            image.overlays[database].owner_wrote(key);
        }
    }

    /// A position is under way to an instance.
    pub(crate) fn expect(&mut self, instance: usize, position: Position) {
        if let Some(image) = self.list.iter_mut().find(|image| image.instance == instance) {
            image.mark = image.mark.max(position);
        }
    }

    /// How much of the history an instance's disk holds. In lockstep the owner's image is everybody's.
    pub(crate) fn position(&self, instance: usize, owner: usize) -> Position {
        let image_of = |instance: usize| self.list.iter().find(|image| image.instance == instance);
        image_of(instance).or_else(|| image_of(owner)).map_or(0, |image| image.position)
    }

    fn put(&mut self, instance: usize, position: Position, overlay: Option<Overlay>) {
        self.list.retain(|image| image.instance != instance);
        let mut overlays = vec![Overlay::default(); self.databases];
        if let (Some(overlay), Some(first)) = (overlay, overlays.first_mut()) {
            *first = overlay;
        }
        self.list.push(Image { instance, position, mark: position, overlays });
    }

    fn take(&mut self, instance: usize) -> Option<Image> {
        let index = self.list.iter().position(|image| image.instance == instance)?;
        Some(self.list.remove(index))
    }
}

impl Dataset {
    /// Begins, or stops, to keep what disks hold. What is there now counts as synced.
    pub(crate) fn keep_images(&mut self, wanted: bool) {
        if wanted == self.images.is_empty() {
            self.images.databases = self.databases.len();
            self.images.list.clear();
            if wanted {
                self.sync_all();
            }
        }
    }

    /// SWAPDB. What disks hold is kept by database, so this counts as a sync.
    pub(crate) fn swap_databases(&mut self, one: usize, other: usize) {
        self.databases.swap(one, other);
        if !self.images.is_empty() {
            self.sync_all();
        }
    }

    /// Every instance's disk holds what the instance has.
    pub(super) fn sync_all(&mut self) {
        self.images.list.clear();
        self.images.put(self.owner, self.offset, None);
        if !self.is_lockstep {
            for index in 0..self.followers.len() {
                self.sync_follower(index);
            }
        }
    }

    fn sync_follower(&mut self, index: usize) {
        let Follower { instance, position, overlay, is_apart, .. } = &self.followers[index];
        let overlay = if *is_apart { Some(overlay.clone()) } else { None };
        self.images.put(*instance, *position, overlay);
    }

    /// The append-only file of an instance has been synced.
    pub(crate) fn sync(&mut self, instance: usize) {
        if self.images.is_empty() {
            return;
        }
        if instance == self.owner {
            self.images.put(instance, self.offset, None);
        } else if let Some(index) = self.follower(instance).filter(|_| !self.is_lockstep) {
            let follower = &self.followers[index];
            let (position, mark) = (follower.position, follower.mark);
            let image = self.images.list.iter_mut().find(|image| image.instance == instance);
            match image.filter(|_| !follower.is_apart) {
                Some(image) => {
                    image.position = position;
                    image.mark = mark;
                    image.overlays.iter_mut().for_each(|overlay| overlay.advance(position));
                }
                None => self.sync_follower(index),
            }
        }
    }

    /// Leaves lockstep: each follower's disk is its own from now on.
    pub(super) fn part_images(&mut self) {
        let Some(shared) = self.images.list.first().cloned() else { return };
        for follower in self.followers.iter().filter(|follower| !follower.is_apart) {
            self.images.list.retain(|image| image.instance != follower.instance);
            self.images.list.push(Image { instance: follower.instance, mark: follower.mark, ..shared.clone() });
        }
    }

    /// Enters lockstep.
    pub(super) fn share_image(&mut self) {
        let owner = self.owner;
        self.images.list.retain(|image| image.instance == owner);
    }

    pub(super) fn join_images(&mut self, instance: usize) {
        if !self.images.is_empty() {
            self.images.put(instance, self.offset, None);
        }
    }

    pub(super) fn leave_images(&mut self, instance: usize) {
        self.images.list.retain(|image| image.instance != instance);
    }

    /// An instance loses what it had not synced. Returns the acknowledged writes that nobody else has.
    pub(crate) fn lose_unsynced(&mut self, instance: usize) -> Vec<Undone> {
        if self.images.is_empty() {
            return Vec::new();
        }
        self.break_lockstep();
        let Some(mut image) = self.images.take(instance) else { return Vec::new() };
        if let Some(index) = self.follower(instance) {
            let follower = &mut self.followers[index];
            let kept = std::mem::take(&mut image.overlays[0]);
            let lost = follower.overlay.unshared_beyond(&kept);
            follower.overlay = kept;
            (follower.position, follower.mark) = (image.position, image.position);
            self.sync_follower(index);
            return lost;
        }
        let is_ahead = |other: &&Follower| !other.is_apart && other.position > image.position;
        let heir =
            self.followers.iter().filter(is_ahead).max_by_key(|other| other.position).map(|other| other.instance);
        match heir {
            None => self.roll_back(image),
            Some(heir) => self.fall_behind(instance, image, heir),
        }
    }

    /// Nobody has more than the owner's disk: the physical copy becomes what that holds.
    fn roll_back(&mut self, image: Image) -> Vec<Undone> {
        let mut lost = Vec::new();
        for (database, mut overlay) in image.overlays.into_iter().enumerate() {
            for (key, divergence) in overlay.take() {
                if database == 0 {
                    for follower in self.followers.iter_mut().filter(|follower| follower.is_apart) {
                        follower.overlay.save(&key, 0, 0, self.databases[0].get(&key));
                    }
                }
                let (value, writes) = divergence.into_value();
                if writes > 0 {
                    lost.push((key.clone(), writes));
                }
                if database == 0 {
                    self.note_revived(&key, value.as_ref());
                }
                self.replace(database, &key, value);
            }
        }
        self.offset = image.position;
        self.rewind_log();
        self.feed.deactivate();
        for follower in self.followers.iter_mut().filter(|follower| !follower.is_apart) {
            follower.mark = follower.mark.min(image.position);
            follower.overlay.cut(image.position);
        }
        self.sync_all();
        lost
    }

    /// A follower has more than the owner's disk: the physical copy becomes that follower's, and the owner stays beside it
    /// with what its disk holds.
    fn fall_behind(&mut self, instance: usize, mut image: Image, heir: usize) -> Vec<Undone> {
        let (position, mark) = (image.position, image.position);
        let mut overlay = std::mem::take(&mut image.overlays[0]);
        overlay.part();
        self.followers.push(Follower { instance: usize::MAX, position, mark, overlay, is_apart: true });
        let lost = self.promote(heir, false);
        if let Some(index) = self.follower(usize::MAX) {
            let fallen = &mut self.followers[index];
            fallen.instance = instance;
            for (key, writes) in &lost {
                fallen.overlay.forget_writes(key, *writes);
            }
        }
        self.sync_all();
        lost
    }

    /// A master has started with what its disk holds, or has prevailed over its successor, and what it has is the truth from
    /// now on; what others have beyond it is theirs until they give it up.
    pub(crate) fn restart_owner(&mut self, instance: usize) {
        let old_owner = self.owner;
        let beyond = self.promote(instance, true);
        if let Some(index) = self.follower(old_owner) {
            for (key, writes) in &beyond {
                self.followers[index].overlay.own_writes(key, *writes);
            }
        }
        if !self.images.is_empty() {
            self.sync_all();
        }
    }
}
