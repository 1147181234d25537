use bytes::BufMut as _;

use super::*;

/// A field of bytes.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut size = bytes.len();
    while size >= 0x80 {
        out.push(u8::try_from(size & 0x7f).expect("seven bits") | 0x80);
        size >>= 7;
    }
    out.push(u8::try_from(size).expect("seven bits"));
    out.extend_from_slice(bytes);
    out
}

fn fixed(number: u8, bits: u64) -> Vec<u8> {
    let mut out = vec![number << 3 | 1];
    out.put_u64_le(bits);
    out
}

/// A message of one metric: a sum (with its temporality) or a gauge, with one number of one attribute.
pub(crate) fn message(name: &str, value: f64, temporality: Option<u8>) -> Vec<u8> {
    let any = field(1, b"orders");
    let attribute = [field(1, b"topic"), field(2, &any)].concat();
    let point = [field(7, &attribute), fixed(2, 1), fixed(4, value.to_bits())].concat();
    let (kind, mut data) = (if temporality.is_some() { 7 } else { 5 }, field(1, &point));
    if let Some(temporality) = temporality {
        data.extend_from_slice(&[2 << 3, temporality]);
    }
    let metric = [field(1, name.as_bytes()), field(kind, &data)].concat();
    field(1, &field(2, &field(2, &metric)))
}

#[test]
fn numbers_are_read_with_names_and_attributes() {
    let sum = message("org.apache.kafka.producer.record.send.total", 7.0, Some(1));
    let expected = Point {
        name: "org.apache.kafka.producer.record.send.total".to_owned(),
        attributes: "topic=orders".to_owned(),
        value: 7.0,
        is_delta: true,
    };
    assert_eq!(points(&sum, 10), Ok(vec![expected.clone()]));
    let gauge = message("g", 0.5, None);
    let both = [sum.clone(), gauge].concat();
    let read = points(&both, 10).expect("two");
    assert_eq!(read.len(), 2);
    assert_eq!((read[1].name.as_str(), read[1].is_delta), ("g", false));
    assert_eq!(
        points(&both, 1),
        Ok(vec![expected]),
        "no more than asked for"
    );
    assert_eq!(points(&[], 1), Ok(Vec::new()));
}

#[test]
fn every_cut_and_every_flip_is_an_error_or_numbers() {
    let whole = message("name", 1.0, Some(2));
    for end in 1..whole.len() {
        assert!(points(&whole[..end], 10).is_err(), "{end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(
                points(&flipped, 10).is_ok_and(|all| all.len() <= 1)
                    || points(&flipped, 10).is_err()
            );
        }
    }
    assert_eq!(
        points(
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            1
        ),
        Err(Malformed("cut off"))
    );
}
