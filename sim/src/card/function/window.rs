//! The register window.

use super::{Bus, PciFunction};
use litecore_firmware_proto::FaultCode;
use litecore_firmware_proto::registers::{self as reg, control, status};
use litecore_firmware_proto::ring::{DESCRIPTOR_BYTES, RingShape};

impl PciFunction {
    pub(super) fn read32(&self, offset: u64) -> u32 {
        let halves = |value: u64, at: u64| {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            u32::from_le_bytes(if offset == at { [a, b, c, d] } else { [e, f, g, h] })
        };
        match offset {
            reg::MAGIC => reg::MAGIC_VALUE,
            reg::VERSION => {
                let [minor, major] = self.card.options().versions.1.to_le_bytes();
                u32::from(major) << 16 | u32::from(minor)
            }
            reg::ALIVE => reg::ALIVE_VALUE,
            reg::BOOT => self.card.boot(),
            reg::STATUS => self.status(),
            reg::CONTROL if self.queue.shape.is_some() => control::ENABLE,
            reg::FAULT => self.fault.map_or(0, |fault| u32::from(fault.number())),
            reg::ENTRIES_MAX => self.entries_max(),
            reg::ENTRIES => self.queue.entries,
            at if at & !4 == reg::SUBMISSION_BASE => {
                halves(self.queue.submission_base, reg::SUBMISSION_BASE)
            }
            at if at & !4 == reg::COMPLETION_BASE => {
                halves(self.queue.completion_base, reg::COMPLETION_BASE)
            }
            reg::DOORBELL => self.queue.tail,
            reg::HEAD => self.queue.head,
            reg::EVENT_MASK => self.event_mask,
            reg::EVENT => self.event,
            reg::COALESCE => self.coalesce,
            reg::SCRATCH => self.scratch,
            reg::IDENTITY_LEN => u32::try_from(self.identity.len()).unwrap_or(0),
            at => usize::try_from(at.wrapping_sub(reg::IDENTITY))
                .ok()
                .and_then(|at| self.identity.get(at..))
                .map_or(0, |rest| {
                    let mut word = [0; 4];
                    for (to, from) in word.iter_mut().zip(rest) {
                        *to = *from;
                    }
                    u32::from_le_bytes(word)
                }),
        }
    }

    pub(super) fn status(&self) -> u32 {
        let flag = |on, bit| if on { bit } else { 0 };
        let enabled = self.queue.shape.is_some();
        let idle = self.queue.late.is_empty() && self.queue.head == self.queue.tail;
        status::READY
            | flag(enabled, status::ENABLED)
            | flag(!enabled || self.queue.stopped || idle, status::QUIET)
            | flag(self.queue.stopped, status::STOPPED)
            | flag(self.card.is_too_hot(), status::THERMAL)
            | flag(self.card.is_on_trial(), status::TRIAL)
    }

    pub(super) fn entries_max(&self) -> u32 {
        let most =
            self.card.options().in_flight_max.min(litecore_firmware_proto::ring::ENTRIES_MAX);
        // The greatest power of two that is not above it.
        most.checked_ilog2().map_or(1, |power| 1 << power)
    }

    pub(super) fn write32(&mut self, offset: u64, value: u32, now_ns: u64, bus: &mut Bus<'_>) {
        let disabled = self.queue.shape.is_none();
        let with_half = |old: u64, at: u64| {
            let [a, b, c, d, e, f, g, h] = old.to_le_bytes();
            let [i, j, k, l] = value.to_le_bytes();
            u64::from_le_bytes(if offset == at {
                [i, j, k, l, e, f, g, h]
            } else {
                [a, b, c, d, i, j, k, l]
            })
        };
        match offset {
            reg::CONTROL => self.write_control(value, now_ns),
            reg::ENTRIES if disabled => self.queue.entries = value,
            at if at & !4 == reg::SUBMISSION_BASE && disabled => {
                let old = self.queue.submission_base;
                self.queue.submission_base = with_half(old, reg::SUBMISSION_BASE);
            }
            at if at & !4 == reg::COMPLETION_BASE && disabled => {
                let old = self.queue.completion_base;
                self.queue.completion_base = with_half(old, reg::COMPLETION_BASE);
            }
            reg::DOORBELL => {
                self.queue.tail = value;
                self.work(now_ns, bus);
            }
            reg::EVENT_MASK => self.event_mask = value,
            reg::EVENT => self.event &= !value,
            reg::COALESCE => self.coalesce = value,
            reg::SCRATCH => self.scratch = value,
            _ => {}
        }
    }

    pub(super) fn write_control(&mut self, value: u32, now_ns: u64) {
        if value & control::RESET_FUNCTION != 0 {
            self.card.restart(now_ns);
            self.start_over();
            return;
        }
        let enable = value & control::ENABLE != 0;
        if value & control::RESET_QUEUE != 0 || (!enable && self.queue.shape.is_some()) {
            self.reset_queue();
        } else if enable && self.queue.shape.is_none() {
            let aligned = self.queue.submission_base.is_multiple_of(DESCRIPTOR_BYTES as u64)
                && self.queue.completion_base.is_multiple_of(64);
            let entries = self.queue.entries;
            let shape = RingShape::new(entries).filter(|_| entries <= self.entries_max());
            match shape.filter(|_| aligned) {
                Some(shape) => {
                    self.queue.shape = Some(shape);
                    self.queue.tail = 0;
                    self.queue.head = 0;
                    self.queue.completed = 0;
                    self.fault = None;
                }
                None => self.fault = Some(FaultCode::ArgumentInvalid),
            }
        }
    }
}
