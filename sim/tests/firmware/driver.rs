//! A driver in virtual time, as small as can be: names, deadlines, and the recovery ladder.

use crate::scenario::{expected_bytes, image, run_payload, workload};
use litecore_firmware_proto::command::FLAG_OPEN_SESSION;
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::identity::IdentifyRequest;
use litecore_firmware_proto::{CommandHeader, CompletionHeader, Cookie, FaultCode, Opcode};
use litecore_hal::{DeviceError, Remedy};

/// What carries commands, in virtual time.
pub(crate) trait Wire {
    fn now(&self) -> u64;
    /// Hands commands over; the ones before must be finished or reset.
    fn submit(&mut self, commands: &[(CommandHeader, Vec<u8>)]);
    /// The next completion by then.
    fn poll(&mut self, until: u64) -> Polled;
    /// Takes one rung of the ladder, from 0; `false` where it did not hold by then.
    fn reset(&mut self, rung: usize, until: u64) -> bool;
    /// Lets time pass.
    fn wait(&mut self, until: u64);
    /// Every cookie that was carried out, in order.
    fn journal(&mut self) -> Vec<(Cookie, Opcode)>;
    /// Accesses of the card to memory that was not lent to it.
    fn trespasses(&self) -> usize;
}

pub(crate) enum Polled {
    Done(CompletionHeader, Vec<u8>),
    Nothing,
    /// The card is gone or has started over.
    Lost,
}

pub(crate) const RUNGS: usize = 4;
const PATIENCE_NS: u64 = 60_000_000;
pub(crate) const DEADLINE_NS: u64 = 4_000_000_000;

pub(crate) struct Driver<W> {
    pub(crate) wire: W,
    session: u32,
    sequence: u32,
    image: Option<u64>,
}

/// How an operation ended.
pub(crate) type Ended<T> = Result<T, DeviceError>;

enum Failure {
    Restarted,
    Device(DeviceError),
}

impl<W: Wire> Driver<W> {
    pub(crate) fn new(wire: W) -> Self {
        Self { wire, session: 0, sequence: 0, image: None }
    }

    fn command(&mut self, opcode: Opcode, argument: u64) -> CommandHeader {
        self.sequence += 1;
        let cookie = Cookie::new(self.session, self.sequence);
        CommandHeader { argument, reply_capacity: 8192, ..CommandHeader::new(cookie, opcode) }
    }

    /// Carries out commands that do not depend on each other; replies come in their order.
    fn exchange(
        &mut self,
        commands: Vec<CommandHeader>,
        payloads: Vec<Vec<u8>>,
        deadline: u64,
    ) -> Result<Vec<(CompletionHeader, Vec<u8>)>, Failure> {
        let mut open: Vec<(CommandHeader, Vec<u8>)> = commands
            .into_iter()
            .zip(payloads)
            .map(|(c, payload)| (CommandHeader { payload_len: payload.len() as u64, ..c }, payload))
            .collect();
        let names: Vec<Cookie> = open.iter().map(|(command, _)| command.cookie).collect();
        let mut done: Vec<(CompletionHeader, Vec<u8>)> = Vec::new();
        let (mut rung, mut patience) = (0, PATIENCE_NS);
        self.wire.submit(&open);
        while !open.is_empty() {
            let until = deadline.min(self.wire.now() + patience);
            match self.wire.poll(until) {
                Polled::Done(header, reply) => {
                    let Some(at) = open.iter().position(|(c, _)| c.cookie == header.cookie) else {
                        continue;
                    };
                    if header.fault == Some(FaultCode::SessionUnknown) {
                        return Err(Failure::Restarted);
                    }
                    if header.fault == Some(FaultCode::Busy) {
                        let until = (self.wire.now() + 1_000_000).min(deadline);
                        self.wire.wait(until);
                    }
                    open.remove(at);
                    done.push((header, reply));
                    continue;
                }
                Polled::Nothing | Polled::Lost => {}
            }
            loop {
                if self.wire.now() >= deadline {
                    let waited_ms = DEADLINE_NS / 1_000_000;
                    return Err(Failure::Device(DeviceError::TimedOut { waited_ms }));
                }
                if rung >= RUNGS {
                    return Err(Failure::Device(DeviceError::LinkLost));
                }
                let until = if rung == RUNGS - 1 {
                    deadline
                } else {
                    deadline.min(self.wire.now() + patience)
                };
                rung += 1;
                patience *= 2;
                if self.wire.reset(rung - 1, until) {
                    break;
                }
            }
            self.wire.submit(&open);
        }
        done.sort_by_key(|(header, _)| header.cookie);
        assert_eq!(names, done.iter().map(|(header, _)| header.cookie).collect::<Vec<_>>());
        Ok(done)
    }

    fn one(
        &mut self,
        command: CommandHeader,
        payload: Vec<u8>,
        deadline: u64,
    ) -> Result<(CompletionHeader, Vec<u8>), Failure> {
        let done = self.exchange(vec![command], vec![payload], deadline)?.remove(0);
        match done.0.fault {
            Some(code) => Err(Failure::Device(DeviceError::Fault { code })),
            None => Ok(done),
        }
    }

    fn open(&mut self, deadline: u64) -> Result<(), Failure> {
        self.session += 1;
        self.sequence = 0;
        self.image = None;
        let request = IdentifyRequest { version_min: 0x100, version_max: 0x100, features: 0 };
        let command =
            CommandHeader { flags: FLAG_OPEN_SESSION, ..self.command(Opcode::Identify, 0) };
        self.one(command, request.encode().to_vec(), deadline).map(|_| ())
    }

    fn loaded(&mut self, deadline: u64) -> Result<u64, Failure> {
        if let Some(image) = self.image {
            return Ok(image);
        }
        let bytes = image(&workload().program);
        let begin = self.command(Opcode::ImageBegin, bytes.len() as u64);
        let number = self.one(begin, Vec::new(), deadline)?.0.image;
        for (index, piece) in bytes.chunks(200).enumerate() {
            let offset = index as u64 * 200;
            let data =
                CommandHeader { image: number, offset, ..self.command(Opcode::ImageData, 0) };
            let (done, _) = self.one(data, piece.to_vec(), deadline)?;
            assert_eq!(done.argument, offset + piece.len() as u64, "each byte once and in order");
        }
        let commit = CommandHeader {
            image: number,
            ..self.command(Opcode::ImageCommit, u64::from(crc32c(&bytes)))
        };
        self.one(commit, Vec::new(), deadline)?;
        self.image = Some(number);
        Ok(number)
    }

    /// One operation of the user: done, or failed with a typed error, by its deadline. A card that
    /// has started over is greeted again, and the operation is made anew under new names.
    pub(crate) fn operation(&mut self, number: u64) -> Ended<()> {
        let began = self.wire.now();
        let deadline = began + DEADLINE_NS;
        let ended = loop {
            let tried = if self.session == 0 { self.open(deadline) } else { Ok(()) };
            match tried.and_then(|()| self.attempt(number, deadline)) {
                Ok(()) => break Ok(()),
                Err(Failure::Device(error)) => break Err(error),
                Err(Failure::Restarted) if self.wire.now() < deadline => {
                    if let Err(Failure::Device(error)) = self.open(deadline) {
                        break Err(error);
                    }
                }
                Err(Failure::Restarted) => break Err(DeviceError::LinkLost),
            }
        };
        assert!(self.wire.now() <= deadline, "nothing goes on beyond its deadline");
        ended
    }

    fn attempt(&mut self, number: u64, deadline: u64) -> Result<(), Failure> {
        match number % 4 {
            0 => {
                let image = self.loaded(deadline)?;
                let workload = workload();
                let run = CommandHeader { image, ..self.command(Opcode::Run, 3) };
                let (done, reply) = self.one(run, run_payload(&workload), deadline)?;
                assert!(done.cycles > 0);
                assert_eq!(reply, expected_bytes(&workload), "the outputs are those of the chip");
            }
            1 | 2 => {
                let commands: Vec<_> = (0..6).map(|_| self.command(Opcode::Loopback, 0)).collect();
                let payload = |i: u64| {
                    let len = usize::try_from((number * 7919 + i * 104_729) % 1500).unwrap();
                    (0..len).map(|at| (at as u64 * 31 + number + i).to_le_bytes()[0]).collect()
                };
                let payloads: Vec<Vec<u8>> = (0..6).map(payload).collect();
                let done = self.exchange(commands, payloads.clone(), deadline)?;
                for ((header, reply), payload) in done.iter().zip(&payloads) {
                    if let Some(code) = header.fault {
                        return Err(Failure::Device(DeviceError::Fault { code }));
                    }
                    assert!(reply == payload, "what comes back is what went");
                }
            }
            _ => {
                let telemetry = self.command(Opcode::Telemetry, 0);
                self.one(telemetry, Vec::new(), deadline)?;
            }
        }
        Ok(())
    }

    /// What a user does about an error.
    pub(crate) fn heed(&mut self, error: &DeviceError) {
        match error.remedy() {
            Remedy::Park => {
                let deadline = self.wire.now() + DEADLINE_NS;
                let park = self.command(Opcode::Park, 0);
                let _ = self.one(park, Vec::new(), deadline);
                self.wire.wait(deadline);
            }
            // The image may be half there.
            _ => self.image = None,
        }
    }
}
