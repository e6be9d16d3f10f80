//! What a leader checks of the records inside of a producer's batch, as Kafka's `LogValidator` does: that there are as many
//! as the batch says, one offset each, that nothing follows them, and that their times and keys are allowed. The records
//! pass by as a stream and are not kept.

use std::io::{self, BufRead, BufReader};

use bytes::Bytes;

use crate::batch::{BatchHeader, HEADER_SIZE};
use crate::compression::{self, Codec, UNPACKED_MAX};

/// As many refused records are named.
const ERRORS_MAX: usize = 1_000;

/// What a topic asks of records.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'t> {
    /// The topic and partition, for Kafka's sentences.
    pub partition: (&'t str, i32),
    /// The broker's wall clock; None if it sets the times itself (`LogAppendTime`).
    pub now_ms: Option<i64>,
    /// How much older a record's time may be.
    pub before_max_ms: i64,
    /// How much newer.
    pub after_max_ms: i64,
    /// Compacted topics take no record without a key.
    pub needs_keys: bool,
}

/// Why records are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// They cannot be unpacked.
    Packed,
    /// They are not what the format asks for.
    Structure(String),
    /// Some of them are not allowed: their places, each with why.
    Records {
        /// Whether any has a wrong time.
        timestamps: bool,
        /// Places and reasons.
        errors: Vec<(i32, String)>,
    },
}

/// What is unpacked of a batch at once.
const UNPACKED_AT_ONCE: usize = 16 << 10;

/// Checks the records of a batch that is whole, and gives their greatest timestamp.
pub fn check(header: &BatchHeader, batch: &Bytes, rules: &Rules<'_>) -> Result<i64, Refused> {
    let body = batch.slice(HEADER_SIZE..header.size);
    match Codec::from_number(header.compression()).ok_or(Refused::Packed)? {
        // They pass by where they lie.
        Codec::None => check_records(header, Codec::None, &body[..], rules),
        codec => {
            let stream = compression::open(codec, body, UNPACKED_MAX).map_err(|_| Refused::Packed)?;
            check_records(header, codec, BufReader::with_capacity(UNPACKED_AT_ONCE, stream), rules)
        }
    }
}

fn check_records(header: &BatchHeader, codec: Codec, records: impl BufRead, rules: &Rules<'_>) -> Result<i64, Refused> {
    let mut records = Stream { inner: records, taken: 0 };
    let (mut newest, mut errors, mut timestamps) = (-1, Vec::new(), false);
    for place in 0..header.record_count {
        let seen = records.record(place).map_err(|problem| refused(codec, problem))?;
        let timestamp = header.base_timestamp.saturating_add(seen.timestamp_delta);
        newest = newest.max(timestamp);
        let error = match (rules.needs_keys && !seen.has_key, out_of_range(rules, timestamp)) {
            (true, _) => {
                let (topic, partition) = rules.partition;
                Some(format!(
                    "Compacted topic cannot accept message without key in topic partition {topic}-{partition}."
                ))
            }
            (false, Some((from, to))) => {
                timestamps = true;
                Some(format!(
                    "Timestamp {timestamp} of message with offset {place} is out of range. The timestamp should be within \
                     [{from}, {to}]"
                ))
            }
            (false, None) => None,
        };
        if let Some(error) = error.filter(|_| errors.len() < ERRORS_MAX) {
            errors.push((place, error));
        }
    }
    if !records.is_at_end().map_err(|error| refused(codec, Problem::Io(error)))? {
        let reason = "Incorrect declared batch size, records still remaining in file";
        return Err(Refused::Structure(reason.to_owned()));
    }
    if errors.is_empty() { Ok(newest) } else { Err(Refused::Records { timestamps, errors }) }
}

fn out_of_range(rules: &Rules<'_>, timestamp: i64) -> Option<(i64, i64)> {
    let now = rules.now_ms.filter(|_| timestamp != -1)?;
    let outside =
        now.saturating_sub(timestamp) > rules.before_max_ms || timestamp.saturating_sub(now) > rules.after_max_ms;
    outside.then(|| (now.wrapping_sub(rules.before_max_ms), now.wrapping_add(rules.after_max_ms)))
}

fn refused(codec: Codec, problem: Problem) -> Refused {
    match problem {
        Problem::Io(error) if codec != Codec::None && error.kind() != io::ErrorKind::UnexpectedEof => Refused::Packed,
        Problem::Io(_) => Refused::Structure("Found invalid record structure".to_owned()),
        Problem::Structure(reason) => Refused::Structure(reason),
    }
}

enum Problem {
    Io(io::Error),
    Structure(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem::Io(error)
    }
}

fn wrong(what: &str) -> Problem {
    Problem::Structure(what.to_owned())
}

struct Seen {
    timestamp_delta: i64,
    has_key: bool,
}

/// Records as they pass by.
struct Stream<R> {
    inner: R,
    taken: u64,
}

impl<R: BufRead> Stream<R> {
    fn record(&mut self, place: i32) -> Result<Seen, Problem> {
        let size = u64::try_from(self.varlong()?).map_err(|_| wrong("Found invalid record structure"))?;
        let begin = self.taken;
        self.byte()?;
        let timestamp_delta = self.varlong()?;
        let offset_delta = self.varlong()?;
        if offset_delta != i64::from(place) {
            return Err(Problem::Structure(format!(
                "Inner record Record(offset={offset_delta}) inside the compressed record batch does not have incremental \
                 offsets, expected offset is {place}"
            )));
        }
        let has_key = self.skip_field(-1)?;
        self.skip_field(-1)?;
        let headers = self.varlong()?;
        // A header takes two bytes at least, so that a forged count ends with the record.
        if headers < 0 || headers as u64 > size / 2 {
            return Err(wrong("Found invalid number of record headers"));
        }
        for _ in 0..headers {
            self.skip_field(0)?;
            self.skip_field(-1)?;
        }
        if self.taken - begin != size {
            return Err(Problem::Structure(format!(
                "Invalid record size: expected to read {size} bytes in record payload, but instead read {}",
                self.taken - begin
            )));
        }
        Ok(Seen { timestamp_delta, has_key })
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.inner.fill_buf()?.is_empty())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.inner.fill_buf()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.pass(1);
        Ok(byte)
    }

    /// Leaves bytes behind that are there.
    fn pass(&mut self, count: usize) {
        self.inner.consume(count);
        self.taken += count as u64;
    }

    fn varlong(&mut self) -> Result<i64, Problem> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(wrong("Varlong is too long"))
    }

    /// Passes over a length and as many bytes, and says whether it is there; −1 is a null where one is allowed.
    fn skip_field(&mut self, length_min: i64) -> Result<bool, Problem> {
        let length = self.varlong()?;
        if length < length_min || length > i64::from(i32::MAX) {
            return Err(wrong("Found invalid record structure"));
        }
        let mut wanted = usize::try_from(length).unwrap_or(0);
        while wanted > 0 {
            let there = self.inner.fill_buf()?.len().min(wanted);
            if there == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.pass(there);
            wanted -= there;
        }
        Ok(length >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch;
    use crate::record::{Fields, write_batch};

    const RULES: Rules<'static> =
        Rules { partition: ("orders", 0), now_ms: Some(1_000), before_max_ms: 100, after_max_ms: 10, needs_keys: true };

    fn checked(records: &[Fields<'_>], timestamp: i64) -> Result<i64, Refused> {
        let bytes = write_batch(records, timestamp, None);
        let (header, bytes) = batch::validate(&bytes).unwrap().remove(0);
        check(&header, &bytes, &RULES)
    }

    #[test]
    fn times_and_keys_are_checked_one_by_one() {
        assert_eq!(checked(&[(Some(b"k"), Some(b"v")), (Some(b"l"), None)], 950), Ok(950));
        let Err(Refused::Records { timestamps: true, errors }) = checked(&[(Some(b"k"), None)], 1_011) else {
            panic!("too new")
        };
        assert!(errors[0].1.ends_with("within [900, 1010]"), "{errors:?}");
        let Err(Refused::Records { timestamps: false, errors }) = checked(&[(Some(b"k"), None), (None, None)], 1_000)
        else {
            panic!("no key")
        };
        assert_eq!(errors[0].0, 1);
    }

    #[test]
    fn records_that_are_not_what_the_batch_says_are_refused() {
        let bytes = write_batch(&[(Some(b"k"), Some(b"v"))], 950, None);
        let (header, bytes) = batch::validate(&bytes).unwrap().remove(0);
        for place in HEADER_SIZE..bytes.len() {
            let mut broken = bytes.to_vec();
            broken[place] ^= 0x41;
            let _ = check(&header, &broken.into(), &RULES);
        }
        let more = BatchHeader { record_count: 2, ..header };
        assert!(matches!(check(&more, &bytes, &RULES), Err(Refused::Structure(_))));
        let packed = BatchHeader { attributes: 4, ..header };
        assert_eq!(check(&packed, &bytes, &RULES), Err(Refused::Packed));
    }
}
