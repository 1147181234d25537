use proptest::prelude::*;

use super::*;

#[test]
fn numbers_have_kafkas_bytes() {
    let cases: [(i64, &[u8]); 7] = [
        (0, &[0]),
        (-1, &[1]),
        (63, &[126]),
        (-64, &[127]),
        (64, &[0x80, 1]),
        (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (
            i64::MIN,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ),
    ];
    for (value, bytes) in cases {
        let mut written = Vec::new();
        put_varlong(&mut written, value);
        assert_eq!(written, bytes, "{value}");
        assert_eq!(varlong(&mut &written[..]), Ok(value));
    }
}

#[test]
fn overlong_and_cut_numbers_are_refused() {
    assert_eq!(varint(&mut &[0x80; 5][..]), Err(RecordFault::Varint));
    assert_eq!(varlong(&mut &[0x80; 10][..]), Err(RecordFault::Varint));
    assert_eq!(varint(&mut &[0x80; 4][..]), Err(RecordFault::Truncated));
    assert_eq!(varint(&mut &[][..]), Err(RecordFault::Truncated));
    assert_eq!(varlong(&mut &[0x80; 9][..]), Err(RecordFault::Truncated));
}

proptest! {
    #[test]
    fn what_is_written_is_read(value: i64, small: i32) {
        let mut written = Vec::new();
        put_varlong(&mut written, value);
        prop_assert_eq!(written.len(), varlong_size(value));
        put_varint(&mut written, small);
        let mut rest = &written[..];
        prop_assert_eq!(varlong(&mut rest), Ok(value));
        prop_assert_eq!(rest.len(), varint_size(small));
        prop_assert_eq!(varint(&mut rest), Ok(small));
        prop_assert!(rest.is_empty());
    }
}
