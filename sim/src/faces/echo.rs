//! A stand-in for a card in the tests of faces: says back what it hears.

use litecore_hal::pipe::PipeEnd;

#[derive(Debug)]
pub(super) struct Echo {
    pub(super) heard: Vec<u8>,
    /// How many pieces the bytes came in.
    pub(super) pieces: usize,
    pub(super) resets: usize,
    pub(super) there: bool,
}

impl Echo {
    pub(super) fn new() -> Self {
        Self { heard: Vec::new(), pieces: 0, resets: 0, there: true }
    }
}

impl PipeEnd for Echo {
    fn on_bytes(&mut self, _now_ns: u64, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        self.pieces += 1;
    }

    fn transmit(&mut self, _now_ns: u64, out: &mut Vec<u8>) {
        out.append(&mut self.heard);
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        None
    }

    fn is_there(&self) -> bool {
        self.there
    }

    fn port_reset(&mut self, _now_ns: u64) {
        self.heard.clear();
        self.resets += 1;
    }
}
