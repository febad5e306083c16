//! Elements of a tensor, from the bytes of a shard to `f32`.

use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;

/// Widens elements to `f32`, exactly, from parts of any length, and looks whether all are finite.
#[derive(Debug)]
pub(super) struct Decoder {
    kind: Kind,
    out: Vec<f32>,
    /// The beginning of an element whose end comes with the next part.
    begun: Vec<u8>,
    finite: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    F32,
    Bf16,
    F16,
}

/// Elements that are looked at together, while they are in the nearest cache.
const BLOCK: usize = 1024;

/// The bits that are all set in what is not finite.
const EXPONENT: u32 = 0x7f80_0000;

/// The lowest of them.
const LOWEST_EXPONENT: u32 = 0x0080_0000;

/// The same in the upper half.
const HALF_EXPONENT: u16 = 0x7f80;

/// The same in the upper half.
const HALF_LOWEST: u16 = 0x0080;

impl Decoder {
    /// A decoder of so many elements; nothing for a type that is not supported.
    ///
    /// They go to the memory of `out`, whatever it holds.
    pub(super) fn new(dtype: Dtype, elements: usize, mut out: Vec<f32>) -> Option<Self> {
        let kind = match dtype {
            Dtype::F32 => Kind::F32,
            Dtype::BF16 => Kind::Bf16,
            Dtype::F16 => Kind::F16,
            _ => return None,
        };
        out.clear();
        out.reserve_exact(elements);
        Some(Self { kind, out, begun: Vec::with_capacity(4), finite: true })
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        let width = if matches!(self.kind, Kind::F32) { 4 } else { 2 };
        if !self.begun.is_empty() {
            let (end, rest) = bytes.split_at(bytes.len().min(width - self.begun.len()));
            self.begun.extend_from_slice(end);
            bytes = rest;
            if self.begun.len() < width {
                return;
            }
            let whole = std::mem::take(&mut self.begun);
            self.widen(&whole);
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % width);
        for block in whole.chunks(BLOCK * width) {
            self.widen(block);
        }
        self.begun.extend_from_slice(rest);
    }

    /// The elements, and whether all are finite.
    pub(super) fn finish(self) -> (Vec<f32>, bool) {
        (self.out, self.finite)
    }

    fn widen(&mut self, bytes: &[u8]) {
        let before = self.out.len();
        let (halves, _) = bytes.as_chunks::<2>();
        match self.kind {
            Kind::F32 => {
                let (words, _) = bytes.as_chunks::<4>();
                self.out.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
            }
            Kind::Bf16 => {
                // The upper half of an f32. Looked at here, as halves: it is half as much to look at.
                let bits = |half: &[u8; 2]| u16::from_le_bytes(*half);
                let widened = |half| f32::from_bits(u32::from(bits(half)) << 16);
                self.out.extend(halves.iter().map(widened));
                let marked = |half| (bits(half) & HALF_EXPONENT).wrapping_add(HALF_LOWEST);
                self.finite &= halves.iter().fold(0, |any, half| any | marked(half)) >> 15 == 0;
                return;
            }
            Kind::F16 => {
                let mut block = [f16::ZERO; BLOCK];
                let block = &mut block[..halves.len()];
                for (to, half) in block.iter_mut().zip(halves) {
                    *to = f16::from_le_bytes(*half);
                }
                self.out.resize(before + block.len(), 0.0);
                block.convert_to_f32_slice(&mut self.out[before..]);
            }
        }
        // Counting on from an exponent of all ones sets the sign.
        let marked = |value: &f32| (value.to_bits() & EXPONENT).wrapping_add(LOWEST_EXPONENT);
        let any = self.out[before..].iter().fold(0, |any, value| any | marked(value));
        self.finite &= any >> 31 == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn parts_of_any_length_give_the_same_elements() {
        let values: Vec<f32> = (0..3000_u16).map(|at| f32::from(at) / 8.0 - 100.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for part in [1, 3, 4, 1000, bytes.len()] {
            let mut decoder =
                Decoder::new(Dtype::F32, values.len(), vec![7.0; 5]).expect("supported");
            bytes.chunks(part).for_each(|part| decoder.push(part));
            assert_eq!(decoder.finish(), (values.clone(), true));
        }
        let halves: Vec<u8> =
            values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let mut decoder = Decoder::new(Dtype::F16, values.len(), Vec::new()).expect("supported");
        halves.chunks(7).for_each(|part| decoder.push(part));
        let expected = values.iter().map(|value| f16::from_f32(*value).to_f32()).collect();
        assert_eq!(decoder.finish(), (expected, true));
        // Every bf16 that is a number, against the library.
        let all = (0..=u16::MAX).map(bf16::from_bits).filter(|value| value.is_finite());
        let (bytes, expected): (Vec<[u8; 2]>, Vec<u32>) =
            all.map(|value| (value.to_le_bytes(), value.to_f32().to_bits())).unzip();
        let mut decoder = Decoder::new(Dtype::BF16, expected.len(), Vec::new()).expect("supported");
        bytes.as_flattened().chunks(1021).for_each(|part| decoder.push(part));
        let (values, finite) = decoder.finish();
        let found: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        assert_eq!((found, finite), (expected, true));
        assert!(Decoder::new(Dtype::I32, 1, Vec::new()).is_none());
    }

    #[test]
    fn what_is_not_finite_is_seen_wherever_it_lies() {
        for (dtype, bytes) in [
            (Dtype::F32, f32::NAN.to_le_bytes().to_vec()),
            (Dtype::F32, f32::NEG_INFINITY.to_le_bytes().to_vec()),
            (Dtype::BF16, bf16::INFINITY.to_le_bytes().to_vec()),
            (Dtype::BF16, bf16::NEG_INFINITY.to_le_bytes().to_vec()),
            (Dtype::BF16, bf16::from_bits(0x7f81).to_le_bytes().to_vec()),
            (Dtype::BF16, bf16::NAN.to_le_bytes().to_vec()),
            (Dtype::F16, f16::NAN.to_le_bytes().to_vec()),
        ] {
            for before in [0, 1, 1500] {
                let mut decoder = Decoder::new(dtype, before + 2, Vec::new()).expect("supported");
                decoder.push(&vec![0; before * bytes.len()]);
                decoder.push(&bytes);
                decoder.push(&vec![0; bytes.len()]);
                let (values, finite) = decoder.finish();
                assert_eq!((values.len(), finite), (before + 2, false));
            }
        }
    }
}
