//! The trained bits are a fixed function of recipe and text: compared with a frozen digest, under
//! several numbers of threads.

mod recipe;

use litecore_train::{TrainingText, corpus, train};

/// BLAKE3 over the bits of all tensors in name order.
fn digest(threads: usize) -> String {
    let training = corpus::generate(3, corpus::Kind::FactProse, 20_000);
    let text = TrainingText { training: training.as_bytes(), heldout: &[] };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool starts");
    let model = pool.install(|| train(&recipe::tiny(12), &text, &mut |_| {})).expect("it trains");
    let mut hasher = blake3::Hasher::new();
    for (name, tensor) in &model.tensors {
        hasher.update(name.as_bytes());
        for value in &tensor.data {
            hasher.update(&value.to_bits().to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

const FROZEN: &str = "17a78fcfbcf993d83d11a5c6fa57687541181ddd36cb5f08215aff70d5147468";

#[test]
fn one_thread_gives_the_frozen_weights() {
    assert_eq!(digest(1), FROZEN);
}

#[test]
fn two_threads_give_the_frozen_weights() {
    assert_eq!(digest(2), FROZEN);
}

#[test]
fn three_threads_give_the_frozen_weights() {
    assert_eq!(digest(3), FROZEN);
}
