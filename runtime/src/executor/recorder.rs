use super::{Account, Executor, ExpertCall};
use crate::RuntimeError;
use litecore_model::ExpertKey;
use std::collections::BTreeMap;

/// Passes every call on and keeps the first inputs of each expert: calibration data for gains.
pub struct InputRecorder<'e> {
    inner: &'e mut dyn Executor,
    rows_max: usize,
    inputs: BTreeMap<(u32, ExpertKey), Vec<f32>>,
}

impl<'e> InputRecorder<'e> {
    /// Records up to `rows_max` inputs per expert.
    pub fn new(inner: &'e mut dyn Executor, rows_max: usize) -> Self {
        Self { inner, rows_max, inputs: BTreeMap::new() }
    }

    /// The inputs each expert saw, in the order it saw them. Shape: rows × width.
    pub fn into_inputs(self) -> BTreeMap<(u32, ExpertKey), Vec<f32>> {
        self.inputs
    }
}

impl Executor for InputRecorder<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let width = call.inputs.len() / call.tags.len().max(1);
        let kept = self.inputs.entry((call.layer, call.key)).or_default();
        let room = (self.rows_max * width).saturating_sub(kept.len()).min(call.inputs.len());
        kept.extend_from_slice(&call.inputs[..room]);
        self.inner.run(call, outputs)
    }

    fn account(&self) -> Account {
        self.inner.account()
    }
}
