use super::mirror_pipe::MirrorPipe;
use super::{echo, pattern, soon, submit};
use litecore_firmware_proto::arq::Flavor;
use litecore_hal::pipe::{BytePipe, InProcessPipe, PipeEnd, PipeFraming, PipeLink, PipeOptions};
use litecore_hal::{Deadline, Link, LinkError, LinkKind, ResetLevel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A mirror that a test can reach while a link uses it.
#[derive(Clone)]
struct Shared(Arc<Mutex<MirrorPipe>>);

impl PipeEnd for Shared {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) {
        self.0.lock().unwrap().on_bytes(now_ns, bytes);
    }
    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.0.lock().unwrap().transmit(now_ns, out);
    }
    fn next_wakeup_ns(&self) -> Option<u64> {
        self.0.lock().unwrap().next_wakeup_ns()
    }
    fn is_there(&self) -> bool {
        self.0.lock().unwrap().is_there()
    }
    fn port_reset(&mut self, now_ns: u64) {
        self.0.lock().unwrap().port_reset(now_ns);
    }
}

fn open(flavor: Flavor, hurt_every: u64) -> (PipeLink, Shared) {
    let end = Shared(Arc::new(Mutex::new(MirrorPipe::new(flavor, hurt_every))));
    let framing = match flavor {
        Flavor::Delimited => PipeFraming::Delimited,
        Flavor::Packet => PipeFraming::Packets,
    };
    let pipe = InProcessPipe::new(end.clone(), "mirror", framing);
    (PipeLink::open(Box::new(pipe), PipeOptions::usual(7), soon()).unwrap(), end)
}

#[test]
fn commands_of_all_sizes_come_back_on_both_kinds_of_pipe() {
    for flavor in [Flavor::Delimited, Flavor::Packet] {
        let (mut link, _) = open(flavor, 0);
        for (number, bytes) in (0..).zip([0, 1, 63, 64, 65, 4095, 4096, 4097, 100_000, 1 << 20]) {
            echo(&mut link, number, &pattern(number, bytes));
        }
        let counters = link.counters();
        assert_eq!((counters.damaged, counters.strays), (0, 0), "{flavor:?}");
    }
}

#[test]
fn many_commands_in_flight_come_back_in_order() {
    let (mut link, _) = open(Flavor::Delimited, 0);
    for number in 0..32 {
        submit(&mut link, number, &pattern(number, 777));
    }
    for number in 0..32 {
        let completion = link.poll(soon()).unwrap().unwrap();
        assert_eq!(completion.header.cookie.sequence(), number);
        assert_eq!(&completion.reply[..], pattern(number, 777));
    }
}

#[test]
fn a_bad_cable_delays_and_changes_nothing() {
    let (mut link, _) = open(Flavor::Delimited, 20_000);
    for number in 0..60 {
        echo(&mut link, number, &pattern(number, 5000));
    }
    let counters = link.counters();
    assert!(counters.damaged > 3 && counters.resent > 3, "{counters:?}");
}

#[test]
fn a_card_that_starts_over_is_noticed_and_greeted_again() {
    let (mut link, end) = open(Flavor::Delimited, 0);
    echo(&mut link, 1, b"before");
    end.0.lock().unwrap().restart();
    submit(&mut link, 2, b"lost on the way");
    let error = link.poll(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Restarted { .. }), "{error}");
    let unfinished = link.reset(ResetLevel::Link, soon()).unwrap();
    assert_eq!(unfinished.len(), 1);
    for one in unfinished {
        link.submit(&one.command, one.payload, one.reply).unwrap();
    }
    let completion = link.poll(soon()).unwrap().unwrap();
    assert_eq!(&completion.reply[..], b"lost on the way");
}

#[test]
fn an_answer_to_half_a_command_ends_the_connection_and_the_next_one_is_whole() {
    let (mut link, end) = open(Flavor::Delimited, 0);
    end.0.lock().unwrap().hasty = true;
    // Longer than all windows together, so that a part of it is still here.
    submit(&mut link, 1, &pattern(1, 1 << 20));
    let error = link.poll(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Garbage { .. }), "{error}");
    let unfinished = link.reset(ResetLevel::Link, soon()).unwrap();
    assert_eq!(unfinished.len(), 1);
    for one in unfinished {
        link.submit(&one.command, one.payload, one.reply).unwrap();
    }
    let completion = link.poll(soon()).unwrap().unwrap();
    assert_eq!(&completion.reply[..], pattern(1, 1 << 20));
    echo(&mut link, 2, b"and on");
}

/// Takes writes as slowly as it may.
struct Sluggish;

impl BytePipe for Sluggish {
    fn kind(&self) -> LinkKind {
        LinkKind::Usb
    }
    fn address(&self) -> &'static str {
        "usb:sluggish"
    }
    fn framing(&self) -> PipeFraming {
        PipeFraming::Packets
    }
    fn read(&mut self, _: &mut [u8]) -> Result<usize, LinkError> {
        Ok(0)
    }
    fn write(&mut self, _: &[u8], deadline: Deadline) -> Result<usize, LinkError> {
        std::thread::sleep(deadline.left());
        Ok(0)
    }
    fn wait(&mut self, _: bool, _: Deadline) -> Result<(), LinkError> {
        Ok(())
    }
    fn reset(&mut self, _: ResetLevel, _: Deadline) -> Result<(), LinkError> {
        Ok(())
    }
}

#[test]
fn a_write_waits_no_longer_than_the_call_it_is_part_of() {
    let began = std::time::Instant::now();
    let pipe = Box::new(Sluggish);
    let short = Deadline::after(Duration::from_millis(20));
    let error = PipeLink::open(pipe, PipeOptions::usual(7), short).err();
    assert!(matches!(error, Some(LinkError::TimedOut { .. })), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(80), "{:?}", began.elapsed());
}

#[test]
fn a_card_that_is_unplugged_is_gone_and_comes_back() {
    let (mut link, end) = open(Flavor::Packet, 0);
    end.0.lock().unwrap().is_there = false;
    submit(&mut link, 1, b"to nobody");
    let error = link.poll(soon()).unwrap_err();
    assert!(matches!(error, LinkError::Gone { .. }), "{error}");
    let short = Deadline::after(Duration::from_millis(20));
    let error = link.reset(ResetLevel::Reenumerate, short).unwrap_err();
    assert!(matches!(error, LinkError::Gone { .. }), "{error}");
    {
        let mut end = end.0.lock().unwrap();
        end.is_there = true;
        end.restart();
    }
    assert_eq!(link.reset(ResetLevel::Reenumerate, soon()).unwrap().len(), 1);
    echo(&mut link, 2, b"here again");
}

/// Talks without being asked, and says nothing that makes sense.
struct Babble {
    name: String,
    last: u8,
}

impl BytePipe for Babble {
    fn kind(&self) -> LinkKind {
        LinkKind::Serial
    }
    fn address(&self) -> &str {
        &self.name
    }
    fn framing(&self) -> PipeFraming {
        PipeFraming::Delimited
    }
    fn read(&mut self, into: &mut [u8]) -> Result<usize, LinkError> {
        let len = into.len().min(100);
        for byte in &mut into[..len] {
            self.last = self.last.wrapping_mul(5).wrapping_add(3);
            *byte = self.last;
        }
        Ok(len)
    }
    fn write(&mut self, bytes: &[u8], _: Deadline) -> Result<usize, LinkError> {
        Ok(bytes.len())
    }
    fn wait(&mut self, _: bool, _: Deadline) -> Result<(), LinkError> {
        Ok(())
    }
    fn reset(&mut self, _: ResetLevel, _: Deadline) -> Result<(), LinkError> {
        Ok(())
    }
}

#[test]
fn garbage_and_silence_are_told_apart_and_neither_lasts_longer_than_the_deadline() {
    let deadline = || Deadline::after(Duration::from_millis(50));
    let babble = Babble { name: "serial:babble".to_owned(), last: 1 };
    let error = PipeLink::open(Box::new(babble), PipeOptions::usual(7), deadline()).err();
    assert!(matches!(error, Some(LinkError::Garbage { .. })), "{error:?}");
    let silent = MirrorPipe::new(Flavor::Delimited, 1);
    let pipe = InProcessPipe::new(silent, "silent", PipeFraming::Delimited);
    let began = std::time::Instant::now();
    let error = PipeLink::open(Box::new(pipe), PipeOptions::usual(7), deadline()).err();
    assert!(matches!(error, Some(LinkError::TimedOut { .. })), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(500));
}
