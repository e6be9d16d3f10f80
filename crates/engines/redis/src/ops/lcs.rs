//! The longest common subsequence of two strings: <https://redis.io/docs/latest/commands/lcs/>.

use super::strings::text;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::Blob;

/// How large the table of lengths may become, in cells of four bytes: 512 MiB. Redis refuses only at 4 GiB.
const CELLS_MAX: usize = 128 << 20;

/// The options of LCS.
#[derive(Default)]
struct Options {
    length: bool,
    index: bool,
    with_match_length: bool,
    match_length_min: usize,
}

/// A common part: where it stands in both strings, both ends included.
struct Match {
    one: (usize, usize),
    other: (usize, usize),
}

/// The table of Wagner and Fischer: the length of the longest common subsequence of each pair of prefixes.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(one: &[u8], other: &[u8]) -> Table {
        let width = other.len() + 1;
        let mut table = Table { cells: vec![0; (one.len() + 1) * width], width };
        for (row, byte) in one.iter().enumerate() {
            for (column, against) in other.iter().enumerate() {
                let length = if byte == against {
                    table.at(row, column) + 1
                } else {
                    table.at(row, column + 1).max(table.at(row + 1, column))
                };
                table.cells[(row + 1) * width + column + 1] = length;
            }
        }
        table
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.cells[row * self.width + column]
    }

    fn length(&self) -> usize {
        self.cells.last().map_or(0, |length| *length as usize)
    }

    /// The subsequence itself, and the runs in which it stands in both strings, the last one first.
    fn trace(&self, one: &[u8], other: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut row, mut column) = (one.len(), other.len());
        let (mut common, mut runs): (Vec<u8>, Vec<Match>) = (Vec::new(), Vec::new());
        while row > 0 && column > 0 {
            if one[row - 1] == other[column - 1] {
                common.push(one[row - 1]);
                match runs.last_mut() {
                    Some(run) if run.one.0 == row && run.other.0 == column => {
                        run.one.0 = row - 1;
                        run.other.0 = column - 1;
                    }
                    _ => runs.push(Match { one: (row - 1, row - 1), other: (column - 1, column - 1) }),
                }
                row -= 1;
                column -= 1;
            } else if self.at(row - 1, column) > self.at(row, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
        common.reverse();
        (common, runs)
    }
}

fn options(call: &Call<'_>) -> Result<Options, Refusal> {
    let (mut options, mut index) = (Options::default(), 3);
    while let Some(word) = call.request.get(index) {
        match word {
            _ if is(word, "IDX") => options.index = true,
            _ if is(word, "LEN") => options.length = true,
            _ if is(word, "WITHMATCHLEN") => options.with_match_length = true,
            _ if is(word, "MINMATCHLEN") && call.request.get(index + 1).is_some() => {
                options.match_length_min = usize::try_from(call.integer(index + 1)?).unwrap_or(0);
                index += 1;
            }
            _ => return Err(Refusal::Syntax),
        }
        index += 1;
    }
    if options.index && options.length {
        return Err(Refusal::text("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

fn string(call: &mut Call<'_>, key: &[u8]) -> Result<Blob, Refusal> {
    let not_a_string = |_| Refusal::text("ERR The specified keys must contain string values");
    call.db.read(key).map_or(Ok(Blob::new()), |value| text(value).map_err(not_a_string))
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN], since 7.0.
pub(super) fn lcs(call: &mut Call<'_>) -> Answer {
    let (one, other) = (string(call, call.request.arg(1))?, string(call, call.request.arg(2))?);
    let options = options(call)?;
    if (one.len() + 1).saturating_mul(other.len() + 1) > CELLS_MAX {
        return Err(Refusal::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    let table = Table::new(&one, &other);
    if options.length {
        call.out.count(table.length());
        return Ok(Then::Done);
    }
    let (common, runs) = table.trace(&one, &other);
    if !options.index {
        call.out.bulk(&common);
        return Ok(Then::Done);
    }
    let shown = |run: &&Match| run.one.1 - run.one.0 + 1 >= options.match_length_min;
    call.out.map(2);
    call.out.bulk(b"matches");
    call.out.array(runs.iter().filter(shown).count());
    for run in runs.iter().filter(shown) {
        call.out.array(if options.with_match_length { 3 } else { 2 });
        for (first, last) in [run.one, run.other] {
            call.out.array(2);
            call.out.count(first);
            call.out.count(last);
        }
        if options.with_match_length {
            call.out.count(run.one.1 - run.one.0 + 1);
        }
    }
    call.out.bulk(b"len");
    call.out.count(table.length());
    Ok(Then::Done)
}
