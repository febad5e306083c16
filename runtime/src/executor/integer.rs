use super::{Executor, ExpertCall};
use crate::RuntimeError;
use litecore_compiler::CompiledModel;
use litecore_kernels::program::{Arithmetic, Converters, Fast, Reference, Workspace, execute};
use litecore_model::ExpertKey;
use litecore_types::program::VerifiedProgram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiled experts, executed exactly: the integer meaning.
#[derive(Debug)]
pub struct IntegerExecutor<A> {
    name: &'static str,
    programs: BTreeMap<(u32, ExpertKey), Arc<VerifiedProgram>>,
    arithmetic: A,
    workspace: Workspace,
    chunk: Vec<f32>,
}

impl IntegerExecutor<Reference> {
    /// The scalar definition.
    pub fn reference(model: &CompiledModel) -> Self {
        Self::new("reference", model, Reference::new(Converters::of(&model.chip)))
    }
}

impl IntegerExecutor<Fast> {
    /// The same bits with vector instructions.
    pub fn cpu(model: &CompiledModel) -> Self {
        Self::new("cpu", model, Fast::new(Converters::of(&model.chip)))
    }
}

impl<A> IntegerExecutor<A> {
    fn new(name: &'static str, model: &CompiledModel, arithmetic: A) -> Self {
        Self {
            name,
            programs: model.experts.clone(),
            arithmetic,
            workspace: Workspace::default(),
            chunk: Vec::new(),
        }
    }
}

impl<A: Arithmetic> Executor for IntegerExecutor<A> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let &ExpertCall { layer, key, inputs, .. } = call;
        let program = self.programs.get(&(layer, key)).ok_or(RuntimeError::MissingExpert {
            executor: self.name,
            layer,
            key,
        })?;
        outputs.clear();
        for inputs in inputs.chunks(super::photonic::chunk_len(program)) {
            execute(program, &mut self.arithmetic, inputs, &mut self.chunk, &mut self.workspace)
                .map_err(|source| RuntimeError::Execute { layer, key, source })?;
            outputs.extend_from_slice(&self.chunk);
        }
        Ok(())
    }
}
