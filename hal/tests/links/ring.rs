use super::mirror_function::{MirrorFunction, Mishap};
use super::{echo, pattern, soon, submit};
use litecore_firmware_proto::firmware::FirmwareVersion;
use litecore_firmware_proto::identity::{IDENTITY_BYTES, Identity};
use litecore_firmware_proto::{CapabilityBlock, ChipName, FaultCode};
use litecore_hal::pci::{InProcessFunction, RingLink, RingOptions};
use litecore_hal::{Deadline, Link, LinkError, ResetLevel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const OPTIONS: RingOptions = RingOptions { arena_bytes: 2 << 20, entries: 8, time_scale: 1 };

fn open() -> (RingLink, Arc<Mutex<MirrorFunction>>) {
    let function = Arc::new(Mutex::new(MirrorFunction::default()));
    let backend = InProcessFunction::new(Arc::clone(&function), "mirror");
    (RingLink::open(Box::new(backend), OPTIONS, soon()).unwrap(), function)
}

#[test]
fn commands_go_round_the_ring_many_times_and_no_register_is_read() {
    let (mut link, function) = open();
    let (reads, counted) = (function.lock().unwrap().reads, link.counters().register_reads);
    assert!(reads > 0 && reads == counted, "{reads} {counted}");
    for number in 0..1000 {
        echo(&mut link, number, &pattern(number, number as usize % 300));
    }
    assert_eq!(function.lock().unwrap().reads, reads, "a register was read on the hot path");
    assert_eq!(link.counters().register_reads, counted);
    assert_eq!(link.counters().completed, 1000);
}

#[test]
fn a_full_window_costs_one_doorbell_and_comes_back_whole() {
    let (mut link, function) = open();
    let before = function.lock().unwrap().doorbells;
    for number in 0..8 {
        submit(&mut link, number, &pattern(number, 1000));
    }
    let (payload, reply) = (link.buffer(4).unwrap(), link.buffer(4).unwrap());
    let refused = link.submit(&super::command(8, 4), payload, reply).unwrap_err();
    assert!(matches!(refused, LinkError::NoRoom { .. }), "{refused}");
    for number in 0..8 {
        let completion = link.poll(soon()).unwrap().unwrap();
        assert_eq!(completion.header.cookie.sequence(), number);
        assert_eq!(&completion.reply[..], pattern(number, 1000));
    }
    assert_eq!(function.lock().unwrap().doorbells - before, 1);
    assert_eq!(link.poll(Deadline::after(Duration::from_millis(5))).unwrap().map(drop), None);
}

#[test]
fn a_lost_interrupt_costs_milliseconds_and_is_counted() {
    let (mut link, function) = open();
    // Found by looking at the ring before sleeping, so nothing is lost.
    function.lock().unwrap().mishaps = vec![Mishap::LoseInterrupt];
    echo(&mut link, 1, b"abc");
    assert_eq!(link.counters().interrupts_lost, 0);
    // Done by somebody else while the link sleeps, and nobody is told.
    submit(&mut link, 2, b"def");
    function.lock().unwrap().mishaps = vec![Mishap::Forget];
    assert!(link.poll(Deadline::now()).unwrap().is_none());
    let began = Instant::now();
    assert!(link.poll(Deadline::after(Duration::from_millis(30))).unwrap().is_none());
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
fn strays_and_damaged_completions_are_dropped_and_counted() {
    let (mut link, function) = open();
    function.lock().unwrap().mishaps = vec![Mishap::StrayCompletion];
    echo(&mut link, 1, b"abc");
    assert_eq!(link.counters().strays, 1);
    function.lock().unwrap().mishaps = vec![Mishap::DamageCompletion];
    submit(&mut link, 2, b"def");
    assert!(link.poll(Deadline::after(Duration::from_millis(10))).unwrap().is_none());
    assert_eq!(link.counters().damaged, 1);
}

#[test]
fn buffers_stay_out_of_reach_until_a_reset_has_proved_silence() {
    let (mut link, function) = open();
    let idle = link.lent_bytes();
    function.lock().unwrap().mishaps = vec![Mishap::Forget];
    submit(&mut link, 1, &pattern(1, 640));
    assert!(link.poll(Deadline::after(Duration::from_millis(10))).unwrap().is_none());
    assert_eq!(link.lent_bytes(), idle + 2 * 640, "lent for as long as the card might touch it");
    function.lock().unwrap().never_quiet = true;
    let busy = link.reset(ResetLevel::Queue, Deadline::after(Duration::from_millis(20)));
    assert!(matches!(busy, Err(LinkError::TimedOut { .. })), "{busy:?}");
    assert_eq!(link.lent_bytes(), idle + 2 * 640, "a card that is not quiet may still write");
    let unfinished = link.reset(ResetLevel::Function, soon()).unwrap();
    assert_eq!(link.lent_bytes(), idle);
    let [one] = &unfinished[..] else { panic!("{unfinished:?}") };
    assert_eq!(one.command.cookie.sequence(), 1);
    assert_eq!(&one.payload[..], pattern(1, 640), "as it was, to be sent again");
    assert_eq!(function.lock().unwrap().function_resets, 1);
    for one in unfinished {
        link.submit(&one.command, one.payload, one.reply).unwrap();
    }
    assert_eq!(&link.poll(soon()).unwrap().unwrap().reply[..], pattern(1, 640));
    echo(&mut link, 2, b"and on");
}

#[test]
fn a_function_that_goes_is_gone_at_once_and_usable_when_it_is_back() {
    let (mut link, function) = open();
    function.lock().unwrap().is_gone = true;
    submit(&mut link, 1, b"into the void");
    let began = Instant::now();
    let error = link.poll(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Gone { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let error = link.reset(ResetLevel::Function, soon()).unwrap_err();
    assert!(matches!(error, LinkError::Gone { .. }), "{error}");
    let late = Arc::clone(&function);
    let plug = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        late.lock().unwrap().is_gone = false;
    });
    let unfinished = link.reset(ResetLevel::Reenumerate, soon()).unwrap();
    assert_eq!(unfinished.len(), 1);
    plug.join().unwrap();
    drop(unfinished);
    echo(&mut link, 2, b"back again");
}

#[test]
fn what_is_no_card_is_told_from_nothing_at_all() {
    let function = Arc::new(Mutex::new(MirrorFunction::default()));
    function.lock().unwrap().is_gone = true;
    let backend = InProcessFunction::new(function, "mirror");
    let refused = RingLink::open(Box::new(backend), OPTIONS, soon()).err().unwrap();
    assert!(matches!(refused, LinkError::Gone { .. }), "{refused}");
}

fn refusal(mirror: MirrorFunction) -> (LinkError, bool) {
    let function = Arc::new(Mutex::new(mirror));
    let backend = InProcessFunction::new(Arc::clone(&function), "mirror");
    let refused = RingLink::open(Box::new(backend), OPTIONS, soon()).err().unwrap();
    let enabled = function.lock().unwrap().was_enabled;
    (refused, enabled)
}

#[test]
fn a_card_of_another_generation_is_refused_before_it_is_given_a_queue() {
    let (newer, enabled) = refusal(MirrorFunction { version: 0x0203, ..Default::default() });
    assert!(matches!(newer, LinkError::Versions { card_max: 0x0203, .. }), "{newer}");
    assert!(!enabled);
    let (older, enabled) = refusal(MirrorFunction { version: 0x0009, ..Default::default() });
    assert!(matches!(older, LinkError::Versions { card_min: 0x0009, card_max: 0x0009, .. }));
    assert!(!enabled);
    // A newer card that speaks this generation's protocol too says so in its identity block.
    let identity = identity_from(0x0100);
    let both = MirrorFunction { version: 0x0203, identity, ..Default::default() };
    let backend = InProcessFunction::new(Arc::new(Mutex::new(both)), "mirror");
    let mut link = RingLink::open(Box::new(backend), OPTIONS, soon()).unwrap();
    echo(&mut link, 1, b"understood");
    let identity = identity_from(0x0200);
    let (newer, _) = refusal(MirrorFunction { version: 0x0203, identity, ..Default::default() });
    assert!(matches!(newer, LinkError::Versions { card_min: 0x0200, card_max: 0x0203, .. }));
}

/// The identity block of a card that speaks everything from this version on.
fn identity_from(version_min: u16) -> Vec<u8> {
    let identity = Identity {
        capability: CapabilityBlock {
            rows: 4,
            columns: 4,
            arrays: 1,
            banks: 1,
            dac_bits: 8,
            adc_bits: 8,
            weight_bits: 8,
            sram_bytes: 1 << 20,
            chip: ChipName::new("mirror").unwrap(),
        },
        version_min,
        version_max: 0x0203,
        version: 0,
        features_offered: 0,
        features_accepted: 0,
        payload_max: 1 << 20,
        reply_max: 1 << 20,
        in_flight_max: 64,
        images_max: 1,
        image_bytes_max: 1,
        boot: 1,
        serial: "m",
        firmware: FirmwareVersion::new(1, 0, 0),
        board: 1,
        hardware: 1,
        simulated: true,
    };
    let mut block = vec![0; IDENTITY_BYTES];
    let len = identity.encode(&mut block).unwrap();
    block.truncate(len.next_multiple_of(4));
    block
}

#[test]
fn a_queue_that_does_not_start_is_refused_with_the_cards_reason() {
    let never_enabled = Some(FaultCode::ArgumentInvalid);
    let (refused, _) = refusal(MirrorFunction { never_enabled, ..Default::default() });
    let fault = FaultCode::ArgumentInvalid;
    assert!(matches!(&refused, LinkError::NotStarted { fault: f, .. } if *f == fault), "{refused}");
    assert!(refused.to_string().contains("makes no sense to this card"), "{refused}");
}

#[test]
fn a_card_that_completes_what_nobody_asked_for_holds_nobody_up() {
    let (mut link, function) = open();
    function.lock().unwrap().floods = true;
    submit(&mut link, 1, b"abc");
    let began = Instant::now();
    assert!(link.poll(Deadline::after(Duration::from_millis(30))).unwrap().is_none());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(link.counters().strays >= 8, "{:?}", link.counters());
}
