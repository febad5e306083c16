//! What another library computed with a model, and the same model imported.

use litecore_model::checkpoint::Checkpoint;
use litecore_model::import::import_dir;
use litecore_model::{ModelConfig, TierMask};
use litecore_runtime::{DenseModel, FloatExecutor, Session};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A model directory with what the original library computed with it.
#[derive(Debug)]
pub struct Original {
    /// What messages call it.
    pub name: String,
    /// Where it lies.
    pub directory: PathBuf,
    expected: Value,
}

/// The model imported, ready for the f32 executor.
#[derive(Debug)]
pub struct ImportedModel {
    /// The checkpoint that was written.
    pub checkpoint: Checkpoint,
    /// Its dense part, with no token that ends a text.
    pub dense: DenseModel,
    _folder: tempfile::TempDir,
}

impl Original {
    /// The committed models.
    ///
    /// Panics: if a file cannot be read, which fails the test.
    pub fn all() -> Vec<Self> {
        Self::all_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import"))
    }

    /// The models in a folder that `make.py` filled.
    ///
    /// Panics: if a file cannot be read, which fails the test.
    pub fn all_in(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).expect("the folder of models").flatten();
        let mut directories: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        directories.sort();
        directories.into_iter().map(Self::open).collect()
    }

    fn open(directory: PathBuf) -> Self {
        let text = fs::read(directory.join("expected.json")).expect("what was recorded");
        let expected = serde_json::from_slice(&text).expect("JSON");
        let name = directory.file_name().expect("a name").to_string_lossy().into_owned();
        Self { name, directory, expected }
    }

    /// A recorded text.
    ///
    /// Panics: if there is none.
    pub fn text(&self, field: &str) -> &str {
        self.expected[field].as_str().expect("a text")
    }

    /// A recorded number, if it is not null.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.expected[field].as_f64()
    }

    /// A recorded length, if it is not null.
    pub fn length(&self, field: &str) -> Option<usize> {
        self.expected[field].as_u64().and_then(|length| usize::try_from(length).ok())
    }

    /// Recorded tokens.
    ///
    /// Panics: if there are none.
    pub fn tokens(&self, field: &str) -> Vec<u32> {
        serde_json::from_value(self.expected[field].clone()).expect("tokens")
    }

    /// The chosen experts, by sparse layer, then position; ascending.
    ///
    /// Panics: if they were not recorded.
    pub fn experts(&self) -> Vec<Vec<Vec<u16>>> {
        serde_json::from_value(self.expected["experts"].clone()).expect("experts")
    }

    /// The recorded logits, with the position each row belongs to.
    ///
    /// Panics: if the file has another length than it should.
    pub fn logits(&self) -> Vec<(usize, Vec<f32>)> {
        let bytes = fs::read(self.directory.join("logits.f32")).expect("the logits");
        let (words, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let positions = self.tokens("logit_positions");
        assert_eq!(values.len() % positions.len(), 0);
        let rows = values.chunks_exact(values.len() / positions.len());
        positions.into_iter().map(|p| p as usize).zip(rows.map(<[f32]>::to_vec)).collect()
    }

    /// Imports the model.
    ///
    /// Panics: if that fails, which fails the test.
    pub fn import(&self) -> ImportedModel {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("checkpoint");
        import_dir(&self.directory, &target, &mut |_, _| ()).expect("imported");
        let checkpoint = Checkpoint::open_dir(&target).expect("a checkpoint");
        assert!(checkpoint.verify().is_clean());
        let mut config = checkpoint.config().clone();
        config.end_tokens.clear();
        let specs = config.dense_specs();
        let tensors = specs
            .map(|spec| {
                let tensor = checkpoint.tensor_f32(&spec.name).expect("a dense tensor");
                (spec.name, tensor)
            })
            .collect();
        let dense = DenseModel::new(&config, &tensors).expect("a dense part");
        ImportedModel { checkpoint, dense, _folder: folder }
    }
}

impl ImportedModel {
    /// The model.
    pub fn config(&self) -> &ModelConfig {
        self.dense.config()
    }

    /// The experts.
    ///
    /// Panics: if they cannot be read, which fails the test.
    pub fn float(&self) -> FloatExecutor {
        FloatExecutor::from_checkpoint(&self.checkpoint).expect("experts")
    }

    /// A sequence at position zero.
    pub fn session(&self) -> Session<'_> {
        let config = self.config();
        Session::new(&self.dense, TierMask::all(config), config.routing.seed, 0)
    }
}
