//! Writing text: one token after another.

use crate::executor::{Account, Executor};
use crate::session::bytes_as_tokens;
use crate::{RouteRecord, RuntimeError, Session};
use litecore_kernels::math;
use litecore_types::Seed;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The largest logit; the smaller token among equals.
    Greedy,
    /// A seeded draw from the softmax at this temperature.
    Temperature {
        /// Divides the logits; positive.
        temperature: f32,
        /// The root of the draws; each position has its own branch.
        seed: Seed,
    },
}

/// What was written, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new bytes, without the prompt.
    pub bytes: Vec<u8>,
    /// The experts of every position, prompt included.
    pub routes: Vec<RouteRecord>,
    /// What the executor had cost when the prompt was read and nothing written yet.
    pub account_after_prompt: Account,
}

/// The tokens that were written, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedTokens {
    /// The new tokens, without the prompt; one that ends a text is the last.
    pub tokens: Vec<u32>,
    /// The experts of every position, prompt included.
    pub routes: Vec<RouteRecord>,
    /// What the executor had cost when the prompt was read and nothing written yet.
    pub account_after_prompt: Account,
}

/// Prompt tokens fed at a time. It bounds memory and changes no bit of the result.
const CHUNK: usize = 128;

impl Sampling {
    /// Whether tokens can be chosen this way.
    ///
    /// Errors: a temperature that is not positive and finite.
    pub fn check(self) -> Result<(), RuntimeError> {
        match self {
            Self::Temperature { temperature, .. }
                if !(temperature.is_finite() && temperature > 0.0) =>
            {
                Err(RuntimeError::Temperature { given: temperature })
            }
            _ => Ok(()),
        }
    }
}

/// Feeds `prompt` and writes `count` bytes; `on_byte` sees each, with the logits it is chosen from.
///
/// Errors: an empty prompt, a senseless temperature, a model whose tokens are no bytes, or a failure
/// on the way.
pub fn generate(
    session: &mut Session<'_>,
    executor: &mut dyn Executor,
    prompt: &[u8],
    count: usize,
    sampling: Sampling,
    on_byte: &mut dyn FnMut(u8, &[f32]),
) -> Result<Generated, RuntimeError> {
    let prompt = bytes_as_tokens(session.model(), prompt)?;
    let mut bytes = Vec::new();
    let mut on_token = |token, logits: &[f32]| {
        let byte = u8::try_from(token).expect("the vocabulary is the bytes, as just checked");
        bytes.push(byte);
        on_byte(byte, logits);
    };
    let written = generate_tokens(session, executor, &prompt, count, sampling, &mut on_token)?;
    let GeneratedTokens { routes, account_after_prompt, .. } = written;
    Ok(Generated { bytes, routes, account_after_prompt })
}

/// Feeds `prompt` and writes up to `count` tokens, fewer if one ends the text; `on_token` sees each,
/// with the logits it is chosen from.
///
/// Errors: an empty prompt, a senseless temperature, or a failure on the way.
pub fn generate_tokens(
    session: &mut Session<'_>,
    executor: &mut dyn Executor,
    prompt: &[u32],
    count: usize,
    sampling: Sampling,
    on_token: &mut dyn FnMut(u32, &[f32]),
) -> Result<GeneratedTokens, RuntimeError> {
    if prompt.is_empty() {
        return Err(RuntimeError::EmptyPrompt);
    }
    sampling.check()?;
    let mut logits = Vec::new();
    for chunk in prompt.chunks(CHUNK) {
        logits = session.forward_tokens(chunk, executor)?;
        let vocab = logits.len() / chunk.len();
        logits.drain(..logits.len() - vocab);
    }
    let account_after_prompt = executor.account();
    let mut tokens = Vec::new();
    for index in 0..count {
        let token = choose(&logits, sampling, session.position())?;
        tokens.push(token);
        on_token(token, &logits);
        if session.model().config().end_tokens.contains(&token) {
            break;
        }
        if index + 1 < count {
            logits = session.forward_tokens(&[token], executor)?;
        }
    }
    Ok(GeneratedTokens { tokens, routes: session.take_routes(), account_after_prompt })
}

/// The token for `position`.
fn choose(logits: &[f32], sampling: Sampling, position: u64) -> Result<u32, RuntimeError> {
    if let Some(index) = logits.iter().position(|logit| logit.is_nan()) {
        return Err(RuntimeError::LogitNotANumber { index, position });
    }
    let best = match sampling {
        Sampling::Greedy => argmax(logits),
        Sampling::Temperature { temperature, seed } => {
            // The largest becomes zero first, so that no temperature makes an infinity of it.
            let largest = logits[argmax(logits)];
            let scaled = logits.iter().map(|logit| (logit - largest) / temperature);
            let mut shares: Vec<f32> = scaled.collect();
            math::softmax_in_place(&mut shares);
            // 24 random bits are exact in single precision and never reach one.
            let draw = (seed.key("sample", position) >> 40) as f32 / 16_777_216.0;
            let mut sum = 0.0;
            let drawn = shares.iter().position(|share| {
                sum += share;
                draw < sum
            });
            // Rounding may leave the sum just below the draw: then the last token with a share.
            drawn.or_else(|| shares.iter().rposition(|share| *share > 0.0)).unwrap_or(0)
        }
    };
    Ok(token_of(best))
}

/// The token of a logit.
pub(crate) fn token_of(index: usize) -> u32 {
    u32::try_from(index).expect("a vocabulary has at most 2^24 tokens")
}

/// The index of the largest logit, the first among equals.
pub(crate) fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_equals_and_refuses_nan() {
        assert_eq!(choose(&[0.0, 3.0, 3.0], Sampling::Greedy, 0).expect("chosen"), 1);
        assert!(matches!(
            choose(&[0.0, f32::NAN], Sampling::Greedy, 9),
            Err(RuntimeError::LogitNotANumber { index: 1, position: 9 })
        ));
    }

    #[test]
    fn a_tiny_temperature_is_greedy() {
        let sampling = Sampling::Temperature { temperature: 1e-40, seed: Seed(5) };
        assert_eq!(choose(&[1.0, 30.0, 2.0], sampling, 7).expect("drawn"), 1);
    }

    #[test]
    fn a_draw_follows_the_shares() {
        // Shares 0.1, 0.2, 0.7.
        let logits = [0.1, 0.2, 0.7].map(math::ln);
        let sampling = Sampling::Temperature { temperature: 1.0, seed: Seed(5) };
        let mut counts = [0_u32; 3];
        for position in 0..10_000 {
            counts[choose(&logits, sampling, position).expect("drawn") as usize] += 1;
        }
        // Three standard deviations of a binomial count.
        for (count, (share, three_sigma)) in
            counts.into_iter().zip([(0.1, 90.0), (0.2, 120.0), (0.7, 138.0)])
        {
            assert!((f64::from(count) - 10_000.0 * share).abs() < three_sigma, "{counts:?}");
        }
    }
}
