//! Resource quantities (`100m`, `1.5Gi`, `2e3`), read into thousandths so that CPU and bytes are whole numbers.

/// A quantity in thousandths of its unit. `None` for what Kubernetes does not accept as a quantity.
///
/// Values beyond what fits are capped, as the API caps at 2^63−1.
pub fn parse_milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = unsigned.split_at(digits);
    if number.is_empty() || number == "." || number.matches('.').count() > 1 || number.len() > 30 {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (numerator, denominator) = multiplier(suffix)?;
    let mut value = whole.parse::<i128>().or_else(|error| if whole.is_empty() { Ok(0) } else { Err(error) }).ok()?;
    let mut scale: i128 = 1;
    for digit in fraction.bytes().take(12) {
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        scale *= 10;
    }
    let scaled = value.checked_mul(numerator)?.checked_mul(1000)?;
    let divisor = scale * denominator;
    // What is finer than a thousandth is rounded up, as the API does.
    let milli = scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0);
    Some(sign * milli)
}

/// A quantity in whole units, rounded up; absent or malformed is 0.
pub fn whole(text: &str) -> i64 {
    let milli = parse_milli(text).unwrap_or(0);
    let units = milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0);
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// A quantity in thousandths; absent or malformed is 0.
pub fn milli(text: &str) -> i64 {
    i64::try_from(parse_milli(text).unwrap_or(0)).unwrap_or(i64::MAX)
}

fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1i128 << (10 * power), 1));
    let decimal = |power: u32| Some((10i128.pow(power), 1));
    match suffix {
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => exponent(suffix),
    }
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match power {
        0..=18 => Some((10i128.pow(power.unsigned_abs()), 1)),
        -9..=-1 => Some((1, 10i128.pow(power.unsigned_abs()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        for (text, milli) in [
            ("500m", 500),
            ("1", 1000),
            ("0.1", 100),
            (".5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("2e3", 2_000_000),
            ("-1", -1000),
            ("100n", 1),
            ("128M", 128_000_000_000),
        ] {
            assert_eq!(parse_milli(text), Some(milli), "{text}");
        }
        for bad in ["", "m", "1.2.3", "1 Gi", "1GiB", "0x10", "e", "1e99"] {
            assert_eq!(parse_milli(bad), None, "{bad}");
        }
        assert_eq!(whole("1500m"), 2);
    }
}
