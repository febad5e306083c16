"""Makes routing.json: routing decisions by a second implementation, exact to the bit.

Written from the documentation of `litecore_model::routing` alone, with whole numbers, fractions
and 60-digit decimals; every `f32` operation is an exact one followed by a rounding. The Rust tests
compare with the frozen file; they never run this. Run it with: python3 routing.py > routing.json
"""

import json
import struct
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 60
MASK = 2**64 - 1


def siphash_2_4(key, data):
    """Aumasson and Bernstein, section 2. `key` and result are whole numbers."""

    def rotate(x, by):
        return (x << by | x >> (64 - by)) & MASK

    def rounds(v, count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    k0, k1 = key & MASK, key >> 64
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    whole = len(data) // 8 * 8
    words = [data[i : i + 8] for i in range(0, whole, 8)]
    words.append(data[whole:].ljust(7, b"\0") + bytes([len(data) & 255]))
    for word in words:
        m = int.from_bytes(word, "little")
        v[3] ^= m
        rounds(v, 2)
        v[0] ^= m
    v[2] ^= 0xFF
    rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


KEY = int.from_bytes(bytes(range(16)), "little")
assert siphash_2_4(KEY, bytes(range(15))) == 0xA129CA6149BE45E5  # the authors' appendix A


def tie_hash(case, level, tier, group, index):
    message = struct.pack("<IQBHHH", case["layer"], case["position"], level, tier, group, index)
    return siphash_2_4(int(case["seed"], 16), message)


def f32(x):
    """The `f32` nearest to a non-negative fraction below 2^127, as a fraction."""
    if x == 0:
        return Fraction(0)
    exponent = -149
    while x >= Fraction(2) ** (exponent + 24):
        exponent += 1
    return round(x / Fraction(2) ** exponent) * Fraction(2) ** exponent


def bits(x):
    return struct.unpack("<I", struct.pack("<f", float(x)))[0]


def score(text):
    """Fixed point of a logit, or None for not-a-number."""
    if text == "NaN":
        return None
    if text in ("inf", "-inf"):
        return 2**31 - 1 if text == "inf" else -(2**31)
    logit = Fraction(struct.unpack("<f", struct.pack("<f", float(text)))[0])
    return max(-(2**31), min(2**31 - 1, round(logit * 65536)))


def difference(scores, i):
    """`(score - best) / 65536` as `f32`: the difference in whole numbers, then rounded."""
    return -f32(Fraction(max(scores) - scores[i])) / 65536


def contest(case, level, tier, group, logits, members, take):
    """The selected members and their probabilities: pairs in ascending order."""
    scores = [score(logits[i]) for i in members]
    if None in scores:
        raise ValueError(scores.index(None))
    exps = []
    for i in range(len(members)):
        d = difference(scores, i)
        exps.append(f32(Fraction((Decimal(d.numerator) / Decimal(d.denominator)).exp())))
    total = Fraction(0)
    for e in exps:
        total = f32(total + e)
    ranked = sorted(
        range(len(members)),
        key=lambda i: (-scores[i], tie_hash(case, level, tier, group, members[i]), members[i]),
    )
    return [(members[i], f32(exps[i] / total)) for i in sorted(ranked[:take])]


def decide(case):
    tiers, take = case["tiers"], case["take"]
    members = [i for i in range(len(tiers)) if i in case["allowed"]]
    routes = []
    level = "Tier"
    try:
        chosen_tiers = contest(case, 0, 0, 0, case["tier_logits"], members, take[0])
        for t, p_t in chosen_tiers:
            groups, experts = tiers[t]
            first_group = sum(g for g, _ in tiers[:t])
            first_expert = sum(g * e for g, e in tiers[:t])
            logits = case["group_logits"][first_group : first_group + groups]
            level, base = "Group", first_group
            chosen_groups = contest(case, 1, t, 0, logits, list(range(groups)), take[1])
            for g, p_g in chosen_groups:
                first = first_expert + g * experts
                logits = case["expert_logits"][first : first + experts]
                level, base = "Expert", first
                for e, p_e in contest(case, 2, t, g, logits, list(range(experts)), take[2]):
                    routes.append(([t, g, e], f32(f32(p_t * p_g) * p_e)))
    except ValueError as nan:
        index = members[nan.args[0]] if level == "Tier" else base + nan.args[0]
        return {"not_a_number": [level, index]}
    total = Fraction(0)
    for _, joint in routes:
        total = f32(total + joint)
    weights = [f32(joint / total) for _, joint in routes]
    return {
        "routes": [[*key, f"{bits(w):08x}"] for (key, _), w in zip(routes, weights)],
    }


def case(name, tiers, take, logits, allowed=None, seed=0, layer=0, position=0):
    tier_logits, group_logits, expert_logits = logits
    return {
        "name": name,
        "tiers": tiers,
        "take": take,
        "allowed": list(range(len(tiers))) if allowed is None else allowed,
        "seed": f"{seed:#x}",
        "layer": layer,
        "position": position,
        "tier_logits": tier_logits.split(),
        "group_logits": group_logits.split(),
        "expert_logits": expert_logits.split(),
    }


SHIPPED = [[2, 2], [2, 3], [2, 4]]
MIXED = (
    "0.25 -1.5 0.75",
    "0.5 1.25 -2 3 0.0625 -0.125",
    "1 2 -1 0.5 0.1 0.2 0.3 3 2.5 -4 1.5 -0.5 0.75 2.25 9 8.5 8.75 8.25",
)
EQUAL = ("0 0 0", "0 0 0 0 0 0", "7 " * 18)
SEED = 0x0123456789ABCDEFFEDCBA9876543210
NAN = "NaN"

CASES = [
    case("distinct logits", SHIPPED, [2, 1, 1], MIXED),
    case("distinct logits, more of each", SHIPPED, [2, 2, 2], MIXED, layer=3, position=17),
    case("all equal, zero seed", SHIPPED, [2, 1, 1], EQUAL),
    case("all equal, a seed", SHIPPED, [2, 1, 1], EQUAL, seed=SEED),
    case("all equal, next layer", SHIPPED, [2, 1, 1], EQUAL, seed=SEED, layer=1),
    case("all equal, next position", SHIPPED, [2, 1, 1], EQUAL, seed=SEED, position=1),
    case("all equal, position above 32 bits", SHIPPED, [2, 1, 1], EQUAL, seed=SEED,
         layer=2**32 - 1, position=2**63 + 12345),
    case("all equal, only the upper half of the seed", SHIPPED, [2, 1, 1], EQUAL, seed=1 << 127),
    case("some experts equal", SHIPPED, [3, 1, 2],
         ("1 2 3", "1 1 2 2 3 3", "1 1 1 1 2 2 2 2 2 2 3 3 3 3 3 3 3 3"), seed=5),
    case("first tier masked, its logits damaged", SHIPPED, [2, 1, 1],
         ("NaN 1 2", "NaN NaN 1 2 3 4", "NaN NaN NaN NaN " + "1 2 3 " * 2 + "4 3 2 1 " * 2),
         allowed=[1, 2]),
    case("middle tier masked", SHIPPED, [2, 1, 1], MIXED, allowed=[0, 2]),
    case("one tier allowed, two wanted", SHIPPED, [2, 1, 1], MIXED, allowed=[1]),
    case("more wanted than there are", SHIPPED, [3, 2, 4], MIXED),
    case("infinite and huge", SHIPPED, [2, 1, 2],
         ("inf -inf 3e38", "-3e38 -inf 1e30 inf inf 40000",
          "inf inf -inf -1e20 0 0 0 1 1 1 -32768 -32769 -40000 -inf 32767.5 inf 32768 0")),
    case("all negative", SHIPPED, [2, 1, 1],
         ("-1 -2 -3", "-5 -4 -3 -2 -1 -0.5", " ".join(str(-i / 8) for i in range(1, 19)))),
    # Half a step and less: 1.5 and 2.5 steps are both 2, half a step and minus half are both 0.
    case("ties from rounding", [[1, 4]], [1, 1, 3],
         ("0", "0", "0.00002288818359375 0.00003814697265625 0.00000762939453125 "
          "-0.00000762939453125"), seed=9),
    case("probabilities that vanish", SHIPPED, [2, 2, 2],
         ("0 -90 -200", "0 -95 0 -103.5 0 0", "0 -104 -88 0 " + "0 1 2 " * 2 + "1 2 3 4 " * 2)),
    case("one tier of one group", [[1, 8]], [1, 1, 2],
         ("3", "-2", "0.1 0.7 -0.3 0.65 0.7 -1.9 0.2 0.0"), seed=SEED, layer=31, position=4095),
    case("a damaged tier logit", SHIPPED, [2, 1, 1], ("0 1 NaN", MIXED[1], MIXED[2])),
    case("a damaged group logit", SHIPPED, [2, 1, 1], (MIXED[0], "1 2 3 4 NaN 5", MIXED[2])),
    case("a damaged expert logit", SHIPPED, [2, 1, 1],
         (MIXED[0], MIXED[1], "0 " * 10 + "1 2 3 NaN 1 2 3 4")),
    case("a damaged logit nobody looks at", SHIPPED, [1, 1, 1],
         (MIXED[0], MIXED[1], "NaN " * 10 + "1 2 3 4"
          + " NaN" * 4)),
]


def main():
    rows = [json.dumps({**c, "expected": decide(c)}) for c in CASES]
    print("[\n" + ",\n".join(rows) + "\n]")


main()
