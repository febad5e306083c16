//! `litecore emulate`: stands in for a card until interrupted.

use crate::args::Emulate;
use crate::console::Console;
use crate::error::CliError;
use crate::workload::named_chip;
use litecore_firmware_proto::arq::Flavor;
use litecore_hal::Device as _;
use litecore_sim::card::{Card, CardOptions, FaultPlan, PciFunction, PipeCard};
use litecore_sim::faces::{
    Clock, Listen, SerialPort, Stop, UsbIpServer, UsbKind, UsbRedirServer, VfioUserServer,
    stop_pair,
};
use litecore_sim::{SimDevice, SimOptions, Terms};
use serde::Serialize;
use std::fs;
use std::io;

/// Most payload of one frame on a serial line.
const SERIAL_MTU: u16 = 32_768;
/// Most payload of one frame on USB, whose bus repeats damaged packets by itself.
const USB_MTU: u16 = 16_000;

#[derive(Debug, Serialize)]
struct Report {
    listen: String,
    chip: String,
    serial: String,
    faults: bool,
}

pub(super) fn run(args: &Emulate, console: &Console) -> Result<(), CliError> {
    let (card, plan) = card(args)?;
    let serial = card.device().capabilities().serial.clone();
    let usb_serial = args.usb_serial.clone().unwrap_or_else(|| serial.clone());
    let (stopper, stop) = stop_pair().map_err(|source| cannot(args, source))?;
    // The first signal ends it in order: sockets and links are taken away.
    ctrlc::set_handler(move || stopper.stop())
        .map_err(|error| cannot(args, io::Error::other(error)))?;
    let face = Face::bind(&args.listen).map_err(|source| cannot(args, source))?;
    let report = Report {
        listen: face.address(&args.listen),
        chip: card.device().capabilities().chip.clone(),
        serial,
        faults: args.faults.is_some(),
    };
    console.result(
        &report,
        &format!(
            "chip {}, serial {}, listens at {}; Ctrl-C ends it\n",
            report.chip, report.serial, report.listen
        ),
    );
    console.finish()?;
    let served = face.serve(card, plan, &usb_serial, &stop, &mut |line: &str| console.say(line));
    served.map_err(|source| cannot(args, source))
}

fn cannot(args: &Emulate, source: io::Error) -> CliError {
    CliError::Listen { face: args.listen.clone(), source }
}

fn card(args: &Emulate) -> Result<(Card, FaultPlan), CliError> {
    let chip = named_chip(&args.chip, &[])?.chip;
    let plan = match &args.faults {
        None => FaultPlan::default(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|source| CliError::Read { path: path.clone(), source })?;
            FaultPlan::from_json(&text).map_err(|error| CliError::FaultPlan {
                path: path.clone(),
                why: error.to_string(),
            })?
        }
    };
    let terms = if args.noise_off { Terms::none() } else { Terms::all() };
    let options = SimOptions { seed: args.chip_seed, terms, record_timeline: false };
    let usual = CardOptions::default();
    let card = CardOptions {
        payload_max: args.transfer_max.unwrap_or(usual.payload_max),
        reply_max: args.transfer_max.unwrap_or(usual.reply_max),
        ..usual
    };
    Ok((Card::new(SimDevice::new(chip, options), card), plan))
}

/// A face that waits for clients already.
enum Face {
    Serial(SerialPort),
    VfioUser(VfioUserServer),
    UsbRedir(UsbRedirServer, UsbKind),
    UsbIp(UsbIpServer),
}

impl Face {
    fn bind(listen: &Listen) -> io::Result<Self> {
        Ok(match listen {
            Listen::Serial(path) => Self::Serial(SerialPort::bind(path)?),
            Listen::VfioUser(path) => Self::VfioUser(VfioUserServer::bind(path)?),
            Listen::UsbRedir(path, kind) => Self::UsbRedir(UsbRedirServer::bind(path)?, *kind),
            Listen::UsbIp(address) => Self::UsbIp(UsbIpServer::bind_tcp(*address)?),
            Listen::UsbIpSocket(path) => Self::UsbIp(UsbIpServer::bind_unix(path)?),
        })
    }

    /// Where it really listens: the system chooses a port where none was given.
    fn address(&self, asked: &Listen) -> String {
        match self {
            Self::UsbIp(server) => {
                server.tcp_address().map_or(asked.to_string(), |at| Listen::UsbIp(at).to_string())
            }
            _ => asked.to_string(),
        }
    }

    fn serve(
        self,
        card: Card,
        plan: FaultPlan,
        usb_serial: &str,
        stop: &Stop,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let clock = Clock::start();
        match self {
            Self::Serial(mut port) => {
                let mut end = PipeCard::with_faults(card, Flavor::Delimited, SERIAL_MTU, plan);
                port.serve(&mut end, &clock, stop, note)
            }
            Self::VfioUser(server) => {
                let mut function = PciFunction::with_faults(card, plan);
                server.serve(&mut function, &clock, stop, note)
            }
            Self::UsbRedir(server, kind) => {
                let mut end = usb(card, kind, plan);
                server.serve(&mut end, kind, usb_serial, &clock, stop, note)
            }
            Self::UsbIp(server) => {
                let mut end = usb(card, UsbKind::Bulk, plan);
                server.serve(&mut end, UsbKind::Bulk, usb_serial, &clock, stop, note)
            }
        }
    }
}

/// A card behind USB: with endpoints of its own kind, or as a modem, which is a serial line.
fn usb(card: Card, kind: UsbKind, plan: FaultPlan) -> PipeCard {
    match kind {
        UsbKind::Bulk => PipeCard::with_faults(card, Flavor::Packet, USB_MTU, plan),
        UsbKind::Acm => PipeCard::with_faults(card, Flavor::Delimited, SERIAL_MTU, plan),
    }
}
