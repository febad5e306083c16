use crate::Terms;
use crate::array::{ArrayModel, LoadedTile};
use crate::dynamic::Draws;
use crate::noise::spread;
use crate::packing;
use crate::tile_cache::TileCache;
use litecore_hal::{ImageId, SymbolTag};
use litecore_kernels::codes::NonFinite;
use litecore_kernels::program::{Arithmetic, Converters, Fast, StreamCall};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use litecore_types::program::Packing;
use std::collections::BTreeMap;

/// Bytes of effective tiles kept: at 64 × 64 cells, eight thousand tiles.
const TILE_BYTES_MAX: usize = 256 << 20;

/// The arrays of a card, and the tiles in them.
pub(crate) struct Arrays {
    models: BTreeMap<Packing, ArrayModel>,
    tiles: TileCache<LoadedTile>,
    digital: Fast,
    pairs: Pairs,
}

/// The operands and codes of two quadratures, where a program orders them in another way: of two
/// vectors that share optical symbols, of the parts of complex numbers.
#[derive(Default)]
struct Pairs {
    x: Vec<i8>,
    codes: Vec<i32>,
}

impl Arrays {
    pub(crate) fn new(chip: &ChipDescription, terms: Terms, seed: Seed) -> Self {
        let model = |packing| ArrayModel::of_any(chip, terms, seed, model_packing(packing));
        Self {
            digital: Fast::new(Converters::of(chip)),
            models: Packing::ALL.into_iter().map(|packing| (packing, model(packing))).collect(),
            tiles: TileCache::new(TILE_BYTES_MAX),
            pairs: Pairs::default(),
        }
    }

    pub(crate) fn with_draws(mut self, draws: Draws) -> Self {
        let models = self.models.into_iter();
        self.models = models.map(|(packing, model)| (packing, model.with_draws(draws))).collect();
        self
    }

    /// Keeps at most this many bytes of effective tiles from now on.
    #[cfg(test)]
    fn limit_tiles(&mut self, bytes_max: usize) {
        self.tiles = TileCache::new(bytes_max);
    }

    /// Clears the banks.
    pub(crate) fn clear(&mut self) {
        self.tiles.clear();
    }
}

/// One run: the arrays, and the names of the symbols on their way.
pub(crate) struct Run<'a> {
    pub(crate) arrays: &'a mut Arrays,
    pub(crate) image: ImageId,
    pub(crate) tags: &'a [SymbolTag],
    pub(crate) stream_keys: &'a [u64],
}

impl Arithmetic for Run<'_> {
    fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite> {
        self.arrays.digital.quantise(x, codes)
    }

    fn stream(&mut self, call: &StreamCall<'_>, codes: &mut [i32]) {
        let Arrays { models, tiles, pairs, .. } = &mut *self.arrays;
        let model = models.get_mut(&call.packing).expect("there is a model for every packing");
        let key = (self.image.0, call.tile.0, call.array);
        let load = || {
            let planar = (call.packing == Packing::Complex).then(|| planar_tile(call));
            let weights = planar.as_deref().unwrap_or(call.weights);
            model.load(call.array, weights).expect("a verified tile fits its chip")
        };
        let tile = tiles.get(key, load, LoadedTile::bytes);
        let stream = self.stream_keys[call.step.0 as usize];
        let tags = &self.tags[call.first_symbol..][..codes.len() / call.outputs];
        match call.packing {
            Packing::Tokens => pairs.forward(model, tile, call, stream, tags, codes),
            Packing::Complex => pairs.forward_complex(model, tile, call, stream, tags, codes),
            Packing::Conjugate | Packing::Rows => {
                model.forward_into(tile, call.x, stream, tags, call.shift, codes);
            }
        }
    }

    fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]) {
        self.arrays.digital.dequantise(p, scale, table, out);
    }

    fn rotate(&mut self, x: &[f32], table: &[f32], block: usize, out: &mut [f32]) {
        self.arrays.digital.rotate(x, table, block, out);
    }

    fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        self.arrays.digital.swiglu(gate, up, out);
    }
}

impl Pairs {
    /// One vector in each optical symbol, beside a partner of its own.
    ///
    /// A card puts two neighboring vectors of a run into one symbol, and errors of angle show some of
    /// each in the other. Which vectors are neighbors is a matter of how a text was cut, so the partner
    /// is not the neighbor but drawn: the vector's own codes, turned round and with other signs, as
    /// strong as itself and independent of what it means. The tag says which quadrature is whose.
    fn forward(
        &mut self,
        model: &mut ArrayModel,
        tile: &LoadedTile,
        call: &StreamCall<'_>,
        stream: u64,
        tags: &[SymbolTag],
        codes: &mut [i32],
    ) {
        let (inputs, outputs) = (call.inputs, call.outputs);
        self.x.resize(tags.len() * 2 * inputs, 0);
        let pairs = self.x.chunks_exact_mut(2 * inputs).zip(call.x.chunks_exact(inputs));
        for ((pair, x), &tag) in pairs.zip(tags) {
            let (first, second) = pair.split_at_mut(inputs);
            let (own, other) = if is_second(tag) { (second, first) } else { (first, second) };
            own.copy_from_slice(x);
            partner(stream ^ spread(tag.0), x, other);
        }
        self.codes.resize(tags.len() * 2 * outputs, 0);
        model.forward_into(tile, &self.x, stream, tags, call.shift, &mut self.codes);
        let both = self.codes.chunks_exact(2 * outputs).zip(codes.chunks_exact_mut(outputs));
        for ((both, own), &tag) in both.zip(tags) {
            own.copy_from_slice(&both[usize::from(is_second(tag)) * outputs..][..outputs]);
        }
    }

    /// Complex vectors: pairs to planes, and back.
    fn forward_complex(
        &mut self,
        model: &mut ArrayModel,
        tile: &LoadedTile,
        call: &StreamCall<'_>,
        stream: u64,
        tags: &[SymbolTag],
        codes: &mut [i32],
    ) {
        self.x.clear();
        self.x.extend(call.x.chunks_exact(call.inputs).flat_map(planar));
        self.codes.resize(codes.len(), 0);
        model.forward_into(tile, &self.x, stream, tags, call.shift, &mut self.codes);
        let planes = self.codes.chunks_exact(call.outputs);
        for (pairs, planes) in codes.chunks_exact_mut(call.outputs).zip(planes) {
            let (re, im) = planes.split_at(call.outputs / 2);
            for (pair, (re, im)) in pairs.chunks_exact_mut(2).zip(re.iter().zip(im)) {
                pair.copy_from_slice(&[*re, *im]);
            }
        }
    }
}

/// Whether a vector goes on the second quadrature.
fn is_second(tag: SymbolTag) -> bool {
    tag.0 % 2 == 1
}

/// The codes of a vector from another place on, each with a sign by chance.
fn partner(name: u64, x: &[i8], partner: &mut [i8]) {
    let length = x.len() as u64;
    let start = usize::try_from(spread(name) % length).expect("below the length of a slice");
    let turned = x[start..].iter().chain(&x[..start]);
    let mut signs = 0;
    for (index, (partner, &code)) in (0..).zip(partner.iter_mut().zip(turned)) {
        if index % 64 == 0 {
            signs = spread(name.wrapping_add(1 + index));
        }
        *partner = if signs >> (index % 64) & 1 == 1 { code.wrapping_neg() } else { code };
    }
}

/// Puts the real parts before the imaginary ones.
fn planar<T: Copy>(pairs: &[T]) -> impl Iterator<Item = T> + '_ {
    let part = |part: usize| pairs.iter().copied().skip(part).step_by(2);
    part(0).chain(part(1))
}

/// A tile of complex weights with its inputs and outputs in planes instead of pairs.
fn planar_tile(call: &StreamCall<'_>) -> Vec<i8> {
    let rows: Vec<&[i8]> = call.weights.chunks_exact(call.outputs).collect();
    planar(&rows).flat_map(planar).collect()
}

/// The array model's name for a program's packing.
fn model_packing(packing: Packing) -> packing::Packing {
    match packing {
        Packing::Conjugate => packing::Packing::Conjugate,
        Packing::Rows => packing::Packing::Rows,
        Packing::Tokens => packing::Packing::Tokens,
        Packing::Complex => packing::Packing::Complex,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;
    use litecore_types::chip::builtin;
    use litecore_types::program::{StepIndex, TileId};

    /// Two symbols through a tile of the small chip, on a given array.
    fn two_symbols(arrays: &mut Arrays, tags: [u64; 2], array: u16) -> Vec<i32> {
        let weights: Vec<i8> = (0..32).map(|i: i8| i.wrapping_mul(53)).collect();
        let x: Vec<i8> = (0..16).map(|i: i8| i.wrapping_mul(37)).collect();
        let call = StreamCall {
            step: StepIndex(1),
            first_symbol: 0,
            array,
            tile: TileId(0),
            packing: Packing::Conjugate,
            weights: &weights,
            inputs: 8,
            outputs: 4,
            x: &x,
            shift: 5,
        };
        let mut codes = vec![0; 8];
        let tags = tags.map(SymbolTag);
        let mut run = Run { arrays, image: ImageId(0), tags: &tags, stream_keys: &[0, 0x4d] };
        run.stream(&call, &mut codes);
        codes
    }

    /// Five vectors through a tile that takes two in a symbol, in pieces of some lengths.
    fn in_pieces(chip: &ChipDescription, terms: Terms, pieces: &[usize]) -> Vec<i32> {
        let (inputs, outputs) = (chip.array.inputs, chip.array.outputs);
        let code = |i: usize| i8::try_from((i * i * 37 + i * 5) % 255).unwrap_or(-128);
        let weights: Vec<i8> = (0..inputs * outputs).map(code).collect();
        let x: Vec<i8> = (0..5 * inputs).map(|i| code(i + 11)).collect();
        let mut arrays = Arrays::new(chip, terms, Seed(3));
        let (mut all, mut from) = (Vec::new(), 0);
        for &piece in pieces {
            let tags: Vec<SymbolTag> = (from..from + piece).map(|i| SymbolTag(i as u64)).collect();
            let call = StreamCall {
                step: StepIndex(0),
                first_symbol: 0,
                array: 0,
                tile: TileId(0),
                packing: Packing::Tokens,
                weights: &weights,
                inputs,
                outputs,
                x: &x[from * inputs..(from + piece) * inputs],
                shift: 4,
            };
            let mut codes = vec![0; piece * outputs];
            let mut run =
                Run { arrays: &mut arrays, image: ImageId(0), tags: &tags, stream_keys: &[0x4d] };
            run.stream(&call, &mut codes);
            all.extend(codes);
            from += piece;
        }
        all
    }

    #[test]
    fn vectors_that_share_symbols_do_not_know_who_came_along() {
        for name in ["ref-64-eo", "ref-64-os"] {
            let mut chip = builtin(name).unwrap();
            chip.receiver.readout = litecore_types::chip::Readout::Iq;
            chip.adc.bits = 16;
            let together = in_pieces(&chip, Terms::all(), &[5]);
            for pieces in [&[1, 1, 1, 1, 1][..], &[2, 3], &[3, 1, 1]] {
                assert_eq!(in_pieces(&chip, Terms::all(), pieces), together, "{name}");
            }
            // Angles show some of the partner, and silence shows none.
            let turned = Terms::only(Term::CellPhase);
            let silent = in_pieces(&chip, Terms::none(), &[2, 3]);
            assert_ne!(in_pieces(&chip, turned, &[2, 3]), silent, "{name}");
        }
    }

    #[test]
    fn a_partner_is_as_strong_and_another() {
        let x: Vec<i8> = (-60..70).collect();
        let mut other = vec![0; x.len()];
        partner(7, &x, &mut other);
        let square = |x: &[i8]| x.iter().map(|&x| i32::from(x) * i32::from(x)).sum::<i32>();
        let product: i32 = x.iter().zip(&other).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
        assert_eq!(square(&x), square(&other));
        // 130 products of random signs: nine hundredths of the square.
        assert!(product.abs() < square(&x) / 4, "{product}");
    }

    #[test]
    fn tiles_that_were_let_go_come_back_the_same() {
        let chip = builtin("tiny-4").unwrap();
        let terms = Terms::only(Term::CellPhase).with(Term::CellAmplitude);
        let mut kept = Arrays::new(&chip, terms, Seed(3));
        let mut dropped = Arrays::new(&chip, terms, Seed(3));
        dropped.limit_tiles(0);
        for array in [0, 1, 0, 2, 1, 0] {
            let codes = two_symbols(&mut kept, [0, 1], array);
            assert_eq!(two_symbols(&mut dropped, [0, 1], array), codes);
        }
    }
}
