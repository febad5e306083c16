//! Links to a card against the same work without them: a memory copy, the least card there can be
//! behind a socket, a bare pseudo-terminal.

use crate::rounds::interleaved_with_fastest;
use litecore_firmware_proto::arq::Flavor;
use litecore_firmware_proto::{CommandHeader, Cookie, Opcode};
use litecore_hal::pci::{InProcessFunction, RingLink, RingOptions, VfioUserFunction};
use litecore_hal::pipe::{PipeLink, PipeOptions, SerialPipe};
use litecore_hal::{
    Buffer, CardDevice, CardOptions, Completion, Deadline, DeviceError, Link, LinkError, Timeouts,
    fresh_session,
};
use litecore_sim::card::{Card, CardOptions as EmulatedOptions, PciFunction, PipeCard};
use litecore_sim::faces::{Clock, SerialPort, Stopper, VfioUserServer, stop_pair};
use litecore_sim::{SimDevice, SimOptions, Terms};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use serde::Serialize;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

mod raw;

/// One link against its reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkRow {
    /// What is measured.
    pub what: &'static str,
    /// The reference.
    pub reference: &'static str,
    /// Bytes of one transfer, each way.
    pub bytes: usize,
    /// Seconds of one transfer.
    pub seconds: f64,
    /// Seconds of the reference.
    pub reference_seconds: f64,
    /// Speed as a share of the reference's, by the medians: above one is faster.
    pub speed_ratio: f64,
    /// The same by the fastest round of each: what a machine that does nothing else would show.
    pub fastest_ratio: f64,
    /// Frames that were damaged or sent again meanwhile.
    pub errors: u64,
}

/// Why a link was not measured.
#[derive(Debug, thiserror::Error)]
pub enum LinkBenchError {
    /// The driver's side failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The system's side failed.
    #[error("setting up a socket, terminal or thread: {0}")]
    System(#[from] io::Error),
    /// The far end did not come up.
    #[error("the emulated card does not come up: look at the machine's load, and try again")]
    NotUp,
}

const MEBIBYTE: usize = 1 << 20;
/// Transfers in flight on a byte pipe, enough to keep it busy.
const IN_FLIGHT: usize = 16;
/// Bytes of one of them: as programs are uploaded.
const PIECE: usize = 256 << 10;

/// Measures all links, each for about `seconds`, with `folder` for sockets and terminals.
///
/// Errors: [`LinkBenchError`].
pub fn compare(
    chip: &ChipDescription,
    folder: &Path,
    seconds: f64,
) -> Result<Vec<LinkRow>, LinkBenchError> {
    Ok(vec![
        in_process(chip, seconds)?,
        vfio_user(chip, folder, seconds)?,
        serial("serial, framed", chip, folder, seconds)?,
        on_one_processor(|| serial("serial, framed, on one processor", chip, folder, seconds))?,
    ])
}

/// One mebibyte through rings within this process, against copying it once.
fn in_process(chip: &ChipDescription, seconds: f64) -> Result<LinkRow, LinkBenchError> {
    let function = Arc::new(Mutex::new(PciFunction::new(emulated(chip))));
    let backend = Box::new(InProcessFunction::new(function, "bench"));
    let options = RingOptions { arena_bytes: 16 * MEBIBYTE, ..RingOptions::default() };
    let mut looped = Looped::start(Box::new(RingLink::open(backend, options, soon())?))?;
    let mut held = Some((looped.link().buffer(MEBIBYTE)?, looped.link().buffer(MEBIBYTE)?));
    let (source, mut target) = (vec![0x5a_u8; MEBIBYTE], vec![0_u8; MEBIBYTE]);
    let mut failure = None;
    let times = interleaved_with_fastest(
        seconds,
        &mut || {
            let Some((payload, reply)) = held.take() else { return };
            match looped.once(payload, reply) {
                Ok(buffers) => held = Some(buffers),
                Err(error) => failure = Some(error),
            }
        },
        &mut || {
            target.copy_from_slice(black_box(&source));
            black_box(&mut target);
        },
    );
    failure.map_or(Ok(()), Err)?;
    Ok(row("in-process rings", "one memory copy", MEBIBYTE, times, looped.errors()))
}

/// 64 bytes over a socket, against a card that can do nothing else.
fn vfio_user(
    chip: &ChipDescription,
    folder: &Path,
    seconds: f64,
) -> Result<LinkRow, LinkBenchError> {
    const BYTES: usize = 64;
    let far = Far::vfio_user(emulated(chip), folder.join("bench-vfio-user"))?;
    let path = far.path.display().to_string();
    let backend = Box::new(VfioUserFunction::connect(&path, soon())?);
    let link = RingLink::open(backend, RingOptions::default(), soon())?;
    let mut looped = Looped::start(Box::new(link))?;
    let mut held = Some((looped.link().buffer(BYTES)?, looped.link().buffer(BYTES)?));
    let mut least = raw::LeastCard::start()?;
    let (mut failure, mut least_failure) = (None, None);
    let times = interleaved_with_fastest(
        seconds,
        &mut || {
            let Some((payload, reply)) = held.take() else { return };
            match looped.once(payload, reply) {
                Ok(buffers) => held = Some(buffers),
                Err(error) => failure = Some(error),
            }
        },
        &mut || least_failure = least.once().err(),
    );
    failure.map_or(Ok(()), Err)?;
    least_failure.map_or(Ok(()), Err)?;
    let errors = looped.errors();
    Ok(row("vfio-user, doorbell to completion", "the least card", BYTES, times, errors))
}

/// An upload of pieces to the card over a pseudo-terminal, against the bare terminal.
fn serial(
    what: &'static str,
    chip: &ChipDescription,
    folder: &Path,
    seconds: f64,
) -> Result<LinkRow, LinkBenchError> {
    let far = Far::serial(emulated(chip), folder.join("bench-serial"))?;
    let pipe = Box::new(SerialPipe::open(&far.path.display().to_string(), 3_000_000)?);
    let options = PipeOptions::usual(fresh_session());
    let mut looped = Looped::start(Box::new(PipeLink::open(pipe, options, soon())?))?;
    let mut buffers = Vec::new();
    for _ in 0..IN_FLIGHT {
        let mut payload = looped.link().buffer(PIECE)?;
        fill(&mut payload);
        buffers.push(payload);
    }
    let mut bare = raw::BareTerminal::start()?;
    let (mut failure, mut bare_failure) = (None, None);
    let times = interleaved_with_fastest(
        seconds,
        &mut || failure = failure.take().or(looped.upload(&mut buffers).err()),
        &mut || bare_failure = bare_failure.take().or(bare.send(IN_FLIGHT * PIECE).err()),
    );
    failure.map_or(Ok(()), Err)?;
    bare_failure.map_or(Ok(()), Err)?;
    let errors = looped.errors();
    Ok(row(what, "a bare pseudo-terminal", IN_FLIGHT * PIECE, times, errors))
}

/// Does something with this thread, and those it starts, on the processor where it is.
///
/// A pseudo-terminal wakes three threads for each page. Where the scheduler puts them decides how long
/// that takes, by a factor of three on virtual machines; on one processor it has no choice.
fn on_one_processor<T>(
    work: impl FnOnce() -> Result<T, LinkBenchError>,
) -> Result<T, LinkBenchError> {
    let before = sched_getaffinity(None).map_err(io::Error::from)?;
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).map_err(io::Error::from)?;
    let result = work();
    sched_setaffinity(None, &before).map_err(io::Error::from)?;
    result
}

fn row(
    what: &'static str,
    reference: &'static str,
    bytes: usize,
    ((seconds, reference_seconds), (fastest, reference_fastest)): ((f64, f64), (f64, f64)),
    errors: u64,
) -> LinkRow {
    LinkRow {
        what,
        reference,
        bytes,
        seconds,
        reference_seconds,
        speed_ratio: reference_seconds / seconds,
        fastest_ratio: reference_fastest / fastest,
        errors,
    }
}

/// A greeted card whose link is used from below.
struct Looped {
    card: CardDevice,
    session: u32,
    sequence: u32,
}

impl Looped {
    fn start(link: Box<dyn Link>) -> Result<Self, LinkBenchError> {
        let session = fresh_session();
        let options = CardOptions { timeouts: Timeouts::default(), session };
        let mut card = CardDevice::start(link, options, soon())?;
        card.loopback(&[0; 64])?;
        // Above all names that the card's owner has used.
        Ok(Self { card, session, sequence: 1000 })
    }

    fn link(&mut self) -> &mut dyn Link {
        self.card.link()
    }

    fn errors(&self) -> u64 {
        let counters = self.card.link_counters();
        counters.resent + counters.damaged
    }

    fn command(&mut self, opcode: Opcode) -> CommandHeader {
        self.sequence += 1;
        CommandHeader::new(Cookie::new(self.session, self.sequence), opcode)
    }

    fn submit(
        &mut self,
        mut command: CommandHeader,
        payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkBenchError> {
        command.payload_len = payload.len() as u64;
        command.reply_capacity = reply.capacity() as u64;
        Ok(self.link().submit(&command, payload, reply)?)
    }

    fn finish(&mut self) -> Result<Completion, LinkBenchError> {
        let done = self.link().poll(soon())?.ok_or(LinkBenchError::NotUp)?;
        match done.header.fault {
            Some(code) => Err(DeviceError::Fault { code }.into()),
            None => Ok(done),
        }
    }

    /// One transfer there and back, with buffers that are used again.
    fn once(&mut self, payload: Buffer, reply: Buffer) -> Result<(Buffer, Buffer), LinkBenchError> {
        let command = self.command(Opcode::Loopback);
        self.submit(command, payload, reply)?;
        self.finish().map(|done| (done.payload, done.reply))
    }

    /// The pieces of an upload, all at once, with buffers that are used again.
    fn upload(&mut self, buffers: &mut Vec<Buffer>) -> Result<(), LinkBenchError> {
        let mut begin = self.command(Opcode::ImageBegin);
        begin.argument = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        self.submit(begin, Buffer::empty(), Buffer::empty())?;
        let image = self.finish()?.header.image;
        let (count, mut offset) = (buffers.len(), 0);
        for payload in buffers.drain(..) {
            let mut data = self.command(Opcode::ImageData);
            (data.image, data.offset) = (image, offset);
            offset += payload.len() as u64;
            self.submit(data, payload, Buffer::empty())?;
        }
        for _ in 0..count {
            buffers.push(self.finish()?.payload);
        }
        let mut drop = self.command(Opcode::ImageDrop);
        drop.image = image;
        self.submit(drop, Buffer::empty(), Buffer::empty())?;
        self.finish().map(|_| ())
    }
}

/// Bytes like those of weights: all values, none more often than others.
fn fill(bytes: &mut [u8]) {
    // Marsaglia's xorshift64.
    let mut state = 1_u64;
    for byte in bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
}

fn emulated(chip: &ChipDescription) -> Card {
    let options = SimOptions { seed: Seed(0), terms: Terms::none(), record_timeline: false };
    Card::new(SimDevice::new(chip.clone(), options), EmulatedOptions::default())
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// An emulated card in a thread.
struct Far {
    path: PathBuf,
    stopper: Stopper,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Far {
    fn vfio_user(card: Card, path: PathBuf) -> Result<Self, LinkBenchError> {
        let (stopper, stop) = stop_pair()?;
        let server = VfioUserServer::bind(&path)?;
        let thread = thread::spawn(move || {
            let mut function = PciFunction::new(card);
            server.serve(&mut function, &Clock::start(), &stop, &mut |_| {})
        });
        Ok(Self { path, stopper, thread: Some(thread) })
    }

    fn serial(card: Card, path: PathBuf) -> Result<Self, LinkBenchError> {
        let (stopper, stop) = stop_pair()?;
        let mut port = SerialPort::bind(&path)?;
        let (up, is_up) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mtu = PipeOptions::usual(0).mtu;
            let mut end = PipeCard::new(card, Flavor::Delimited, mtu);
            port.serve(&mut end, &Clock::start(), &stop, &mut |_| {
                let _ = up.send(());
            })
        });
        let far = Self { path, stopper, thread: Some(thread) };
        is_up.recv_timeout(Duration::from_secs(5)).map_err(|_| LinkBenchError::NotUp)?;
        Ok(far)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // Its own failure shows as a failure of the measurement.
            let _ = thread.join();
        }
    }
}
