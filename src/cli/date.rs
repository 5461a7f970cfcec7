//! The date, for what is to be cited.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// The date of now in UTC, as `2026-01-31`.
pub fn today() -> String {
    date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY))
}

/// The date so many days after the first of January 1970, by the Gregorian calendar.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let dates =
            [(0, "1970-01-01"), (789, "1972-02-29"), (790, "1972-03-01"), (11016, "2000-02-29"), (20819, "2027-01-01")];
        dates.into_iter().for_each(|(days, want)| assert_eq!(date(days), want));
        assert_eq!((date(20818), date(47540)), ("2026-12-31".into(), "2100-02-28".into()));
        assert_eq!(date(47541), "2100-03-01");
    }
}
