//! **Owns** patterns of dates as `java.text.SimpleDateFormat` reads them (`--date-format`).
//! **Lives on** any thread.
//! **Invariants** times are shown in UTC, names in English.
//! **Not here** reading dates (`time`).

use super::time::date_of;

/// A pattern, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
}

impl Default for DateFormat {
    /// `yyyy-MM-dd HH:mm:ss:SSS`.
    fn default() -> Self {
        Self::new("yyyy-MM-dd HH:mm:ss:SSS").expect("this pattern has only letters that are known")
    }
}

impl DateFormat {
    /// Reads a pattern; what is wrong is said in Java's words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut letters = pattern.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter == '\'' {
                let mut text = String::new();
                // Two quotes are one, inside of quotes and outside.
                if letters.next_if_eq(&'\'').is_some() {
                    text.push('\'');
                } else {
                    loop {
                        match letters.next() {
                            None => return Err("Unterminated quote".to_owned()),
                            Some('\'') if letters.next_if_eq(&'\'').is_none() => break,
                            Some(letter) => text.push(letter),
                        }
                    }
                }
                parts.push(Part::Text(text));
            } else if letter.is_ascii_alphabetic() {
                if !KNOWN.contains(letter) {
                    return Err(format!("Illegal pattern character '{letter}'"));
                }
                let mut count = 1;
                while letters.next_if_eq(&letter).is_some() {
                    count += 1;
                }
                if letter == 'X' && count > 3 {
                    return Err(format!("invalid ISO 8601 format: length={count}"));
                }
                parts.push(Part::Field(letter, count));
            } else {
                parts.push(Part::Text(letter.to_string()));
            }
        }
        Ok(Self(parts))
    }

    /// Milliseconds since the epoch, in this pattern.
    pub fn print(&self, ms: i64) -> String {
        let moment = Moment::new(ms);
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(letter, count) => text.push_str(&moment.field(*letter, *count)),
            }
        }
        text
    }
}

struct Moment {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
    /// From 0.
    of_year: i64,
    /// Sunday is 0.
    weekday: i64,
    /// Milliseconds of the day.
    ms: i64,
}

impl Moment {
    fn new(ms: i64) -> Self {
        let days = ms.div_euclid(DAY_MS);
        let (year, month, day) = date_of(days);
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        let months = usize::try_from(month - 1).unwrap_or(0);
        let before: i64 = MONTH_DAYS.iter().take(months).sum();
        Self {
            year,
            month,
            day,
            of_year: before + if month > 2 { leap } else { 0 } + day - 1,
            // The first of January 1970 was a Thursday.
            weekday: (days + 4).rem_euclid(7),
            ms: ms.rem_euclid(DAY_MS),
        }
    }

    fn field(&self, letter: char, count: usize) -> String {
        let number = |value: i64| format!("{value:0count$}");
        let name = |names: &[&str], index: i64| {
            let name = usize::try_from(index).ok().and_then(|at| names.get(at));
            let name = name.copied().unwrap_or_default();
            name.get(..if count > 3 { name.len() } else { 3 })
                .unwrap_or(name)
                .to_owned()
        };
        let year = |year: i64| {
            if count == 2 {
                format!("{:02}", year.rem_euclid(100))
            } else {
                format!("{year:0count$}")
            }
        };
        let hour = self.ms / 3_600_000;
        // Weeks begin on Sunday, and the first of January lies in the first.
        let wraps = self.of_year + 6 - self.weekday >= 365 + i64::from(self.is_leap());
        match letter {
            'G' => "AD".to_owned(),
            'y' => year(self.year),
            'Y' => year(self.year + i64::from(wraps)),
            'M' | 'L' if count > 2 => name(MONTHS, self.month - 1),
            'M' | 'L' => number(self.month),
            'w' if wraps => number(1),
            'w' => number((self.of_year + (self.weekday - self.of_year).rem_euclid(7)) / 7 + 1),
            'W' => number((self.day - 1 + (self.weekday - self.day + 1).rem_euclid(7)) / 7 + 1),
            'D' => number(self.of_year + 1),
            'd' => number(self.day),
            'F' => number((self.day - 1) / 7 + 1),
            'E' => name(DAYS, self.weekday),
            'u' => number(if self.weekday == 0 { 7 } else { self.weekday }),
            'a' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'H' => number(hour),
            'k' => number(if hour == 0 { 24 } else { hour }),
            'K' => number(hour % 12),
            'h' => number(if hour % 12 == 0 { 12 } else { hour % 12 }),
            'm' => number(self.ms / 60_000 % 60),
            's' => number(self.ms / 1000 % 60),
            'S' => number(self.ms % 1000),
            'z' if count > 3 => "Coordinated Universal Time".to_owned(),
            'z' => "UTC".to_owned(),
            'Z' => "+0000".to_owned(),
            'X' => "Z".to_owned(),
            _ => String::new(),
        }
    }

    fn is_leap(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }
}

const KNOWN: &str = "GyYMLwWDdFEuaHkKhmsSzZX";
const DAY_MS: i64 = 86_400_000;
const MONTH_DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: &[&str] = &[
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

#[cfg(test)]
mod tests {
    use super::DateFormat;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let usual = DateFormat::default();
        for (ms, text) in [
            (0, "1970-01-01 00:00:00:000"),
            (951_782_400_123, "2000-02-29 00:00:00:123"),
            (1_700_000_000_000, "2023-11-14 22:13:20:000"),
            (-1, "1969-12-31 23:59:59:999"),
        ] {
            assert_eq!(usual.print(ms), text);
        }
    }

    /// What `SimpleDateFormat` makes of the same.
    #[test]
    fn patterns_are_read_as_java_reads_them() {
        for (pattern, ms, text) in [
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZ EEE MMM X a h K k D u W",
                1_795_315_915_801,
                "2026-11-22T02:51:55.801+0000 Sun Nov Z AM 2 2 2 326 7 4",
            ),
            ("yy EEEE MMMM ''d''", 0, "70 Thursday January '1'"),
            ("'it''s' H", 3_600_000, "it's 1"),
            ("Y w", 1_798_675_200_000, "2027 1"),
        ] {
            assert_eq!(
                DateFormat::new(pattern).unwrap().print(ms),
                text,
                "{pattern}"
            );
        }
        for (pattern, why) in [
            ("qqq", "Illegal pattern character 'q'"),
            ("'x", "Unterminated quote"),
            ("XXXX", "invalid ISO 8601 format: length=4"),
        ] {
            assert_eq!(DateFormat::new(pattern).unwrap_err(), why);
        }
    }
}
