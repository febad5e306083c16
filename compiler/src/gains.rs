//! The gains of a program, apart from its steps: those of experts of one shape differ in nothing else.

use litecore_types::program::{Action, Step};

/// How the sums through a tile are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gain {
    /// The analog gain: the converter's step is `2^shift` units of the exact sum.
    pub(crate) shift: u8,
    /// Left shift of the code before it is added.
    pub(crate) accumulate_shift: u8,
}

/// The gain of each of some tiles, from the steps of their program; nothing where two reads of a tile
/// differ in it. A tile that is not read counts as read at zero.
pub(crate) fn gains_of_steps(steps: &[Step], tiles: usize) -> Option<Vec<Gain>> {
    let reads = steps.iter().filter_map(|step| match step.action {
        Action::Stream { tile, shift, accumulate_shift, .. } => {
            Some((tile.0 as usize, Gain { shift, accumulate_shift }))
        }
        _ => None,
    });
    gains_of_reads(reads, tiles)
}

/// The gain of each of some tiles, from the reads of them; as [`gains_of_steps`].
pub(crate) fn gains_of_reads(
    reads: impl Iterator<Item = (usize, Gain)>,
    tiles: usize,
) -> Option<Vec<Gain>> {
    let mut gains = vec![None; tiles];
    for (tile, gain) in reads {
        if *gains.get_mut(tile)?.get_or_insert(gain) != gain {
            return None;
        }
    }
    Some(gains.into_iter().map(Option::unwrap_or_default).collect())
}

/// Steps with the gain of the tile that each reads; where there is none, they keep their own.
pub(crate) fn with_gains(steps: &[Step], gains: &[Gain]) -> Vec<Step> {
    let with_gain = |step: &Step| {
        let mut step = step.clone();
        if let Action::Stream { tile, shift, accumulate_shift, .. } = &mut step.action
            && let Some(gain) = gains.get(tile.0 as usize)
        {
            (*shift, *accumulate_shift) = (gain.shift, gain.accumulate_shift);
        }
        step
    };
    steps.iter().map(with_gain).collect()
}
