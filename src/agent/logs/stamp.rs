//! The time in front of each line.

use std::time::{Duration, SystemTime};

/// A wall-clock time as RFC 3339 in UTC with milliseconds, always 24 bytes, so that stamps compare as text. Years beyond
/// 9999 or before 1970 are shown as the last or the first moment.
pub fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::from_millis(253_402_300_799_999));
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second, millis) =
        (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The time that a stamp names, its fraction left out or not; or a plain number of seconds since 1970.
pub fn unstamp(text: &str) -> Option<SystemTime> {
    let since = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => since_1970(text)?,
    };
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn since_1970(text: &str) -> Option<Duration> {
    let (whole, fraction) = match text.strip_suffix('Z')?.split_once('.') {
        Some((whole, fraction)) => (whole, format!("0.{fraction}").parse::<f64>().ok()?),
        None => (text.strip_suffix('Z')?, 0.0),
    };
    let (day, time) = whole.split_once('T')?;
    let (day, time) = (numbers::<3>(day, '-')?, numbers::<3>(time, ':')?);
    let [year, month, day] = day;
    let [hour, minute, second] = time;
    let is_possible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_possible {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds) + Duration::try_from_secs_f64(fraction).ok()?)
}

fn numbers<const COUNT: usize>(text: &str, between: char) -> Option<[u64; COUNT]> {
    let numbers: Vec<u64> = text.split(between).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// Days from 1970-01-01 to a date, counted as in [`date`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Length of a [`stamp`].
pub(super) const LENGTH: usize = 24;

/// The date that lies `days` after 1970-01-01, counted in years that begin in March, whose leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_names_its_moment() {
        for seconds in [0, 951_782_399, 951_782_400, 1_795_231_234, u64::from(u32::MAX)] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(unstamp(&stamp(time)), Some(time));
            assert_eq!(unstamp(&seconds.to_string()), Some(time));
        }
        let half = SystemTime::UNIX_EPOCH + Duration::from_millis(500);
        assert_eq!(unstamp("1970-01-01T00:00:00.5Z"), Some(half));
        for bad in ["", "x", "-1", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T00:00Z", "nan"] {
            assert_eq!(unstamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn known_moments_are_shown_as_known() {
        let shown = |seconds| stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(1_795_231_234), "2026-11-21T03:20:34.000Z");
        assert_eq!(shown(u64::from(u32::MAX)), "2106-02-07T06:28:15.000Z");
        assert_eq!(shown(1 << 50), "9999-12-31T23:59:59.999Z");
    }
}
