//! The text form of a program: for reading, for golden tests, and back again.
//!
//! One item a line; `emit` followed by `parse` gives the same program, bit for bit. What a program
//! would never be written as is refused: unknown and repeated fields, a second header, tiles whose
//! rows have other lengths than the arrays ask for.
//!
//! ```text
//! program "layer 0 small.0.1" chip=tiny-4 rows=4 columns=4 symbols_max=8 useful_macs=96
//! buffer 0 f32 len=8 address=0
//! table 0 [0.5 0.25]
//! tile 0 conjugate [1 -2 3 4; 5 6 7 8]
//! step 0 move_in to=0 symbols=0..4
//! step 1 quantise from=0 to=1 scale=2 symbols=0..4 after=0
//! ```

use super::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, Symbols, TableId,
    Tile, TileId,
};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

/// Where and why a text is not a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseProgramError {
    /// Line number, from 1.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for ParseProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for ParseProgramError {}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "program {:?} chip={} rows={} columns={} symbols_max={} useful_macs={}",
            self.name,
            self.chip,
            self.rows,
            self.columns,
            self.symbols_max,
            self.useful_macs_per_symbol
        )?;
        for (index, buffer) in self.buffers.iter().enumerate() {
            let kind = match buffer.kind {
                ElementKind::F32 => "f32",
                ElementKind::Code => "code",
                ElementKind::Accumulator => "accumulator",
            };
            writeln!(f, "buffer {index} {kind} len={} address={}", buffer.len, buffer.address)?;
        }
        for (index, table) in self.tables.iter().enumerate() {
            let numbers: Vec<String> = table.iter().map(|x| format!("{x:?}")).collect();
            writeln!(f, "table {index} [{}]", numbers.join(" "))?;
        }
        for (index, tile) in self.tiles.iter().enumerate() {
            let rows: Vec<String> = tile
                .codes
                .chunks(tile.packing.outputs(self.columns).max(1))
                .map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                .collect();
            writeln!(f, "tile {index} {} [{}]", tile.packing.name(), rows.join("; "))?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            let mut after = String::new();
            if step.symbols != Symbols::ALL {
                write!(after, " symbols={}", step.symbols)?;
            }
            for (i, earlier) in step.after.iter().enumerate() {
                write!(after, "{}{}", if i == 0 { " after=" } else { "," }, earlier.0)?;
            }
            writeln!(f, "step {index} {}{after}", ActionText(&step.action))?;
        }
        Ok(())
    }
}

struct ActionText<'a>(&'a Action);

impl fmt::Display for ActionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            Action::MoveIn { to } => write!(f, "move_in to={}", to.0),
            Action::Quantise { from, to, scale } => {
                write!(f, "quantise from={} to={} scale={}", from.0, to.0, scale.0)
            }
            Action::LoadBank { array, bank, tile } => {
                write!(f, "load_bank array={array} bank={bank} tile={}", tile.0)
            }
            Action::Settle { array, bank } => write!(f, "settle array={array} bank={bank}"),
            Action::Stream {
                array,
                bank,
                tile,
                from,
                from_offset,
                shift,
                to,
                to_offset,
                accumulate_shift,
                first,
            } => write!(
                f,
                "stream array={array} bank={bank} tile={} from={} from_offset={from_offset} \
                 shift={shift} to={} to_offset={to_offset} accumulate_shift={accumulate_shift} \
                 first={}",
                tile.0,
                from.0,
                to.0,
                u8::from(first)
            ),
            Action::Dequantise { from, scale, table, to } => write!(
                f,
                "dequantise from={} scale={} table={} to={}",
                from.0, scale.0, table.0, to.0
            ),
            Action::SwiGlu { gate, up, to } => {
                write!(f, "swiglu gate={} up={} to={}", gate.0, up.0, to.0)
            }
            Action::Rotate { from, table, block, to } => {
                write!(f, "rotate from={} table={} block={block} to={}", from.0, table.0, to.0)
            }
            Action::MoveOut { from } => write!(f, "move_out from={}", from.0),
        }
    }
}

impl FromStr for Program {
    type Err = ParseProgramError;

    fn from_str(text: &str) -> Result<Self, ParseProgramError> {
        let mut program: Option<Self> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let fail = |expected| ParseProgramError { line: number, expected };
            let line = line.trim();
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            if let Some(rest) = line.strip_prefix("program ") {
                if program.is_some() {
                    return Err(fail("one `program` line only"));
                }
                program = Some(header(rest).map_err(fail)?);
                continue;
            }
            let program = program.as_mut().ok_or(fail("a `program` line first"))?;
            item(program, line).map_err(fail)?;
        }
        program.ok_or(ParseProgramError { line: 1, expected: "a `program` line" })
    }
}

type Expected = &'static str;

fn header(rest: &str) -> Result<Program, Expected> {
    let end = closing_quote(rest).ok_or("a quoted name")?;
    let name = unquote(&rest[1..end]).ok_or("a name with known escapes")?;
    let mut fields = fields(&rest[end + 1..])?;
    let chip = fields.remove("chip").ok_or("chip=")?.to_owned();
    // Sides of 32 bits can be multiplied.
    let mut side = |key, expected| number::<u32>(&mut fields, key, expected).map(|n| n as usize);
    let program = Program {
        name,
        chip,
        rows: side("rows", "rows=")?,
        columns: side("columns", "columns=")?,
        symbols_max: number(&mut fields, "symbols_max", "symbols_max=")?,
        useful_macs_per_symbol: number(&mut fields, "useful_macs", "useful_macs=")?,
        buffers: Vec::new(),
        tiles: Vec::new(),
        tables: Vec::new(),
        steps: Vec::new(),
    };
    all_read(&fields)?;
    Ok(program)
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut i = 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return Some(i),
            _ => i += 1,
        }
    }
    None
}

/// Undoes the escapes of `{:?}` that a name can have: quotes, backslashes, tabs, line ends.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                c @ ('"' | '\\' | '\'') => c,
                'u' => {
                    let rest = chars.as_str();
                    let end = rest.find('}')?;
                    let digits = rest[..end].strip_prefix('{')?;
                    let code = u32::from_str_radix(digits, 16).ok()?;
                    chars = rest[end + 1..].chars();
                    char::from_u32(code)?
                }
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

fn item(program: &mut Program, line: &str) -> Result<(), Expected> {
    let (kind, rest) = line.split_once(' ').ok_or("an item")?;
    let (index, rest) = rest.split_once(' ').ok_or("an index")?;
    let index: usize = index.parse().map_err(|_| "an index")?;
    let in_order = |len: usize| if index == len { Ok(()) } else { Err("indices in order") };
    match kind {
        "buffer" => {
            in_order(program.buffers.len())?;
            let (kind, rest) = rest.split_once(' ').ok_or("an element kind")?;
            let kind = match kind {
                "f32" => ElementKind::F32,
                "code" => ElementKind::Code,
                "accumulator" => ElementKind::Accumulator,
                _ => return Err("f32, code or accumulator"),
            };
            let mut fields = fields(rest)?;
            let len = number(&mut fields, "len", "len=")?;
            let address = number(&mut fields, "address", "address=")?;
            all_read(&fields)?;
            program.buffers.push(Buffer { kind, len, address });
        }
        "table" => {
            in_order(program.tables.len())?;
            let table = bracketed(rest).ok_or("numbers in [ ]")?;
            program.tables.push(numbers(table, "numbers in [ ]")?);
        }
        "tile" => {
            in_order(program.tiles.len())?;
            let (packing, rest) = rest.split_once(' ').ok_or("a packing")?;
            let packing =
                Packing::from_name(packing).ok_or("conjugate, rows, tokens or complex")?;
            let rows = bracketed(rest).ok_or("codes in [ ]")?;
            let codes = tile_codes(rows, packing.outputs(program.columns))?;
            program.tiles.push(Tile { packing, codes });
        }
        "step" => {
            in_order(program.steps.len())?;
            program.steps.push(step(rest)?);
        }
        _ => return Err("buffer, table, tile or step"),
    }
    Ok(())
}

/// What stands between the brackets.
fn bracketed(text: &str) -> Option<&str> {
    text.trim().strip_prefix('[')?.strip_suffix(']')
}

fn numbers<T: FromStr>(text: &str, expected: Expected) -> Result<Vec<T>, Expected> {
    text.split_whitespace().map(|word| word.parse().map_err(|_| expected)).collect()
}

/// The codes of a tile, whose rows all have so many, up to the last: a tile that was cut off can be
/// written down too, and is the verifier's to refuse.
fn tile_codes(rows: &str, outputs: usize) -> Result<Vec<i8>, Expected> {
    let mut codes = Vec::new();
    if rows.trim().is_empty() {
        return Ok(codes);
    }
    let mut last = outputs;
    for row in rows.split(';') {
        let row: Vec<i8> = numbers(row, "codes in [ ]")?;
        if last != outputs || row.is_empty() || row.len() > outputs {
            return Err("a code for each output in each row of the tile");
        }
        last = row.len();
        codes.extend(row);
    }
    Ok(codes)
}

fn fields(text: &str) -> Result<BTreeMap<&str, &str>, Expected> {
    let mut fields = BTreeMap::new();
    for word in text.split_whitespace() {
        let (key, value) = word.split_once('=').ok_or("key=value")?;
        if fields.insert(key, value).is_some() {
            return Err("each field once");
        }
    }
    Ok(fields)
}

/// Checks that no field is left that nobody asked for.
fn all_read(fields: &BTreeMap<&str, &str>) -> Result<(), Expected> {
    if fields.is_empty() { Ok(()) } else { Err("no further fields") }
}

fn number<T: FromStr>(
    fields: &mut BTreeMap<&str, &str>,
    key: &str,
    expected: Expected,
) -> Result<T, Expected> {
    fields.remove(key).and_then(|text| text.parse().ok()).ok_or(expected)
}

fn step(text: &str) -> Result<Step, Expected> {
    let (name, rest) = text.split_once(' ').ok_or("an action")?;
    let mut fields = fields(rest)?;
    let after = match fields.remove("after") {
        None => Vec::new(),
        Some(list) => list
            .split(',')
            .map(|word| word.parse().map(StepIndex).map_err(|_| "step numbers in after="))
            .collect::<Result<_, _>>()?,
    };
    let symbols = match fields.remove("symbols") {
        None => Symbols::ALL,
        Some(range) => symbols(range).ok_or("two numbers in symbols=")?,
    };
    let f = &mut fields;
    let mut id = |key| number(f, key, "a field of this action");
    let action = match name {
        "move_in" => Action::MoveIn { to: BufferId(id("to")?) },
        "move_out" => Action::MoveOut { from: BufferId(id("from")?) },
        "quantise" => Action::Quantise {
            from: BufferId(id("from")?),
            to: BufferId(id("to")?),
            scale: BufferId(id("scale")?),
        },
        "load_bank" => {
            let tile = TileId(id("tile")?);
            Action::LoadBank {
                array: number(f, "array", "array=")?,
                bank: number(f, "bank", "bank=")?,
                tile,
            }
        }
        "settle" => Action::Settle {
            array: number(f, "array", "array=")?,
            bank: number(f, "bank", "bank=")?,
        },
        "stream" => Action::Stream {
            tile: TileId(id("tile")?),
            from: BufferId(id("from")?),
            to: BufferId(id("to")?),
            from_offset: id("from_offset")?,
            to_offset: id("to_offset")?,
            array: number(f, "array", "array=")?,
            bank: number(f, "bank", "bank=")?,
            shift: number(f, "shift", "shift=")?,
            accumulate_shift: number(f, "accumulate_shift", "accumulate_shift=")?,
            first: match f.remove("first") {
                Some("0") => false,
                Some("1") => true,
                _ => return Err("first=0 or first=1"),
            },
        },
        "dequantise" => Action::Dequantise {
            from: BufferId(id("from")?),
            scale: BufferId(id("scale")?),
            table: TableId(id("table")?),
            to: BufferId(id("to")?),
        },
        "rotate" => Action::Rotate {
            from: BufferId(id("from")?),
            table: TableId(id("table")?),
            block: id("block")?,
            to: BufferId(id("to")?),
        },
        "swiglu" => Action::SwiGlu {
            gate: BufferId(id("gate")?),
            up: BufferId(id("up")?),
            to: BufferId(id("to")?),
        },
        _ => return Err("a known action"),
    };
    all_read(&fields)?;
    Ok(Step { action, symbols, after: after.into() })
}

fn symbols(range: &str) -> Option<Symbols> {
    let (from, to) = range.split_once("..")?;
    Some(Symbols { from: from.parse().ok()?, to: to.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
program \"a\\u{301}b\" chip=tiny-4 rows=4 columns=2 symbols_max=8 useful_macs=96
buffer 0 f32 len=8 address=0
table 0 [0.5 NaN]
tile 0 conjugate [1 -2; 5 6; 7]
step 0 move_in to=0 symbols=0..4
step 1 settle array=0 bank=1 after=0
";

    #[test]
    fn what_is_written_is_read() {
        let program: Program = TEXT.parse().unwrap();
        assert_eq!(program.tiles[0].codes, [1, -2, 5, 6, 7]);
        assert_eq!(program.to_string(), TEXT);
    }

    /// Replaces a part of the text and gives the line and what was expected there.
    fn refused(part: &str, by: &str) -> (usize, &'static str) {
        assert!(TEXT.contains(part), "{part}");
        let error = TEXT.replacen(part, by, 1).parse::<Program>().unwrap_err();
        (error.line, error.expected)
    }

    #[test]
    fn what_would_never_be_written_is_refused() {
        let no_more = "no further fields";
        assert_eq!(refused("useful_macs=96", "useful_macs=96 wavelengths=2"), (1, no_more));
        assert_eq!(refused("len=8", "len=8 kind=f32"), (2, no_more));
        assert_eq!(refused("to=0", "to=0 from=1"), (5, no_more));
        let once = "each field once";
        assert_eq!(refused("rows=4", "rows=4 rows=4"), (1, once));
        assert_eq!(refused("len=8", "len=8 len=9"), (2, once));
        assert_eq!(refused("bank=1", "bank=1 bank=0"), (6, once));
        assert_eq!(refused("rows=4", "rows=9223372036854775808"), (1, "rows="));
        assert_eq!(refused("u{301}", "u<301}"), (1, "a name with known escapes"));
        let again = TEXT.repeat(2).parse::<Program>().unwrap_err();
        assert_eq!((again.line, again.expected), (7, "one `program` line only"));
    }

    #[test]
    fn rows_of_tiles_have_a_code_for_each_output() {
        let row = "a code for each output in each row of the tile";
        for spoilt in ["[1 -2 5; 6; 7]", "[1; -2 5; 6 7]", "[1 -2 5 6 7]", "[1 -2; ; 7]", "[1 2;]"]
        {
            assert_eq!(refused("[1 -2; 5 6; 7]", spoilt), (4, row), "{spoilt}");
        }
        for spoilt in ["1 -2; 5 6", "[1 -2; 5 6", "[1 -2, 5 6]", "[1 -200]"] {
            assert_eq!(refused("[1 -2; 5 6; 7]", spoilt), (4, "codes in [ ]"), "{spoilt}");
        }
        let empty: Program = TEXT.replace("[1 -2; 5 6; 7]", "[]").parse().unwrap();
        assert_eq!(empty.tiles[0].codes, []);
    }
}
