//! Devices around devices: what they add is all they do.

mod inject;
mod record;
mod replay;
mod tracer;

pub use inject::{FaultPoint, FaultyDevice};
pub use record::{Recorder, record_of};
pub use replay::{ReadRecordError, Replayer};
pub use tracer::Tracer;
