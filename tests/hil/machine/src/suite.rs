//! What is tested: the cases, the cards they need, and the machines they run in.

use crate::cards::{CardPlan, Chip, Port};

/// A machine's share of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// In the order they run.
    pub(crate) cases: &'static [&'static str],
    pub(crate) cards: &'static [CardPlan],
}

/// The chip behind every card.
pub(crate) const CHIP: Chip = Chip { name: "ref-64-eo", seed: 7 };

/// What the model continues, and by how many bytes, on every transport.
pub(crate) const PROMPT: &str = "Q";
/// Bytes the model writes.
pub(crate) const BYTES: usize = 3;
/// Most symbols in one run of its programs: tokens come one by one after a prompt this short, and a
/// program for long runs has many more steps to carry and to check.
pub(crate) const SYMBOLS_MAX: &str = "8";
/// The tiers it uses: few experts, because a slow line carries each that is touched.
pub(crate) const TIERS: &str = "small";

/// The suite, for two machines at once. Names: the card, then what is done with it.
pub(crate) const SHARES: [Share; 2] = [
    Share {
        cases: &[
            "pcie-edu",
            "pcie-refusals",
            "pcie-suite",
            "pcie-model",
            "usb-refusals",
            "usb-suite",
            "usb-model",
            "usbip-suite",
            "usbip-model",
            "pcie-faults-model",
            "usb-faults-model",
            "usb-unplug-model",
            "pcie-unplug-model",
        ],
        cards: &[
            sound("pcie", Port::Pci(5)),
            sound("usb", Port::Usb),
            sound("usbip", Port::UsbIp),
            faulty("pcie-faults", Port::Pci(6), PCIE_FAULTS),
            faulty("usb-faults", Port::Usb, USB_FAULTS),
            faulty("usb-unplug", Port::Usb, USB_UNPLUGGED),
            faulty("pcie-unplug", Port::Pci(7), PCIE_UNPLUGGED),
        ],
    },
    Share {
        cases: &[
            "uart-refusals",
            "uart-suite",
            "uart-model",
            "ftdi-refusals",
            "ftdi-suite",
            "ftdi-model",
            "acm-suite",
            "acm-model",
            "ftdi-faults-model",
        ],
        cards: &[
            sound("acm", Port::Modem),
            CardPlan { transfer_max: Some(4096), ..sound("uart", Port::Uart) },
            sound("ftdi", Port::Ftdi),
            faulty("ftdi-faults", Port::Ftdi, CABLE_FAULTS),
        ],
    },
];

/// Interrupts that never come, answers that are lost, damaged, late or another's, and a restart,
/// all in the middle of a model. Not at commits and runs: a card may be silent for long over
/// those, and it takes as long to suspect it.
const PCIE_FAULTS: &str = r#"{ "seed": 1, "rules": [
    { "when": { "operation": 2 }, "do": "lose_interrupt" },
    { "when": { "operation": 3 }, "do": { "drop": "completion" } },
    { "when": { "operation": 7 }, "do": "wrong_completion" },
    { "when": { "operation": 9 }, "do": "corrupt" },
    { "when": { "opcode": "run" }, "do": { "delay_ns": 30000000 }, "times": 3 },
    { "when": { "operation": 13 }, "do": "reset" } ] }"#;

/// The card leaves the bus in the middle of a model, and comes back.
const PCIE_UNPLUGGED: &str = r#"{ "seed": 5, "rules": [
    { "when": { "operation": 10 }, "do": { "remove_ns": 300000000 } } ] }"#;

/// Damaged frames, lost commands and answers, a card that is silent for a while, a restart.
const USB_FAULTS: &str = r#"{ "seed": 2, "rules": [
    { "when": { "operation": 2 }, "do": "corrupt" },
    { "when": { "operation": 3 }, "do": { "drop": "command" } },
    { "when": { "opcode": "run" }, "do": { "stall_ns": 100000000 } },
    { "when": { "operation": 7 }, "do": { "drop": "completion" } },
    { "when": { "operation": 12 }, "do": "reset" } ] }"#;

/// A bad cable: bytes flipped, lost and added.
const CABLE_FAULTS: &str = r#"{ "seed": 3, "wire": {
    "flip_one_in": 30000, "drop_one_in": 60000, "insert_one_in": 60000 } }"#;

/// The plug is pulled in the middle of a model, and put in again.
const USB_UNPLUGGED: &str = r#"{ "seed": 4, "rules": [
    { "when": { "operation": 10 }, "do": { "remove_ns": 500000000 } } ] }"#;

/// A card without faults.
const fn sound(name: &'static str, port: Port) -> CardPlan {
    faulty(name, port, "")
}

/// A card with faults.
const fn faulty(name: &'static str, port: Port, faults: &'static str) -> CardPlan {
    CardPlan { name, port, faults, transfer_max: None }
}
