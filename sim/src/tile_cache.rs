use litecore_kernels::s2::PackedMatrix;
use std::collections::BTreeMap;

/// One tile of one image on one array.
pub(crate) type TileKey = (u64, u32, u16);

/// Effective tiles, kept up to a number of bytes; the one not used for longest goes first.
///
/// What is kept changes how long a run takes, and nothing else: a tile that was let go is made
/// again, with the same numbers.
pub(crate) struct TileCache {
    bytes_max: usize,
    bytes: usize,
    uses: u64,
    tiles: BTreeMap<TileKey, (u64, PackedMatrix)>,
    last_used: BTreeMap<u64, TileKey>,
}

impl TileCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, uses: 0, tiles: BTreeMap::new(), last_used: BTreeMap::new() }
    }

    /// The tile `key`, made if it is not there. The newest tile stays whatever its size.
    pub(crate) fn get(
        &mut self,
        key: TileKey,
        make: impl FnOnce() -> PackedMatrix,
    ) -> &PackedMatrix {
        self.uses += 1;
        let now = self.uses;
        if !self.tiles.contains_key(&key) {
            let tile = make();
            while self.bytes + tile.bytes() > self.bytes_max
                && let Some((_, oldest)) = self.last_used.pop_first()
            {
                self.bytes -= self.tiles.remove(&oldest).map_or(0, |(_, tile)| tile.bytes());
            }
            self.bytes += tile.bytes();
            self.tiles.insert(key, (now, tile));
        }
        let (used, tile) = self.tiles.get_mut(&key).expect("it was there or was just put there");
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

    fn tile(value: f32) -> PackedMatrix {
        PackedMatrix::from_columns(&[value; 64], 2, 32)
    }

    #[test]
    fn the_tile_not_used_for_longest_goes_first() {
        let size = tile(0.0).bytes();
        let mut cache = TileCache::new(2 * size);
        let mut made = Vec::new();
        for index in [1, 2, 1, 3, 1, 2] {
            cache.get((0, index, 0), || {
                made.push(index);
                tile(1.0)
            });
        }
        assert_eq!(made, [1, 2, 3, 2]);
        assert_eq!((cache.bytes, cache.tiles.len(), cache.last_used.len()), (2 * size, 2, 2));
        cache.clear();
        assert_eq!((cache.bytes, cache.tiles.len(), cache.last_used.len()), (0, 0, 0));
    }

    #[test]
    fn a_tile_larger_than_the_limit_is_still_served() {
        let mut cache = TileCache::new(1);
        for index in 0..3 {
            assert_eq!(cache.get((0, index, 0), || tile(2.0)).outputs(), 32);
        }
        assert_eq!(cache.tiles.len(), 1);
    }
}
