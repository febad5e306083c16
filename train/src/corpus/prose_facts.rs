//! Prose of the textbook: sentences whose numbers are computed, so that each of them is true.

use super::draws::Draws;
use super::numbers::{db_from_ratio, ratio_from_db, root, short};

const OPENINGS: &[&str] = &[
    "In practice,",
    "On paper,",
    "As a rule,",
    "In a coherent array,",
    "For the same reason,",
    "By the same law,",
    "In a small model,",
    "On a quiet bench,",
    "In steady state,",
    "To first order,",
];
const EFFECTS: &[(&str, &str)] = &[
    ("shot noise", "comes from the grains of light and grows with the square root of the power"),
    ("thermal drift", "moves the phase slowly and can be tracked with a pilot column"),
    (
        "laser intensity noise",
        "multiplies signal and reference alike, and balanced detection rejects most of it",
    ),
    ("converter rounding", "acts like a small uniform error when the signal is busy"),
    (
        "crosstalk between heaters",
        "falls quickly with distance and can be inverted once it is known",
    ),
    ("insertion loss", "adds up in decibels along the path of the light"),
    ("phase error", "turns the wanted quadrature toward the unwanted one"),
    ("amplifier noise", "matters most when the reference beam is weak"),
    ("fabrication error", "is fixed on each chip and belongs in the profile"),
    ("clock jitter", "hurts most where the signal changes fastest"),
    ("saturation", "clips the largest outputs and leaves the small ones untouched"),
    ("finite extinction", "keeps a modulator from reaching a true zero"),
];
const MODEL_PARTS: &[(&str, &str)] = &[
    ("the tier router", "chooses which tiers a token may visit"),
    ("the group router", "chooses a group inside each chosen tier"),
    ("the expert router", "chooses the experts inside each chosen group"),
    ("attention", "lets a byte look back at the bytes before it"),
    ("the embedding", "turns each byte into a vector of numbers"),
    ("an expert", "is a small gated network that sees only the tokens sent to it"),
    ("the balance loss", "keeps the routers from sending every token to one expert"),
    ("the head", "turns the last vector into a score for each of the 256 bytes"),
    ("a norm", "rescales a vector so that its mean square is one"),
    ("a checkpoint", "stores each tier in a file of its own, with a digest"),
    ("the tie break", "is a keyed hash, so equal scores are ordered the same way on every machine"),
    ("a tier set", "names the tiers that a request is allowed to use"),
];
const TAILS: &[&str] = &[
    "and a good report says so",
    "which is why the profile records it",
    "and the simulator repeats it",
    "so the test measures it directly",
    "and no amount of averaging removes it entirely",
    "which sets the floor of the error budget",
    "and the compiler must plan for it",
    "so it is checked before every long run",
    "and this holds at any size of the array",
    "which the calibration has to learn",
];
const MODEL_TAILS: &[&str] = &[
    "and the same seed gives the same choice",
    "and its weights are part of the checkpoint",
    "so the answer does not depend on the batch",
    "and it runs in the same order everywhere",
    "which keeps the work per token bounded",
    "and training adjusts it a little at every step",
    "so a second machine gets the same bytes",
    "and nothing about it depends on the clock",
];

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect())
}

/// One true sentence with computed numbers or a stated mechanism.
pub(super) fn sentence(draws: &mut Draws) -> String {
    match draws.below(14) {
        0 | 1 => mechanism(draws, EFFECTS, TAILS),
        2 | 3 => mechanism(draws, MODEL_PARTS, MODEL_TAILS),
        4 => pair(draws),
        5..=8 => optics(draws),
        9..=10 => arrays(draws),
        _ => models(draws),
    }
}

fn mechanism(draws: &mut Draws, table: &[(&str, &str)], tails: &[&str]) -> String {
    let index = usize::try_from(draws.below(table.len() as u64)).unwrap_or(0);
    let (name, says) = table.get(index).copied().unwrap_or(("", ""));
    let tail = draws.pick(tails);
    if draws.one_in(2) {
        format!("{} {says}, {tail}.", capital(name))
    } else {
        format!("{} {name} {says}, {tail}.", draws.pick(OPENINGS))
    }
}

fn pair(draws: &mut Draws) -> String {
    let i = draws.below(EFFECTS.len() as u64);
    let j = (i + 1 + draws.below(EFFECTS.len() as u64 - 1)) % EFFECTS.len() as u64;
    let at = |k: u64| usize::try_from(k).ok().and_then(|k| EFFECTS.get(k)).map_or(("", ""), |e| *e);
    let (first, first_says) = at(i);
    let (second, second_says) = at(j);
    let joint = draws.pick(&["while", "whereas", "but", "and"]);
    format!("{} {first_says}, {joint} {second} {second_says}.", capital(first))
}

fn optics(draws: &mut Draws) -> String {
    let opening = draws.pick(OPENINGS);
    match draws.below(8) {
        0 => {
            let loss = draws.real(0, 29, 10) + 0.1;
            let percent = 100.0 * ratio_from_db(-loss);
            format!(
                "{opening} a loss of {loss:.1} dB leaves {} percent of the optical power.",
                short(percent)
            )
        }
        1 => {
            let reads = draws.between(2, 400);
            format!(
                "Averaging {reads} reads lowers the amplitude of white noise by a factor of {}.",
                short(root(reads as f64))
            )
        }
        2 => {
            let milliwatts = draws.between(1, 400);
            let loss = draws.real(1, 20, 10);
            let left = milliwatts as f64 * ratio_from_db(-loss);
            format!(
                "A beam of {milliwatts} mW that loses {loss:.1} dB arrives with {} mW.",
                short(left)
            )
        }
        3 => {
            let stages = draws.between(2, 12);
            let each = draws.between(1, 40);
            format!(
                "{opening} {stages} stages of {:.2} dB each lose {:.2} dB in all.",
                each as f64 / 100.0,
                (stages * each) as f64 / 100.0
            )
        }
        4 => {
            let mrad = draws.between(1, 120);
            let level = db_from_ratio((mrad * mrad) as f64 * 1e-6);
            format!("A phase error of {mrad} millirad leaks the other quadrature at {level:.1} dB.")
        }
        5 => {
            let ports = 1_u64 << draws.between(1, 11);
            format!(
                "{opening} splitting one beam into {ports} equal parts costs {:.1} dB per part, \
                 before any excess loss.",
                db_from_ratio(ports as f64)
            )
        }
        6 => {
            let millimeters = draws.between(1, 60);
            format!(
                "With a group index of 4.2, light needs {:.0} ps to cross {millimeters} mm \
                 of waveguide.",
                millimeters as f64 * 4.2 / 0.299_792_458
            )
        }
        _ => {
            let ratio = draws.between(10, 4000);
            format!(
                "When the signal power is {ratio} times the noise power, the ratio is {:.1} dB.",
                db_from_ratio(ratio as f64)
            )
        }
    }
}

fn arrays(draws: &mut Draws) -> String {
    let opening = draws.pick(OPENINGS);
    let rows = draws.between(2, 128);
    let columns = draws.between(2, 128);
    match draws.below(5) {
        0 => format!(
            "An array of {rows} by {columns} cells holds {} complex weights.",
            rows * columns
        ),
        1 => {
            let clock = draws.between(1, 10);
            format!(
                "{opening} {} cells at {clock} GHz make {} billion complex products per second.",
                rows * columns,
                rows * columns * clock
            )
        }
        2 => {
            let inputs = draws.between(100, 4096);
            let tiles = inputs.div_ceil(2 * rows);
            format!(
                "{opening} a layer of {inputs} inputs needs {tiles} {} of {} inputs.",
                plural(tiles, "tile"),
                2 * rows
            )
        }
        3 => {
            let bits = draws.between(4, 12);
            format!(
                "A converter of {bits} bits has {} levels, and a full-scale sine wave reaches \
                 {:.1} dB.",
                1_u64 << bits,
                6.02 * bits as f64 + 1.76
            )
        }
        _ => {
            let shift = draws.between(1, 9);
            let sum = draws.between(200, 60000);
            format!(
                "Dividing a sum of {sum} by two to the {shift} gives {}, rounded down to {}.",
                trimmed(sum as f64 / (1_u64 << shift) as f64),
                sum >> shift
            )
        }
    }
}

fn models(draws: &mut Draws) -> String {
    let opening = draws.pick(OPENINGS);
    let tiers = draws.between(1, 4);
    let groups = draws.between(1, 4);
    let experts = draws.between(1, 6);
    match draws.below(4) {
        0 => format!(
            "With {tiers} {} per token, {groups} {} per tier and {experts} {} per group, \
             {} {} run for each token.",
            plural(tiers, "tier"),
            plural(groups, "group"),
            plural(experts, "expert"),
            tiers * groups * experts,
            plural(tiers * groups * experts, "expert")
        ),
        1 => {
            let tokens = draws.between(10, 9000);
            let width = 32 * draws.between(1, 16);
            format!("{opening} {tokens} tokens of width {width} fill {} numbers.", tokens * width)
        }
        2 => {
            let width = 16 * draws.between(2, 40);
            let inner = 16 * draws.between(2, 40);
            format!(
                "A gated expert of width {width} and inner width {inner} has {} weights.",
                3 * width * inner
            )
        }
        _ => {
            let batch = draws.between(2, 64);
            let length = draws.between(16, 512);
            format!(
                "{opening} a batch of {batch} sequences of {length} bytes shows {} bytes \
                 to the model.",
                batch * length
            )
        }
    }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
