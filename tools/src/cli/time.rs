//! **Owns** dates and durations as Kafka's tools read and write them.
//! **Lives on** any thread: pure, but for [`now_ms`].
//! **Invariants** none beyond the types'.
//! **Not here** time zones: a date without one is UTC, as in Kafka's tools.

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    corelog_runtime::wall_clock()
}

/// `YYYY-MM-DDTHH:mm:SS.sss`, then `Z`, `+HH`, `+HH:mm` or nothing, in milliseconds since the epoch.
pub(super) fn datetime(text: &str) -> Result<i64, String> {
    let Some((date, time)) = text.split_once('T') else {
        return Err(
            "Error parsing timestamp. It does not contain a 'T' according to ISO8601 format"
                .to_owned(),
        );
    };
    let zoned = if time.contains(['+', '-', 'Z']) {
        text.to_owned()
    } else {
        format!("{text}Z")
    };
    let wrong = || format!("Unparseable date: \"{zoned}\"");
    let time = &zoned[date.len() + 1..];
    let at = time.find(['+', '-', 'Z']).ok_or_else(wrong)?;
    let (time, zone) = time.split_at(at);
    let offset_minutes = zone_minutes(zone).ok_or_else(wrong)?;
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
        text.split(separator)
            .map(|part| part.parse::<u32>().ok().map(i64::from))
            .collect()
    };
    let date = numbers(date, '-').ok_or_else(wrong)?;
    let (clock, millis) = time.split_once('.').ok_or_else(wrong)?;
    let clock = numbers(clock, ':').ok_or_else(wrong)?;
    let millis: i64 = millis.parse::<u32>().map_err(|_| wrong())?.into();
    let (&[year, month, day], &[hour, minute, second]) = (&date[..], &clock[..]) else {
        return Err(wrong());
    };
    let fits = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && millis < 1000;
    if !fits {
        return Err(wrong());
    }
    let minutes = (days_from_epoch(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Ok((minutes * 60 + second) * 1000 + millis)
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone.get(1..)?.replace(':', "");
    let number: i64 = digits.parse::<u32>().ok()?.into();
    match digits.len() {
        2 => Some(sign * number * 60),
        4 => Some(sign * (number / 100 * 60 + number % 100)),
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days between the epoch and a date of the proleptic Gregorian calendar.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day counted from the epoch: year, month, day.
pub(super) fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

/// `YYYY-MM-DDTHH:mm` in UTC.
pub(super) fn minute_of(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    let minutes = seconds.rem_euclid(86_400) / 60;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}",
        minutes / 60,
        minutes % 60
    )
}

/// `PnDTnHnMn.nS` of ISO 8601, in milliseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (negative, rest) = match upper.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, upper.as_str()),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, clock) = match rest.split_once('T') {
        Some((days, clock)) => (days, Some(clock)),
        None => (rest, None),
    };
    let mut total = 0.0_f64;
    let mut any = false;
    let mut take = |text: &str, units: &[(char, f64)]| -> Option<()> {
        let mut number = String::new();
        let mut units = units.iter();
        for letter in text.chars() {
            if letter.is_ascii_digit() || matches!(letter, '.' | '-' | '+') {
                number.push(letter);
                continue;
            }
            let (_, factor) = units.find(|(unit, _)| *unit == letter)?;
            if number.contains('.') && letter != 'S' {
                return None;
            }
            total += number.parse::<f64>().ok()? * factor;
            number.clear();
            any = true;
        }
        number.is_empty().then_some(())
    };
    take(days, &[('D', 86_400_000.0)])?;
    if let Some(clock) = clock {
        if clock.is_empty() {
            return None;
        }
        take(clock, &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)])?;
    }
    if !any {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a duration beyond the range of i64 is as long as can be"
    )]
    let ms = total.round() as i64;
    Some(if negative { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_kafkas_tools_read_them() {
        assert_eq!(datetime("2020-01-01T00:00:00.000"), Ok(1_577_836_800_000));
        assert_eq!(
            datetime("2020-01-01T00:00:00.000+02:00"),
            Ok(1_577_829_600_000)
        );
        assert_eq!(datetime("1969-12-31T23:59:59.999Z"), Ok(-1));
        assert_eq!(datetime("2024-02-29T12:00:00.5-01"), Ok(1_709_211_600_005));
        assert_eq!(
            datetime("2020-01-01T00:00:00"),
            Err("Unparseable date: \"2020-01-01T00:00:00Z\"".to_owned())
        );
        assert!(datetime("2023-02-29T12:00:00.000").is_err());
        assert!(datetime("x").is_err());
        assert_eq!(minute_of(1_709_211_600_005), "2024-02-29T13:00");
        assert_eq!(minute_of(-1), "1969-12-31T23:59");
    }

    #[test]
    fn durations_are_read_as_java_reads_them() {
        assert_eq!(duration("PT1H"), Some(3_600_000));
        assert_eq!(duration("P1DT2H3M4.5S"), Some(93_784_500));
        assert_eq!(duration("-PT1S"), Some(-1000));
        for wrong in ["", "P", "PT", "x", "PT1", "PT1H1D", "P1H"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
