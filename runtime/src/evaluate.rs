//! Measuring a model on text: bits per byte, and agreement with another executor.

use crate::executor::Executor;
use crate::generate::{argmax, byte_of};
use crate::{RouteRecord, RuntimeError, Session};
use litecore_kernels::math;

/// What an executor made of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Bytes that were predicted: all but the first.
    pub bytes: u64,
    /// Mean of `-log2 p(byte)`.
    pub bits_per_byte: f64,
    /// The likeliest next byte at every position.
    pub predicted: Vec<u8>,
    /// The experts of every position.
    pub routes: Vec<RouteRecord>,
}

/// Bytes fed at a time. It bounds memory and changes no bit of the result.
const CHUNK: usize = 128;

/// Reads `text` from its first byte and scores the prediction of each following one.
///
/// `on_progress` is told how many bytes are done.
/// Errors: a text shorter than two bytes, or a failure on the way.
pub fn evaluate(
    session: &mut Session<'_>,
    executor: &mut dyn Executor,
    text: &[u8],
    on_progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, RuntimeError> {
    if text.len() < 2 {
        return Err(RuntimeError::TextTooShort { bytes: text.len() });
    }
    let inputs = &text[..text.len() - 1];
    let mut nats = 0.0;
    let mut predicted = Vec::with_capacity(inputs.len());
    for (start, chunk) in (0..).step_by(CHUNK).zip(inputs.chunks(CHUNK)) {
        let logits = session.forward(chunk, executor)?;
        let vocab = logits.len() / chunk.len();
        for (offset, row) in logits.chunks_exact(vocab).enumerate() {
            let target = usize::from(text[start + offset + 1]);
            if let Some(index) = row.iter().position(|logit| logit.is_nan()) {
                let position = (start + offset) as u64;
                return Err(RuntimeError::LogitNotANumber { index, position });
            }
            nats += surprise(row, target);
            predicted.push(byte_of(argmax(row)));
        }
        on_progress(start + chunk.len());
    }
    let bytes = inputs.len() as u64;
    let bits_per_byte = nats / std::f64::consts::LN_2 / bytes as f64;
    Ok(Evaluation { bytes, bits_per_byte, predicted, routes: session.take_routes() })
}

/// `-ln softmax(logits)[target]`, in f64 from f32 exponentials.
fn surprise(logits: &[f32], target: usize) -> f64 {
    let largest = logits[argmax(logits)];
    let sum: f64 = logits.iter().map(|logit| f64::from(math::exp(logit - largest))).sum();
    pxfm::f_log(sum) - f64::from(logits[target] - largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_the_negative_log_of_the_share() {
        let logits = [0.1, 0.2, 0.7].map(math::ln);
        assert!((surprise(&logits, 1) - 1.609_437_9).abs() < 1e-6);
        // A shift of all logits changes nothing.
        let shifted = logits.map(|logit| logit + 50.0);
        assert!((surprise(&shifted, 1) - 1.609_437_9).abs() < 1e-5);
    }
}
