use super::CardDevice;
use super::session::Failure;
use crate::{Completion, DeviceError};
use litecore_firmware_proto::Opcode;

/// One step of a firmware update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirmwareAsk<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) argument: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) reply_capacity: usize,
    /// Whether the card may take as long as a run takes.
    pub(crate) patience_of_run: bool,
}

impl FirmwareAsk<'_> {
    pub(crate) const fn new(opcode: Opcode) -> Self {
        Self {
            opcode,
            flags: 0,
            offset: 0,
            argument: 0,
            payload: &[],
            reply_capacity: 0,
            patience_of_run: false,
        }
    }
}

impl CardDevice {
    /// Carries out a step; what is staged on the card outlives its restarts, so a step is simply
    /// asked for again.
    pub(crate) fn firmware_command(
        &mut self,
        step: &FirmwareAsk<'_>,
    ) -> Result<Completion, DeviceError> {
        let timeouts = self.session.timeouts;
        let mut ask = self.ask(step.opcode);
        (ask.flags, ask.offset, ask.argument) = (step.flags, step.offset, step.argument);
        (ask.payload_len, ask.reply_capacity) = (step.payload.len(), step.reply_capacity);
        let work = if step.patience_of_run {
            ask.patience = timeouts.run / 4;
            timeouts.run
        } else {
            timeouts.command
        };
        let deadline = self.deadline(work, step.payload.len());
        loop {
            let fill = &mut |payload: &mut [u8]| payload.copy_from_slice(step.payload);
            match self.session.exchange(&ask, fill, deadline) {
                Ok(completion) => return Ok(completion),
                Err(Failure::Device(error)) => return Err(error),
                Err(Failure::Restarted) => self.greet_again(deadline)?,
            }
        }
    }
}
