//! Every executor on the embedded model: equal where it must be, different where it must be.

use litecore_bench::expert_noise::NoisePredictor;
use litecore_hal::DeviceUri;
use litecore_kernels::program::{Converters, Fast, Reference};
use litecore_model::{TierMask, TierSet};
use litecore_runtime::{
    Executor, Generated, IntegerExecutor, Measured, PhotonicExecutor, Sampling, Session, evaluate,
    generate,
};
use litecore_sim::{SimDevice, SimOptions, Term, Terms};
use litecore_tests::Fixture;
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Override};
use litecore_types::program::Packing;

const PROMPT: &[u8] = b"Q: What is a dark current?\nA:";
const TEXT: &[u8] = b"Q: What is shot noise?\nA: The randomness of single electrons.\n\n\
    channel 7: 0.312 mW at 25.1 C\n12 + 30 = 42\nfn settle(cycles: u64) -> u64 { cycles + 1 }\n";

/// A continuation and the logits each byte was chosen from.
struct Written {
    generated: Generated,
    logits: Vec<f32>,
}

fn write(fixture: &Fixture, executor: &mut dyn Executor, tiers: &TierSet) -> Written {
    let mask = tiers.resolve(fixture.dense.config()).expect("known tiers");
    let mut session = Session::new(&fixture.dense, mask, Seed(11), 0);
    let mut logits = Vec::new();
    let generated =
        generate(&mut session, executor, PROMPT, 40, Sampling::Greedy, &mut |_, row| {
            logits.extend_from_slice(row);
        })
        .expect("written");
    Written { generated, logits }
}

fn photonic(fixture: &Fixture, uri: &str) -> PhotonicExecutor {
    let uri: DeviceUri = uri.parse().expect("an address");
    let device = Box::new(litecore_sim::open(&uri).expect("the simulator"));
    PhotonicExecutor::new(&fixture.compiled, device).expect("loaded")
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

#[track_caller]
fn assert_same(left: &Written, right: &Written) {
    assert_eq!(left.generated.bytes, right.generated.bytes);
    assert_eq!(bits(&left.logits), bits(&right.logits));
    assert_eq!(left.generated.routes, right.generated.routes);
}

#[test]
fn cpu_and_silent_light_equal_the_reference_bit_for_bit() {
    let fixture = Fixture::embedded("ref-64-eo");
    for tiers in
        [TierSet::All, "small".parse().expect("a set"), "..=medium".parse().expect("a set")]
    {
        let reference = write(&fixture, &mut IntegerExecutor::reference(&fixture.compiled), &tiers);
        let cpu = write(&fixture, &mut IntegerExecutor::cpu(&fixture.compiled), &tiers);
        let silent = write(&fixture, &mut photonic(&fixture, "sim:ref-64-eo?noise=off"), &tiers);
        assert_same(&cpu, &reference);
        assert_same(&silent, &reference);
        assert_eq!(reference.generated.bytes.len(), 40);
        assert_eq!(reference.logits.len(), 40 * 256);
    }
}

#[test]
fn noisy_light_differs_and_another_chip_differs_again() {
    let fixture = Fixture::embedded("ref-64-eo");
    let cpu = write(&fixture, &mut IntegerExecutor::cpu(&fixture.compiled), &TierSet::All);
    let one = write(&fixture, &mut photonic(&fixture, "sim:ref-64-eo?seed=1"), &TierSet::All);
    let two = write(&fixture, &mut photonic(&fixture, "sim:ref-64-eo?seed=2"), &TierSet::All);
    assert_ne!(bits(&one.logits), bits(&cpu.logits));
    assert_ne!(bits(&one.logits), bits(&two.logits));
}

#[test]
fn the_answer_is_frozen() {
    let fixture = Fixture::embedded("ref-64-eo");
    let hash = |written: &Written| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&written.generated.bytes);
        for logit in &written.logits {
            hasher.update(&logit.to_bits().to_le_bytes());
        }
        for route in &written.generated.routes {
            for key in &route.experts {
                hasher.update(&[key.tier, key.group, key.expert].map(u16::to_le_bytes).concat());
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    };
    let float = hash(&write(&fixture, &mut fixture.float(), &TierSet::All));
    let cpu = hash(&write(&fixture, &mut IntegerExecutor::cpu(&fixture.compiled), &TierSet::All));
    let light =
        hash(&write(&fixture, &mut photonic(&fixture, "sim:ref-64-eo?seed=7"), &TierSet::All));
    // Change these only with a decision record that says why the same model answers differently.
    let frozen = include_str!("../golden/executors.txt");
    assert_eq!(format!("f32 {float}\ncpu {cpu}\nphotonic-seed-7 {light}\n"), frozen);
}

/// The routes and logits of a text, fed in pieces of `chunk` bytes.
fn read(fixture: &Fixture, executor: &mut dyn Executor, chunk: usize) -> (Vec<u32>, String) {
    let mask = TierMask::all(fixture.dense.config());
    let mut session = Session::new(&fixture.dense, mask, Seed(11), 0);
    let mut logits = Vec::new();
    for piece in TEXT.chunks(chunk) {
        logits.extend(session.forward(piece, executor).expect("read"));
    }
    (bits(&logits), format!("{:?}", session.take_routes()))
}

#[test]
fn chunks_threads_and_batches_change_nothing() {
    let fixture = Fixture::embedded("ref-64-eo");
    let mut executors: Vec<Box<dyn Fn() -> Box<dyn Executor> + Sync>> = vec![
        Box::new(|| Box::new(fixture.float())),
        Box::new(|| Box::new(IntegerExecutor::cpu(&fixture.compiled))),
    ];
    executors.push(Box::new(|| Box::new(photonic(&fixture, "sim:ref-64-eo?seed=3"))));
    for make in &executors {
        // One token at a time is a different path through every kernel than all at once.
        let one_by_one = read(&fixture, make().as_mut(), 1);
        for chunk in [7, TEXT.len()] {
            assert!(read(&fixture, make().as_mut(), chunk) == one_by_one, "chunks of {chunk}");
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            let all = pool.install(|| read(&fixture, make().as_mut(), TEXT.len()));
            assert!(all == one_by_one, "{threads} threads");
        }
    }
}

/// Both quadratures read, and arrays so large that two vectors share a symbol.
#[test]
fn chunks_change_nothing_where_vectors_share_symbols() {
    let text = litecore_types::chip::builtin_text("ref-64-eo").expect("shipped");
    let text = text
        .replace("\ninputs = 64", "\ninputs = 128")
        .replace("\noutputs = 64", "\noutputs = 128")
        .replace("readout = \"i\"", "readout = \"iq\"")
        .replace("power_w = { value = 0.5,", "power_w = { value = 0.02,");
    let fixture = Fixture::embedded_on(&text);
    let programs = fixture.compiled.experts.values();
    let mut packings = programs.flat_map(|program| program.tiles.iter().map(|tile| tile.packing));
    assert!(packings.any(|packing| packing == Packing::Tokens), "the compiler takes pairs");
    let device = || {
        let options = SimOptions { seed: Seed(3), terms: Terms::all(), record_timeline: false };
        Box::new(SimDevice::new(fixture.chip.clone(), options))
    };
    let light = || PhotonicExecutor::new(&fixture.compiled, device()).expect("loaded");
    let one_by_one = read(&fixture, &mut light(), 1);
    for chunk in [2, 5, 11, TEXT.len()] {
        assert!(read(&fixture, &mut light(), chunk) == one_by_one, "chunks of {chunk}");
    }
    let silent = read(&fixture, &mut IntegerExecutor::cpu(&fixture.compiled), TEXT.len());
    assert!(silent != one_by_one, "there is noise");
}

#[test]
fn predicted_cycles_are_simulated_cycles() {
    let fixture = Fixture::embedded("ref-64-eo");
    let mut executor = photonic(&fixture, "sim:ref-64-eo");
    write(&fixture, &mut executor, &TierSet::All);
    read(&fixture, &mut executor, 50);
    let account = executor.account();
    assert!(account.runs > 300, "{}", account.runs);
    assert_eq!(account.cycles, account.cycles_predicted);
}

#[test]
fn the_model_learnt_and_light_keeps_it() {
    let fixture = Fixture::embedded("ref-64-eo");
    let heldout = litecore_train::corpus::embedded_heldout_text();
    let text = &heldout.as_bytes()[..3000];
    let score = |executor: &mut dyn Executor| {
        let mask = TierMask::all(fixture.dense.config());
        let mut session = Session::new(&fixture.dense, mask, Seed(0), 0);
        evaluate(&mut session, executor, text, &mut |_| ()).expect("read").bits_per_byte
    };
    let float = score(&mut fixture.float());
    let cpu = score(&mut IntegerExecutor::cpu(&fixture.compiled));
    let light = score(&mut photonic(&fixture, "sim:ref-64-eo?seed=4"));
    let bigram = litecore_train::bigram::bits_per_byte(
        litecore_train::corpus::embedded_training_text().as_bytes(),
        text,
    );
    assert!(float < 0.3 * bigram, "{float} bits per byte, a bigram model has {bigram}");
    assert!((cpu / float - 1.0).abs() < 0.01, "8-bit codes cost {cpu} against {float}");
    assert!((light / float - 1.0).abs() < 0.03, "noise costs {light} against {float}");
}

#[test]
fn codes_cost_what_eight_bits_cost() {
    let fixture = Fixture::embedded("ref-64-eo");
    let mut float = fixture.float();
    let mut integer = IntegerExecutor::reference(&fixture.compiled);
    let mut cpu = IntegerExecutor::cpu(&fixture.compiled);
    let mut measured = Measured::new(&mut cpu, Some(&mut float), &mut integer);
    read(&fixture, &mut measured, TEXT.len());
    for fidelity in measured.layers().values() {
        assert_eq!(fidelity.to_integer.snr_rms_db(), None, "cpu equals the reference");
        let quantised = fidelity.to_float.snr_rms_db().expect("codes are not floats");
        // Three roundings to 8 bits at 4 to 6 sigma load leave 25 to 35 dB.
        assert!((23.0..38.0).contains(&quantised), "{quantised} dB");
    }
}

#[test]
fn noise_on_experts_is_what_the_budget_predicts() {
    for (chip, seed) in [("ref-64-eo", 1), ("ref-64-eo", 2), ("ref-64-eo", 3), ("ref-64-os", 1)] {
        let fixture = Fixture::embedded(chip);
        let mut float = fixture.float();
        let mut predictor = NoisePredictor::new(&fixture.compiled, Terms::all());
        let mut light = photonic(&fixture, &format!("sim:{chip}?seed={seed}"));
        let mut measured = Measured::new(&mut light, Some(&mut float), &mut predictor);
        read(&fixture, &mut measured, TEXT.len());
        let layers = measured.layers().clone();
        for (layer, fidelity) in &layers {
            let found = fidelity.to_integer.snr_rms_db().expect("noise");
            let predicted = predictor.layers()[layer].snr_rms_db().expect("a prediction");
            // First order, no clipping, one chip's cells: a decibel.
            let difference = found - predicted;
            let off = format!("{chip}, layer {layer}: {found:.2} dB, not {predicted:.2} dB");
            assert!(difference.abs() < 1.0, "{off}");
        }
    }
}

#[test]
fn light_without_errors_is_exact_through_the_optics_too() {
    // With every term off the device may take the integer path. A cell error too small to be
    // seen sends the same codes through the optical one: effective tiles, sums, converter.
    let fixture = Fixture::embedded("ref-64-eo");
    let set = |path: &str| Override { path: path.to_owned(), value: "1e-9".to_owned() };
    let text = litecore_types::chip::builtin_text("ref-64-eo").expect("shipped");
    let chip = ChipDescription::from_toml_with(text, "test", &[set("cell.amplitude_error")]);
    let terms = Terms::only(Term::CellAmplitude);
    let options = SimOptions { seed: Seed(1), terms, record_timeline: false };
    let device = SimDevice::new(chip.expect("valid"), options);
    let mut light = PhotonicExecutor::new(&fixture.compiled, Box::new(device)).expect("loaded");
    let light = write(&fixture, &mut light, &TierSet::All);
    let cpu = write(&fixture, &mut IntegerExecutor::cpu(&fixture.compiled), &TierSet::All);
    assert_same(&light, &cpu);
}

#[test]
fn both_arithmetics_come_from_one_description() {
    // A guard against a fast path that ignores the chip: other converters, other answers.
    let fixture = Fixture::embedded("ref-64-eo");
    let narrow = Converters { input_limit: 7, adc_bits: 5 };
    let program = fixture.compiled.experts.values().next().expect("an expert");
    let inputs: Vec<f32> = (0..program.input_len()).map(|i| i as f32 / 50.0 - 1.0).collect();
    let run = |converters: Converters| {
        let (mut slow, mut fast) = (Vec::new(), Vec::new());
        let mut space = litecore_kernels::program::Workspace::default();
        let mut reference = Reference::new(converters);
        litecore_kernels::program::execute(program, &mut reference, &inputs, &mut slow, &mut space)
            .expect("executed");
        let mut quick = Fast::new(converters);
        litecore_kernels::program::execute(program, &mut quick, &inputs, &mut fast, &mut space)
            .expect("executed");
        assert_eq!(bits(&slow), bits(&fast));
        slow
    };
    assert_ne!(bits(&run(narrow)), bits(&run(Converters::of(&fixture.chip))));
}
