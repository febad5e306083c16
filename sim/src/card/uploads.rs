use litecore_hal::ImageId;
use std::collections::BTreeMap;

/// Images and uploads of a card, by number. Numbers are not used again before a restart.
#[derive(Default)]
pub(super) struct Images {
    last: u64,
    loaded: BTreeMap<u64, Loaded>,
    uploads: BTreeMap<u64, Upload>,
}

/// A program that passed the verifier.
#[derive(Clone, Copy)]
pub(super) struct Loaded {
    pub(super) image: ImageId,
    pub(super) input_len: usize,
    pub(super) output_len: usize,
    pub(super) bytes: u64,
}

/// An image on its way.
pub(super) struct Upload {
    pub(super) total: u64,
    pub(super) bytes: Vec<u8>,
}

/// Most bytes that an upload gets before they have come.
const ROOM_MAX: usize = 4 << 20;

impl Images {
    /// Images and uploads.
    pub(super) fn count(&self) -> usize {
        self.loaded.len() + self.uploads.len()
    }

    pub(super) fn loaded_count(&self) -> u64 {
        self.loaded.len() as u64
    }

    /// Bytes that images take, and that uploads will take.
    pub(super) fn bytes(&self) -> u64 {
        let loaded = self.loaded.values().map(|loaded| loaded.bytes);
        loaded.chain(self.uploads.values().map(|upload| upload.total)).sum()
    }

    pub(super) fn begin(&mut self, total: u64) -> u64 {
        self.last += 1;
        let room = usize::try_from(total).unwrap_or(usize::MAX).min(ROOM_MAX);
        self.uploads.insert(self.last, Upload { total, bytes: Vec::with_capacity(room) });
        self.last
    }

    pub(super) fn upload(&mut self, number: u64) -> Option<&mut Upload> {
        self.uploads.get_mut(&number)
    }

    pub(super) fn take_upload(&mut self, number: u64) -> Option<Upload> {
        self.uploads.remove(&number)
    }

    pub(super) fn insert(&mut self, number: u64, loaded: Loaded) {
        self.loaded.insert(number, loaded);
    }

    pub(super) fn find(&self, number: u64) -> Option<Loaded> {
        self.loaded.get(&number).copied()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Loaded> {
        self.loaded.remove(&number)
    }

    pub(super) fn drop_uploads(&mut self) {
        self.uploads.clear();
    }

    /// Forgets everything, and says what was loaded.
    pub(super) fn clear(&mut self) -> Vec<ImageId> {
        self.uploads.clear();
        std::mem::take(&mut self.loaded).into_values().map(|loaded| loaded.image).collect()
    }
}
