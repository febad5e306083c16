//! What a program will do on its chip: utilisation, time, energy, waits, bounds, timeline.
//!
//! Everything here is derived from the program, the chip and [`predict`](crate::predict): nothing is
//! measured, and what is predicted equals what the simulator counts.

mod bounds;
mod passes;
mod run;
mod timeline;
mod waits;

pub use bounds::{Bound, BoundKind, bounds};
pub use passes::{PassSummary, summarise_passes};
pub use run::{BoundReport, RunReport, Utilisation, report_run};
pub use timeline::write_timeline;
pub use waits::{Wait, WaitReason, waits};
