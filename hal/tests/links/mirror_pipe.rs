use litecore_firmware_proto::arq::{Arq, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, HEADER_BYTES};
use litecore_hal::pipe::PipeEnd;

/// A card behind a pipe that sends payloads back; every so many bytes in each direction one is
/// damaged or lost.
pub(crate) struct MirrorPipe {
    arq: Arq<Vec<u8>>,
    options: ArqOptions,
    boot: u32,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// One byte in so many is hurt; zero for none.
    pub(crate) hurt_every: u64,
    state: u64,
    pub(crate) is_there: bool,
    /// Answers, without a reply, as soon as a command's header is there.
    pub(crate) hasty: bool,
}

impl MirrorPipe {
    pub(crate) fn new(flavor: Flavor, hurt_every: u64) -> Self {
        let options = ArqOptions::usual(Role::Card { boot: 1 }, flavor);
        let arq = Arq::new(vec![0; storage_bytes(options.mtu)], options).unwrap();
        let (inbox, outbox) = (Vec::new(), Vec::new());
        Self {
            arq,
            options,
            boot: 1,
            inbox,
            outbox,
            hurt_every,
            state: 1,
            is_there: true,
            hasty: false,
        }
    }

    /// As after a power cut.
    pub(crate) fn restart(&mut self) {
        self.boot += 1;
        self.options.role = Role::Card { boot: self.boot };
        self.arq = Arq::new(vec![0; storage_bytes(self.options.mtu)], self.options).unwrap();
        self.inbox.clear();
        self.outbox.clear();
    }

    fn hurt(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in bytes {
            // Marsaglia's xorshift64.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            match self.hurt_every {
                0 => out.push(byte),
                every if !self.state.is_multiple_of(every) => out.push(byte),
                _ if self.state & (1 << 40) == 0 => out.push(byte ^ 0x20),
                _ => {}
            }
        }
        out
    }

    fn serve(&mut self) {
        let mut piece = [0; 4096];
        loop {
            let taken = self.arq.receive(&mut piece);
            if taken == 0 {
                break;
            }
            self.inbox.extend_from_slice(&piece[..taken]);
        }
        while let Some(header) = self.inbox.first_chunk::<HEADER_BYTES>() {
            let command = CommandHeader::decode(header).unwrap();
            let whole = HEADER_BYTES + usize::try_from(command.payload_len).unwrap();
            if self.hasty {
                self.hasty = false;
                self.outbox.extend_from_slice(&CompletionHeader::done(&command).encode());
            }
            if self.inbox.len() < whole {
                break;
            }
            let done = CompletionHeader {
                reply_len: command.payload_len,
                ..CompletionHeader::done(&command)
            };
            self.outbox.extend_from_slice(&done.encode());
            self.outbox.extend_from_slice(&self.inbox[HEADER_BYTES..whole]);
            self.inbox.drain(..whole);
        }
        let sent = self.arq.send(&self.outbox);
        self.outbox.drain(..sent);
    }
}

impl PipeEnd for MirrorPipe {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) {
        let bytes = self.hurt(bytes);
        self.arq.on_bytes(now_ns, &bytes);
        if self.arq.take_event().is_some() {
            self.inbox.clear();
            self.outbox.clear();
        }
        self.serve();
    }
    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.serve();
        while let Some(frame) = self.arq.poll_transmit(now_ns) {
            let frame = frame.to_vec();
            out.extend(self.hurt(&frame));
            if self.options.flavor == Flavor::Packet {
                break;
            }
        }
    }
    fn next_wakeup_ns(&self) -> Option<u64> {
        self.arq.next_timeout()
    }
    fn is_there(&self) -> bool {
        self.is_there
    }
    fn port_reset(&mut self, _: u64) {
        self.restart();
    }
}
