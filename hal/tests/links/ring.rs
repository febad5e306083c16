use super::mirror_function::{MirrorFunction, Mishap};
use super::{echo, pattern, soon, submit};
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
