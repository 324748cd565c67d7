//! Moments as events and records write them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, for records that tests of other languages compare with their own clock.
pub(super) fn now() -> f64 {
    now_ms() as f64 / 1e3
}

/// API Gateway's form of a moment, `15/May/2020:06:01:09 +0000`.
pub(super) fn text(ms: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms / 1000;
    let (mut days, mut year, mut month) = (seconds / 86_400, 1970, 0);
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = MONTHS[month % 12];
    format!("{:02}/{name}/{year}:{hour:02}:{minute:02}:{second:02} +0000", days + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

/// `month` counts from 0.
fn days_of_month(year: u64, month: usize) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_moment_is_written_as_api_gateway_writes_it() {
        for (ms, expected) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (1_589_522_469_693, "15/May/2020:06:01:09 +0000"),
            (1_709_164_800_000, "29/Feb/2024:00:00:00 +0000"),
            (1_735_689_599_000, "31/Dec/2024:23:59:59 +0000"),
        ] {
            assert_eq!(text(ms), expected);
        }
    }
}
