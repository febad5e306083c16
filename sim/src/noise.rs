use crate::Term;
use litecore_hal::SymbolTag;
use litecore_kernels::normal::standard_normals;
use litecore_types::Seed;
use litecore_types::program::{Action, Program, Symbols};
use std::collections::BTreeMap;

/// The key of each step's noise; zero for steps that stream nothing.
///
/// A stream is named by the program's name, its tile, and how often its symbols have gone through
/// that tile before. Neither the schedule nor the weights are in it, nor how the symbols of a run
/// are divided among streams, so that two programs which differ in those meet the same noise.
pub(crate) fn stream_keys(program: &Program, seed: Seed) -> Vec<u64> {
    let named = seed.branch("noise", 0).branch(&program.name, 0);
    let mut streams_of: BTreeMap<u32, Vec<(Symbols, u64)>> = BTreeMap::new();
    program
        .steps
        .iter()
        .map(|step| match step.action {
            Action::Stream { tile, .. } => {
                let earlier = streams_of.entry(tile.0).or_default();
                let meets =
                    |other: &Symbols| other.from < step.symbols.to && step.symbols.from < other.to;
                let passes = earlier.iter().filter(|(other, _)| meets(other));
                let before = passes.map(|(_, pass)| pass + 1).max().unwrap_or(0);
                earlier.push((step.symbols, before));
                named.branch("tile", u64::from(tile.0)).key("stream", before)
            }
            _ => 0,
        })
        .collect()
}

/// The key of one term's normals in a stream.
pub(crate) fn term_key(stream_key: u64, term: Term) -> u64 {
    spread(stream_key.wrapping_add(1 + term as u64))
}

/// A buffer for the normals of one symbol.
#[derive(Default)]
pub(crate) struct Normals(Vec<f32>);

impl Normals {
    /// The first `count` standard normals of one symbol under a key.
    pub(crate) fn draw(&mut self, key: u64, tag: SymbolTag, count: usize) -> &[f32] {
        /// The generator works in blocks of this many, and slowly on what is left over.
        const BLOCK: usize = 32;
        let rounded = if count < BLOCK { count } else { count.next_multiple_of(BLOCK) };
        self.0.resize(rounded, 0.0);
        standard_normals(key ^ spread(tag.0), 0, &mut self.0);
        &self.0[..count]
    }
}

/// What one symbol has in common for all outputs: standard normals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolCommons {
    /// For the intensity of signal and oscillator together.
    pub(crate) intensity: f32,
    /// For the intensity of the oscillator as it passes the balanced pairs.
    pub(crate) oscillator: f32,
    /// For the phase between signal and oscillator.
    pub(crate) phase: f32,
}

impl SymbolCommons {
    /// Those of each tag: four normals under the stream's own key, counted from four times the tag.
    pub(crate) fn draw(stream_key: u64, tags: &[SymbolTag], commons: &mut Vec<Self>) {
        const EACH: usize = 4;
        let key = spread(stream_key ^ u64::MAX);
        commons.clear();
        let mut normals = [0.0; 64 * EACH];
        for tags in tags.chunk_by(|a, b| a.0.wrapping_add(1) == b.0).flat_map(|run| run.chunks(64))
        {
            // A run of tags is one run of counters, which the generator fills at once.
            let normals = &mut normals[..tags.len() * EACH];
            standard_normals(key, tags[0].0.wrapping_mul(EACH as u64), normals);
            commons.extend(
                normals.as_chunks::<EACH>().0.iter().map(|&[intensity, oscillator, phase, _]| {
                    Self { intensity, oscillator, phase }
                }),
            );
        }
    }
}

/// A permutation of the words in which neighbors have nothing in common: the mixer of `SplitMix64`
/// (Steele, Lea and Flood, 2014).
pub(crate) fn spread(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::normal::standard_normal;

    #[test]
    fn the_mixer_gives_the_published_sequence() {
        // The first outputs of SplitMix64 seeded with 1234567, as widely published.
        let outputs: Vec<u64> = (0..3_u64)
            .map(|i| spread(1_234_567_u64.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
            .collect();
        assert_eq!(
            outputs,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn draws_are_the_normals_of_the_symbol_whatever_is_drawn_around_them() {
        let mut normals = Normals(vec![9.0; 1000]);
        for (outputs, tag) in [(4, 0), (11, 1), (64, u64::MAX), (100, 77)] {
            let drawn = normals.draw(5, SymbolTag(tag), outputs);
            assert_eq!(drawn.len(), outputs);
            for (counter, draw) in (0..).zip(drawn) {
                let expected = standard_normal(5 ^ spread(tag), counter);
                assert_eq!(draw.to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn every_term_has_its_own_key_in_a_stream() {
        let keys: std::collections::BTreeSet<u64> = Term::ALL
            .iter()
            .map(|&term| term_key(3, term))
            .chain([3, spread(3 ^ u64::MAX)])
            .collect();
        assert_eq!(keys.len(), Term::ALL.len() + 2);
        let mut commons = Vec::new();
        let tags = [7, 8, 9, 3, u64::MAX, 0].map(SymbolTag);
        SymbolCommons::draw(3, &tags, &mut commons);
        for (common, tag) in commons.iter().zip(tags) {
            let counter = tag.0.wrapping_mul(4).wrapping_add(2);
            let expected = standard_normal(spread(3 ^ u64::MAX), counter);
            assert_eq!(common.phase.to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn streams_are_named_by_tile_and_turn() {
        let program: Program = "program \"p\" chip=tiny-4 rows=4 columns=4 \
            symbols_max=1 useful_macs=0\n\
            step 0 move_in to=0\n\
            step 1 stream array=0 bank=0 tile=0 from=0 from_offset=0 shift=5 to=0 to_offset=0 accumulate_shift=0 first=1\n\
            step 2 stream array=0 bank=0 tile=1 from=0 from_offset=0 shift=5 to=0 to_offset=0 accumulate_shift=0 first=1\n\
            step 3 stream array=0 bank=0 tile=0 from=0 from_offset=0 shift=6 to=0 to_offset=0 accumulate_shift=0 first=1\n"
            .parse()
            .unwrap();
        let keys = stream_keys(&program, Seed(1));
        assert_eq!(keys[0], 0);
        assert!(keys[1] != keys[2] && keys[1] != keys[3] && keys[2] != keys[3]);
        let mut reordered = program.clone();
        reordered.steps.swap(1, 2);
        let again = stream_keys(&reordered, Seed(1));
        assert_eq!((again[2], again[1], again[3]), (keys[1], keys[2], keys[3]));
        let mut renamed = program;
        renamed.name = "q".to_owned();
        assert_ne!(stream_keys(&renamed, Seed(1))[1], keys[1]);
        assert_ne!(stream_keys(&reordered, Seed(2))[2], keys[1]);
    }
}
