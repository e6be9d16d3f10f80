//! Numbers as Redis reads and prints them.

/// A decimal integer without spaces, plus sign or leading zeros, as `string2ll` reads it.
#[inline]
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!is_negative).then_some(0),
        [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut number: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if is_negative { 0i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

/// Longer texts are no numbers, whatever stands in them.
const FLOAT_LENGTH_MAX: usize = 5 << 10;
/// Any integer of so many digits is a floating-point number.
const EXACT_LENGTH_MAX: usize = 15;

/// A floating-point number as `strtod` reads it, but without spaces and not NaN.
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    let add = |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'));
    if (1..=EXACT_LENGTH_MAX).contains(&text.len())
        && let Some(integer) = text.iter().try_fold(0, add)
    {
        return Some(integer as f64);
    }
    if text.is_empty() || text.len() > FLOAT_LENGTH_MAX {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, unsigned) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let number = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        _ if lower.starts_with("0x") => u64::from_str_radix(&lower[2..], 16).ok()? as f64,
        _ if lower.starts_with(|first: char| first.is_ascii_digit() || first == '.') => finite(&lower)?,
        _ => return None,
    };
    Some(if is_negative { -number } else { number })
}

/// Decimal digits, unless they are too many for a number, or too few to differ from zero.
fn finite(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_lost = number == 0.0
        && text.split('e').next().is_some_and(|digits| digits.contains(|digit: char| matches!(digit, '1'..='9')));
    Some(number).filter(|number| number.is_finite() && !is_lost)
}

/// A number as INCRBYFLOAT prints it: up to 17 digits after the point, no exponent, no trailing zeros.
pub(crate) fn format_float(number: f64) -> String {
    let text = format!("{number:.17}");
    // A double carries about 17 digits; Redis computes in long doubles, which hide the noise behind them.
    let shortest = format!("{number}");
    let text = if shortest.len() < text.len() { shortest } else { text };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The sum of two decimal numbers, exactly: Redis adds in long doubles, whose noise 17 digits hide. None if either is not
/// plain decimal, or is too long to be added exactly.
pub(crate) fn add_decimals(one: &[u8], other: &[u8]) -> Option<String> {
    let ((one, scale_one), (other, scale_other)) = (decimal(one)?, decimal(other)?);
    let scale = scale_one.max(scale_other);
    let raise = |number: i128, from: u32| number.checked_mul(10i128.checked_pow(scale - from)?);
    let sum = raise(one, scale_one)?.checked_add(raise(other, scale_other)?)?;
    let digits = format!("{:0width$}", sum.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let fraction = fraction.trim_end_matches('0');
    let sign = if sum < 0 { "-" } else { "" };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// A plain decimal number of at most 17 digits before and 17 after the point, as an integer and its scale.
fn decimal(text: &[u8]) -> Option<(i128, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.len() <= 17 && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((sign * number, fraction.len() as u32))
}
