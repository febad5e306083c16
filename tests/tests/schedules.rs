//! Programs in time and in bits, on random chips: what the compiler predicts is what the simulator
//! counts, and parts, waves and packings change no bit.

#[path = "../../compiler/tests/problem/chips.rs"]
mod chips;

use litecore_compiler::{CompileOptions, ExpertWeights, compile_expert, predict};
use litecore_hal::{Device, RunRequest, SymbolTag};
use litecore_kernels::normal::standard_normals;
use litecore_kernels::program::{Converters, Fast, Reference, Workspace, execute};
use litecore_sim::{SimDevice, SimOptions, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Override, builtin_text};
use litecore_types::program::{Program, VerifiedProgram};
use proptest::prelude::*;
use std::sync::Arc;

fn normals(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    standard_normals(key, 0, &mut values);
    values
}

fn chip(values: &[(&str, String)]) -> ChipDescription {
    let overrides: Vec<Override> = values
        .iter()
        .map(|(path, value)| Override { path: (*path).to_owned(), value: value.clone() })
        .collect();
    let text = builtin_text("tiny-4").expect("shipped");
    ChipDescription::from_toml_with(text, "tiny-4", &overrides).expect("valid")
}

/// A card without errors, or with all of them.
fn card(chip: &ChipDescription, terms: Terms) -> SimDevice {
    SimDevice::new(chip.clone(), SimOptions { seed: Seed(7), terms, record_timeline: true })
}

/// What a card makes of some vectors: outputs as bits, and its account.
fn on_card(
    card: &mut SimDevice,
    program: &Arc<VerifiedProgram>,
    inputs: &[f32],
    first_tag: u64,
) -> (Vec<u32>, litecore_hal::RunOutcome) {
    let image = card.load(Arc::clone(program)).expect("verified for this chip");
    let symbols = (inputs.len() / program.input_len()) as u64;
    let tags: Vec<SymbolTag> = (first_tag..first_tag + symbols).map(SymbolTag).collect();
    let request = RunRequest { image, tags: &tags, inputs };
    let outcome = card.run(&request).expect("a run");
    (bits(&outcome.outputs), outcome)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn executed(program: &VerifiedProgram, chip: &ChipDescription, inputs: &[f32]) -> Vec<u32> {
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    let mut space = Workspace::default();
    let converters = Converters::of(chip);
    execute(program, &mut Reference::new(converters), inputs, &mut slow, &mut space)
        .expect("finite");
    execute(program, &mut Fast::new(converters), inputs, &mut fast, &mut space).expect("finite");
    assert_eq!(bits(&slow), bits(&fast), "the reference and the fast path");
    bits(&slow)
}

fn chips() -> impl Strategy<Value = ChipDescription> {
    chips::settings().prop_map(|values| chip(&values))
}

/// An expert with Gaussian weights.
fn compiled(
    chip: &ChipDescription,
    width: usize,
    expert_width: usize,
    options: &CompileOptions,
) -> Arc<VerifiedProgram> {
    let count = width * expert_width;
    let [gate, up, down] = [1, 2, 3].map(|key| normals(key, count));
    let weights =
        ExpertWeights { name: "e", gate: &gate, up: &up, down: &down, width, expert_width };
    let compiled = compile_expert(chip, &weights, &[], options);
    Arc::new(compiled.unwrap_or_else(|error| panic!("{error}")).program)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn predicted_is_simulated_and_light_without_errors_is_the_reference(
        chip in chips(),
        width in 1_usize..24,
        expert_width in 1_usize..24,
        symbols_max in 1_u64..120,
        batch in proptest::option::of(1_u64..120),
        share in 0.0_f64..1.0,
    ) {
        let options = CompileOptions { symbols_max, batch, ..CompileOptions::default() };
        let program = compiled(&chip, width, expert_width, &options);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let some = (share * program.symbols_max as f64) as u64;
        let mut device = card(&chip, Terms::none());
        for symbols in [0, 1, some, program.symbols_max] {
            let x = normals(9, usize::try_from(symbols).expect("few") * width);
            let (light, outcome) = on_card(&mut device, &program, &x, 0);
            let prediction = predict(&program, &chip, symbols);
            prop_assert_eq!(outcome.cycles, prediction.cycles);
            prop_assert_eq!(outcome.energy.as_ref(), Some(&prediction.energy));
            let timeline = device.last_timeline().expect("recorded");
            for (played, added) in timeline.iter().zip(&prediction.spans) {
                let played = (played.dropped, played.start, played.busy_end, played.end);
                prop_assert_eq!(played, (added.dropped, added.start, added.busy_end, added.end));
            }
            prop_assert_eq!(light, executed(&program, &chip, &x));
        }
    }

    #[test]
    fn how_symbols_are_divided_changes_no_noise(
        width in 1_usize..20,
        expert_width in 1_usize..20,
        symbols in 1_usize..60,
        batches in (1_u64..100, 1_u64..100),
    ) {
        // Other plans, other parts, other orders of loads: the same noise for the same symbol.
        let chip = chip(&[("array.banks", "2".to_owned())]);
        let x = normals(9, symbols * width);
        let noisy = |batch| {
            let options =
                CompileOptions { symbols_max: 100, batch, ..CompileOptions::default() };
            let program = compiled(&chip, width, expert_width, &options);
            on_card(&mut card(&chip, Terms::all()), &program, &x, 40).0
        };
        let any = noisy(None);
        prop_assert_eq!(&noisy(Some(batches.0)), &any);
        prop_assert_eq!(&noisy(Some(batches.1)), &any);
    }
}

/// A layer of four outputs on four inputs, in two parts, packed in some way.
fn packed(packing: &str, codes: &str, outputs: usize) -> String {
    let ones = vec!["1"; outputs].join(" ");
    format!(
        "program \"packed\" chip=tiny-4 rows=4 columns=4 symbols_max=5 useful_macs=16
         buffer 0 f32 len=4 address=0
         buffer 1 code len=4 address=128
         buffer 2 f32 len=1 address=256
         buffer 3 accumulator len={outputs} address=384
         buffer 4 f32 len={outputs} address=768
         table 0 [{ones}]
         tile 0 {packing} [{codes}]
         step 0 move_in to=0
         step 1 load_bank array=0 bank=0 tile=0
         step 2 settle array=0 bank=0 after=1
         step 3 quantise from=0 to=1 scale=2 after=0
         step 4 stream array=0 bank=0 tile=0 from=1 from_offset=0 shift=5 to=3 to_offset=0 accumulate_shift=0 first=1 symbols=0..2 after=2,3
         step 5 stream array=0 bank=0 tile=0 from=1 from_offset=0 shift=5 to=3 to_offset=0 accumulate_shift=0 first=1 symbols=2..5 after=2,3
         step 6 dequantise from=3 scale=2 table=0 to=4 after=5
         step 7 move_out from=4 after=6
"
    )
}

#[test]
fn every_packing_means_its_matrix() {
    let chip =
        chip(&[("receiver.readout", "iq".to_owned()), ("receiver.gain_log2_max", "10".to_owned())]);
    let matrix = |inputs: usize, outputs: usize| -> Vec<Vec<i32>> {
        let code = |k: usize, j: usize| i32::try_from((k * 37 + j * 61) % 101).expect("small") - 50;
        (0..inputs).map(|k| (0..outputs).map(|j| code(k, j)).collect()).collect()
    };
    let x = normals(3, 5 * 4);
    for (packing, inputs, outputs, optical) in
        [("conjugate", 8, 4, 5), ("rows", 4, 8, 5), ("tokens", 4, 4, 1 + 2)]
    {
        let w = matrix(inputs, outputs);
        let row =
            |row: &Vec<i32>| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let codes = w.iter().map(row).collect::<Vec<_>>().join("; ");
        let text = packed(packing, &codes, outputs);
        let program: Program = text.parse().expect("a program");
        let again: Program = program.to_string().parse().expect("what is written is read");
        assert_eq!(again, program);
        let program = Arc::new(VerifiedProgram::new(program, &chip).expect("legal"));
        let found = executed(&program, &chip, &x);
        // By the definition: codes of the inputs, exact sums, rounded to 32.
        let mut expected = Vec::new();
        for x in x.chunks_exact(4) {
            let absmax = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            #[allow(clippy::cast_possible_truncation, reason = "codes are small")]
            let codes: Vec<i32> =
                x.iter().map(|x| (x * (127.0 / absmax)).round_ties_even() as i32).collect();
            for j in 0..outputs {
                let sum: i32 = codes.iter().zip(&w).map(|(x, row)| x * row[j]).sum();
                let read = (f64::from(sum) / 32.0).round_ties_even().clamp(-128.0, 127.0);
                #[allow(clippy::cast_possible_truncation, reason = "an eight-bit code")]
                expected.push((f32::from(read as i8) * (absmax / 127.0)).to_bits());
            }
        }
        assert_eq!(found, expected, "{packing}");
        let (light, outcome) = on_card(&mut card(&chip, Terms::none()), &program, &x, 0);
        assert_eq!(light, expected, "{packing} without errors");
        assert_eq!(outcome.cycles, predict(&program, &chip, 5).cycles);
        // Noise moves codes, but not far.
        let (noisy, _) = on_card(&mut card(&chip, Terms::all()), &program, &x, 0);
        assert_ne!(noisy, expected, "{packing} with errors");
        let power = |bits: &[u32], of: &dyn Fn(f64, f64) -> f64| -> f64 {
            let pairs = bits.iter().zip(&expected);
            pairs
                .map(|(a, b)| of(f64::from(f32::from_bits(*a)), f64::from(f32::from_bits(*b))))
                .sum()
        };
        let noise = power(&noisy, &|a, b| (a - b) * (a - b));
        let signal = power(&expected, &|a, _| a * a);
        assert!(noise < 0.01 * signal, "{packing}: {noise} of {signal}");
        // Two vectors share an optical symbol in `tokens`: the array is taken for half as long.
        let schedule = litecore_sim::events::simulate(&program, &chip, 5);
        let array = schedule.busy[&litecore_types::chip::timing::Engine::Array(0)];
        assert_eq!(array.0, 1 + optical, "{packing}");
    }
}
