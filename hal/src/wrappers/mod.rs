//! Devices around devices, and a link around a link: what they add is all they do.

mod inject;
mod record;
mod replay;
mod traced_link;
mod tracer;

pub use inject::{FaultPoint, FaultyDevice};
pub use record::{Recorder, record_of};
pub use replay::{ReadRecordError, Replayer};
pub use traced_link::TracedLink;
pub use tracer::Tracer;
