//! What the guides of every chip have in common: silicon strips near 1550 nm.

/// Group index of a silicon strip waveguide of 450 nm by 220 nm near 1550 nm: light takes 14 ps for a
/// millimeter.
///
/// Source: published measurements give 4.2 to 4.3 for this cross section; the smaller, *assumed* for
/// every chip.
pub const GROUP_INDEX: f64 = 4.2;

/// Effective index of the same guide: a wavelength in it is the vacuum wavelength over this.
///
/// Source: published mode solutions give 2.3 to 2.45 for this cross section; *assumed* for every chip.
pub const EFFECTIVE_INDEX: f64 = 2.4;
