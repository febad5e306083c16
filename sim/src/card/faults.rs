use litecore_firmware_proto::Opcode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// What goes wrong with an emulated card, and when: the same plan gives the same faults.
///
/// ```json
/// { "seed": 7,
///   "rules": [ { "when": { "operation": 5 }, "do": { "delay_ns": 2000000 } },
///              { "when": { "one_in": 40 }, "do": { "drop": "completion" }, "times": 3 },
///              { "when": { "opcode": "run" }, "do": { "thermal_trip_ns": 50000000 } } ],
///   "wire": { "flip_one_in": 20000 } }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// Decides what the rules leave to chance.
    #[serde(default)]
    pub seed: u64,
    /// The rules; each command is held against all of them, in order.
    #[serde(default)]
    pub rules: Vec<FaultRule>,
    /// What the cable does; only byte pipes have one.
    #[serde(default)]
    pub wire: WireNoise,
}

/// One rule of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// When it applies.
    pub when: FaultTrigger,
    /// What happens then.
    #[serde(rename = "do")]
    pub action: FaultAction,
    /// How often at most; 0 is without end.
    #[serde(default = "once")]
    pub times: u32,
}

/// When a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultTrigger {
    /// At the command of this number, from 1.
    Operation(#[serde(deserialize_with = "from_one")] u64),
    /// At commands with this opcode.
    Opcode(OpcodeName),
    /// At one in so many commands, by chance.
    OneIn(#[serde(deserialize_with = "from_one")] u32),
    /// At the first command at or after this time; removals and resets need no command.
    TimeNs(u64),
}

/// What a rule does. Times are from the command on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// The command is not carried out, or is and nobody learns of it.
    Drop(Dropped),
    /// A bit of the answer flips: in the next frame on a pipe, in the completion entry on PCI
    /// Express, whose own link layer protects the data.
    Corrupt,
    /// The answer comes this much later.
    DelayNs(u64),
    /// The card does nothing for so long; it takes in nothing either.
    StallNs(u64),
    /// The completion is written and no interrupt is raised. A pipe has none and delays by 1 ms.
    LoseInterrupt,
    /// A completion for a command that nobody sent comes in place of the right one.
    WrongCompletion,
    /// The card carries the command out, restarts, and says nothing.
    Reset,
    /// The card is gone for so long, and then starts.
    RemoveNs(u64),
    /// The chip is too hot for at least so long, and until it was parked.
    ThermalTripNs(u64),
    /// The laser is off for so long.
    LaserFaultNs(u64),
}

/// Which half of an exchange is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// The command: it is not carried out.
    Command,
    /// The completion: the command was carried out.
    Completion,
}

/// What a cable does to bytes, both ways; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireNoise {
    /// One in so many bytes has a bit flipped.
    pub flip_one_in: u32,
    /// One in so many bytes is lost.
    pub drop_one_in: u32,
    /// One in so many bytes has another one behind it.
    pub insert_one_in: u32,
}

/// An opcode by its name, as in `run` or `image_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpcodeName(pub Opcode);

/// Why a text is not a fault plan.
#[derive(Debug, thiserror::Error)]
#[error("this is no fault plan: {0}")]
pub struct FaultPlanError(#[from] serde_json::Error);

impl FaultPlan {
    /// Reads a plan.
    ///
    /// Errors: [`FaultPlanError`] with line, column and what was expected.
    pub fn from_json(text: &str) -> Result<Self, FaultPlanError> {
        Ok(serde_json::from_str(text)?)
    }

    /// A plan with up to six rules and at times a bad cable, all from `seed`.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let rules = (0..dice.below(7)).map(|_| FaultRule {
            when: match dice.below(4) {
                0 | 1 => FaultTrigger::Operation(1 + dice.below(40)),
                2 => FaultTrigger::OneIn(10 + dice.small(60)),
                _ => FaultTrigger::TimeNs(dice.below(200_000_000)),
            },
            action: random_action(&mut dice),
            times: 1 + dice.small(2),
        });
        let rules = rules.collect();
        let mut noise = || if dice.below(3) == 0 { 300 + dice.small(20_000) } else { 0 };
        let wire = WireNoise { flip_one_in: noise(), drop_one_in: noise(), insert_one_in: noise() };
        Self { seed, rules, wire }
    }
}

fn random_action(dice: &mut Dice) -> FaultAction {
    match dice.below(12) {
        0 => FaultAction::Drop(Dropped::Command),
        1 => FaultAction::Drop(Dropped::Completion),
        2 | 3 => FaultAction::Corrupt,
        4 => FaultAction::DelayNs(dice.below(20_000_000)),
        5 => FaultAction::StallNs(dice.below(300_000_000)),
        6 => FaultAction::LoseInterrupt,
        7 => FaultAction::WrongCompletion,
        8 => FaultAction::Reset,
        9 => FaultAction::RemoveNs(dice.below(500_000_000)),
        10 => FaultAction::ThermalTripNs(dice.below(100_000_000)),
        _ => FaultAction::LaserFaultNs(dice.below(100_000_000)),
    }
}

fn once() -> u32 {
    1
}

/// A number that is not 0: a rule with 0 would never apply.
fn from_one<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialEq + Default,
{
    let number = T::deserialize(deserializer)?;
    if number == T::default() {
        let why = "0 would never apply: commands are counted from 1, and 1 in 1 is each of them";
        return Err(D::Error::custom(why));
    }
    Ok(number)
}

impl TryFrom<String> for OpcodeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let listed = Opcode::LISTED.iter().find(|(opcode, _)| opcode.name() == name);
        listed.map(|(opcode, _)| Self(*opcode)).ok_or_else(|| {
            let names: Vec<&str> = Opcode::LISTED.iter().map(|(opcode, _)| opcode.name()).collect();
            format!("`{name}` is no opcode: use one of {}", names.join(", "))
        })
    }
}

impl From<OpcodeName> for String {
    fn from(name: OpcodeName) -> Self {
        name.0.name().to_owned()
    }
}

/// What happens to one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "faults that happen apart or together")]
pub(super) struct Verdict {
    pub(super) drop_command: bool,
    pub(super) drop_completion: bool,
    pub(super) corrupt: bool,
    pub(super) lose_interrupt: bool,
    pub(super) wrong_completion: bool,
    pub(super) reset: bool,
    pub(super) delay_ns: u64,
    pub(super) stall_ns: u64,
    pub(super) remove_ns: Option<u64>,
    pub(super) thermal_ns: Option<u64>,
    pub(super) laser_ns: Option<u64>,
}

/// A plan at work.
pub(super) struct Faults {
    rules: Vec<(FaultRule, u32)>,
    wire: WireNoise,
    dice: Dice,
    operations: u64,
}

impl Faults {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self {
            dice: Dice::new(plan.seed ^ 0x6661_756c_7473),
            rules: plan.rules.into_iter().map(|rule| (rule, 0)).collect(),
            wire: plan.wire,
            operations: 0,
        }
    }

    /// Holds the next command against the rules.
    pub(super) fn on_command(&mut self, now_ns: u64, opcode: Opcode) -> Verdict {
        self.operations += 1;
        let mut verdict = Verdict::default();
        for (rule, used) in &mut self.rules {
            let applies = match rule.when {
                FaultTrigger::Operation(number) => number == self.operations,
                FaultTrigger::Opcode(name) => name.0 == opcode,
                FaultTrigger::OneIn(n) => self.dice.one_in(n),
                FaultTrigger::TimeNs(at) => at <= now_ns,
            };
            if applies && (rule.times == 0 || *used < rule.times) {
                *used += 1;
                verdict.take(rule.action);
            }
        }
        verdict
    }

    /// A removal or reset that is due by the clock alone.
    pub(super) fn on_time(&mut self, now_ns: u64) -> Option<Verdict> {
        let mut verdict = None;
        for (rule, used) in &mut self.rules {
            if due_at(rule, *used).is_some_and(|at| at <= now_ns) {
                *used += 1;
                verdict.get_or_insert_with(Verdict::default).take(rule.action);
            }
        }
        verdict
    }

    /// When [`Faults::on_time`] has something next.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.rules.iter().filter_map(|(rule, used)| due_at(rule, *used)).min()
    }

    /// What is left of bytes that went over the cable.
    pub(super) fn spoil<'a>(&mut self, bytes: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
        let WireNoise { flip_one_in, drop_one_in, insert_one_in } = self.wire;
        if flip_one_in == 0 && drop_one_in == 0 && insert_one_in == 0 {
            return bytes;
        }
        room.clear();
        for byte in bytes {
            if self.dice.one_in(drop_one_in) {
                continue;
            }
            let flipped = self.dice.one_in(flip_one_in);
            room.push(if flipped { byte ^ (1 << self.dice.below(8)) } else { *byte });
            if self.dice.one_in(insert_one_in) {
                room.push(self.dice.byte());
            }
        }
        room
    }

    /// Flips one bit.
    pub(super) fn flip(&mut self, bytes: &mut [u8]) {
        let bits = bytes.len() as u64 * 8;
        if bits > 0 {
            let bit = self.dice.below(bits);
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

fn due_at(rule: &FaultRule, used: u32) -> Option<u64> {
    let by_itself = matches!(rule.action, FaultAction::Reset | FaultAction::RemoveNs(_));
    match rule.when {
        // Without end it would do nothing else: once by the clock, then at commands.
        FaultTrigger::TimeNs(at) if by_itself && used < rule.times.max(1) => Some(at),
        _ => None,
    }
}

impl Verdict {
    fn take(&mut self, action: FaultAction) {
        match action {
            FaultAction::Drop(Dropped::Command) => self.drop_command = true,
            FaultAction::Drop(Dropped::Completion) => self.drop_completion = true,
            FaultAction::Corrupt => self.corrupt = true,
            FaultAction::DelayNs(ns) => self.delay_ns = self.delay_ns.max(ns),
            FaultAction::StallNs(ns) => self.stall_ns = self.stall_ns.max(ns),
            FaultAction::LoseInterrupt => self.lose_interrupt = true,
            FaultAction::WrongCompletion => self.wrong_completion = true,
            FaultAction::Reset => self.reset = true,
            FaultAction::RemoveNs(ns) => self.remove_ns = Some(ns),
            FaultAction::ThermalTripNs(ns) => self.thermal_ns = Some(ns),
            FaultAction::LaserFaultNs(ns) => self.laser_ns = Some(ns),
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood, 2014): enough for deciding what breaks.
#[derive(Clone, Copy, Debug)]
struct Dice {
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 where `n` is 0. The bias of a remainder does not matter here.
    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n.max(1)
    }

    fn small(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.below(u64::from(n)) == 0
    }
}
