//! How long a server asks us to wait: `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), and `retry-after-ms`.
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::http::HeaderMap;

/// A date in the past is no wait; what cannot be read counts as not said.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_string());
    let number = |text: String| text.parse::<f64>().ok().filter(|x| (0.0..1e9).contains(x));
    if let Some(milliseconds) = text("retry-after-ms").and_then(number) {
        return Some(Duration::from_secs_f64(milliseconds / 1e3));
    }
    let said = text("retry-after")?;
    if let Some(seconds) = number(said.clone()) {
        return Some(Duration::from_secs_f64(seconds));
    }
    let today = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let then = UNIX_EPOCH + Duration::from_secs(http_date(&said, today)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of a date in one of the three forms that RFC 9110 (5.6.7) has us read; `now` in the same tells the century where
/// the year has two digits.
///
/// ```text
/// Sun, 06 Nov 1994 08:49:37 GMT      the one that servers may still write
/// Sunday, 06-Nov-94 08:49:37 GMT     RFC 850
/// Sun Nov  6 08:49:37 1994           C's asctime
/// ```
fn http_date(text: &str, now: u64) -> Option<u64> {
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let whole = |year: &str| year.parse().ok();
    let (day, month, year, time) = match parts[..] {
        [_, day, month, year, time, "GMT"] => (day, month, whole(year)?, time),
        [_, month, day, time, year] => (day, month, whole(year)?, time),
        [_, date, time, "GMT"] => {
            let mut date = date.split('-');
            let (day, month, year) = (date.next()?, date.next()?, date.next()?);
            (day, month, century(whole(year)?, now)?, time)
        }
        _ => return None,
    };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as u64;
    let day: u64 = day.parse().ok()?;
    let clock: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March, so that the day that leap years add is their last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The last year with these two digits that is at most 50 years after `now` (seconds since 1970).
fn century(digits: u64, now: u64) -> Option<u64> {
    let latest = 1970 + now / 31_556_952 + 50; // seconds of a mean Gregorian year
    (digits < 100).then(|| latest - (latest - digits) % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000; // January 2027

    fn said(name: &'static str, value: &str, now: u64) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        retry_after(&headers, UNIX_EPOCH + Duration::from_secs(now)).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn dates_are_those_of_the_standard() {
        // Python: calendar.timegm(email.utils.parsedate("…"))
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT", NOW), Some(784_111_777));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT", NOW), Some(0));
        assert_eq!(http_date("Tue, 29 Feb 2000 23:59:59 GMT", NOW), Some(951_868_799));
        assert_eq!(http_date("Wed, 01 Mar 2028 00:00:00 GMT", NOW), Some(1_835_481_600));
        for wrong in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 41 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov  6 08:49:37",
            "Sun Now  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(wrong, NOW), None, "{wrong}");
        }
    }

    #[test]
    fn the_two_forms_that_nobody_should_write_any_more_are_read() {
        assert_eq!(http_date("Sunday, 06-Nov-94 08:49:37 GMT", NOW), Some(784_111_777));
        assert_eq!(http_date("Sun Nov  6 08:49:37 1994", NOW), Some(784_111_777));
        assert_eq!(http_date("Wed Mar  1 00:00:00 2028", NOW), Some(1_835_481_600));
        assert_eq!(http_date("Wednesday, 01-Mar-28 00:00:00 GMT", NOW), Some(1_835_481_600));
        let years = [(77, 2077), (78, 1978), (99, 1999), (0, 2000), (27, 2027)];
        assert!(years.iter().all(|(digits, year)| century(*digits, NOW) == Some(*year)), "50 years from 2027 on");
        assert_eq!(century(10, 4_000_000_000), Some(2110), "in 2096");
    }

    #[test]
    fn seconds_milliseconds_and_dates_are_waits() {
        assert_eq!(said("retry-after", "7", 0), Some(7.0));
        assert_eq!(said("retry-after", " 0.5 ", 0), Some(0.5));
        assert_eq!(said("retry-after-ms", "250", 0), Some(0.25));
        assert_eq!(said("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), Some(7.0));
        assert_eq!(said("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT", 784_111_770), Some(7.0));
        assert_eq!(said("retry-after", "Sun Nov  6 08:49:37 1994", 784_111_770), Some(7.0));
        assert_eq!(said("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", 784_111_999), Some(0.0), "the past is no wait");
        for wrong in ["-1", "later", "inf", "NaN", "1e99"] {
            assert_eq!(said("retry-after", wrong, 0), None, "{wrong}");
        }
    }
}
