use super::function::{Dma, DmaFault, Function, Irq};
use super::memory::HostMemory;
use super::{ALL_ONES, Arena, PciBackend};
use crate::{Deadline, LinkError, LinkKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A PCI function in this process: the whole driver runs, only the wire is missing.
///
/// The function is shared so that a test can keep an eye, or a hand, on it.
pub struct InProcessFunction<F: ?Sized> {
    function: Arc<Mutex<F>>,
    address: String,
    started: Instant,
    host: Host,
}

struct Host {
    arena: Option<Arc<Arena>>,
    bus_master: bool,
    enabled: bool,
    raised: bool,
}

impl<F: Function + ?Sized> InProcessFunction<F> {
    /// Reaches this function; `name` is for messages.
    pub fn new(function: Arc<Mutex<F>>, name: &str) -> Self {
        Self {
            function,
            address: format!("in-process:{name}"),
            started: Instant::now(),
            host: Host { arena: None, bus_master: false, enabled: false, raised: false },
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut F, u64, &mut Host) -> T) -> T {
        let now = self.now_ns();
        let mut function = self.function.lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut function, now, &mut self.host)
    }

    fn is_there(&mut self) -> bool {
        let mut id = [0; 4];
        self.with(|function, _, _| function.config_read(0, &mut id));
        u32::from_le_bytes(id) != ALL_ONES
    }

    fn gone(&self, doing: &'static str) -> LinkError {
        LinkError::Gone { address: self.address.clone(), doing }
    }
}

impl<F: Function + ?Sized> PciBackend for InProcessFunction<F> {
    fn kind(&self) -> LinkKind {
        LinkKind::InProcessFunction
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn limit(&mut self, _deadline: Deadline) {
        // Nothing here waits but `wait_interrupt`, which has a deadline of its own.
    }

    fn config_read(&mut self, offset: u16, into: &mut [u8]) -> Result<(), LinkError> {
        self.with(|function, _, _| function.config_read(u64::from(offset), into));
        Ok(())
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), LinkError> {
        self.with(|function, now, _| function.config_write(u64::from(offset), from, now));
        Ok(())
    }

    fn read32(&mut self, offset: u64) -> Result<u32, LinkError> {
        let mut bytes = [0xff; 4];
        self.with(|function, now, _| function.bar_read(0, offset, &mut bytes, now));
        Ok(u32::from_le_bytes(bytes))
    }

    fn write32(&mut self, offset: u64, value: u32) -> Result<(), LinkError> {
        self.with(|function, now, host| {
            let mut dma = host.dma();
            function.bar_write(0, offset, &value.to_le_bytes(), now, &mut dma, &mut host.irq());
        });
        Ok(())
    }

    fn memory(&self, len: usize) -> Result<HostMemory, LinkError> {
        HostMemory::private(&self.address, len)
    }

    fn map(&mut self, arena: &Arc<Arena>) -> Result<(), LinkError> {
        self.host.arena = Some(Arc::clone(arena));
        Ok(())
    }

    fn enable(&mut self) -> Result<(), LinkError> {
        self.host.bus_master = true;
        self.host.enabled = true;
        self.with(|function, now, _| function.config_write(0x04, &[0x06, 0x00], now));
        Ok(())
    }

    fn wait_interrupt(&mut self, deadline: Deadline) -> Result<bool, LinkError> {
        loop {
            if std::mem::take(&mut self.host.raised) {
                return Ok(true);
            }
            let next = self.with(|function, now, host| {
                let mut dma = host.dma();
                function.advance(now, &mut dma, &mut host.irq());
                function.next_wakeup_ns()
            });
            if std::mem::take(&mut self.host.raised) {
                return Ok(true);
            }
            let left = deadline.left();
            if left.is_zero() {
                return Ok(false);
            }
            // A function with nothing pending may still be touched by whoever shares it.
            let look_again = Duration::from_millis(20);
            let pending = next.map_or(look_again, |at| {
                Duration::from_nanos(at.saturating_sub(self.now_ns())).min(look_again)
            });
            thread::sleep(pending.min(left));
        }
    }

    fn silence(&mut self) -> Result<(), LinkError> {
        self.host.bus_master = false;
        self.with(|function, now, _| function.config_write(0x04, &[0x02, 0x00], now));
        Ok(())
    }

    fn reset(&mut self, _deadline: Deadline) -> Result<(), LinkError> {
        if !self.is_there() {
            return Err(self.gone("resetting the function"));
        }
        self.host.bus_master = false;
        self.host.enabled = false;
        self.host.raised = false;
        self.with(|function, now, _| function.reset(now));
        Ok(())
    }

    fn reopen(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        self.host = Host { arena: None, bus_master: false, enabled: false, raised: false };
        loop {
            self.with(|function, now, host| {
                let mut dma = host.dma();
                function.advance(now, &mut dma, &mut host.irq());
            });
            if self.is_there() {
                return Ok(());
            }
            let left = deadline.left();
            if left.is_zero() {
                return Err(self.gone("waiting for it to come back"));
            }
            thread::sleep(left.min(Duration::from_millis(1)));
        }
    }
}

impl Host {
    fn dma(&self) -> HostDma {
        HostDma(self.arena.clone().filter(|_| self.bus_master))
    }

    fn irq(&mut self) -> HostIrq<'_> {
        HostIrq { enabled: self.enabled, raised: &mut self.raised }
    }
}

/// What the function sees of host memory: nothing while it may not master the bus.
struct HostDma(Option<Arc<Arena>>);

impl HostDma {
    fn arena(&self, address: u64, len: u64) -> Result<&Arena, DmaFault> {
        self.0.as_deref().ok_or(DmaFault { address, len })
    }
}

impl Dma for HostDma {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        if into.is_empty() {
            return Ok(());
        }
        self.arena(address, into.len() as u64)?.card_reads(address, into)
    }
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        if from.is_empty() {
            return Ok(());
        }
        self.arena(address, from.len() as u64)?.card_writes(address, from)
    }
    fn copy(&mut self, from: u64, to: u64, len: u64) -> Result<(), DmaFault> {
        if len == 0 {
            return Ok(());
        }
        self.arena(from, len)?.card_copies(from, to, len)
    }
}

struct HostIrq<'a> {
    enabled: bool,
    raised: &'a mut bool,
}

impl Irq for HostIrq<'_> {
    fn raise(&mut self, vector: u16) {
        *self.raised |= self.enabled && vector == 0;
    }
}
