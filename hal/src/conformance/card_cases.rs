use super::{Case, Check, Failure, Setup, must, must_be};
use crate::{CardDevice, Device};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) static CASES: [Case; 5] = [
    case("loopback_sizes", "bytes come back as they went, in every size", loopback_sizes),
    case("loopback_patterns", "all byte values and long runs of one come back", loopback_patterns),
    case("loopback_many", "many small commands come back in order", loopback_many),
    case("queue_reset", "images and answers outlive a queue reset", queue_reset),
    case("function_reset", "images and answers outlive a function reset", function_reset),
];

const fn case(
    name: &'static str,
    about: &'static str,
    check: fn(&mut CardDevice, &Setup) -> Result<(), Failure>,
) -> Case {
    Case { name, about, check: Check::Card(check) }
}

/// Around every boundary there is: headers, frames, USB packets, pages, windows.
fn loopback_sizes(card: &mut CardDevice, _: &Setup) -> Result<(), Failure> {
    let most = card.transfer_max();
    let sizes =
        [0, 1, 63, 64, 65, 192, 448, 511, 512, 513, 4028, 4096, 4097, 65_535, 65_536, 100_001];
    for bytes in sizes.into_iter().filter(|bytes| *bytes <= most) {
        let sent: Vec<u8> = (0..bytes).map(|i| (i * 167 + bytes).to_le_bytes()[0]).collect();
        returned(card, &sent)?;
    }
    Ok(())
}

fn loopback_patterns(card: &mut CardDevice, _: &Setup) -> Result<(), Failure> {
    let most = card.transfer_max().min(9000);
    for byte in [0x00, 0xff, 0x11, 0x13, 0x0a, 0x0d, 0x7d, 0x7e] {
        returned(card, &vec![byte; most])?;
    }
    let all: Vec<u8> = (0..=255).cycle().take(most).collect();
    returned(card, &all)
}

fn loopback_many(card: &mut CardDevice, _: &Setup) -> Result<(), Failure> {
    let began = Instant::now();
    for number in 0..1000_u32 {
        returned(card, &number.to_le_bytes())?;
        // On a slow line a hundred show as much.
        if number >= 100 && began.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    Ok(())
}

fn queue_reset(card: &mut CardDevice, setup: &Setup) -> Result<(), Failure> {
    across(card, setup, CardDevice::reset_queue)
}

fn function_reset(card: &mut CardDevice, setup: &Setup) -> Result<(), Failure> {
    across(card, setup, CardDevice::reset_function)
}

/// The same outputs before and after something.
fn across(
    card: &mut CardDevice,
    setup: &Setup,
    something: impl FnOnce(&mut CardDevice) -> Result<(), crate::DeviceError>,
) -> Result<(), Failure> {
    let work = &setup.small;
    let image = must("loading a program", card.load(Arc::clone(&work.program)))?;
    let request = crate::RunRequest { image, tags: &work.tags, inputs: &work.inputs };
    let before = must("running", card.run(&request))?.outputs;
    must("resetting", something(card))?;
    let after = must("running after the reset", card.run(&request))?.outputs;
    must_be("the number of outputs", after.len() as u64, before.len() as u64)?;
    let changed = before.iter().zip(&after).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    if setup.exact || setup.repeatable {
        must_be("outputs that changed", changed as u64, 0)?;
    }
    Ok(())
}

fn returned(card: &mut CardDevice, sent: &[u8]) -> Result<(), Failure> {
    let came = must("sending bytes there and back", card.loopback(sent))?;
    if came == sent {
        return Ok(());
    }
    let at = sent.iter().zip(&came).take_while(|(a, b)| a == b).count();
    Err(Failure::Changed { bytes: sent.len(), at })
}
