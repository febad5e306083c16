//! An emulated card that a test can look at while a link, or a thread, uses it.

use litecore_firmware_proto::{Cookie, Opcode};
use litecore_hal::pci::{Dma, Function, Irq};
use litecore_hal::pipe::PipeEnd;
use litecore_sim::card::{PciFunction, PipeCard};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A card at the end of a pipe.
#[derive(Clone)]
pub(crate) struct SharedPipe(Arc<Mutex<PipeCard>>);

/// A card in a slot.
#[derive(Clone)]
pub(crate) struct SharedFunction(Arc<Mutex<PciFunction>>);

/// Any of them.
#[derive(Clone)]
pub(crate) enum Watched {
    Pipe(SharedPipe),
    Function(SharedFunction),
}

impl Watched {
    /// What the card has carried out; see [`litecore_sim::card::Card::journal`].
    pub(crate) fn journal(&self) -> Vec<(Cookie, Opcode)> {
        match self {
            Self::Pipe(end) => end.card().card().journal().to_vec(),
            Self::Function(end) => end.card().card().journal().to_vec(),
        }
    }
}

impl SharedPipe {
    pub(crate) fn new(card: PipeCard) -> Self {
        Self(Arc::new(Mutex::new(card)))
    }

    fn card(&self) -> MutexGuard<'_, PipeCard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PipeEnd for SharedPipe {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) {
        self.card().on_bytes(now_ns, bytes);
    }
    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.card().transmit(now_ns, out);
    }
    fn next_wakeup_ns(&self) -> Option<u64> {
        self.card().next_wakeup_ns()
    }
    fn is_there(&self) -> bool {
        self.card().is_there()
    }
    fn port_reset(&mut self, now_ns: u64) {
        self.card().port_reset(now_ns);
    }
}

impl SharedFunction {
    pub(crate) fn new(function: PciFunction) -> Self {
        Self(Arc::new(Mutex::new(function)))
    }

    /// For those who share it in the same way.
    pub(crate) fn shared(&self) -> Arc<Mutex<PciFunction>> {
        Arc::clone(&self.0)
    }

    fn card(&self) -> MutexGuard<'_, PciFunction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Function for SharedFunction {
    fn config_read(&mut self, offset: u64, into: &mut [u8]) {
        self.card().config_read(offset, into);
    }
    fn config_write(&mut self, offset: u64, from: &[u8], now_ns: u64) {
        self.card().config_write(offset, from, now_ns);
    }
    fn bar_len(&self, bar: u8) -> u64 {
        self.card().bar_len(bar)
    }
    fn bar_read(&mut self, bar: u8, offset: u64, into: &mut [u8], now_ns: u64) {
        self.card().bar_read(bar, offset, into, now_ns);
    }
    fn bar_write(
        &mut self,
        bar: u8,
        offset: u64,
        from: &[u8],
        now_ns: u64,
        dma: &mut dyn Dma,
        irq: &mut dyn Irq,
    ) {
        self.card().bar_write(bar, offset, from, now_ns, dma, irq);
    }
    fn advance(&mut self, now_ns: u64, dma: &mut dyn Dma, irq: &mut dyn Irq) {
        self.card().advance(now_ns, dma, irq);
    }
    fn next_wakeup_ns(&self) -> Option<u64> {
        self.card().next_wakeup_ns()
    }
    fn reset(&mut self, now_ns: u64) {
        self.card().reset(now_ns);
    }
}
