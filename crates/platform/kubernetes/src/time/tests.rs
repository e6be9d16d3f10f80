use super::*;

#[test]
fn dates_survive_the_round_trip() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_795_359_845, "2026-11-22T15:04:05Z"),
        (4_102_444_799, "2099-12-31T23:59:59Z"),
    ] {
        assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        assert_eq!(parse(text), Some(Duration::from_secs(seconds)));
    }
    assert_eq!(parse("2026-11-22T16:04:05.25+01:00"), Some(Duration::from_millis(1_795_359_845_250)));
    for bad in
        ["", "2026", "2026-13-01T00:00:00Z", "2026-11-22 15:04:05", "2026-11-22T15:04:05", "1969-01-01T00:00:00Z"]
    {
        assert_eq!(parse(bad), None, "{bad}");
    }
}

#[test]
fn ages_are_written_as_kubectl_does() {
    for (seconds, text) in [
        (5, "5s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (3600, "60m"),
        (11_000, "3h3m"),
        (90_000, "25h"),
        (500_000, "5d18h"),
    ] {
        assert_eq!(human(Duration::from_secs(seconds)), text);
    }
}
