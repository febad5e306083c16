//! The server as a client sees it: bytes in, bytes out, memory written, descriptors signaled.

use super::*;
use crate::faces::stop_pair;
use litecore_hal::pci::Dma;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

/// A function with MSI-X and one register; writing an address to it makes it store a word there
/// and interrupt.
#[derive(Debug, Default)]
struct OneRegister {
    value: u64,
    resets: u32,
}

impl Function for OneRegister {
    fn config_read(&mut self, offset: u64, into: &mut [u8]) {
        let mut space = [0_u8; 256];
        space[..4].copy_from_slice(&[0x34, 0x12, 0x78, 0x56]);
        space[6] = 0x10;
        space[0x34] = 0x40;
        // A capability in between, then MSI-X with four vectors that leads back to the first.
        space[0x40..0x44].copy_from_slice(&[0x10, 0x50, 0, 0]);
        space[0x50..0x54].copy_from_slice(&[0x11, 0x40, 3, 0]);
        for (at, byte) in (offset..).zip(into) {
            *byte = usize::try_from(at).ok().and_then(|at| space.get(at)).copied().unwrap_or(0xff);
        }
    }

    fn config_write(&mut self, _offset: u64, _from: &[u8], _now_ns: u64) {}

    fn bar_len(&self, bar: u8) -> u64 {
        if bar == 0 { 4096 } else { 0 }
    }

    fn bar_read(&mut self, _bar: u8, offset: u64, into: &mut [u8], _now_ns: u64) {
        into.fill(u8::try_from(offset & 0xff).unwrap());
    }

    fn bar_write(
        &mut self,
        _bar: u8,
        _offset: u64,
        from: &[u8],
        _now_ns: u64,
        dma: &mut dyn Dma,
        irq: &mut dyn Irq,
    ) {
        self.value = u64::from_le_bytes(from.try_into().unwrap());
        if dma.write(self.value, &0x1122_3344_5566_7788_u64.to_le_bytes()).is_ok() {
            irq.raise(2);
        }
        irq.raise(77);
    }

    fn advance(&mut self, _now_ns: u64, _dma: &mut dyn Dma, _irq: &mut dyn Irq) {}

    fn next_wakeup_ns(&self) -> Option<u64> {
        None
    }

    fn reset(&mut self, _now_ns: u64) {
        self.resets += 1;
    }
}

struct Peer {
    stream: UnixStream,
}

impl Peer {
    fn new(path: &Path) -> Self {
        Self { stream: UnixStream::connect(path).unwrap() }
    }

    /// Sends a command and gives the answer's error number and body.
    fn ask(&mut self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> (u32, Vec<u8>) {
        self.say(command, 0, body, fds);
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).unwrap();
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        assert_eq!(head[..4], [7, 0, command.to_le_bytes()[0], 0]);
        let mut body = vec![0; word(4) as usize - 16];
        self.stream.read_exact(&mut body).unwrap();
        assert_eq!(word(8), if word(12) == 0 { 1 } else { 0x21 });
        (word(12), body)
    }

    fn say(&mut self, command: u16, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut bytes = vec![7, 0];
        bytes.extend_from_slice(&command.to_le_bytes());
        let size = u32::try_from(16 + body.len()).unwrap();
        bytes.extend_from_slice(&words([size, flags, 0]));
        bytes.extend_from_slice(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        let sent =
            sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty());
        assert_eq!(sent, Ok(bytes.len()));
    }
}

/// Serves `function` at a fresh path while `client` runs.
fn serving(name: &str, function: &mut OneRegister, client: impl FnOnce(&Path)) {
    let name = format!("litecore-vfio-{}-{name}", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    let server = VfioUserServer::bind(&path).unwrap();
    let (stopper, stop) = stop_pair().unwrap();
    std::thread::scope(|scope| {
        let served =
            scope.spawn(|| server.serve(function, &Clock::start(), &stop, &mut |_: &str| {}));
        client(&path);
        stopper.stop();
        served.join().unwrap().unwrap();
    });
    drop(server);
    assert!(!path.exists());
}

fn access_body(offset: u64, region: u32, data: &[u8]) -> Vec<u8> {
    let mut body = access(offset, region, u32::try_from(data.len()).unwrap());
    body.extend_from_slice(data);
    body
}

#[test]
fn a_client_finds_registers_memory_and_interrupts() {
    let mut function = OneRegister::default();
    serving("all", &mut function, |path| {
        let mut peer = Peer::new(path);
        let (_, version) = peer.ask(wire::VERSION, &[0, 0, 1, 0, b'{', b'}', 0], &[]);
        assert_eq!(version[..4], [0; 4]);
        assert!(version.ends_with(b"}}\0"));
        assert_eq!(peer.ask(wire::DEVICE_GET_INFO, &words([16; 4]), &[]).1, words([16, 3, 9, 5]));
        let (_, region) = peer.ask(wire::DEVICE_GET_REGION_INFO, &words([32, 0, 0, 0]), &[]);
        assert_eq!(region[16..24], 4096_u64.to_le_bytes());
        let (_, vectors) = peer.ask(wire::DEVICE_GET_IRQ_INFO, &words([16, 0, MSI_X, 0]), &[]);
        assert_eq!(vectors, words([16, 1, MSI_X, 4]));

        let (_, id) = peer.ask(wire::REGION_READ, &access(0, CONFIGURATION, 4), &[]);
        assert_eq!(id[16..], [0x34, 0x12, 0x78, 0x56]);
        assert_eq!(peer.ask(wire::REGION_READ, &access(12, 0, 4), &[]).1[16..], [12; 4]);

        let memory = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 8192).unwrap();
        let mut map = words([32, 3]);
        for number in [4096_u64, 0x10_0000, 4096] {
            map.extend_from_slice(&number.to_le_bytes());
        }
        assert_eq!(peer.ask(wire::DMA_MAP, &map, &[memory.as_fd()]).0, 0);
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let enable = words([20, 4 | 1 << 5, MSI_X, 2, 1]);
        assert_eq!(peer.ask(wire::DEVICE_SET_IRQS, &enable, &[event.as_fd()]).0, 0);

        // The posted write of a doorbell: no answer, and then the interrupt.
        let doorbell = access_body(0, 0, &0x10_0008_u64.to_le_bytes());
        peer.say(wire::REGION_WRITE, 1 << 4, &doorbell, &[]);
        let mut count = [0; 8];
        rustix::io::read(&event, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
        let mut stored = [0; 8];
        rustix::io::pread(&memory, &mut stored, 4096 + 8).unwrap();
        assert_eq!(u64::from_le_bytes(stored), 0x1122_3344_5566_7788);
        assert_eq!(peer.ask(wire::DEVICE_RESET, &[], &[]).0, 0);
    });
    assert_eq!(function.value, 0x10_0008);
    assert_eq!(function.resets, 2, "asked for, and when the client left");
}

#[test]
fn mistakes_are_answered_and_nonsense_ends_the_connection_alone() {
    let mut function = OneRegister::default();
    serving("mistakes", &mut function, |path| {
        let mut peer = Peer::new(path);
        let invalid = Errno::INVAL.raw_os_error().unsigned_abs();
        for (command, body) in [
            (wire::VERSION, vec![0]),
            (wire::DMA_MAP, words([1]).clone()),
            (wire::REGION_READ, access(4095, 0, 2)),
            (wire::REGION_READ, access(u64::MAX, 0, 2)),
            (wire::REGION_READ, access(0, 0, u32::MAX)),
            (wire::REGION_READ, access(0, 99, 1)),
            (wire::REGION_WRITE, access(0, 0, 8)),
            (wire::DEVICE_GET_REGION_INFO, words([32, 0, 9, 0])),
            (wire::DEVICE_GET_IRQ_INFO, words([16, 0, 5, 0])),
            (wire::DEVICE_SET_IRQS, words([20, 4 | 1 << 5, MSI_X, 4, 1])),
            (wire::DEVICE_SET_IRQS, words([20, 4 | 1 << 5, MSI_X, u32::MAX, 2])),
        ] {
            assert_eq!(peer.ask(command, &body, &[]).0, invalid, "{command} {body:?}");
        }
        let unsupported = Errno::NOTSUP.raw_os_error().unsigned_abs();
        assert_eq!(peer.ask(wire::VERSION, &[1, 0, 0, 0, b'{', b'}', 0], &[]).0, unsupported);
        assert_eq!(peer.ask(11, &[], &[]).0, unsupported);
        peer.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // The end, as end-of-file or as a reset where bytes were left unread.
        assert!(peer.stream.read(&mut [0]).is_ok_and(|read| read == 0) || peer.ended());
        let mut second = Peer::new(path);
        assert_eq!(second.ask(wire::DEVICE_GET_INFO, &[], &[]).0, 0);
    });
}

impl Peer {
    fn ended(&mut self) -> bool {
        self.stream.read(&mut [0]).is_ok_and(|read| read == 0)
    }
}
