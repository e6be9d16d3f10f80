//! Whether a value suits an option, in Redis's words.

use std::time::Duration;

use super::{ConfigError, OptionInfo, OptionKind, format_percentile, percentiles};
use crate::notify;
use crate::state::parse_integer;

/// The value in its canonical form, or what Redis says is wrong with it. `present` is the value in force.
pub(super) fn check(option: &'static OptionInfo, value: &str, present: &str) -> Result<String, ConfigError> {
    let checked = match option.kind {
        OptionKind::YesNo => match value.to_ascii_lowercase().as_str() {
            word @ ("yes" | "no") => Ok(word.to_owned()),
            _ => Err("argument must be 'yes' or 'no'".to_owned()),
        },
        OptionKind::Integer(low, high) => match parse_integer(value.as_bytes()) {
            Some(number) => between(number, low, high),
            None => Err("argument couldn't be parsed into an integer".to_owned()),
        },
        OptionKind::Octal(low, high) => match i64::from_str_radix(value, 8) {
            Ok(number) if (low..=high).contains(&number) => Ok(format!("{number:o}")),
            Ok(_) => Err(format!("argument must be between {low:o} and {high:o} inclusive")),
            Err(_) => Err("argument couldn't be parsed as an octal number".to_owned()),
        },
        OptionKind::Memory => bytes_between(value, 0, u64::MAX),
        OptionKind::MemoryBetween(low, high) => bytes_between(value, low, high),
        OptionKind::MemoryOrPercent(low) => bytes_or_percent(value, low),
        OptionKind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
            Some(word) => Ok((*word).to_owned()),
            None => Err(not_one_of(words)),
        },
        OptionKind::Words(words) => check_words(words, value),
        OptionKind::Text => check_text(option.name, value, present),
    };
    let reason = match checked {
        Ok(value) => match contradiction(option.name, &value) {
            None => return Ok(value),
            Some(reason) => reason.to_owned(),
        },
        Err(reason) => reason,
    };
    Err(ConfigError::Invalid { name: option.name, reason })
}

fn not_one_of(words: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", words.join(", "))
}

fn between(number: i64, low: i64, high: i64) -> Result<String, String> {
    if (low..=high).contains(&number) {
        Ok(number.to_string())
    } else {
        Err(format!("argument must be between {low} and {high} inclusive"))
    }
}

fn bytes_between(value: &str, low: u64, high: u64) -> Result<String, String> {
    match memory(value) {
        Some(bytes) if (low..=high).contains(&bytes) => Ok(bytes.to_string()),
        Some(_) => Err(format!("argument must be between {low} and {high} inclusive")),
        None => Err("argument must be a memory value".to_owned()),
    }
}

/// A percentage is kept as it is written.
fn bytes_or_percent(value: &str, low: i64) -> Result<String, String> {
    let percent = value.strip_suffix('%').and_then(|digits| parse_integer(digits.as_bytes()));
    match (memory(value), percent) {
        (Some(bytes), _) => between(i64::try_from(bytes).unwrap_or(-1), 0, i64::MAX),
        (None, Some(percent)) if percent >= 0 && -percent >= low => Ok(format!("{percent}%")),
        (None, Some(percent)) if percent >= 0 => {
            Err(format!("percentage argument must be less or equal to {}", low.unsigned_abs()))
        }
        _ => Err("argument must be a memory or percent value".to_owned()),
    }
}

/// Several of these words, in the order in which Redis shows them.
fn check_words(words: &[&str], value: &str) -> Result<String, String> {
    let given: Vec<String> = value.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    if given.is_empty() || !given.iter().all(|word| words.contains(&word.as_str())) {
        return Err(not_one_of(words));
    }
    let shown: Vec<&str> =
        words.iter().copied().filter(|word| *word != words[0] && given.iter().any(|given| given == word)).collect();
    Ok(if shown.is_empty() { words[0].to_owned() } else { shown.join(" ") })
}

/// What Redis refuses though the value is of the right kind.
fn contradiction(name: &str, value: &str) -> Option<&'static str> {
    let has = |word: &str| value.split(' ').any(|other| other == word);
    match name {
        "activedefrag" if value == "yes" => Some(
            "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc like \
             the one shipped by default with the Redis source distribution",
        ),
        "shutdown-on-sigint" | "shutdown-on-sigterm" if has("save") && has("nosave") => {
            Some("shutdown options SAVE and NOSAVE can't be used simultaneously")
        }
        _ => None,
    }
}

/// Texts that have a form of their own.
fn check_text(name: &str, value: &str, present: &str) -> Result<String, String> {
    match name {
        "aclfile" if value.contains('/') => Err("aclfile can't be a path, just a filename".to_owned()),
        "dbfilename" if value.contains('/') => Err("dbfilename can't be a path, just a filename".to_owned()),
        "latency-tracking-info-percentiles" => {
            let numbers =
                percentiles(value).ok_or_else(|| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
            if numbers.iter().any(|number| !(0.0..=100.0).contains(number)) {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned());
            }
            Ok(numbers.iter().map(|number| format_percentile(*number)).collect::<Vec<_>>().join(" "))
        }
        "notify-keyspace-events" => match notify::parse_classes(value) {
            Some(classes) => Ok(notify::format_classes(classes)),
            None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
        },
        "save" => {
            let points = save_points(value).ok_or_else(|| "Invalid save parameters".to_owned())?;
            let pairs: Vec<String> = points.iter().map(|(seconds, changes)| format!("{seconds} {changes}")).collect();
            Ok(pairs.join(" "))
        }
        "client-output-buffer-limit" => {
            let limits = update_limits(output_limits(present), value)?;
            let shown = ["normal", "slave", "pubsub"].iter().zip(limits);
            let lines: Vec<String> = shown
                .map(|(class, limit)| format!("{class} {} {} {}", limit.hard, limit.soft, limit.patience.as_secs()))
                .collect();
            Ok(lines.join(" "))
        }
        "oom-score-adj-values" => {
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            if words.len() != 3 {
                return Err("wrong number of arguments".to_owned());
            }
            if !words.iter().all(|word| word.parse().is_ok_and(|number: i32| (-2000..=2000).contains(&number))) {
                return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned());
            }
            Ok(words.join(" "))
        }
        _ => Ok(value.to_owned()),
    }
}

/// Pairs of seconds and changes; none for an empty text.
pub(super) fn save_points(text: &str) -> Option<Vec<(u64, u64)>> {
    let numbers: Option<Vec<u64>> = text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
    let numbers = numbers?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    let is_valid = rest.is_empty() && pairs.iter().all(|[seconds, _]| (1..=u64::from(u32::MAX)).contains(seconds));
    is_valid.then(|| pairs.iter().map(|[seconds, changes]| (*seconds, *changes)).collect())
}

/// How much may be waiting for a client that does not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputLimit {
    /// With more than these bytes it is disconnected at once; 0: never.
    pub(crate) hard: u64,
    /// With more than these for so long; 0: never.
    pub(crate) soft: u64,
    pub(crate) patience: Duration,
}

/// Where the limits of each kind of client stand among [`output_limits`].
pub(crate) const ORDINARY: usize = 0;
pub(crate) const REPLICAS: usize = 1;
pub(crate) const SUBSCRIBERS: usize = 2;

/// `client-output-buffer-limit`, in its canonical form: of ordinary clients, replicas and subscribers.
pub(super) fn output_limits(text: &str) -> [OutputLimit; 3] {
    update_limits([OutputLimit::default(); 3], text).unwrap_or_default()
}

/// Limits of which some are changed: of the others what is there stays.
fn update_limits(mut limits: [OutputLimit; 3], text: &str) -> Result<[OutputLimit; 3], String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (lines, rest) = words.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    for [class, hard, soft, seconds] in lines {
        let index = match class.to_ascii_lowercase().as_str() {
            "normal" => ORDINARY,
            "slave" | "replica" => REPLICAS,
            "pubsub" => SUBSCRIBERS,
            _ => return Err("Invalid client class specified in buffer limit configuration.".to_owned()),
        };
        let (Some(hard), Some(soft), Ok(seconds)) = (memory(hard), memory(soft), seconds.parse::<u32>()) else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned());
        };
        limits[index] = OutputLimit { hard, soft, patience: Duration::from_secs(u64::from(seconds)) };
    }
    Ok(limits)
}

/// A number of bytes such as `512mb`: `k` is 1000, `kb` 1024. Without digits it is none.
pub(crate) fn memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? };
    number.checked_mul(factor)
}

/// An amount of memory, or so many hundredths of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    Bytes(u64),
    Percent(u64),
}

pub(super) fn memory_limit(text: &str) -> Option<MemoryLimit> {
    match text.strip_suffix('%') {
        Some(number) => number.parse().ok().filter(|percent| *percent <= 100).map(MemoryLimit::Percent),
        None => memory(text).map(MemoryLimit::Bytes),
    }
}
