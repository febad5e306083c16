//! The passes between an expert in f32 and a verified program: names, order, switches.
//!
//! **Invariant:** a pass that is off changes no bit; a pass that is on says what it changed in a
//! [`PassReport`].

mod clip;
mod equalise;
mod low_rank;
mod noise;
mod packing;
mod precision;
mod report;
mod rotate;
mod sparsity;

pub(crate) use clip::{ClippedRow, clip_level, report_clipping};
pub(crate) use equalise::{HiddenSamples, column_powers, equalise};
pub(crate) use low_rank::{Factors, factor};
pub(crate) use noise::{Limits, decibels};
pub(crate) use packing::{choose_packing, grid};
pub(crate) use precision::{Parts, Reads, cell_error};
pub use report::{Figure, PassReport};
pub(crate) use rotate::{Allowed, VectorChange, change_vector};
pub(crate) use sparsity::drop_tiles;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A pass of the compiler, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Power-of-two input scales into the columns of `gate` and `up`.
    Fold,
    /// Powers of two between rows of `up` and columns of `down`.
    Equalise,
    /// Hadamard rotation of vectors before they become codes.
    Rotate,
    /// A matrix as a product of two thin ones.
    LowRank,
    /// Tiles that hardly matter become zero.
    TileSparsity,
    /// Outlying weights saturate so that the others get finer codes.
    Clip,
    /// Floats to codes.
    Quantise,
    /// Code planes and repeated reads where a target asks for more than eight bits.
    Split,
    /// Matrices to tiles.
    Tile,
    /// How real numbers are laid onto complex cells.
    Packing,
    /// The analog gain of each tile.
    Gain,
    /// Tiles to arrays, wavelengths and banks; loads behind streams; tiles that stay.
    Schedule,
    /// Steps, memory, verification.
    Emit,
}

/// Whether a pass can be switched, and where its switch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// A program needs it.
    Always,
    /// On unless switched off.
    On,
    /// Off unless switched on.
    Off,
}

impl Pass {
    /// Every pass, in the order they run.
    pub const ALL: [Self; 13] = [
        Self::Fold,
        Self::Equalise,
        Self::Rotate,
        Self::LowRank,
        Self::TileSparsity,
        Self::Clip,
        Self::Quantise,
        Self::Split,
        Self::Tile,
        Self::Packing,
        Self::Gain,
        Self::Schedule,
        Self::Emit,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Equalise => "equalise",
            Self::Rotate => "rotate",
            Self::LowRank => "low-rank",
            Self::TileSparsity => "tile-sparsity",
            Self::Clip => "clip",
            Self::Quantise => "quantise",
            Self::Split => "split",
            Self::Tile => "tile",
            Self::Packing => "packing",
            Self::Gain => "gain",
            Self::Schedule => "schedule",
            Self::Emit => "emit",
        }
    }

    /// What it does, in one sentence.
    pub fn what(self) -> &'static str {
        match self {
            Self::Fold => {
                "moves powers of two from the input vector into the columns of gate and up, exactly"
            }
            Self::Equalise => {
                "moves powers of two between rows of up and columns of down, exactly, so that the \
                 hidden vector and down share their ranges"
            }
            Self::Rotate => {
                "rotates a vector on the card by a Hadamard matrix, and what takes it backwards, so \
                 that no element stands out"
            }
            Self::LowRank => {
                "replaces a matrix by two thin ones where that takes fewer tiles, within the error \
                 budget"
            }
            Self::TileSparsity => "empties the tiles that matter least, within the error budget",
            Self::Clip => {
                "lets outlying weights saturate where that lowers the row's error on the samples"
            }
            Self::Quantise => "one scale per weight row, one per input vector",
            Self::Split => {
                "reads several times and slices weights into two code planes until the target SNR \
                 is met"
            }
            Self::Tile => "cuts matrices to the arrays; tiles of zeros are left out",
            Self::Packing => {
                "chooses how real numbers lie on complex cells, by what each way costs on the chip"
            }
            Self::Gain => "chooses the analog gain of each tile on calibration inputs; off: unity",
            Self::Schedule => {
                "places tiles on arrays and banks, hides loads behind streams, keeps what is used \
                 again"
            }
            Self::Emit => "steps, card memory, verification",
        }
    }

    /// Whether it can be switched, and how it stands by default.
    pub fn switch(self) -> Switch {
        match self {
            Self::Clip | Self::Split | Self::Gain | Self::Packing => Switch::On,
            Self::Fold | Self::Equalise | Self::Rotate | Self::LowRank | Self::TileSparsity => {
                Switch::Off
            }
            Self::Quantise | Self::Tile | Self::Schedule | Self::Emit => Switch::Always,
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no pass `{text}`: `litecore compile --passes` lists them")]
pub struct UnknownPass {
    /// What was written.
    pub text: String,
}

impl FromStr for Pass {
    type Err = UnknownPass;
    fn from_str(text: &str) -> Result<Self, UnknownPass> {
        let found = Self::ALL.into_iter().find(|pass| pass.name() == text);
        found.ok_or_else(|| UnknownPass { text: text.to_owned() })
    }
}

/// A pass that was switched off but cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pass `{pass}` cannot be left out: every program needs it")]
pub struct NeededPass {
    /// The pass.
    pub pass: Pass,
}

/// Which passes are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassSet(u16);

impl Default for PassSet {
    fn default() -> Self {
        Self::from_switches(|switch| switch != Switch::Off)
    }
}

impl PassSet {
    /// Only what every program needs.
    pub fn needed() -> Self {
        Self::from_switches(|switch| switch == Switch::Always)
    }

    fn from_switches(on: impl Fn(Switch) -> bool) -> Self {
        let chosen = Pass::ALL.into_iter().filter(|pass| on(pass.switch()));
        Self(chosen.fold(0, |bits, pass| bits | pass.bit()))
    }

    /// Whether a pass is on.
    pub fn has(self, pass: Pass) -> bool {
        self.0 & pass.bit() != 0
    }

    /// With a pass switched on.
    #[must_use]
    pub fn with(self, pass: Pass) -> Self {
        Self(self.0 | pass.bit())
    }

    /// With a pass switched off.
    ///
    /// Errors: it is needed by every program.
    pub fn without(self, pass: Pass) -> Result<Self, NeededPass> {
        if pass.switch() == Switch::Always {
            return Err(NeededPass { pass });
        }
        Ok(Self(self.0 & !pass.bit()))
    }

    /// The passes that are on, in order.
    pub fn iter(self) -> impl Iterator<Item = Pass> {
        Pass::ALL.into_iter().filter(move |pass| self.has(*pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        for pass in Pass::ALL {
            assert_eq!(pass.name().parse(), Ok(pass));
            let json = serde_json::to_string(&pass).expect("a name");
            assert_eq!(json, format!("\"{}\"", pass.name()));
        }
        let error = "equalize".parse::<Pass>().expect_err("another spelling");
        assert_eq!(
            error.to_string(),
            "there is no pass `equalize`: `litecore compile --passes` lists them"
        );
    }

    #[test]
    fn switches_start_at_their_defaults() {
        let set = PassSet::default();
        assert!(set.has(Pass::Gain) && set.has(Pass::Emit) && !set.has(Pass::LowRank));
        assert!(set.with(Pass::LowRank).has(Pass::LowRank));
        assert!(!set.without(Pass::Clip).expect("a choice").has(Pass::Clip));
        assert_eq!(set.without(Pass::Tile), Err(NeededPass { pass: Pass::Tile }));
        let needed: Vec<Pass> = PassSet::needed().iter().collect();
        assert_eq!(needed, [Pass::Quantise, Pass::Tile, Pass::Schedule, Pass::Emit]);
    }
}
