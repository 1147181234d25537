use super::*;

const MAX: usize = 1000;

fn head(size: i32, rest: &[u8]) -> Parsed {
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend_from_slice(rest);
    Head::parse(&bytes, MAX)
}

#[test]
fn a_frame_is_judged_by_its_first_bytes() {
    assert_eq!(Head::parse(&[0, 0, 0], MAX), Parsed::Short);
    for size in [i32::MIN, -1, 0, 7, 1001, i32::MAX] {
        assert_eq!(
            head(size, &[]),
            Parsed::BadSize(size),
            "at once, without the rest"
        );
    }
    assert_eq!(head(8, &[0; 7]), Parsed::Short);
    let parsed = head(1000, &[0, 18, 0, 4, 0, 0, 0, 7, 99]);
    let expected = Head {
        size: 1000,
        api_key: 18,
        api_version: 4,
        correlation_id: 7,
    };
    assert_eq!(parsed, Parsed::Head(expected));
    assert_eq!(expected.frame_size(), 1004);
}

#[test]
fn client_id_and_tagged_fields_are_read_within_bounds() {
    let none = HeaderRest {
        client_id: None,
        size: 0,
    };
    assert_eq!(HeaderRest::parse(b"anything", 0), Ok(none));
    assert_eq!(
        HeaderRest::parse(&[0xff, 0xff, 9], 1),
        Ok(HeaderRest { size: 2, ..none })
    );
    let with_id = HeaderRest {
        client_id: Some(b"ab"),
        size: 4,
    };
    assert_eq!(HeaderRest::parse(b"\0\x02abBODY", 1), Ok(with_id));
    assert_eq!(
        HeaderRest::parse(b"\0\x02ab\0BODY", 2),
        Ok(HeaderRest { size: 5, ..with_id })
    );
    // One unknown tagged field: tag 5, two bytes.
    let tagged = HeaderRest::parse(b"\0\x02ab\x01\x05\x02xyBODY", 2);
    assert_eq!(tagged, Ok(HeaderRest { size: 9, ..with_id }));

    assert_eq!(HeaderRest::parse(b"\0", 1), Err(HeaderError::Truncated));
    assert_eq!(
        HeaderRest::parse(&30_000_i16.to_be_bytes(), 1),
        Err(HeaderError::Truncated)
    );
    assert_eq!(
        HeaderRest::parse(&[0xff, 0xfe], 1),
        Err(HeaderError::ClientIdLength(-2))
    );
    for hostile in [
        &b"\0\0"[..],
        b"\0\0\x01",
        b"\0\0\x01\x05",
        b"\0\0\x01\x05\x7f",
        b"\0\0\xff\xff\xff\xff\x0f",
        b"\0\0\xff\xff\xff\xff\xff\xff",
        b"\0\0\x01\x05\xff\xff\xff\xff\x0f",
    ] {
        assert_eq!(
            HeaderRest::parse(hostile, 2),
            Err(HeaderError::TaggedFields),
            "{hostile:?}"
        );
    }
}

fn flat(parts: &Parts) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Body::Bytes(bytes) => all.extend_from_slice(bytes),
            Body::File { range, .. } => panic!("a file range {range:?}"),
        }
    }
    all
}

#[test]
fn a_frame_of_one_part_is_one_buffer() {
    let mut frame = FrameWriter::new(3);
    frame.buffer().extend_from_slice(b"abc");
    frame.bytes(Bytes::new());
    let (parts, size) = frame.finish().expect("small");
    assert_eq!((parts.len(), size), (1, 7));
    assert_eq!(flat(&parts), b"\0\0\0\x03abc");
}

#[test]
fn parts_keep_their_order_and_the_prefix_counts_them_all() {
    let mut frame = FrameWriter::new(0);
    frame.buffer().push(b'a');
    frame.bytes(Bytes::from_static(b"bc"));
    frame.bytes(Bytes::from_static(b"d"));
    frame.buffer().extend_from_slice(b"ef");
    assert_eq!(frame.size(), 10);
    frame.bytes(Bytes::from_static(b"g"));
    frame.buffer().push(b'h');
    let (parts, size) = frame.finish().expect("small");
    assert_eq!((parts.len(), size), (6, 12));
    assert_eq!(flat(&parts), b"\0\0\0\x08abcdefgh");
}

#[test]
fn a_frame_that_is_cut_claims_what_goes_between_too() {
    let mut frame = FrameWriter::new(8);
    frame.buffer().extend_from_slice(b"abcdef");
    let end = frame.buffer().len();
    let mut cut = frame.cut(5).expect("small");
    cut.until_left(end - 6);
    cut.bytes(Bytes::from_static(b"12"));
    cut.bytes(Bytes::from_static(b"3"));
    cut.until_left(2);
    cut.bytes(Bytes::from_static(b"45"));
    let (parts, size) = cut.finish();
    assert_eq!((parts.len(), size), (6, 15));
    assert_eq!(flat(&parts), b"\0\0\0\x0bab123cd45ef");
    let huge = FrameWriter::new(0).cut(1 << 31);
    assert_eq!(huge.err(), Some(FrameTooLarge((1 << 31) + 4)));
}
