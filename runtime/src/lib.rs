//! Runs a model: embeds, attends, routes, hands tokens to experts, and turns logits into text.
//!
//! What is the same for every executor (attention, norms, routers, head) is computed here on the
//! host by the rule S2(256); what differs, the experts, goes through one trait, [`Executor`].
//!
//! **Invariant:** logits and routes depend on the model, the tokens, the seed and the executor,
//! and on nothing else: not on the number of threads, nor on how the tokens were cut into chunks.

mod attention;
mod error;
mod evaluate;
mod executor;
mod generate;
mod session;
mod weights;

pub use error::RuntimeError;
pub use evaluate::{Evaluation, evaluate, evaluate_tokens};
pub use executor::{
    Account, Executor, ExecutorKind, ExpertCall, FloatExecutor, InputRecorder, IntegerExecutor,
    LayerFidelity, Measured, ParseExecutorError, PhotonicExecutor, Signal,
};
pub use generate::{Generated, GeneratedTokens, Sampling, generate, generate_tokens};
pub use session::{RouteRecord, Session};
pub use weights::DenseModel;
