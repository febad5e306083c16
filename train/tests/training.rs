//! Training runs: what they learn, what they report, and how they fail.

mod recipe;

use std::collections::BTreeMap;

use litecore_model::checkpoint::{Checkpoint, Dtype, encode};
use litecore_model::{TierMask, TierSet};
use litecore_train::{
    StepReport, TrainError, TrainOffence, Trainer, TrainingText, bigram, logits, train,
};

/// After `a` comes `b` or `c` in turn: one byte of context leaves half a bit per byte, two bytes
/// leave nothing.
fn alternating(bytes: usize) -> Vec<u8> {
    b"abac".iter().copied().cycle().take(bytes).collect()
}

#[test]
fn attention_learns_what_bigrams_cannot() {
    let (training, heldout) = (alternating(2000), alternating(400));
    let text = TrainingText { training: &training, heldout: &heldout };
    let baseline = bigram::bits_per_byte(&training, &heldout);
    assert!((0.5..0.6).contains(&baseline), "{baseline}");

    let mut reports: Vec<StepReport> = Vec::new();
    let model = train(&recipe::tiny(60), &text, &mut |report| reports.push(report.clone()))
        .expect("it trains");
    let (first, last) = (&reports[0], &reports[59]);
    // An untrained model takes all bytes for about equally likely: ln 256 is 5.55.
    assert!((5.0..6.5).contains(&first.loss_nats), "{}", first.loss_nats);
    assert!(last.loss_nats < 0.1, "{}", last.loss_nats);
    let bits = last.heldout_bits_per_byte.expect("the last step is judged");
    assert!(bits < 0.2, "{bits}");

    assert_eq!((last.step, last.steps, last.tokens), (60, 60, 60 * 6 * 48));
    assert!(reports[..59].iter().all(|report| report.heldout_bits_per_byte.is_none()));
    assert!(reports.iter().all(|report| report.gradient_norm > 0.0 && report.balance_nats >= 0.0));
    assert!(
        model.tensors.values().all(|t| t.is_consistent() && t.data.iter().all(|v| v.is_finite()))
    );
}

/// The trainer's own judgement against logits of a checkpoint that was written and read again.
#[test]
fn heldout_bits_are_those_of_the_written_checkpoint() {
    let (training, heldout) = (alternating(500), alternating(100));
    let config = recipe::tiny(8);
    let mut trainer =
        Trainer::new(&config, &TrainingText { training: &training, heldout: &heldout })
            .expect("the recipe is valid");
    while !trainer.is_done() {
        trainer.step().expect("it trains");
    }
    let model = trainer.model();
    let files = encode(&model.config, &model.tensors, Dtype::Bf16, &BTreeMap::new())
        .expect("the tensors fit");
    let files: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
    let checkpoint = Checkpoint::from_bytes(&files).expect("it can be read");
    let tensors = checkpoint.tensors_f32().expect("it can be read");
    for tiers in ["all", "small", "large"] {
        let tiers: TierSet = tiers.parse().expect("a tier set");
        let mask = tiers.resolve(&model.config).expect("known tiers");
        // Two whole windows of 48 and one of three.
        let mut bits = 0.0;
        for (start, end) in [(0, 48), (48, 96), (96, 99)] {
            let rows =
                logits(&model.config, &tensors, &mask, &heldout[start..end]).expect("logits");
            let targets = &heldout[start + 1..=end];
            bits += rows.chunks_exact(256).zip(targets).map(|(r, &t)| surprise(r, t)).sum::<f64>();
        }
        let found = trainer.heldout_bits_per_byte(&tiers, usize::MAX).expect("it judges");
        assert!((found - bits / 99.0).abs() < 1e-5, "{tiers}: {found}, not {}", bits / 99.0);
    }
}

/// In bits, summed in f64.
fn surprise(row: &[f32], target: u8) -> f64 {
    let sum: f64 = row.iter().map(|&logit| pxfm::f_exp(f64::from(logit))).sum();
    pxfm::f_log2(sum) - f64::from(row[usize::from(target)]) / std::f64::consts::LN_2
}

#[test]
fn a_text_must_fill_one_sequence_and_a_byte() {
    let config = recipe::tiny(1);
    let text = alternating(49);
    for bytes in [0, 1, 48] {
        let text = TrainingText { training: &text[..bytes], heldout: &[] };
        let error = train(&config, &text, &mut |_| {}).expect_err("it is too short");
        assert_eq!(error, TrainError::TextTooShort { bytes, needed: 49 });
    }
    for (heldout, judged) in [(0, false), (1, false), (2, true)] {
        let mut found = None;
        let text = TrainingText { training: &text, heldout: &text[..heldout] };
        train(&config, &text, &mut |report| found = report.heldout_bits_per_byte)
            .expect("49 bytes are enough");
        assert_eq!(found.is_some(), judged, "{heldout} held-out bytes");
    }
}

#[test]
fn an_invalid_recipe_does_not_start() {
    let text = alternating(100);
    let text = TrainingText { training: &text, heldout: &[] };
    let error = train(&recipe::tiny(0), &text, &mut |_| {}).expect_err("no steps");
    let TrainError::Config(invalid) = error else { panic!("{error}") };
    assert!(matches!(invalid.offences[..], [TrainOffence::CountOutOfRange { field: "steps", .. }]));
}

/// Weight decay of ten at a rate of one makes every weight minus nine times itself in each step.
#[test]
fn weights_that_leave_the_numbers_are_an_error() {
    let mut config = recipe::tiny(100);
    (config.learning_rate, config.weight_decay, config.warmup) = (1.0, 10.0, 0);
    let text = alternating(100);
    let text = TrainingText { training: &text, heldout: &[] };
    let mut steps = 0;
    let error = train(&config, &text, &mut |_| steps += 1).expect_err("it diverges");
    let (TrainError::Diverged { step, .. } | TrainError::Routing { step, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(step, steps + 1);
    assert!(error.to_string().contains("lower `learning_rate`"), "{error}");
}

#[test]
fn an_unknown_tier_is_not_judged() {
    let text = alternating(100);
    let text = TrainingText { training: &text, heldout: &text };
    let trainer = Trainer::new(&recipe::tiny(1), &text).expect("the recipe is valid");
    let tiers: TierSet = "huge".parse().expect("a tier set");
    let error = trainer.heldout_bits_per_byte(&tiers, 10).expect_err("no such tier");
    assert!(matches!(error, TrainError::UnknownTier(_)), "{error}");
}

#[test]
fn logits_refuse_what_they_cannot_judge() {
    let text = alternating(100);
    let text = TrainingText { training: &text, heldout: &[] };
    let model = Trainer::new(&recipe::tiny(1), &text).expect("the recipe is valid").model();
    let mask = TierMask::all(&model.config);
    let ask = |bytes: &[u8]| logits(&model.config, &model.tensors, &mask, bytes);
    assert_eq!(ask(&[7; 48]).expect("a whole window").len(), 48 * 256);
    assert_eq!(ask(&[]), Err(TrainError::SequenceLength { bytes: 0, maximum: 48 }));
    assert_eq!(ask(&[7; 49]), Err(TrainError::SequenceLength { bytes: 49, maximum: 48 }));

    let mut tensors = model.tensors.clone();
    tensors.remove("head.weight");
    let missing = logits(&model.config, &tensors, &mask, b"a");
    assert_eq!(missing, Err(TrainError::Tensor { tensor: "head.weight".to_owned() }));

    let mut config = model.config.clone();
    config.heads = 0;
    let invalid = logits(&config, &model.tensors, &mask, b"a");
    assert!(matches!(invalid, Err(TrainError::Config(_))), "{invalid:?}");
}

/// Later bytes cannot change what was said about earlier ones, to the bit.
#[test]
fn logits_do_not_look_ahead() {
    let text = alternating(100);
    let text = TrainingText { training: &text, heldout: &[] };
    let model = Trainer::new(&recipe::tiny(1), &text).expect("the recipe is valid").model();
    let mask = TierMask::all(&model.config);
    let bits = |bytes: &[u8]| -> Vec<u32> {
        let logits = logits(&model.config, &model.tensors, &mask, bytes).expect("logits");
        logits.iter().map(|logit| logit.to_bits()).collect()
    };
    let (whole, start, other) = (bits(b"a coherent array"), bits(b"a co"), bits(b"a code"));
    assert_eq!(whole[..4 * 256], start[..]);
    assert_ne!(whole[4 * 256..6 * 256], other[4 * 256..]);
}
