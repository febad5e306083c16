//! Firmware update with two slots: which step is allowed when, and what a restart does.
//!
//! One slot runs and the other is free. New firmware is staged into the free slot, verified,
//! activated, and tried once after the next restart. If it is not confirmed in time, or the card
//! restarts before, the card returns to the slot it came from. So a card always has firmware that
//! was confirmed once.

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotState {
    /// Nothing.
    Empty,
    /// An upload, whole or not.
    Staging,
    /// Firmware whose digest and signature hold.
    Verified,
    /// The same, to be tried after the next restart.
    Activated,
    /// Firmware that runs and waits to be confirmed.
    Trial,
    /// Firmware that was confirmed.
    Confirmed,
    /// Firmware that failed its verification or its trial.
    Rejected,
}

/// A step that the slots do not allow at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    /// The slot it concerns.
    pub slot: Slot,
    /// What is in it.
    pub state: SlotState,
}

/// The two slots' states. It holds no bytes and no clock: the card keeps those.
///
/// **Invariant:** the running slot is on trial or confirmed, and if it is on trial the other one is
/// confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    states: [SlotState; 2],
    running: Slot,
    /// Whether the next restart changes slots though nothing is activated.
    back: bool,
}

impl Slot {
    /// The number that travels.
    pub const fn number(self) -> u8 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The slot of a number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::A),
            1 => Some(Self::B),
            _ => None,
        }
    }

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl SlotState {
    /// Every state, by number.
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::Staging,
        Self::Verified,
        Self::Activated,
        Self::Trial,
        Self::Confirmed,
        Self::Rejected,
    ];

    /// The number that travels.
    pub const fn number(self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Staging => 1,
            Self::Verified => 2,
            Self::Activated => 3,
            Self::Trial => 4,
            Self::Confirmed => 5,
            Self::Rejected => 6,
        }
    }

    /// The state of a number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl Slots {
    /// A card as it is delivered: slot A runs and is confirmed, slot B is empty.
    pub const fn new() -> Self {
        Self { states: [SlotState::Confirmed, SlotState::Empty], running: Slot::A, back: false }
    }

    /// The slot that runs.
    pub const fn running(&self) -> Slot {
        self.running
    }

    /// What is in a slot.
    pub const fn state(&self, slot: Slot) -> SlotState {
        self.states[slot.number() as usize]
    }

    /// What is in both.
    pub const fn states(&self) -> [SlotState; 2] {
        self.states
    }

    /// Whether the running firmware waits to be confirmed.
    pub const fn on_trial(&self) -> bool {
        matches!(self.state(self.running), SlotState::Trial)
    }

    /// The slot that will run after the next restart.
    pub const fn next(&self) -> Slot {
        let activated = matches!(self.state(self.running.other()), SlotState::Activated);
        if self.on_trial() || self.back || activated { self.running.other() } else { self.running }
    }

    /// Begins or resumes an upload into the free slot.
    ///
    /// Errors: [`OutOfOrder`] while the running firmware is on trial, since the free slot is the
    /// way back then; and where a way back was asked for.
    pub const fn begin(&mut self) -> Result<Slot, OutOfOrder> {
        let free = self.running.other();
        if self.on_trial() || self.back {
            return Err(self.out_of_order(self.running));
        }
        self.set(free, SlotState::Staging);
        Ok(free)
    }

    /// Whether bytes may be staged.
    ///
    /// Errors: [`OutOfOrder`] unless an upload has begun.
    pub const fn stage(&self) -> Result<Slot, OutOfOrder> {
        let free = self.running.other();
        match self.state(free) {
            SlotState::Staging => Ok(free),
            _ => Err(self.out_of_order(free)),
        }
    }

    /// Ends an upload with the card's judgment of it.
    ///
    /// Errors: [`OutOfOrder`] unless an upload has begun, or was verified before.
    pub const fn verify(&mut self, sound: bool) -> Result<Slot, OutOfOrder> {
        let free = self.running.other();
        match self.state(free) {
            SlotState::Staging | SlotState::Verified => {
                self.set(free, if sound { SlotState::Verified } else { SlotState::Rejected });
                Ok(free)
            }
            _ => Err(self.out_of_order(free)),
        }
    }

    /// Makes the next restart try the verified firmware.
    ///
    /// Errors: [`OutOfOrder`] unless it was verified.
    pub const fn activate(&mut self) -> Result<Slot, OutOfOrder> {
        let free = self.running.other();
        match self.state(free) {
            SlotState::Verified | SlotState::Activated => {
                self.set(free, SlotState::Activated);
                Ok(free)
            }
            _ => Err(self.out_of_order(free)),
        }
    }

    /// Keeps the running firmware.
    ///
    /// Errors: [`OutOfOrder`] unless it is on trial or confirmed already.
    pub const fn confirm(&mut self) -> Result<Slot, OutOfOrder> {
        let running = self.running;
        match self.state(running) {
            SlotState::Trial | SlotState::Confirmed => {
                self.set(running, SlotState::Confirmed);
                Ok(running)
            }
            _ => Err(self.out_of_order(running)),
        }
    }

    /// Takes back an activation; else makes the next restart return to the other slot.
    ///
    /// Errors: [`OutOfOrder`] where the other slot holds nothing that was confirmed.
    pub const fn roll_back(&mut self) -> Result<Slot, OutOfOrder> {
        let free = self.running.other();
        match self.state(free) {
            SlotState::Activated => {
                self.set(free, SlotState::Verified);
                Ok(self.running)
            }
            SlotState::Confirmed => {
                self.back = true;
                Ok(free)
            }
            _ => Err(self.out_of_order(free)),
        }
    }

    /// What a restart does, whatever its reason: the time for a confirmation has passed, power
    /// failed, the host asked. Says which slot runs now.
    pub const fn restart(&mut self) -> Slot {
        let (running, next) = (self.running, self.next());
        if self.on_trial() {
            self.set(running, SlotState::Rejected);
        }
        if matches!(self.state(next), SlotState::Activated) {
            self.set(next, SlotState::Trial);
        }
        self.running = next;
        self.back = false;
        next
    }

    const fn set(&mut self, slot: Slot, state: SlotState) {
        self.states[slot.number() as usize] = state;
    }

    const fn out_of_order(self, slot: Slot) -> OutOfOrder {
        OutOfOrder { slot, state: self.state(slot) }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_update_that_is_confirmed_stays() {
        let mut slots = Slots::new();
        assert_eq!(slots.begin(), Ok(Slot::B));
        assert_eq!(slots.stage(), Ok(Slot::B));
        assert_eq!(slots.restart(), Slot::A, "an upload survives a restart and is not run");
        assert_eq!(slots.verify(true), Ok(Slot::B));
        assert_eq!(slots.activate(), Ok(Slot::B));
        assert_eq!(slots.restart(), Slot::B);
        assert!(slots.on_trial());
        assert_eq!(slots.begin(), Err(OutOfOrder { slot: Slot::B, state: SlotState::Trial }));
        assert_eq!(slots.confirm(), Ok(Slot::B));
        assert_eq!(slots.restart(), Slot::B);
        assert_eq!(slots.states(), [SlotState::Confirmed, SlotState::Confirmed]);
        assert_eq!(slots.roll_back(), Ok(Slot::A));
        assert_eq!(slots.restart(), Slot::A);
        assert_eq!(slots.restart(), Slot::A, "back once, not back and forth");
    }

    #[test]
    fn an_update_that_is_not_confirmed_falls_back() {
        let mut slots = Slots::new();
        slots.begin().unwrap();
        slots.verify(true).unwrap();
        slots.activate().unwrap();
        slots.restart();
        assert_eq!(slots.restart(), Slot::A);
        assert_eq!(slots.states(), [SlotState::Confirmed, SlotState::Rejected]);
        assert_eq!(slots.activate(), Err(OutOfOrder { slot: Slot::B, state: SlotState::Rejected }));
    }

    #[test]
    fn damaged_firmware_and_a_taken_back_activation_are_not_run() {
        let mut slots = Slots::new();
        assert!(
            slots.verify(true).is_err() && slots.stage().is_err() && slots.roll_back().is_err()
        );
        slots.begin().unwrap();
        slots.verify(false).unwrap();
        assert!(slots.activate().is_err());
        slots.begin().unwrap();
        slots.verify(true).unwrap();
        slots.activate().unwrap();
        assert_eq!(slots.roll_back(), Ok(Slot::A));
        assert_eq!(slots.restart(), Slot::A);
        assert_eq!(slots.state(Slot::B), SlotState::Verified);
    }

    proptest! {
        #[test]
        fn whatever_is_done_a_card_runs_firmware_that_may_run(steps in prop::collection::vec(0_u8..8, 0..40)) {
            let mut slots = Slots::new();
            for step in steps {
                let _ = match step {
                    0 => slots.begin(),
                    1 => slots.stage(),
                    2 => slots.verify(true),
                    3 => slots.verify(false),
                    4 => slots.activate(),
                    5 => slots.confirm(),
                    6 => slots.roll_back(),
                    _ => Ok(slots.restart()),
                };
                let running = slots.state(slots.running());
                let free = slots.state(slots.running().other());
                match running {
                    SlotState::Confirmed => {}
                    SlotState::Trial => prop_assert_eq!(free, SlotState::Confirmed),
                    other => prop_assert!(false, "{other:?} runs"),
                }
                for state in slots.states() {
                    prop_assert_eq!(SlotState::from_number(state.number()), Some(state));
                }
            }
        }
    }
}
