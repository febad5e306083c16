use super::{Account, Executor, ExpertCall};
use crate::RuntimeError;
use std::collections::BTreeMap;

/// Mean-square signal and error, gathered output by output.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signal {
    /// Sum of squares of the truth.
    pub signal: f64,
    /// Sum of squares of the difference.
    pub error: f64,
}

impl Signal {
    /// Adds one set of outputs.
    pub fn gather(&mut self, truth: &[f32], found: &[f32]) {
        for (&truth, &found) in truth.iter().zip(found) {
            let error = f64::from(found) - f64::from(truth);
            self.signal += f64::from(truth) * f64::from(truth);
            self.error += error * error;
        }
    }

    /// `10 log10(signal / error)`; nothing if the two never differed or there was no signal.
    pub fn snr_rms_db(&self) -> Option<f64> {
        (self.error > 0.0 && self.signal > 0.0)
            .then(|| 10.0 * pxfm::f_log10(self.signal / self.error))
    }
}

/// How true one layer's experts were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerFidelity {
    /// Against the model as trained: quantisation and noise together.
    pub to_float: Signal,
    /// Against the integer meaning of the same programs: noise alone.
    pub to_integer: Signal,
}

/// Runs every call on the executor under test and, on the same inputs, on two truths.
///
/// The outputs handed on are those of the executor under test.
pub struct Measured<'e> {
    tested: &'e mut dyn Executor,
    float: Option<&'e mut dyn Executor>,
    integer: &'e mut dyn Executor,
    layers: BTreeMap<u32, LayerFidelity>,
    truth: Vec<f32>,
}

impl<'e> Measured<'e> {
    /// Measures `tested` against the model as trained, where it is at hand, and the integer meaning.
    pub fn new(
        tested: &'e mut dyn Executor,
        float: Option<&'e mut dyn Executor>,
        integer: &'e mut dyn Executor,
    ) -> Self {
        Self { tested, float, integer, layers: BTreeMap::new(), truth: Vec::new() }
    }

    /// The fidelity of each layer so far.
    pub fn layers(&self) -> &BTreeMap<u32, LayerFidelity> {
        &self.layers
    }
}

impl Executor for Measured<'_> {
    fn name(&self) -> &'static str {
        self.tested.name()
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        self.tested.run(call, outputs)?;
        let layer = self.layers.entry(call.layer).or_default();
        if let Some(float) = &mut self.float {
            float.run(call, &mut self.truth)?;
            layer.to_float.gather(&self.truth, outputs);
        }
        self.integer.run(call, &mut self.truth)?;
        layer.to_integer.gather(&self.truth, outputs);
        Ok(())
    }

    fn account(&self) -> Account {
        self.tested.account()
    }
}
