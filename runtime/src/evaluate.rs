//! Measuring a model on text: bits per byte and token, and agreement with another executor.

use crate::executor::Executor;
use crate::generate::{argmax, token_of};
use crate::session::bytes_as_tokens;
use crate::{RouteRecord, RuntimeError, Session};
use litecore_kernels::math;

/// What an executor made of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Tokens that were predicted: all but the first.
    pub tokens: u64,
    /// Mean of `-log2 p(token)`.
    pub bits_per_token: f64,
    /// Bytes of the text in the tokens that were predicted.
    pub bytes: u64,
    /// Sum of `-log2 p(token)` over `bytes`.
    pub bits_per_byte: f64,
    /// The likeliest next token at every position.
    pub predicted: Vec<u32>,
    /// The experts of every position.
    pub routes: Vec<RouteRecord>,
}

/// Tokens fed at a time. It bounds memory and changes no bit of the result.
const CHUNK: usize = 128;

/// Reads `text` from its first byte and scores the prediction of each following one.
///
/// `on_progress` is told how many bytes are done.
/// Errors: a text shorter than two bytes, a model whose tokens are no bytes, or a failure on the
/// way.
pub fn evaluate(
    session: &mut Session<'_>,
    executor: &mut dyn Executor,
    text: &[u8],
    on_progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, RuntimeError> {
    let tokens = bytes_as_tokens(session.model(), text)?;
    evaluate_tokens(session, executor, &tokens, text.len().saturating_sub(1) as u64, on_progress)
}

/// Reads tokens from the first and scores the prediction of each following one.
///
/// `bytes` is the length of the text in the tokens after the first; `on_progress` is told how many
/// tokens are done.
/// Errors: fewer than two tokens, or a failure on the way.
pub fn evaluate_tokens(
    session: &mut Session<'_>,
    executor: &mut dyn Executor,
    text: &[u32],
    bytes: u64,
    on_progress: &mut dyn FnMut(usize),
) -> Result<Evaluation, RuntimeError> {
    if text.len() < 2 {
        return Err(RuntimeError::TextTooShort { bytes: text.len() });
    }
    let inputs = &text[..text.len() - 1];
    let mut nats = 0.0;
    let mut predicted = Vec::with_capacity(inputs.len());
    for (start, chunk) in (0..).step_by(CHUNK).zip(inputs.chunks(CHUNK)) {
        let logits = session.forward_tokens(chunk, executor)?;
        let vocab = logits.len() / chunk.len();
        for (offset, row) in logits.chunks_exact(vocab).enumerate() {
            let position = (start + offset) as u64;
            let target = text[start + offset + 1];
            if let Some(index) = row.iter().position(|logit| logit.is_nan()) {
                return Err(RuntimeError::LogitNotANumber { index, position });
            }
            if target as usize >= vocab {
                return Err(RuntimeError::UnknownToken { token: target, vocab });
            }
            nats += surprise(row, target as usize);
            predicted.push(token_of(argmax(row)));
        }
        on_progress(start + chunk.len());
    }
    let bits = nats / std::f64::consts::LN_2;
    let tokens = inputs.len() as u64;
    Ok(Evaluation {
        tokens,
        bits_per_token: bits / tokens as f64,
        bytes,
        bits_per_byte: bits / bytes.max(1) as f64,
        predicted,
        routes: session.take_routes(),
    })
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
