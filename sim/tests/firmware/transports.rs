//! What the pipe and the function do beyond carrying commands.

use crate::driver::{Driver, Wire};
use crate::pipe_host::PipeHost;
use crate::ring_host::RingHost;
use crate::scenario::{card, card_with};
use litecore_firmware_proto::arq::Flavor;
use litecore_firmware_proto::identity::Identity;
use litecore_firmware_proto::registers::{self as reg, control, event, status};
use litecore_hal::pci::{Dma, DmaFault, Function, Irq};
use litecore_sim::card::{CardOptions, FaultPlan, PciFunction, PipeCard};

struct Nothing;

impl Dma for Nothing {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        Err(DmaFault { address, len: into.len() as u64 })
    }
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        Err(DmaFault { address, len: from.len() as u64 })
    }
}

impl Irq for Nothing {
    fn raise(&mut self, _: u16) {}
}

#[test]
fn registers_say_what_the_identity_block_says() {
    let mut host = RingHost::new(PciFunction::new(card()));
    assert_eq!(host.read(reg::VERSION), 0x0001_0000);
    assert_eq!((host.read(reg::BOOT), host.read(reg::ENTRIES_MAX)), (1, 64));
    let len = host.read(reg::IDENTITY_LEN) as usize;
    let block: Vec<u8> = (0..len.div_ceil(4) as u64)
        .flat_map(|word| host.read(reg::IDENTITY + 4 * word).to_le_bytes())
        .collect();
    let identity = Identity::parse(&block[..len]).unwrap();
    assert_eq!((identity.serial, identity.version), ("sim-3", 0));
    host.write(reg::SCRATCH, 0x1234_5678);
    let mut byte = [0];
    host.function.bar_read(0, reg::SCRATCH + 2, &mut byte, 0);
    assert_eq!(byte, [0x34], "narrow reads see their part");
    host.function.bar_read(0, 0xffe, &mut [0; 4], 0);
    host.function.bar_read(5, u64::MAX, &mut [0; 4], 0);
}

#[test]
fn a_queue_is_set_up_only_with_sound_figures() {
    let small = card_with(CardOptions { in_flight_max: 8, ..CardOptions::default() });
    let mut function = PciFunction::new(small);
    let mut set = |pairs: &[(u64, u32)]| {
        for (at, value) in pairs {
            function.bar_write(0, *at, &value.to_le_bytes(), 0, &mut Nothing, &mut Nothing);
        }
        let mut bytes = [0; 4];
        function.bar_read(0, reg::STATUS, &mut bytes, 0);
        u32::from_le_bytes(bytes) & status::ENABLED != 0
    };
    let enable = (reg::CONTROL, control::ENABLE);
    for entries in [0, 1, 3, 16, u32::MAX] {
        assert!(!set(&[(reg::ENTRIES, entries), enable]), "{entries}");
    }
    assert!(!set(&[(reg::ENTRIES, 8), (reg::SUBMISSION_BASE, 64), enable]), "not aligned");
    assert!(set(&[(reg::SUBMISSION_BASE, 128), enable]));
    assert!(set(&[(reg::ENTRIES, 2)]), "fixed while enabled");
    assert!(!set(&[(reg::CONTROL, 0)]));
}

#[test]
fn a_queue_that_leads_nowhere_stops_and_says_so() {
    let mut host = RingHost::new(PciFunction::new(card()));
    host.write(reg::EVENT_MASK, event::STOPPED);
    host.write(reg::DOORBELL, 9);
    assert_ne!(host.read(reg::STATUS) & status::STOPPED, 0, "more than the ring holds");
    assert_ne!(host.read(reg::STATUS) & status::QUIET, 0);
    assert_ne!(host.read(reg::EVENT) & event::STOPPED, 0);
    host.write(reg::EVENT, event::STOPPED);
    assert_eq!(host.read(reg::EVENT) & event::STOPPED, 0);
    assert!(host.reset(1, 1_000_000_000));
    host.write(reg::DOORBELL, 1);
    assert_eq!(host.read(reg::FAULT), 0x0102, "a descriptor of zeros is damaged");
    assert!(host.reset(1, 1_000_000_000));
    assert_eq!(Driver::new(host).operation(1), Ok(()));
}

#[test]
fn a_function_that_is_gone_reads_as_ones_and_comes_back_new() {
    let mut host = RingHost::new(PciFunction::new(card()));
    host.function.remove(1_000_000);
    assert_eq!((host.read(reg::MAGIC), host.read(reg::ALIVE)), (u32::MAX, u32::MAX));
    let mut id = [0; 4];
    host.function.config_read(0, &mut id);
    assert_eq!(id, [0xff; 4]);
    host.now = 1_000_000;
    assert_eq!((host.read(reg::MAGIC), host.read(reg::BOOT)), (reg::MAGIC_VALUE, 2));
    assert_ne!(host.read(reg::EVENT) & event::RESTARTED, 0);
    assert!(host.reset(3, 2_000_000));
    assert_eq!(Driver::new(host).operation(0), Ok(()));
}

#[test]
fn a_payload_that_is_too_long_is_refused_and_the_stream_goes_on() {
    use litecore_firmware_proto::{CommandHeader, Cookie, FaultCode, Opcode};
    let small = card_with(CardOptions { payload_max: 1000, ..CardOptions::default() });
    let card = PipeCard::new(small, Flavor::Delimited, 512);
    let mut driver = Driver::new(PipeHost::new(card, Flavor::Delimited));
    assert_eq!(driver.operation(3), Ok(()));
    let long = CommandHeader {
        payload_len: 5000,
        reply_capacity: 5000,
        ..CommandHeader::new(Cookie::new(1, 1000), Opcode::Loopback)
    };
    driver.wire.submit(&[(long, vec![1; 5000])]);
    let crate::driver::Polled::Done(done, _) = driver.wire.poll(1_000_000_000) else {
        panic!("no answer");
    };
    assert_eq!((done.fault, done.argument), (Some(FaultCode::PayloadTooLong), 1000));
    assert_eq!(driver.operation(3), Ok(()));
}

#[test]
fn a_card_whose_answers_nobody_takes_does_no_more_work() {
    use litecore_firmware_proto::{CommandHeader, Cookie, Opcode};
    let small = CardOptions { payload_max: 100_000, reply_max: 100_000, ..CardOptions::default() };
    let text = r#"{"rules": [{"when": {"opcode": "loopback"}, "do": {"delay_ns": 900000000},
        "times": 0}]}"#;
    let plan = FaultPlan::from_json(text).unwrap();
    let card = PipeCard::with_faults(card_with(small), Flavor::Delimited, 512, plan);
    let mut driver = Driver::new(PipeHost::new(card, Flavor::Delimited));
    assert_eq!(driver.operation(0), Ok(()));
    let before = driver.wire.card.answered();
    let commands: Vec<_> = (0..10)
        .map(|number| {
            let bytes = CommandHeader {
                payload_len: 60_000,
                reply_capacity: 60_000,
                ..CommandHeader::new(Cookie::new(1, 1000 + number), Opcode::Loopback)
            };
            (bytes, vec![1; 60_000])
        })
        .collect();
    driver.wire.submit(&commands);
    driver.wire.wait(driver.wire.now + 500_000_000);
    assert_eq!(driver.wire.card.answered() - before, 2, "two fill what it may keep");
    for number in 0..10 {
        let crate::driver::Polled::Done(done, reply) = driver.wire.poll(u64::MAX) else {
            panic!("no answer to {number}");
        };
        assert_eq!((done.cookie.sequence(), reply.len()), (1000 + number, 60_000));
    }
}

#[test]
fn plans_are_read_written_and_told_what_is_wrong_with_them() {
    let text = r#"{ "seed": 7,
        "rules": [ { "when": { "operation": 5 }, "do": { "delay_ns": 2000000 } },
                   { "when": { "one_in": 40 }, "do": { "drop": "completion" }, "times": 3 },
                   { "when": { "opcode": "run" }, "do": "lose_interrupt", "times": 0 } ],
        "wire": { "flip_one_in": 20000 } }"#;
    let plan = FaultPlan::from_json(text).unwrap();
    assert_eq!((plan.rules.len(), plan.rules[0].times, plan.wire.flip_one_in), (3, 1, 20_000));
    for seed in 0..100 {
        let plan = FaultPlan::random(seed);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(FaultPlan::from_json(&text).unwrap(), plan);
    }
    for (text, words) in [
        ("{", "no fault plan"),
        (r#"{"rulez":[]}"#, "rulez"),
        (r#"{"rules":[{"when":{"opcode":"dance"},"do":"reset"}]}"#, "`dance` is no opcode"),
        (r#"{"rules":[{"when":{"operation":1},"do":"explode"}]}"#, "explode"),
        (r#"{"rules":[{"when":{"operation":0},"do":"reset"}]}"#, "0 would never apply"),
        (r#"{"rules":[{"when":{"one_in":0},"do":"reset"}]}"#, "0 would never apply"),
    ] {
        let error = FaultPlan::from_json(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
