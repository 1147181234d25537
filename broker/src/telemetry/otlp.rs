//! OpenTelemetry's metrics as clients push them (OTLP 1.x, `MetricsData`, protobuf).
//!
//! Owns: the walk from the bytes to numbers.
//! Lives on: any thread.
//! Invariants:
//! 1. Nothing is allocated but for numbers that are kept, of which there are at most `max`; nothing recurses.
//! 2. Unknown fields, histograms and summaries are passed over.
//!
//! Not here: compression, limits of clients (`telemetry`).

use std::fmt::Write as _;

use bytes::Buf as _;

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    /// `key=value`, separated by commas.
    pub(crate) attributes: String,
    pub(crate) value: f64,
    /// What came on top since the last push, not how much it is in all.
    pub(crate) is_delta: bool,
}

/// The bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the metrics of OpenTelemetry: {0}")]
pub(crate) struct Malformed(&'static str);

/// The numbers of a message, the first `max` of them.
pub(crate) fn points(bytes: &[u8], max: usize) -> Result<Vec<Point>, Malformed> {
    let mut out = Vec::new();
    each(bytes, RESOURCE_METRICS, |resource| {
        each(resource, SCOPE_METRICS, |scope| {
            each(scope, METRICS, |metric| one_metric(metric, max, &mut out))
        })
    })?;
    Ok(out)
}

fn one_metric(bytes: &[u8], max: usize, out: &mut Vec<Point>) -> Result<(), Malformed> {
    let (mut name, mut data) = ("", None);
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (METRIC_NAME, Value::Bytes(text)) => {
                name = std::str::from_utf8(text).map_err(|_| Malformed("a name is not UTF-8"))?;
            }
            (METRIC_GAUGE | METRIC_SUM, Value::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
    }
    let Some(data) = data else {
        return Ok(());
    };
    let mut is_delta = false;
    let mut fields = Fields(data);
    while let Some((number, value)) = fields.next()? {
        if let (SUM_TEMPORALITY, Value::Varint(temporality)) = (number, value) {
            is_delta = temporality == TEMPORALITY_DELTA;
        }
    }
    each(data, DATA_POINTS, |bytes| {
        if out.len() < max
            && let Some((attributes, value)) = data_point(bytes)?
        {
            out.push(Point {
                name: shortened(name).to_owned(),
                attributes,
                value,
                is_delta,
            });
        }
        Ok(())
    })
}

fn data_point(bytes: &[u8]) -> Result<Option<(String, f64)>, Malformed> {
    let (mut attributes, mut number) = (String::new(), None);
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (POINT_DOUBLE, Value::Fixed64(bits)) => number = Some(f64::from_bits(bits)),
            (POINT_INT, Value::Fixed64(bits)) => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "Prometheus' numbers are doubles"
                )]
                let real = bits.cast_signed() as f64;
                number = Some(real);
            }
            (POINT_ATTRIBUTES, Value::Bytes(bytes)) if attributes.len() < TEXT_MAX => {
                attribute(bytes, &mut attributes)?;
            }
            _ => {}
        }
    }
    Ok(number.map(|number| (attributes, number)))
}

fn attribute(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let (mut key, mut shown) = ("", String::new());
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (1, Value::Bytes(text)) => {
                key = std::str::from_utf8(text).map_err(|_| Malformed("a key is not UTF-8"))?;
            }
            (2, Value::Bytes(any)) => {
                let mut any = Fields(any);
                while let Some((kind, value)) = any.next()? {
                    shown = match (kind, value) {
                        (1, Value::Bytes(text)) => {
                            let text = std::str::from_utf8(text);
                            shortened(text.map_err(|_| Malformed("a value is not UTF-8"))?)
                                .to_owned()
                        }
                        (2, Value::Varint(flag)) => (flag != 0).to_string(),
                        (3, Value::Varint(number)) => number.cast_signed().to_string(),
                        (4, Value::Fixed64(bits)) => f64::from_bits(bits).to_string(),
                        _ => continue,
                    };
                }
            }
            _ => {}
        }
    }
    if !out.is_empty() {
        out.push(',');
    }
    // A String takes everything.
    let _ = write!(out, "{}={shown}", shortened(key));
    Ok(())
}

fn shortened(text: &str) -> &str {
    let end = (0..=TEXT_MAX.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Calls for every submessage of this number.
fn each(
    bytes: &[u8],
    wanted: u64,
    mut then: impl FnMut(&[u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next()? {
        if let Value::Bytes(bytes) = value
            && number == wanted
        {
            then(bytes)?;
        }
    }
    Ok(())
}

/// The fields of a protobuf message, one after the other.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut bytes = self.take(8)?;
                Value::Fixed64(bytes.get_u64_le())
            }
            2 => {
                let size = self.varint()?;
                let size = usize::try_from(size).map_err(|_| Malformed("a size is too large"))?;
                Value::Bytes(self.take(size)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(Malformed("an unknown kind of field")),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is too long"))
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or(Malformed("cut off"))?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Bytes of a name, a key or a value that are kept, and of all attributes of a number about.
const TEXT_MAX: usize = 200;

const RESOURCE_METRICS: u64 = 1;
const SCOPE_METRICS: u64 = 2;
const METRICS: u64 = 2;
const METRIC_NAME: u64 = 1;
const METRIC_GAUGE: u64 = 5;
const METRIC_SUM: u64 = 7;
const DATA_POINTS: u64 = 1;
const SUM_TEMPORALITY: u64 = 2;
const TEMPORALITY_DELTA: u64 = 1;
const POINT_DOUBLE: u64 = 4;
const POINT_INT: u64 = 6;
const POINT_ATTRIBUTES: u64 = 7;

#[cfg(test)]
pub(super) mod tests;
