//! `litecore device`: cards, found, named, tested, updated, reset.

mod test;
mod update;

use crate::args::DeviceCommand;
use crate::console::Console;
use crate::device;
use crate::error::CliError;
use crate::table::Table;
use litecore_hal::{
    Capabilities, CardDevice, Device as _, DeviceUri, SystemPaths, Telemetry, find_devices,
};
use serde::Serialize;
use std::fmt::Write as _;

pub(super) fn run(command: DeviceCommand, console: &Console) -> Result<(), CliError> {
    match command {
        DeviceCommand::List => {
            list(console);
            Ok(())
        }
        DeviceCommand::Info { card } => info(&card, console),
        DeviceCommand::Test { card, exact } => test::run(&card, exact, console),
        DeviceCommand::Update { card, firmware, force } => {
            update::run(&card, &firmware, force, console)
        }
        DeviceCommand::Reset { card } => reset(&card, console),
    }
}

#[derive(Debug, Serialize)]
struct Found {
    device: String,
    is_card: bool,
    note: String,
}

fn list(console: &Console) {
    let found: Vec<Found> = find_devices(&SystemPaths::default())
        .into_iter()
        .map(|found| Found {
            device: found.uri.to_string(),
            is_card: found.is_card,
            note: found.note,
        })
        .collect();
    let mut table = Table::left(["device", "card", ""]);
    for found in &found {
        let card = if found.is_card { "yes" } else { "perhaps" };
        table.row([found.device.as_str(), card, found.note.as_str()]);
    }
    let text = if found.is_empty() {
        "no card and no serial port behind USB; an emulated card is found at the address it was \
         given\n"
            .to_owned()
    } else {
        table.render()
    };
    console.result(&found, &text);
}

/// What every report about a device begins with.
#[derive(Debug, Serialize)]
struct Named {
    device: String,
    chip: String,
    serial: String,
    simulated: bool,
    /// What the link is; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Named {
    fn new(uri: &DeviceUri, capabilities: &Capabilities, card: Option<&CardDevice>) -> Self {
        Self {
            device: uri.to_string(),
            chip: capabilities.chip.clone(),
            serial: capabilities.serial.clone(),
            simulated: capabilities.simulated,
            link: card.map(|card| card.link_info().kind.to_string()),
        }
    }

    fn line(&self) -> String {
        let link = self.link.as_ref().map_or(String::new(), |link| format!(" over {link}"));
        format!("{}: chip {}, serial {}{link}\n", self.device, self.chip, self.serial)
    }
}

#[derive(Debug, Serialize)]
struct Info {
    #[serde(flatten)]
    named: Named,
    rows: usize,
    columns: usize,
    arrays: usize,
    banks: usize,
    sram_bytes: u64,
    #[serde(flatten)]
    card: Option<CardInfo>,
    temperature_c: Option<f64>,
    parked: bool,
}

/// What a card says beyond what every device does.
#[derive(Debug, Serialize)]
struct CardInfo {
    protocol: String,
    firmware: String,
    board: u32,
    hardware: u16,
    boots: u32,
    transfer_bytes_max: usize,
    commands_in_flight_max: usize,
    images_max: u32,
    image_bytes_max: u64,
}

fn info(args: &crate::args::Card, console: &Console) -> Result<(), CliError> {
    let uri = &args.uri;
    let report = if matches!(uri, DeviceUri::Sim { .. }) {
        let mut device = litecore_sim::open(uri)?;
        let telemetry = device.telemetry()?;
        Info::new(uri, device.capabilities(), &telemetry, None)
    } else {
        let mut card = device::card(uri, &args.link)?;
        let telemetry = card.telemetry()?;
        Info::new(uri, card.capabilities(), &telemetry, Some(&card))
    };
    console.result(&report, &report.text());
    Ok(())
}

impl Info {
    fn new(
        uri: &DeviceUri,
        capabilities: &Capabilities,
        telemetry: &Telemetry,
        card: Option<&CardDevice>,
    ) -> Self {
        Self {
            named: Named::new(uri, capabilities, card),
            rows: capabilities.rows,
            columns: capabilities.columns,
            arrays: capabilities.arrays,
            banks: capabilities.banks,
            sram_bytes: capabilities.sram_bytes,
            card: card.map(CardInfo::of),
            temperature_c: telemetry.temperature_c,
            parked: telemetry.parked,
        }
    }

    fn text(&self) -> String {
        let mut text = self.named.line();
        _ = writeln!(
            text,
            "  {} array(s) of {}x{} cells with {} weight bank(s), {} KiB of memory",
            self.arrays,
            self.rows,
            self.columns,
            self.banks,
            self.sram_bytes >> 10
        );
        if let Some(card) = &self.card {
            _ = writeln!(
                text,
                "  protocol {}, firmware {}, board {:#x} revision {}, started {} time(s)",
                card.protocol, card.firmware, card.board, card.hardware, card.boots
            );
            _ = writeln!(
                text,
                "  at most {} bytes a transfer, {} commands in flight, {} images of {} KiB together",
                card.transfer_bytes_max,
                card.commands_in_flight_max,
                card.images_max,
                card.image_bytes_max >> 10
            );
        }
        let state = if self.parked { "at rest" } else { "awake" };
        let temperature = self.temperature_c.map_or(String::new(), |t| format!(", {t:.1} °C"));
        _ = writeln!(text, "  {state}{temperature}");
        text
    }
}

impl CardInfo {
    fn of(card: &CardDevice) -> Self {
        let identity = card.identity();
        Self {
            protocol: format!("{}.{}", identity.version >> 8, identity.version & 0xff),
            firmware: identity.firmware.to_string(),
            board: identity.board,
            hardware: identity.hardware,
            boots: identity.boot,
            transfer_bytes_max: card.transfer_max(),
            commands_in_flight_max: card.link_info().window,
            images_max: identity.images_max,
            image_bytes_max: identity.image_bytes_max,
        }
    }
}

#[derive(Debug, Serialize)]
struct Reset {
    #[serde(flatten)]
    named: Named,
    boots: u32,
}

fn reset(args: &crate::args::Card, console: &Console) -> Result<(), CliError> {
    if matches!(args.uri, DeviceUri::Sim { .. }) {
        return Err(CliError::usage(format!(
            "{} is made anew by every command: there is nothing to reset",
            args.uri
        )));
    }
    let mut card = device::card(&args.uri, &args.link)?;
    card.reset_function()?;
    let named = Named::new(&args.uri, card.capabilities(), Some(&card));
    let report = Reset { named, boots: card.identity().boot };
    let text = format!("{}  started over: {} time(s) in all\n", report.named.line(), report.boots);
    console.result(&report, &text);
    Ok(())
}
