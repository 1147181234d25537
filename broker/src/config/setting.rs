//! One row of a settings table, and the reading of one value.
//!
//! **Owns** types, validators, Kafka's error texts for values, and how values print.
//! **Lives on** no shard.
//! **Invariants**: 1. a value that parses also prints, and what it prints parses to the same value;
//! 2. error texts are those of Kafka's `ConfigDef`, because tools show and scripts compare them.
//! **Not here**: the rows (`broker_settings`, `topic_settings`).

/// A value's type, as `DescribeConfigs` names it (KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A Java double.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// A text that is never shown.
    Password,
}

impl Type {
    /// The number `DescribeConfigs` uses; 0 means unknown.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// The value of a setting nobody has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// No value.
    Null,
    /// Kafka has no default either and refuses to start; we have an answer of our own.
    Required,
    /// This text.
    Is(&'static str),
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// Everything.
    Any,
    /// A number not below.
    AtLeast(i64),
    /// A number within, both ends included.
    Between(i64, i64),
    /// A real number within, both ends included.
    BetweenReal(f64, f64),
    /// A number within, or the third one.
    BetweenOr(i64, i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// One of these texts, in any case.
    OneOfIgnoreCase(&'static [&'static str]),
    /// A list of these texts; with no texts, a list of anything but empty texts.
    ListOf(&'static [&'static str]),
    /// A text that is not empty.
    NonEmpty,
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` and an ISO-8601 duration (KIP-932).
    ShareReset,
}

/// How much a setting matters to most operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Often changed.
    High,
    /// Sometimes changed.
    Medium,
    /// Rarely changed.
    Low,
}

/// Whether a running broker takes a new value (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// At start only.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or as the cluster's default.
    ClusterWide,
}

/// Whether tools are shown a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Described.
    Public,
    /// Settable, never described.
    Internal,
}

/// What a setting does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works; the text says what it does.
    Supported(&'static str),
    /// Taken from any file without complaint, but it means nothing here; the text says why.
    Accepted(&'static str),
    /// A value other than the default stops the start; the text says why.
    Refused(&'static str),
}

impl Status {
    /// The sentence shown as documentation.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Supported(text) | Self::Accepted(text) | Self::Refused(text) => text,
        }
    }
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Type,
    /// Value when unset.
    pub default: DefaultValue,
    /// Bounds.
    pub valid: Valid,
    /// Weight.
    pub importance: Importance,
    /// Whether it changes at run time.
    pub update: UpdateMode,
    /// Whether it is described.
    pub visibility: Visibility,
    /// Other names that give the value, best first, with the factor that turns their unit into
    /// this one's. For broker settings the list holds the name itself.
    pub synonyms: &'static [(&'static str, i64)],
    /// What it does here.
    pub status: Status,
}

impl Setting {
    /// The default as text, if there is one.
    #[must_use]
    pub const fn default_text(&self) -> Option<&'static str> {
        match self.default {
            DefaultValue::Is(text) => Some(text),
            DefaultValue::Null | DefaultValue::Required => None,
        }
    }

    /// Passwords are not shown.
    #[must_use]
    pub fn sensitive(&self) -> bool {
        self.kind == Type::Password
    }

    /// Reads and checks a text; the error is Kafka's sentence.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = parse(self.name, self.kind, text)?;
        validate(self.name, self.valid, &value)?;
        Ok(value)
    }
}

/// A value that has been read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `BOOLEAN`.
    Boolean(bool),
    /// `SHORT`, `INT` or `LONG`.
    Number(i64),
    /// `DOUBLE`.
    Real(f64),
    /// `STRING`, `CLASS` or `PASSWORD`.
    Text(String),
    /// `LIST`.
    List(Vec<String>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Real(value) => f.write_str(&java_double(*value)),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => f.write_str(&values.join(",")),
        }
    }
}

/// Reads a text of a type, with Kafka's error sentence.
fn parse(name: &str, kind: Type, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    let number = |range: std::ops::RangeInclusive<i64>| {
        trimmed
            .parse::<i64>()
            .ok()
            .filter(|value| range.contains(value))
            .map(Value::Number)
    };
    let read = match kind {
        Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
        Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
        Type::Boolean => {
            return Err(invalid(
                name,
                trimmed,
                "Expected value to be either true or false",
            ));
        }
        Type::String | Type::Class => Some(Value::Text(trimmed.to_owned())),
        Type::Password => Some(Value::Text(text.to_owned())),
        Type::Short => number(i64::from(i16::MIN)..=i64::from(i16::MAX)),
        Type::Int => number(i64::from(i32::MIN)..=i64::from(i32::MAX)),
        Type::Long => number(i64::MIN..=i64::MAX),
        Type::Double => trimmed.parse::<f64>().ok().map(Value::Real),
        Type::List => Some(Value::List(split_list(trimmed))),
    };
    read.ok_or_else(|| {
        invalid(
            name,
            trimmed,
            &format!("Not a number of type {}", kind.name()),
        )
    })
}

/// Splits at commas, trims, and keeps the first of equal elements.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    if text.trim().is_empty() {
        return list;
    }
    for element in text.trim().split(',').map(str::trim) {
        if !list.iter().any(|known| known == element) {
            list.push(element.to_owned());
        }
    }
    list
}

fn validate(name: &str, valid: Valid, value: &Value) -> Result<(), String> {
    match (valid, value) {
        (Valid::AtLeast(low), Value::Number(number)) => range(name, *number, low, i64::MAX),
        (Valid::Between(low, high), Value::Number(number)) => range(name, *number, low, high),
        (Valid::BetweenOr(low, high, other), Value::Number(number)) => {
            if (low..=high).contains(number) || *number == other {
                return Ok(());
            }
            let must = format!("Value must be between {low} and {high} or equal to {other}");
            Err(invalid(name, number, &must))
        }
        (Valid::BetweenReal(low, _), Value::Real(real)) if *real < low => Err(invalid(
            name,
            value,
            &format!("Value must be at least {low}"),
        )),
        (Valid::BetweenReal(_, high), Value::Real(real)) if *real > high => Err(invalid(
            name,
            value,
            &format!("Value must be no more than {high}"),
        )),
        (Valid::OneOf(choices), Value::Text(text)) if !choices.contains(&text.as_str()) => {
            let must = format!("String must be one of: {}", choices.join(", "));
            Err(invalid(name, text, &must))
        }
        (Valid::OneOfIgnoreCase(choices), Value::Text(text))
            if !choices
                .iter()
                .any(|choice| choice.eq_ignore_ascii_case(text)) =>
        {
            let must = format!(
                "String must be one of (case insensitive): {}",
                choices.join(", ")
            );
            Err(invalid(name, text, &must))
        }
        (Valid::ListOf(choices), Value::List(list)) => list_of(name, choices, list),
        (Valid::NonEmpty, Value::Text(text)) if text.is_empty() => {
            Err(invalid(name, text, "String must be non-empty"))
        }
        (Valid::ThrottledReplicas, Value::List(list)) => throttled_replicas(name, list),
        (Valid::ShareReset, Value::Text(text)) if !is_share_reset(text) => {
            let must = format!(
                "Invalid value `{text}` for configuration {name}. The value must be either \
                 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
            );
            Err(invalid(name, text, &must))
        }
        _ => Ok(()),
    }
}

fn range(name: &str, number: i64, low: i64, high: i64) -> Result<(), String> {
    if number < low {
        return Err(invalid(
            name,
            number,
            &format!("Value must be at least {low}"),
        ));
    }
    if number > high {
        return Err(invalid(
            name,
            number,
            &format!("Value must be no more than {high}"),
        ));
    }
    Ok(())
}

fn list_of(name: &str, choices: &[&str], list: &[String]) -> Result<(), String> {
    if list.iter().any(String::is_empty) {
        return Err(format!("Configuration '{name}' values must not be empty."));
    }
    if choices.is_empty() {
        return Ok(());
    }
    match list
        .iter()
        .find(|element| !choices.contains(&element.as_str()))
    {
        None => Ok(()),
        Some(element) => {
            let must = format!("String must be one of: {}", choices.join(", "));
            Err(invalid(name, element, &must))
        }
    }
}

fn throttled_replicas(name: &str, list: &[String]) -> Result<(), String> {
    let pair = |element: &String| {
        element.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if list.iter().all(pair) || list == ["*"] {
        return Ok(());
    }
    let must = format!(
        "{name} must be the literal '*' or a list of replicas in the following format: \
         [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    Err(invalid(name, format_args!("[{}]", list.join(", ")), &must))
}

fn is_share_reset(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower == "latest"
        || lower == "earliest"
        || lower
            .strip_prefix("by_duration:")
            .is_some_and(|rest| rest.starts_with('p') && rest.len() > 2)
}

/// Kafka's sentence for a bad value.
fn invalid(name: &str, value: impl std::fmt::Display, must: &str) -> String {
    format!("Invalid value {value} for configuration {name}: {must}")
}

/// A double as Java's `Double.toString` prints it: `0.5`, `1.0`, `2.147483647E9`.
#[must_use]
pub fn java_double(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => scientific,
    }
}

/// Puts names into the order in which Kafka answers them: that of a Java hash map with `buckets`
/// buckets (a power of two). Names of one bucket keep their table order, so a table is alphabetical
/// except for such neighbours.
#[must_use]
pub fn answered_order(table: &'static [Setting], buckets: u32) -> Vec<&'static Setting> {
    let mut rows: Vec<&Setting> = table.iter().collect();
    rows.sort_by_key(|row| java_bucket(row.name, buckets));
    rows
}

/// The bucket of a Java hash map that a text falls into; `buckets` is a power of two.
pub(crate) fn java_bucket(name: &str, buckets: u32) -> u32 {
    let hash = name.bytes().fold(0_u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    (hash ^ (hash >> 16)) & (buckets - 1)
}

#[cfg(test)]
mod tests;
