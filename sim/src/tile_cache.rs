use std::collections::BTreeMap;

/// One tile of one image on one array.
pub(crate) type TileKey = (u64, u32, u16);

/// Effective tiles, kept up to a number of bytes; the one not used for longest goes first.
///
/// What is kept changes how long a run takes, and nothing else: a tile that was let go is made
/// again, with the same numbers.
pub(crate) struct TileCache<T> {
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    tiles: BTreeMap<TileKey, (u64, usize, T)>,
    last_used: BTreeMap<u64, TileKey>,
}

impl<T> TileCache<T> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, uses: 0, tiles: BTreeMap::new(), last_used: BTreeMap::new() }
    }

    /// The tile `key`, made if it is not there. The newest tile stays whatever its size.
    pub(crate) fn get(
        &mut self,
        key: TileKey,
        make: impl FnOnce() -> T,
        bytes_of: impl FnOnce(&T) -> usize,
    ) -> &T {
        self.uses += 1;
        let now = self.uses;
        if !self.tiles.contains_key(&key) {
            let tile = make();
            let bytes = bytes_of(&tile);
            while self.bytes + bytes > self.bytes_max
                && let Some((_, oldest)) = self.last_used.pop_first()
            {
                self.bytes -= self.tiles.remove(&oldest).map_or(0, |(_, bytes, _)| bytes);
            }
            self.bytes += bytes;
            self.tiles.insert(key, (now, bytes, tile));
        }
        let (used, _, tile) = self.tiles.get_mut(&key).expect("it was there or was just put there");
        self.last_used.remove(used);
        self.last_used.insert(now, key);
        *used = now;
        tile
    }

    /// Lets every tile go.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tile_not_used_for_longest_goes_first() {
        let mut cache = TileCache::new(200);
        let mut made = Vec::new();
        for index in [1, 2, 1, 3, 1, 2] {
            let make = || {
                made.push(index);
                100
            };
            cache.get((0, index, 0), make, |&size| size);
        }
        assert_eq!(made, [1, 2, 3, 2]);
        assert_eq!((cache.bytes, cache.tiles.len(), cache.last_used.len()), (200, 2, 2));
        cache.clear();
        assert_eq!((cache.bytes, cache.tiles.len(), cache.last_used.len()), (0, 0, 0));
    }

    #[test]
    fn a_tile_larger_than_the_limit_is_still_served() {
        let mut cache = TileCache::new(1);
        for index in 0..3 {
            assert_eq!(*cache.get((0, index, 0), || 64, |&size| size), 64);
        }
        assert_eq!(cache.tiles.len(), 1);
    }
}
