//! Durations and shares as people write and read them.

use std::time::Duration;

/// Reads `500ms`, `5s`, `1.5s`, `2m`, `1m30s`, `1h`. None if it is none of these, or longer than a year.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let behind = behind.trim_start();
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = total.checked_add(part).filter(|total| total.as_secs() < 366 * 24 * 3600)?;
        rest = behind.trim_start();
    }
    Some(total)
}

/// Reads `99 %`, `99.9%`, as parts of a million.
pub(super) fn share(text: &str) -> Option<u32> {
    let number: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
    if !(0.0..=100.0).contains(&number) {
        return None;
    }
    // Between 0 and 1,000,000, so the conversion cannot lose anything.
    Some((number * 10_000.0).round() as u32)
}

/// Reads `p50`, `p99`, `p99.9`, as parts of a million.
pub(super) fn quantile(text: &str) -> Option<u32> {
    let number: f64 = text.trim().strip_prefix('p')?.parse().ok()?;
    if !(number > 0.0 && number < 100.0) {
        return None;
    }
    Some((number * 10_000.0).round() as u32)
}

/// A duration for people: `850 ms`, `1.2 s`, `38 s`, `2 min 5 s`.
pub fn short(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if ms % 1000 >= 50 => format!("{}.{} s", ms / 1000, (ms % 1000) / 100),
        1_000..120_000 => format!("{} s", ms / 1000),
        _ if (ms / 1000).is_multiple_of(60) => format!("{} min", ms / 60_000),
        _ => format!("{} min {} s", ms / 60_000, (ms / 1000) % 60),
    }
}

/// A time of the run as on a clock: `00:14.2`.
pub fn clock(at: Duration) -> String {
    let tenths = at.as_millis() / 100;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// Parts of a million as a percentage without trailing zeros: `99.95 %`. Rounded down, so that only all is 100 %.
pub fn percent(ppm: u64) -> String {
    let hundredths = ppm / 100;
    let digits = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}
