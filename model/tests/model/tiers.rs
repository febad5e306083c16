use litecore_model::{TierId, TierMask, TierSet, UnknownTier};

use crate::tiny;

fn id(text: &str) -> TierId {
    TierId::new(text).unwrap()
}

fn allowed(mask: &TierMask) -> Vec<u16> {
    (0..10).filter(|tier| mask.allows(*tier)).collect()
}

#[test]
fn tier_ids_are_short_and_plain() {
    for good in ["a", "small", "a.b-c_9", "0", "12345678901234567890123456789012"] {
        assert_eq!(id(good).as_str(), good);
    }
    let long = "a".repeat(33);
    for bad in ["", "Small", "a b", "a/b", "ä", "all", "a,b", "..=a", &long] {
        assert_eq!(TierId::new(bad).unwrap_err().text, bad);
    }
    assert!(serde_json::from_str::<TierId>("\"A\"").is_err());
}

#[test]
fn tier_sets_read_and_write_their_text() {
    let cases = [
        ("all", TierSet::All),
        ("..=medium", TierSet::UpTo(id("medium"))),
        ("small,medium", TierSet::Only(vec![id("small"), id("medium")])),
        ("..", TierSet::Only(vec![id("..")])),
    ];
    for (text, set) in cases {
        assert_eq!(text.parse(), Ok(set.clone()));
        assert_eq!(set.to_string(), text);
    }
    for bad in ["", "..=", "small,,medium", "Small", "small,all", "..=all"] {
        assert_eq!(bad.parse::<TierSet>().unwrap_err().text, bad);
    }
}

#[test]
fn tier_sets_resolve_against_a_model() {
    let mut config = tiny::config();
    config.tiers.push(tiny::tier("huge", 1, 1, 8));
    let resolve = |text: &str| allowed(&text.parse::<TierSet>().unwrap().resolve(&config).unwrap());
    assert_eq!(resolve("all"), [0, 1, 2]);
    assert_eq!(resolve("..=big"), [0, 1]);
    assert_eq!(resolve("huge,small"), [0, 2]);
    let error = TierSet::Only(vec![id("small"), id("giant")]).resolve(&config).unwrap_err();
    let known = vec![id("small"), id("big"), id("huge")];
    assert_eq!(error, UnknownTier { tier: id("giant"), known });
    assert!(error.to_string().contains("small, big, huge"));
}

#[test]
fn a_tier_that_needs_a_newer_reader_is_left_out() {
    let mut config = tiny::config();
    config.tiers[0].requires = vec!["sparse-gates".to_owned()];
    config.validate().unwrap();
    assert_eq!(allowed(&TierSet::All.resolve(&config).unwrap()), [1]);
    assert_eq!(allowed(&TierSet::UpTo(id("big")).resolve(&config).unwrap()), [1]);
    let error = TierSet::Only(vec![id("small")]).resolve(&config).unwrap_err();
    assert_eq!(error.known, [id("big")]);
    let of_small = |name: &str| name.contains(".small.");
    assert!(!config.tensor_specs().any(|spec| of_small(&spec.name)));
    let expert = "layers.0.tiers.small.groups.0.experts.0.up.weight";
    assert_eq!(config.tensor_spec(expert), None);
}
