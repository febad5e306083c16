use super::session::Failure;
use super::{CardDevice, fault, timed_out};
use crate::image::encode_image;
use crate::{Deadline, DeviceError, ImageId};
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::{FaultCode, Opcode};
use litecore_types::program::VerifiedProgram;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program that was loaded, and where the card has it.
pub(super) struct LoadedImage {
    pub(super) program: Arc<VerifiedProgram>,
    /// The card's name for it; `None` while the card does not have it.
    on_card: Option<u64>,
    /// The longest that one run has taken so far; `None` before the first.
    pub(super) slowest: Option<Duration>,
}

impl LoadedImage {
    pub(super) fn is_on_card(&self) -> bool {
        self.on_card.is_some()
    }

    /// The card has lost it.
    pub(super) fn forget(&mut self) {
        self.on_card = None;
    }
}

/// Most bytes of one piece of an upload. *Assumed*: large against a round trip on every link, and
/// small against what is sent again after a reset.
const PIECE_BYTES: usize = 256 << 10;
/// Room for the card's words about a program it refuses.
const REFUSAL_BYTES: usize = 1024;
/// Times that only the whole image's checksum shows damage before the image is given up.
const DAMAGED_MAX: u32 = 3;
/// Pieces that the card may find out of place in one upload.
const ASTRAY_MAX: u32 = 4;

impl CardDevice {
    pub(super) fn load_image(
        &mut self,
        program: Arc<VerifiedProgram>,
    ) -> Result<ImageId, DeviceError> {
        let chip = &self.identity.capabilities.chip;
        if program.chip != *chip {
            let compiled_for = program.chip.clone();
            return Err(DeviceError::WrongChip { compiled_for, chip: chip.clone() });
        }
        let on_card = self.upload(&program, self.load_deadline(&program))?;
        let image = ImageId(self.images.len() as u64);
        self.images.push(LoadedImage { program, on_card: Some(on_card), slowest: None });
        Ok(image)
    }

    /// When a load of this program must be done. Checking it takes the card about as long as running
    /// it, and its bytes may have to be sent twice.
    pub(super) fn load_deadline(&self, program: &VerifiedProgram) -> Deadline {
        let bytes = usize::try_from(program.weight_bytes()).unwrap_or(usize::MAX);
        let timeouts = &self.session.timeouts;
        self.deadline(timeouts.command + timeouts.run, bytes.saturating_mul(2))
    }

    /// The card's name for an image, which is loaded again where the card has lost it.
    pub(super) fn on_card(&mut self, index: usize, deadline: Deadline) -> Result<u64, DeviceError> {
        let Some(image) = self.images.get(index) else {
            return Err(DeviceError::NoSuchImage { image: ImageId(index as u64) });
        };
        if let Some(name) = image.on_card {
            return Ok(name);
        }
        let program = Arc::clone(&image.program);
        let name = self.upload(&program, deadline)?;
        if let Some(image) = self.images.get_mut(index) {
            image.on_card = Some(name);
        }
        Ok(name)
    }

    fn upload(
        &mut self,
        program: &VerifiedProgram,
        deadline: Deadline,
    ) -> Result<u64, DeviceError> {
        let bytes = encode_image(program);
        if bytes.len() as u64 > self.identity.image_bytes_max {
            return Err(DeviceError::Fault { code: FaultCode::MemoryFull });
        }
        let began = Instant::now();
        let mut damaged = 0;
        loop {
            match self.upload_once(&bytes, deadline) {
                Ok(name) => return Ok(name),
                Err(Failure::Restarted) => self.greet_again(deadline)?,
                Err(Failure::Device(DeviceError::Fault { code: FaultCode::ImageDamaged }))
                    if damaged < DAMAGED_MAX =>
                {
                    damaged += 1;
                }
                // A reset of the queue drops uploads that are under way.
                Err(Failure::Device(DeviceError::Fault { code: FaultCode::ImageUnknown })) => {}
                Err(Failure::Device(error)) => return Err(error),
            }
            if deadline.passed() {
                return Err(timed_out(began));
            }
        }
    }

    fn upload_once(&mut self, bytes: &[u8], deadline: Deadline) -> Result<u64, Failure> {
        let mut begin = self.ask(Opcode::ImageBegin);
        begin.argument = bytes.len() as u64;
        let begun = self.firm(&begin, &mut |_| {}, deadline)?;
        if let Some(code) = begun.header.fault {
            return Err(Failure::Device(fault::of_load(&begun, code)));
        }
        let name = begun.header.image;
        let piece_max = self.transfer_max().min(PIECE_BYTES);
        let mut at = 0;
        let mut astray = 0;
        while at < bytes.len() {
            let piece = bytes.get(at..).unwrap_or_default();
            let piece = piece.get(..piece_max).unwrap_or(piece);
            let mut data = self.ask(Opcode::ImageData);
            data.image = name;
            data.offset = at as u64;
            data.payload_len = piece.len();
            let done = self.firm(&data, &mut |payload| payload.copy_from_slice(piece), deadline)?;
            match done.header.fault {
                None => at += piece.len(),
                Some(FaultCode::OffsetUnexpected) if astray < ASTRAY_MAX => {
                    astray += 1;
                    let next = usize::try_from(done.header.argument).ok();
                    at = next.filter(|next| *next <= bytes.len()).ok_or(DeviceError::BadReply {
                        command: "image_data",
                        what: "an offset beyond the image",
                    })?;
                }
                Some(code) => return Err(Failure::Device(fault::of_load(&done, code))),
            }
        }
        let mut commit = self.ask(Opcode::ImageCommit);
        commit.image = name;
        commit.argument = u64::from(crc32c(bytes));
        commit.reply_capacity = REFUSAL_BYTES;
        // The card checks the whole program now.
        commit.patience = self.session.timeouts.run / 4;
        let done = self.firm(&commit, &mut |_| {}, deadline)?;
        match done.header.fault {
            None => Ok(done.header.image),
            Some(code) => Err(Failure::Device(fault::of_load(&done, code))),
        }
    }
}
