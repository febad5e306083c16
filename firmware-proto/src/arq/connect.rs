//! Connections: how one begins, how it ends, and which frames belong to it.

use super::{Arq, ArqEvent, Phase, Receiver, Reply, Role, Transmitter};
use crate::frame::{
    FLAG_ANSWER, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HELLO_BYTES, Hello, seal,
};

impl<S: AsRef<[u8]> + AsMut<[u8]>> Arq<S> {
    /// Begins a new connection from the host's end and drops what was in flight on the last one.
    ///
    /// `epoch` tells this attempt from every other one that may still be on the way: any number
    /// that was not used on this pipe before.
    pub fn open(&mut self, now_ns: u64, epoch: u32) {
        self.epoch = epoch;
        self.clear();
        self.connection = 0;
        self.phase = Phase::Opening { next_at: now_ns, wait_ns: self.options.timeout_first_ns };
    }

    /// Ends the connection: nothing is sent or taken until the next one.
    pub fn close(&mut self) {
        self.clear();
        self.phase = Phase::Closed;
    }

    /// Whether a connection is being opened.
    pub fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening { .. })
    }

    fn clear(&mut self) {
        self.tx = Transmitter::new(&self.options);
        self.rx = Receiver::new();
        self.reply = None;
    }

    /// A frame whose checksum fits; its payload lies in the spare slot.
    pub(super) fn on_frame(&mut self, now_ns: u64, header: FrameHeader, hello: Option<Hello>) {
        match (header.kind, self.options.role, hello) {
            (FrameKind::Hello, Role::Card { boot }, Some(hello)) => self.on_hello(boot, hello),
            (FrameKind::HelloAck, Role::Host, Some(hello)) => self.on_hello_ack(header, hello),
            (FrameKind::Hello | FrameKind::HelloAck, ..) => self.counters.damaged += 1,
            (FrameKind::Reset, Role::Host, _) if self.belongs(header) => {
                self.close();
                self.event = Some(ArqEvent::PeerRestarted);
            }
            (FrameKind::Data | FrameKind::Ack, ..) if self.belongs(header) => {
                self.tx.on_ack(now_ns, header, &mut self.counters);
                if header.flags & FLAG_ANSWER != 0 {
                    self.rx.answer_at_once();
                }
                if header.kind == FrameKind::Data {
                    self.rx.on_data(now_ns, header, self.options.ack_delay_ns, &mut self.counters);
                }
            }
            (FrameKind::Data | FrameKind::Ack, Role::Card { .. }, _) => {
                self.counters.foreign += 1;
                self.reply.get_or_insert(Reply::Reset { connection: header.epoch });
            }
            _ => self.counters.foreign += 1,
        }
    }

    fn belongs(&self, header: FrameHeader) -> bool {
        self.phase == Phase::Up && header.epoch == self.connection
    }

    fn on_hello(&mut self, boot: u32, hello: Hello) {
        let (min, max) = self.options.versions;
        if hello.version_min.max(min) > hello.version_max.min(max) {
            self.reply = Some(Reply::NoVersion { epoch: hello.epoch });
            return;
        }
        // The same hello again: the answer was lost, or is still on its way.
        if self.phase != Phase::Up || self.epoch != hello.epoch {
            self.clear();
            self.epoch = hello.epoch;
            // Never 0, which is no connection.
            self.accepted = self.accepted.checked_add(1).unwrap_or(1);
            self.connection = (boot << 16) | u32::from(self.accepted);
            self.tx.agree(usize::from(self.options.mtu.min(hello.mtu)));
            self.phase = Phase::Up;
            self.counters.connections += 1;
            self.event = Some(ArqEvent::Up { connection: self.connection, boot });
        }
        self.reply = Some(Reply::Accept);
    }

    fn on_hello_ack(&mut self, header: FrameHeader, hello: Hello) {
        if hello.epoch != self.epoch {
            self.counters.foreign += 1;
        } else if self.is_opening() {
            let (min, max) = self.options.versions;
            if header.epoch == 0 || hello.version_min > max || hello.version_max < min {
                self.close();
                self.event = Some(ArqEvent::VersionMismatch {
                    card_min: hello.version_min,
                    card_max: hello.version_max,
                });
                return;
            }
            self.connection = header.epoch;
            self.tx.agree(usize::from(self.options.mtu.min(hello.mtu)));
            self.phase = Phase::Up;
            self.counters.connections += 1;
            self.event = Some(ArqEvent::Up { connection: self.connection, boot: hello.boot });
        } else if self.phase == Phase::Up && header.epoch != self.connection {
            // The card restarted between two copies of the same hello.
            self.close();
            self.event = Some(ArqEvent::PeerRestarted);
        }
    }

    /// The next frame, whole but not stuffed: where it lies in the storage, and its length.
    pub(super) fn next_frame(&mut self, now_ns: u64) -> Option<(usize, usize)> {
        if let Some(reply) = self.reply.take() {
            return self.reply_frame(reply);
        }
        match self.phase {
            Phase::Closed => None,
            Phase::Opening { next_at, wait_ns } => {
                if now_ns < next_at {
                    return None;
                }
                let next_at = now_ns.saturating_add(wait_ns);
                let wait_ns = wait_ns.saturating_mul(2).min(self.options.timeout_max_ns);
                self.phase = Phase::Opening { next_at, wait_ns };
                let versions = self.options.versions;
                self.hello_frame(FrameKind::Hello, self.epoch, self.epoch, 0, versions)
            }
            Phase::Up => self.connected_frame(now_ns),
        }
    }

    fn reply_frame(&mut self, reply: Reply) -> Option<(usize, usize)> {
        let (min, max) = self.options.versions;
        let boot = match self.options.role {
            Role::Host => 0,
            Role::Card { boot } => boot,
        };
        match reply {
            Reply::Accept => {
                let (epoch, connection) = (self.epoch, self.connection);
                self.hello_frame(FrameKind::HelloAck, connection, epoch, boot, (max, max))
            }
            Reply::NoVersion { epoch } => {
                self.hello_frame(FrameKind::HelloAck, 0, epoch, boot, (min, max))
            }
            Reply::Reset { connection } => self.control_frame(FrameHeader {
                kind: FrameKind::Reset,
                flags: 0,
                seq: 0,
                ack: 0,
                sack: 0,
                epoch: connection,
                credit: 0,
                len: 0,
            }),
        }
    }

    fn connected_frame(&mut self, now_ns: u64) -> Option<(usize, usize)> {
        if self.tx.on_time(now_ns, &mut self.counters) {
            self.rx.answered();
            return self.control_frame(self.header(
                FrameKind::Ack,
                FLAG_ANSWER,
                self.tx.next_seq(),
            ));
        }
        if let Some(frame) = self.tx.next(now_ns, &mut self.counters) {
            let mut header = self.header(FrameKind::Data, 0, frame.seq);
            header.len = frame.len;
            self.rx.answered();
            let at = self.layout.tx(frame.slot);
            let slot = self.storage.as_mut().get_mut(at..at + self.layout.slot)?;
            return Some((at, seal(slot, &header)?));
        }
        if self.rx.ack_due(now_ns) {
            self.rx.answered();
            return self.control_frame(self.header(FrameKind::Ack, 0, self.tx.next_seq()));
        }
        None
    }

    fn header(&self, kind: FrameKind, flags: u8, seq: u16) -> FrameHeader {
        FrameHeader {
            kind,
            flags,
            seq,
            ack: self.rx.next_seq(),
            sack: self.rx.sack(),
            epoch: self.connection,
            credit: self.rx.credit(),
            len: 0,
        }
    }

    fn hello_frame(
        &mut self,
        kind: FrameKind,
        header_epoch: u32,
        epoch: u32,
        boot: u32,
        (version_min, version_max): (u16, u16),
    ) -> Option<(usize, usize)> {
        let mtu = self.options.mtu;
        let hello = Hello { version_min, version_max, mtu, epoch, boot, features: 0 };
        let at = self.layout.control() + FRAME_HEADER_BYTES;
        self.storage.as_mut().get_mut(at..at + HELLO_BYTES)?.copy_from_slice(&hello.encode());
        #[expect(clippy::cast_possible_truncation, reason = "24")]
        let len = HELLO_BYTES as u16;
        self.control_frame(FrameHeader {
            kind,
            flags: 0,
            seq: 0,
            ack: 0,
            sack: 0,
            epoch: header_epoch,
            credit: self.rx.credit(),
            len,
        })
    }

    fn control_frame(&mut self, header: FrameHeader) -> Option<(usize, usize)> {
        let at = self.layout.control();
        let slot = self.storage.as_mut().get_mut(at..at + self.layout.slot)?;
        Some((at, seal(slot, &header)?))
    }
}
