//! Random damage: nothing panics, and nothing damaged passes for whole.

use litecore_model::checkpoint::{Checkpoint, CheckpointError, Digest, Dtype};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::tiny;

#[derive(Debug, Clone)]
enum Damage {
    /// These bytes are changed by exclusive or with a number that is not zero.
    Flips(Vec<(Index, u8)>),
    /// The file ends early.
    Cut(Index),
    /// Bytes are put in somewhere.
    Insert(Index, Vec<u8>),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flips(flips) => {
                let length = bytes.len();
                for (place, flip) in flips {
                    bytes[place.index(length)] ^= flip;
                }
            }
            Self::Cut(end) => bytes.truncate(end.index(bytes.len())),
            Self::Insert(place, new) => {
                let place = place.index(bytes.len());
                bytes.splice(place..place, new.iter().copied());
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let flip = (any::<Index>(), 1..=u8::MAX);
    prop_oneof![
        4 => prop::collection::vec(flip, 1..4).prop_map(Damage::Flips),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(place, new)| Damage::Insert(place, new)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_shard_never_passes(which in 0_usize..3, damage in damage()) {
        let mut files = tiny::files(Dtype::Bf16);
        let path = ["base.safetensors", "tier-small.safetensors", "tier-big.safetensors"][which];
        let bytes = files.get_mut(path).unwrap();
        let before = bytes.clone();
        damage.apply(bytes);
        prop_assume!(*bytes != before);
        let checkpoint = open(&files).unwrap();
        let report = checkpoint.verify();
        prop_assert_eq!(report.offences.len(), 1);
        let caught = matches!(&report.offences[0],
            CheckpointError::DigestMismatch { file, .. } | CheckpointError::ShardSize { file, .. }
                if file.ends_with(path));
        prop_assert!(caught, "{:?}", report.offences);
        prop_assert!(checkpoint.tensors_f32().is_err());
    }

    #[test]
    fn a_damaged_manifest_is_another_one(damage in damage()) {
        let mut files = tiny::files(Dtype::Bf16);
        let bytes = files.get_mut("manifest.json").unwrap();
        let before = bytes.clone();
        damage.apply(bytes);
        prop_assume!(*bytes != before);
        // Damage to a name or a comment may go unnoticed, but the digest tells.
        if let Ok(checkpoint) = open(&files) {
            prop_assert_ne!(checkpoint.digest(), Digest::of(&before));
            let report = checkpoint.verify();
            if report.is_clean() {
                let tensors = checkpoint.tensors_f32().unwrap();
                let specs = checkpoint.config().tensor_specs();
                for spec in specs {
                    prop_assert_eq!(&tensors[&spec.name].shape, &spec.shape);
                }
            }
        }
    }

    #[test]
    fn a_damaged_shard_with_a_fitting_digest_never_panics(damage in damage()) {
        let mut files = tiny::files(Dtype::Bf16);
        let before = files["base.safetensors"].clone();
        let bytes = files.get_mut("base.safetensors").unwrap();
        damage.apply(bytes);
        let (length, digest) = (bytes.len(), Digest::of(bytes).to_string());
        let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
        let manifest = manifest
            .replace(&Digest::of(&before).to_string(), &digest)
            .replace(&format!("\"bytes\": {}", before.len()), &format!("\"bytes\": {length}"));
        files.insert("manifest.json".to_owned(), manifest.into_bytes());
        let checkpoint = open(&files).unwrap();
        let report = checkpoint.verify();
        prop_assert_eq!(report.is_clean(), checkpoint.tensors_f32().is_ok());
    }
}

fn open(
    files: &std::collections::BTreeMap<String, Vec<u8>>,
) -> Result<Checkpoint, CheckpointError> {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    Checkpoint::from_bytes(&files)
}
