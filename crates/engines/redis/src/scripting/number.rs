//! Numbers as C prints them, and the random numbers of scripts.

/// A number as C's `%.<digits>g` prints it.
pub(super) fn format_general(number: f64, digits: usize) -> String {
    if number.is_nan() {
        return if number.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let digits = digits.max(1);
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{number:.decimals$}"))
}

/// A number as commands get it: in as few digits as read back the same.
pub(super) fn spell(number: f64, push: impl FnOnce(&[u8])) {
    match exact_integer(number) {
        Some(integer) => push(itoa::Buffer::new().format(integer).as_bytes()),
        None => push(format_general(number, 17).as_bytes()),
    }
}

/// The integer that a number is, if it is one that a double holds exactly.
pub(super) fn exact_integer(number: f64) -> Option<i64> {
    (number.abs() < (1u64 << 52) as f64 && number.fract() == 0.0).then_some(number as i64)
}

/// The state that C's generator begins with.
pub(super) const RANDOM_START: u64 = 0x1234_abcd_330e;

/// The state of the generator for a seed: that of C's `srand48`.
pub(super) fn seed(seed: i32) -> u64 {
    u64::from(seed as u32) << 16 | 0x330e
}

/// The next random number, from 0 to 2³¹ - 1, and the state after it: C's `lrand48`, on every machine the same.
pub(super) fn next_random(state: u64) -> (i32, u64) {
    let state = state.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
    ((state >> 17) as i32, state)
}
