//! Small functions in a Rust-like style; each does what its name says.

use super::draws::Draws;

const NAMES: &[&str] = &[
    "codes", "samples", "weights", "phases", "scores", "levels", "readings", "gains", "errors",
    "tokens", "losses", "powers", "offsets", "rows", "shares",
];
const TYPES: &[&str] = &["i32", "i64", "u32", "u64", "f32", "f64"];
const ADVERBS: &[&str] = &["fast", "safe", "plain", "checked", "simple", "local", "raw", "exact"];

/// One whole function.
pub(super) fn function(draws: &mut Draws) -> String {
    let names = Names {
        list: draws.pick(NAMES),
        kind: draws.pick(TYPES),
        adverb: draws.pick(ADVERBS),
        n: draws.between(2, 255),
        item: draws.pick(&["x", "v", "item", "value", "one"]),
        total: draws.pick(&["sum", "total", "acc", "result"]),
    };
    match draws.below(9) {
        form @ 0..=3 => names.over_a_list(form),
        form => names.over_values(form, draws),
    }
}

/// What the parts of one function are called.
struct Names<'a> {
    list: &'a str,
    kind: &'a str,
    adverb: &'a str,
    n: u64,
    item: &'a str,
    total: &'a str,
}

impl Names<'_> {
    fn over_a_list(&self, form: u64) -> String {
        let Self { list, kind, adverb, n, item, total } = self;
        match form {
            0 => format!(
                "fn sum_of_{list}_{adverb}({list}: &[{kind}]) -> {kind} {{
    let mut {total} = 0 as {kind};
    for {item} in {list} {{
        {total} += *{item};
    }}
    {total}
}}"
            ),
            1 => format!(
                "fn largest_of_{list}({list}: &[{kind}]) -> Option<{kind}> {{
    let mut best = *{list}.first()?;
    for {item} in {list} {{
        if *{item} > best {{
            best = *{item};
        }}
    }}
    Some(best)
}}"
            ),
            2 => format!(
                "fn scale_{list}_by_{n}({list}: &mut [{kind}]) {{
    for {item} in {list}.iter_mut() {{
        *{item} *= {n} as {kind};
    }}
}}"
            ),
            _ => format!(
                "fn count_above_{n}({list}: &[{kind}]) -> usize {{
    {list}.iter().filter(|{item}| **{item} > {n} as {kind}).count()
}}"
            ),
        }
    }

    fn over_values(&self, form: u64, draws: &mut Draws) -> String {
        let Self { list, kind, adverb, n, item, total } = self;
        match form {
            4 => format!(
                "fn cap_{list}_{adverb}({item}: {kind}) -> {kind} {{
    let limit = {n} as {kind};
    if {item} > limit {{
        limit
    }} else {{
        {item}
    }}
}}"
            ),
            5 => {
                let shift = draws.between(1, 12);
                let divisor = 1_u64 << shift;
                format!(
                    "fn shift_{list}({item}: i32) -> i32 {{
    // divides by {divisor}
    {item} >> {shift}
}}"
                )
            }
            6 => {
                let second = draws.pick(NAMES);
                format!(
                    "fn dot_{adverb}({list}: &[f32], {second}_b: &[f32]) -> f32 {{
    let mut {total} = 0.0;
    for (a, b) in {list}.iter().zip({second}_b) {{
        {total} = a.mul_add(*b, {total});
    }}
    {total}
}}"
                )
            }
            7 => {
                let (first, second) = (draws.below(100), draws.below(100));
                format!(
                    "#[test]
fn {adverb}_{list}_are_three() {{
    let {list} = [{first}, {second}, {n}];
    assert_eq!({list}.len(), 3);
}}"
                )
            }
            _ => {
                let (list, loud) = (list.to_uppercase(), adverb.to_uppercase());
                format!(
                    "const {list}_{loud}: {kind} = {n} as {kind};

fn is_within_{adverb}({item}: {kind}) -> bool {{
    {item} <= {list}_{loud}
}}"
                )
            }
        }
    }
}
