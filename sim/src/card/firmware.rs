use litecore_firmware_proto::FaultCode;
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::firmware::{
    FirmwareHeader, FirmwareRefusal, FirmwareStatus, FirmwareVersion, SignatureScheme,
};
use litecore_firmware_proto::update::{OutOfOrder, Slots};
use sha2::{Digest, Sha256};

/// The card's two firmware slots, as its flash holds them: they outlive restarts.
///
/// The emulated card runs no firmware, so a slot is its header; staged bytes are kept until they
/// are verified.
pub(super) struct FirmwareStore {
    slots: Slots,
    headers: [Option<FirmwareHeader>; 2],
    staged: Vec<u8>,
    trial_ends_at: Option<u64>,
    limits: FirmwareLimits,
}

/// What the card takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirmwareLimits {
    pub(super) board: u32,
    pub(super) hardware: u16,
    pub(super) delivered: FirmwareVersion,
    pub(super) slot_bytes: u64,
    pub(super) confirm_within_ns: u64,
}

/// A refusal: the fault, its `detail` and its `argument`.
pub(super) type Refusal = (FaultCode, u32, u64);

impl FirmwareStore {
    pub(super) fn new(limits: FirmwareLimits) -> Self {
        Self {
            slots: Slots::new(),
            headers: [None, None],
            staged: Vec::new(),
            trial_ends_at: None,
            limits,
        }
    }

    /// The version that runs.
    pub(super) fn version(&self) -> FirmwareVersion {
        self.versions()[usize::from(self.slots.running().number())]
    }

    pub(super) fn on_trial(&self) -> bool {
        self.slots.on_trial()
    }

    /// When the card falls back unless the trial is confirmed.
    pub(super) fn trial_ends_at(&self) -> Option<u64> {
        self.trial_ends_at
    }

    pub(super) fn restart(&mut self, now_ns: u64) {
        self.slots.restart();
        let ends = now_ns.saturating_add(self.limits.confirm_within_ns);
        self.trial_ends_at = self.slots.on_trial().then_some(ends);
    }

    /// Begins an upload and says from where on.
    pub(super) fn begin(
        &mut self,
        payload: &[u8],
        total: u64,
        allow_older: bool,
    ) -> Result<u64, Refusal> {
        let refuse = |why: FirmwareRefusal| (FaultCode::FirmwareRefused, why.number(), 0);
        let header = FirmwareHeader::parse(payload).map_err(|_| refuse(FirmwareRefusal::Header))?;
        if header.board != self.limits.board {
            return Err(refuse(FirmwareRefusal::Board));
        }
        if !(header.hardware_min..=header.hardware_max).contains(&self.limits.hardware) {
            return Err(refuse(FirmwareRefusal::Hardware));
        }
        if header.version < self.version() && !allow_older {
            return Err(refuse(FirmwareRefusal::Older));
        }
        if header.body_len > self.limits.slot_bytes {
            return Err(refuse(FirmwareRefusal::TooLong));
        }
        // The emulated card holds no key, so it can check no signature and takes none.
        if header.scheme != SignatureScheme::None {
            return Err(refuse(FirmwareRefusal::Signature));
        }
        if total != header.body_len {
            return Err((FaultCode::ArgumentInvalid, 48, header.body_len));
        }
        let was_staging = self.slots.stage().is_ok();
        let slot = self.slots.begin().map_err(out_of_order)?;
        let place = &mut self.headers[usize::from(slot.number())];
        if !(was_staging && *place == Some(header)) {
            self.staged.clear();
            *place = Some(header);
        }
        Ok(self.staged.len() as u64)
    }

    /// Takes the next bytes and says where to go on.
    pub(super) fn data(&mut self, bytes: &[u8], offset: u64, sum: u64) -> Result<u64, Refusal> {
        let slot = self.slots.stage().map_err(out_of_order)?;
        let staged = self.staged.len() as u64;
        if offset != staged {
            return Err((FaultCode::OffsetUnexpected, 0, staged));
        }
        if sum != u64::from(crc32c(bytes)) {
            return Err((FaultCode::FrameDamaged, 0, staged));
        }
        let total = self.headers[usize::from(slot.number())].map_or(0, |header| header.body_len);
        if staged + bytes.len() as u64 > total {
            return Err((FaultCode::ArgumentInvalid, 32, total));
        }
        self.staged.extend_from_slice(bytes);
        Ok(self.staged.len() as u64)
    }

    pub(super) fn verify(&mut self) -> Result<u64, Refusal> {
        let slot = self.slots.running().other();
        let header = self.headers[usize::from(slot.number())];
        let staged = self.staged.len() as u64;
        if self.slots.stage().is_ok() && header.is_some_and(|header| staged < header.body_len) {
            return Err((FaultCode::OffsetUnexpected, 0, staged));
        }
        let digest: [u8; 32] = Sha256::digest(&self.staged).into();
        let sound = header.is_some_and(|header| header.digest == digest);
        self.slots.verify(sound).map_err(out_of_order)?;
        if sound { Ok(staged) } else { Err((FaultCode::FirmwareDamaged, 0, 0)) }
    }

    pub(super) fn activate(&mut self) -> Result<u64, Refusal> {
        self.slots.activate().map(|_| 0).map_err(out_of_order)
    }

    pub(super) fn confirm(&mut self) -> Result<u64, Refusal> {
        self.slots.confirm().map_err(out_of_order)?;
        self.trial_ends_at = None;
        Ok(0)
    }

    pub(super) fn roll_back(&mut self) -> Result<u64, Refusal> {
        self.slots.roll_back().map(|_| 0).map_err(out_of_order)
    }

    pub(super) fn status(&self, now_ns: u64, boot: u32) -> FirmwareStatus {
        FirmwareStatus {
            running: self.slots.running(),
            next: self.slots.next(),
            states: self.slots.states(),
            staged: self.staged.len() as u64,
            trial_left_ns: self.trial_ends_at.map_or(0, |ends| ends.saturating_sub(now_ns)),
            versions: self.versions(),
            boot,
        }
    }

    fn versions(&self) -> [FirmwareVersion; 2] {
        let [a, b] = self.headers;
        // Slot A holds what the card was delivered with until something else is put there.
        [
            a.map_or(self.limits.delivered, |header| header.version),
            b.map_or(FirmwareVersion::default(), |header| header.version),
        ]
    }
}

fn out_of_order(error: OutOfOrder) -> Refusal {
    (FaultCode::FirmwareOrder, u32::from(error.state.number()), u64::from(error.slot.number()))
}
