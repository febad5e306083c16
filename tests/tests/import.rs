//! Imported models compute what the library they come from computed, and run on every executor.

use litecore_compiler::{CompileOptions, compile_model};
use litecore_hal::DeviceUri;
use litecore_model::{ModelConfig, RoutingRule, TierSet};
use litecore_runtime::{
    Executor, InputRecorder, IntegerExecutor, PhotonicExecutor, Sampling, Session, evaluate_tokens,
    generate_tokens,
};
use litecore_tests::original::{ImportedModel, Original};
use litecore_types::chip::{ChipDescription, builtin_text};
use std::collections::BTreeMap;
use std::path::Path;

/// The unit roundoff of single precision.
const ROUNDOFF: f64 = 1.0 / 16_777_216.0;

/// The most a logit may differ from the original's, as a share of the largest logit of its row.
///
/// Both round at every step, in different orders. Along the longest path of a forward pass there
/// are `n` roundings (a product of K terms has K of them); were they independent, each side would
/// be off by about √n roundoffs, and the two by √2 more. Three standard deviations are allowed.
/// Rotary angles come on top: the original computes them in single precision, so that at position
/// p they are off by up to p roundoffs of a radian, where ours are exact.
fn tolerance(config: &ModelConfig, position: usize) -> f64 {
    let attention = 2 * config.width
        + config.heads * config.head_width
        + config.head_width
        + position.min(config.attention_window);
    let widest = config.tiers.iter().map(|tier| tier.expert_width).max().unwrap_or(0);
    let taken = config.routing.experts_per_group + 1;
    let roundings = config.layers * (attention + 2 * config.width + widest + taken) + config.width;
    ROUNDOFF * (3.0 * 2_f64.sqrt() * (roundings as f64).sqrt() + position as f64)
}

/// Everything that was recorded of one model, against ours.
fn agrees(original: &Original) {
    let name = &original.name;
    let model = original.import();
    let tokenizer = model.checkpoint.tokenizer().expect("a tokenizer");
    let prompt = tokenizer.encode(original.text("prompt")).expect("tokens");
    assert_eq!(prompt.tokens, original.tokens("prompt_tokens"), "{name}");
    let text = tokenizer.encode(original.text("text")).expect("tokens");
    assert_eq!(text.tokens, original.tokens("text_tokens"), "{name}");

    // Greedy continuation, token by token through the cache.
    let continuation = original.tokens("continuation");
    let (mut executor, greedy) = (model.float(), Sampling::Greedy);
    let written = generate_tokens(
        &mut model.session(),
        &mut executor,
        &prompt.tokens,
        continuation.len(),
        greedy,
        &mut |_, _| (),
    );
    let written = written.expect("written");
    assert!(continuation.len() >= 32);
    assert_eq!(written.tokens, continuation, "{name}");
    let decoded = tokenizer.decode(&written.tokens).expect("text");
    assert_eq!(decoded, original.text("continuation_text"), "{name}");

    // Logits, in one go and therefore in other products than above.
    let logits = model.session().forward_tokens(&text.tokens, &mut executor).expect("logits");
    let mut worst = 0.0_f64;
    for (position, theirs) in original.logits() {
        let ours = &logits[position * model.config().vocab..][..model.config().vocab];
        let largest = theirs.iter().fold(0.0_f64, |most, l| most.max(f64::from(l.abs())));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let share = f64::from((ours - theirs).abs()) / largest;
            worst = worst.max(share / tolerance(model.config(), position));
        }
    }
    assert!(worst < 1.0, "{name}: a logit is off by {worst:.2} of what round-off explains");

    // Loss, likeliest tokens and routes of the text.
    let mut session = model.session();
    let bytes = (original.text("text").len() - text.unpredicted_bytes) as u64;
    let read = evaluate_tokens(&mut session, &mut executor, &text.tokens, bytes, &mut |_| ());
    let read = read.expect("read");
    let loss = read.bits_per_token * std::f64::consts::LN_2;
    let recorded = original.number("loss_nats_per_token_f64_sum").expect("a loss");
    assert!((loss / recorded - 1.0).abs() < 1e-6, "{name}: {loss} against {recorded}");
    let single = original.number("loss_nats_per_token").expect("a loss");
    assert!((loss / single - 1.0).abs() < 1e-5, "{name}: {loss} against {single}");
    let per_byte = read.bits_per_token * read.tokens as f64 / bytes as f64;
    assert!((read.bits_per_byte / per_byte - 1.0).abs() < 1e-12);
    let mut predicted = original.tokens("predicted");
    predicted.pop();
    assert_eq!(read.predicted, predicted, "{name}");
    same_routes(original, &model, &read.routes);
    eprintln!(
        "{name}: logits off by {worst:.3} of the tolerance, loss by {:.1e}",
        loss / recorded - 1.0
    );
}

fn same_routes(
    original: &Original,
    model: &ImportedModel,
    routes: &[litecore_runtime::RouteRecord],
) {
    let sparse: Vec<usize> =
        (0..model.config().layers).filter(|layer| model.config().is_routed(*layer)).collect();
    let mut ours: BTreeMap<(u32, u64), Vec<u16>> = BTreeMap::new();
    for record in routes {
        let experts = record.experts.iter().map(|key| key.expert).collect();
        ours.insert((record.layer, record.position), experts);
    }
    let theirs = original.experts();
    assert_eq!(theirs.len(), sparse.len(), "{}", original.name);
    for (layer, theirs) in sparse.into_iter().zip(theirs) {
        let layer = u32::try_from(layer).expect("a small model");
        // The last position predicts nothing that could be judged, and is not read.
        for (position, theirs) in (0..).zip(&theirs[..theirs.len() - 1]) {
            let ours = &ours[&(layer, position)];
            assert_eq!(ours, theirs, "{} layer {layer} position {position}", original.name);
        }
    }
}

#[test]
fn imported_models_compute_what_the_original_computed() {
    let originals = Original::all();
    let families: Vec<&str> =
        originals.iter().map(|o| o.name.split('-').next().expect("a family")).collect();
    for family in
        ["llama", "llama3", "mistral", "qwen2", "qwen3", "mixtral", "qwen2moe", "qwen3moe", "olmoe"]
    {
        assert!(families.contains(&family), "no recorded model of {family}");
    }
    originals.iter().for_each(agrees);
}

#[test]
#[ignore = "reads the folder that `make.py OUT --sweep N` filled, named by LITECORE_IMPORT_SWEEP"]
fn so_do_random_configurations_of_every_family() {
    let folder = std::env::var_os("LITECORE_IMPORT_SWEEP").expect("the folder of the sweep");
    let originals = Original::all_in(Path::new(&folder));
    assert!(!originals.is_empty());
    originals.iter().for_each(agrees);
}

#[test]
fn a_token_that_ends_a_text_ends_it() {
    let originals = Original::all();
    let original = originals.iter().find(|original| original.length("ends_after").is_some());
    let original = original.expect("a recorded text that ends");
    let model = original.import();
    let dense = litecore_runtime::DenseModel::from_checkpoint(&model.checkpoint).expect("dense");
    let mask = TierSet::All.resolve(dense.config()).expect("tiers");
    let mut session = Session::new(&dense, mask, dense.config().routing.seed, 0);
    let written = generate_tokens(
        &mut session,
        &mut model.float(),
        &original.tokens("prompt_tokens"),
        48,
        Sampling::Greedy,
        &mut |_, _| (),
    );
    let length = original.length("ends_after").expect("a length");
    assert_eq!(written.expect("written").tokens, original.tokens("continuation")[..length]);
}

#[test]
fn chunks_change_no_bit_of_an_imported_model() {
    // Sliding layers, a shared expert, dense layers; more positions than a block of S2(256) has.
    for original in Original::all() {
        if !matches!(original.name.as_str(), "qwen2moe-norm" | "mistral" | "qwen3moe-mixed") {
            continue;
        }
        let model = original.import();
        let text = original.tokens("text_tokens");
        let read = |sizes: &[usize]| {
            let (mut session, mut executor) = (model.session(), model.float());
            let (mut rest, mut bits) = (text.as_slice(), Vec::new());
            for size in sizes.iter().cycle() {
                let (chunk, more) = rest.split_at((*size).min(rest.len()));
                let logits = session.forward_tokens(chunk, &mut executor).expect("logits");
                bits.extend(logits.iter().map(|logit| logit.to_bits()));
                rest = more;
                if rest.is_empty() {
                    return (bits, session.take_routes());
                }
            }
            unreachable!("the text is finite")
        };
        let whole = read(&[text.len()]);
        assert!(whole == read(&[1]), "{}", original.name);
        assert!(whole == read(&[7, 64, 3]), "{}", original.name);
    }
}

#[test]
fn experts_of_imported_models_run_on_every_executor() {
    let chip_text = builtin_text("ref-64-eo").expect("a shipped chip");
    let chip = ChipDescription::from_toml(chip_text, "ref-64-eo").expect("a valid chip");
    for original in Original::all() {
        if !matches!(original.name.as_str(), "qwen2moe" | "olmoe" | "mixtral" | "llama3") {
            continue;
        }
        let model = original.import();
        let text = &original.tokens("text_tokens")[..96];
        let mut float = model.float();
        let mut recorder = InputRecorder::new(&mut float, 32);
        let truth = model.session().forward_tokens(text, &mut recorder).expect("logits");
        let inputs = recorder.into_inputs();
        let compiled = compile_model(
            &chip,
            chip_text,
            &model.checkpoint,
            &|layer, key| inputs.get(&(layer, key)).cloned().unwrap_or_default(),
            &CompileOptions::default(),
            &mut |_, _| (),
        )
        .expect("compiled");
        let config = model.config();
        let experts: usize = (0..config.layers).map(|layer| config.experts_in(layer).count()).sum();
        assert_eq!(compiled.experts.len(), experts, "shared and dense experts too");

        let run = |executor: &mut dyn Executor| {
            model.session().forward_tokens(text, executor).expect("logits")
        };
        let cpu = run(&mut IntegerExecutor::cpu(&compiled));
        assert!(bits(&cpu) == bits(&run(&mut IntegerExecutor::reference(&compiled))));
        let device = |uri: &str| {
            let uri: DeviceUri = uri.parse().expect("an address");
            let device = Box::new(litecore_sim::open(&uri).expect("the simulator"));
            PhotonicExecutor::new(&compiled, device).expect("loaded")
        };
        assert!(bits(&cpu) == bits(&run(&mut device("sim:ref-64-eo?noise=off"))));
        let noisy = run(&mut device("sim:ref-64-eo"));
        assert!(bits(&cpu) != bits(&noisy), "noise matters");
        // Eight-bit codes: the logits keep their shape, noise takes a little more of it.
        let snr = |found: &[f32]| {
            let (mut signal, mut error) = (0.0_f64, 0.0_f64);
            for (truth, found) in truth.iter().zip(found) {
                signal += f64::from(*truth) * f64::from(*truth);
                let difference = f64::from(truth - found);
                error += difference * difference;
            }
            signal / error
        };
        eprintln!("{}: SNR {:.0} exact, {:.0} noisy", original.name, snr(&cpu), snr(&noisy));
        assert!(snr(&cpu) > 100.0, "{}: {}", original.name, snr(&cpu));
    }
}

#[test]
fn tier_sets_do_not_take_away_what_every_token_takes() {
    let originals = Original::all();
    let original = originals.iter().find(|o| o.name == "qwen2moe").expect("recorded");
    let model = original.import();
    let config = model.config();
    assert_eq!(config.routing.rule, RoutingRule::Flat { normalized: false });
    let text = &original.tokens("text_tokens")[..20];
    let whole = model.session().forward_tokens(text, &mut model.float()).expect("logits");
    let routed: TierSet = "experts".parse().expect("a set");
    let mask = routed.resolve(config).expect("a tier");
    let mut session = Session::new(&model.dense, mask, config.routing.seed, 0);
    let logits = session.forward_tokens(text, &mut model.float()).expect("logits");
    assert!(bits(&whole) == bits(&logits));
    // Without the routed tier nothing is left to choose from, and that is said.
    let mask = "shared".parse::<TierSet>().expect("a set").resolve(config).expect("a tier");
    let mut session = Session::new(&model.dense, mask, config.routing.seed, 0);
    let error = session.forward_tokens(text, &mut model.float()).expect_err("nothing to choose");
    assert!(error.to_string().contains("no tier is allowed"), "{error}");
}

#[test]
fn bytes_and_tokens_beyond_the_vocabulary_are_refused() {
    let originals = Original::all();
    let model = originals[0].import();
    let error = model.session().forward(b"text", &mut model.float()).expect_err("no bytes");
    assert!(error.to_string().contains("vocabulary of 288"), "{error}");
    let error = model.session().forward_tokens(&[5, 288], &mut model.float()).expect_err("none");
    assert!(error.to_string().contains("no token 288: the model has 288"), "{error}");
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}
