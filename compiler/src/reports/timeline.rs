//! A run as a timeline that trace viewers open: Chrome's trace-event JSON.
//!
//! One track per engine, one slice per step for as long as it holds the engine. Times are
//! microseconds of card time; the cycles stand beside them, exactly. What a step waits for is in its
//! arguments; the latency until its result may be used is the gap before its readers.

use crate::Prediction;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Program};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

#[derive(Serialize)]
#[serde(untagged)]
enum Event {
    /// `M`: the name of a track, or its place among them.
    Name { ph: &'static str, name: &'static str, pid: u32, tid: u32, args: Named },
    /// `X`: a slice.
    Slice {
        ph: &'static str,
        name: String,
        cat: &'static str,
        pid: u32,
        tid: u32,
        ts: f64,
        dur: f64,
        args: SliceArgs,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Named {
    Name { name: String },
    Order { sort_index: u32 },
}

#[derive(Serialize)]
struct SliceArgs {
    step: u32,
    start_cycle: u64,
    cycles: u64,
    /// The steps it waits for.
    after: Vec<u32>,
}

/// Writes one run as trace-event JSON. `prediction` must be of `program` on `chip`.
///
/// Errors: those of `out`.
pub fn write_timeline(
    program: &Program,
    chip: &ChipDescription,
    prediction: &Prediction,
    out: &mut dyn Write,
) -> io::Result<()> {
    let tracks = tracks(prediction);
    let title = format!("{} on {}, {} symbols", program.name, chip.name, prediction.symbols);
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let name = |name, tid, args| Event::Name { ph: "M", name, pid: 1, tid, args };
    write_event(out, &name("process_name", 0, Named::Name { name: title }), true)?;
    for (engine, &tid) in &tracks {
        let label = Named::Name { name: engine.to_string() };
        write_event(out, &name("thread_name", tid, label), false)?;
        write_event(out, &name("thread_sort_index", tid, Named::Order { sort_index: tid }), false)?;
    }
    let rate = chip.clock.symbol_rate_hz.value;
    for span in prediction.spans.iter().filter(|span| !span.dropped) {
        let step = &program.steps[span.step.0 as usize];
        let cycles = (span.busy_end - span.start).0;
        let event = Event::Slice {
            ph: "X",
            name: label(&step.action),
            cat: category(&step.action),
            pid: 1,
            tid: tracks[&span.engine],
            ts: span.start.seconds(rate) * 1e6,
            dur: (span.busy_end - span.start).seconds(rate) * 1e6,
            args: SliceArgs {
                step: span.step.0,
                start_cycle: span.start.0,
                cycles,
                after: step.after.iter().map(|after| after.0).collect(),
            },
        };
        write_event(out, &event, false)?;
    }
    writeln!(out, "]}}")
}

/// A number for each engine that works, in engine order, from 1.
fn tracks(prediction: &Prediction) -> BTreeMap<Engine, u32> {
    prediction.engine_busy.keys().copied().zip(1..).collect()
}

fn write_event(out: &mut dyn Write, event: &Event, first: bool) -> io::Result<()> {
    out.write_all(if first { b"\n" } else { b",\n" })?;
    serde_json::to_writer(&mut *out, event).map_err(io::Error::from)
}

fn category(action: &Action) -> &'static str {
    match action {
        Action::MoveIn { .. } | Action::MoveOut { .. } => "host",
        Action::LoadBank { .. } => "load",
        Action::Settle { .. } => "settle",
        Action::Stream { .. } => "stream",
        _ => "vector",
    }
}

fn label(action: &Action) -> String {
    match action {
        Action::MoveIn { .. } => "move in".to_owned(),
        Action::MoveOut { .. } => "move out".to_owned(),
        Action::Quantise { .. } => "quantise".to_owned(),
        Action::Dequantise { table, .. } => format!("dequantise {}", table.0),
        Action::SwiGlu { .. } => "swiglu".to_owned(),
        Action::Rotate { .. } => "rotate".to_owned(),
        Action::LoadBank { bank, tile, .. } => format!("load tile {} to bank {bank}", tile.0),
        Action::Settle { bank, .. } => format!("settle bank {bank}"),
        Action::Stream { bank, tile, .. } => format!("tile {} from bank {bank}", tile.0),
    }
}
