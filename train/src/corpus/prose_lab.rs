//! Prose of the laboratory: short true-to-life stories of measuring, calibrating and repairing
//! chips.

use super::draws::Draws;

const PEOPLE: &[&str] = &[
    "Mara", "Tomas", "Ines", "Jun", "Leila", "Oskar", "Priya", "Henrik", "Amara", "Felix", "Noor",
    "Pavel", "Sofia", "Kenji", "Ruth", "Dario",
];
const PLACES: &[&str] = &[
    "in the morning",
    "before lunch",
    "late in the evening",
    "after the long weekend",
    "on the second day",
    "during the night shift",
    "before the visitors came",
    "on Monday",
    "on Thursday",
    "at the start of the session",
    "at the end of the session",
];
const PARTS: &[&str] = &[
    "the input modulator",
    "the reference arm",
    "the balanced detector",
    "the transimpedance amplifier",
    "the grating coupler",
    "the phase shifter",
    "the combiner tree",
    "the monitor tap",
    "the fiber array",
    "the temperature controller",
    "the laser driver",
    "the weight bank",
];
const SYMPTOMS: &[&str] =
    &["drifted by", "was off by", "had moved by", "settled within", "scattered by", "was low by"];
const ACTIONS: &[&str] = &[
    "repeated the sweep",
    "waited for the stage to settle",
    "lowered the laser power",
    "swapped the fiber",
    "measured the dark level again",
    "wrote a new profile",
    "reset the heater to zero",
    "averaged more reads",
    "checked the bias of the modulator",
    "compared the result with the simulator",
    "marked the cell as bad",
    "cleaned the connector",
    "asked for a second measurement",
    "moved the tile to a quiet column",
];
const RESULTS: &[&str] = &[
    "the fringe came back",
    "the error fell below the limit",
    "nothing changed",
    "the two curves agreed",
    "the noise was down by half",
    "the row matched its neighbors",
    "the residual looked like plain noise",
    "the reading stayed stable for an hour",
    "the detector no longer saturated",
    "the offset was gone",
    "the profile was accepted",
    "the test passed on the first try",
];
const CAUSES: &[&str] = &[
    "because the room had warmed",
    "because a connector was dusty",
    "because the bias had crept",
    "since the lid had been open",
    "since two heaters shared a ground",
    "because the gain was too high",
    "because a fiber was bent too tightly",
    "since the old profile had expired",
    "because the code range was too narrow",
    "because the reference phase was wrong",
];
const LESSONS: &[&str] = &[
    "a profile without a date is only a rumor",
    "one good reading is not a measurement",
    "the dark level comes first",
    "a stable stage saves an hour of averaging",
    "heat moves slowly and then all at once",
    "a saturated detector tells no story",
    "the same seed must give the same picture",
    "small errors add in power when they are independent",
    "the simplest cause is usually a dirty connector",
    "every number needs a unit",
    "a good note is worth more than a fast sweep",
    "noise has no memory, but drift has",
];
const OPENINGS: &[&str] = &[
    "As usual,",
    "This time,",
    "To our surprise,",
    "For once,",
    "Not for the first time,",
    "As the plan said,",
    "Against the plan,",
    "Without any hurry,",
];

fn amount(draws: &mut Draws) -> String {
    match draws.below(4) {
        0 => format!("{} millirad", draws.between(2, 90)),
        1 => format!("{:.1} percent", draws.real(0, 9, 10) + 0.1),
        2 => format!("{:.1} dB", draws.real(0, 6, 10) + 0.1),
        _ => format!("{} codes", draws.between(2, 60)),
    }
}

fn person(index: u64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| PEOPLE.get(index)).copied().unwrap_or("")
}

fn cell(draws: &mut Draws) -> String {
    match draws.below(4) {
        0 => format!("row {}", draws.between(0, 63)),
        1 => format!("column {}", draws.between(0, 63)),
        2 => format!("cell {},{}", draws.between(0, 63), draws.between(0, 63)),
        _ => format!("tile {}", draws.between(0, 255)),
    }
}

/// One sentence of a laboratory story.
pub(super) fn sentence(draws: &mut Draws) -> String {
    let first = draws.below(PEOPLE.len() as u64);
    let second = (first + 1 + draws.below(PEOPLE.len() as u64 - 1)) % PEOPLE.len() as u64;
    let (who, other) = (person(first), person(second));
    let when = draws.pick(PLACES);
    let part = draws.pick(PARTS);
    let symptom = draws.pick(SYMPTOMS);
    let action = draws.pick(ACTIONS);
    let result = draws.pick(RESULTS);
    let cause = draws.pick(CAUSES);
    let amount = amount(draws);
    let cell = cell(draws);
    match draws.below(11) {
        0 => format!(
            "{who} saw {when} that {part} of chip {} {symptom} {amount}.",
            draws.between(1, 99)
        ),
        1 => format!("{who} {action}, and {result}."),
        2 => format!("When {cell} {symptom} {amount}, {who} {action}."),
        3 => format!(
            "{} {who} {action} {when}, but {other} found {cell} still off by {amount}.",
            draws.pick(OPENINGS)
        ),
        4 => format!("The reading of {cell} {symptom} {amount} {cause}."),
        5 => format!("{who} and {other} {action} {when}; after that, {result}."),
        6 => format!("{} {part} failed {cause}, so {who} {action}.", draws.pick(OPENINGS)),
        7 => format!("\"Look at {cell},\" said {who}, \"it {symptom} {amount}.\""),
        8 => format!("{who} wrote in the log that {}.", draws.pick(LESSONS)),
        9 => format!(
            "After {} minutes {result}, and {who} {action} on {cell}.",
            draws.between(2, 90)
        ),
        _ => format!(
            "{who} blamed {part}, {other} blamed the software, and in the end it was {cell}, \
             off by {amount} {cause}."
        ),
    }
}
