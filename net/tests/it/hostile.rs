//! What a peer sends to make us fall over.

use bytes::{BufMut, Bytes, BytesMut};
use corelog_net::wire::limits::{
    CONTROL_FRAME_SIZE_MAX, ELEMENT_COUNT_MAX, FRAME_SIZE_MAX_DEFAULT, request_frame_size_max,
};
use corelog_net::wire::messages::{FindCoordinatorRequest, HeartbeatRequest, MetadataRequest};
use corelog_net::wire::{
    ApiKey, Budget, DecodeError, Decoder, EncodeError, Form, Message, RawTaggedField, Uuid,
};

use crate::allocations::counted;

fn decode<M: Message>(body: &Bytes, version: i16, budget: usize) -> Result<M, DecodeError> {
    M::decode(&mut Decoder::new(body, &mut Budget::new(budget)), version)
}

#[test]
fn four_bytes_of_metadata_do_not_claim_two_billion_topics() {
    for version in 0..=8 {
        let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        let (result, taken) =
            counted(|| decode::<MetadataRequest>(&body, version, FRAME_SIZE_MAX_DEFAULT));
        assert_eq!(
            result,
            Err(DecodeError::TooManyElements(0x7fff_ffff)),
            "version {version}"
        );
        assert_eq!(taken.count, 0, "version {version}");
    }
    for version in 9..=13 {
        let body = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        let (result, taken) =
            counted(|| decode::<MetadataRequest>(&body, version, FRAME_SIZE_MAX_DEFAULT));
        assert_eq!(
            result,
            Err(DecodeError::TooManyElements(0xffff_fffe)),
            "version {version}"
        );
        assert_eq!(taken.count, 0, "version {version}");
    }
}

/// A `FindCoordinator` v4 body: key type 0 and `count` empty keys of one byte each.
fn empty_keys(count: u32) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(0);
    let mut rest = count + 1;
    while rest >= 0x80 {
        body.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    body.put_u8((rest & 0x7f) as u8);
    body.put_bytes(1, count as usize);
    body.put_u8(0);
    body.freeze()
}

#[test]
fn ten_megabytes_of_empty_strings_are_refused_before_memory_is_taken() {
    let body = empty_keys(10_000_000);
    assert!(body.len() > request_frame_size_max(ApiKey::FindCoordinator, FRAME_SIZE_MAX_DEFAULT));
    // Should such a frame come past the frame's limit: the count is above the cap …
    let (result, taken) =
        counted(|| decode::<FindCoordinatorRequest>(&body, 4, FRAME_SIZE_MAX_DEFAULT));
    assert_eq!(result, Err(DecodeError::TooManyElements(10_000_000)));
    assert_eq!(taken.count, 0);
    // … and below the cap, 24 bytes for each byte are beyond the budget of an honest frame.
    let body = empty_keys(u32::try_from(ELEMENT_COUNT_MAX).expect("the cap is small"));
    let (result, taken) = counted(|| {
        let mut budget = Budget::for_frame(body.len());
        FindCoordinatorRequest::decode(&mut Decoder::new(&body, &mut budget), 4)
    });
    assert_eq!(result, Err(DecodeError::OverBudget));
    assert_eq!(taken.count, 0);
}

#[test]
fn memory_stays_within_the_budget() {
    // One string below, at and above what the budget holds.
    let body = empty_keys(1000);
    let need = 1000 * size_of::<String>();
    for (budget, fits) in [(need - 1, false), (need, true), (need + 1, true)] {
        let (result, taken) = counted(|| decode::<FindCoordinatorRequest>(&body, 4, budget));
        assert_eq!(result.is_ok(), fits, "budget {budget}");
        assert!(taken.peak <= budget, "{taken:?} with budget {budget}");
    }
}

#[test]
fn counts_are_checked_against_what_remains() {
    // Three empty compact strings and no tagged fields, of which three to five are claimed.
    let read = |claim: u8| {
        let body = Bytes::from(vec![0, claim + 1, 1, 1, 1, 0]);
        decode::<FindCoordinatorRequest>(&body, 4, 1 << 20).map(|m| m.coordinator_keys.len())
    };
    assert_eq!(read(3), Ok(3));
    assert_eq!(read(4), Err(DecodeError::UnexpectedNull));
    assert_eq!(read(5), Err(DecodeError::TooManyElements(5)));
}

#[test]
fn strings_are_checked() {
    let frame = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let read =
        |bytes: &Bytes, form| Decoder::new(bytes, &mut Budget::new(1 << 20)).nullable_string(form);
    assert_eq!(
        read(&frame(b"\x00\x02hi"), Form::Plain),
        Ok(Some("hi".into()))
    );
    assert_eq!(
        read(&frame(b"\x03hi"), Form::Compact),
        Ok(Some("hi".into()))
    );
    assert_eq!(read(&frame(b"\xff\xff"), Form::Plain), Ok(None));
    assert_eq!(read(&frame(b"\x00"), Form::Compact), Ok(None));
    assert_eq!(
        read(&frame(b"\xff\xfe"), Form::Plain),
        Err(DecodeError::InvalidLength(-2))
    );
    assert_eq!(
        read(&frame(b"\x00\x02h"), Form::Plain),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        read(&frame(b"\x00\x02\xc3\x28"), Form::Plain),
        Err(DecodeError::NotUtf8)
    );
    assert_eq!(
        read(&frame(b"\x81\x80\x02"), Form::Compact),
        Err(DecodeError::StringTooLong(0x8000))
    );
    assert_eq!(
        read(&frame(b"\x80\x80\x80\x80\x10"), Form::Compact),
        Err(DecodeError::VarintTooLong)
    );
    assert_eq!(
        read(&frame(b"\x80\x80\x80\x80\x80"), Form::Compact),
        Err(DecodeError::VarintTooLong)
    );
    assert_eq!(
        read(&frame(b""), Form::Compact),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn the_longest_string_is_kafkas() {
    for (size, fits) in [(32_766, true), (32_767, true), (32_768, false)] {
        let request = HeartbeatRequest {
            group_id: "g".repeat(size),
            ..Default::default()
        };
        for version in [3, 4] {
            match request.to_vec(version) {
                Ok(bytes) => {
                    assert!(fits);
                    let back = HeartbeatRequest::from_bytes(&Bytes::from(bytes), version);
                    assert_eq!(back.as_ref(), Ok(&request));
                }
                Err(error) => {
                    assert!(!fits);
                    assert_eq!(error, EncodeError::TooLong(size));
                }
            }
        }
    }
}

#[test]
fn a_field_the_version_cannot_carry_is_refused_unless_ignorable() {
    let request = HeartbeatRequest {
        group_instance_id: Some("i".into()),
        ..Default::default()
    };
    assert_eq!(
        request.to_vec(2),
        Err(EncodeError::FieldNotInVersion {
            field: "HeartbeatRequest.group_instance_id",
            version: 2
        })
    );
    assert!(request.to_vec(3).is_ok());
    // Topics are null for "all" from version 1 on; in version 0 an empty list means that.
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        request.to_vec(0),
        Err(EncodeError::UnexpectedNull {
            field: "MetadataRequest.topics",
            version: 0
        })
    );
    assert!(request.to_vec(1).is_ok());
}

#[test]
fn tagged_fields_are_kept_in_order_and_filled_exactly() {
    let field = |tag, data: &'static [u8]| RawTaggedField {
        tag,
        data: Bytes::from_static(data),
    };
    let with = |fields| HeartbeatRequest {
        unknown_tagged_fields: fields,
        ..Default::default()
    };
    let request = with(vec![field(3, b"three"), field(200, b"")]);
    let bytes = Bytes::from(request.to_vec(4).expect("encodes"));
    assert_eq!(HeartbeatRequest::from_bytes(&bytes, 4), Ok(request));
    assert_eq!(
        with(vec![field(3, b""), field(3, b"")]).to_vec(4),
        Err(EncodeError::TagOrder(3))
    );
    assert_eq!(
        with(vec![field(4, b""), field(3, b"")]).to_vec(4),
        Err(EncodeError::TagOrder(4))
    );

    // Fetch v12, cluster id (tag 0) of three bytes in a field that claims four.
    let mut fetch = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    fetch.extend([1, 1, 1]);
    fetch.extend([1, 0, 4, 3, b'a', b'b', 9]);
    let fetch = Bytes::from(fetch);
    let error = decode::<corelog_net::wire::messages::FetchRequest>(&fetch, 12, 1 << 20);
    assert_eq!(error, Err(DecodeError::TaggedFieldSize(0)));
}

#[test]
fn trailing_bytes_are_the_callers_choice() {
    let bytes = Bytes::from_static(&[0, 0, 0, 0, 9, 9]);
    let mut budget = Budget::new(1 << 20);
    let mut d = Decoder::new(&bytes, &mut budget);
    MetadataRequest::decode(&mut d, 0).expect("an empty request");
    assert_eq!(d.remaining(), 2);
    assert_eq!(d.finish(), Err(DecodeError::TrailingBytes(2)));
    assert_eq!(
        MetadataRequest::from_bytes(&bytes, 0),
        Err(DecodeError::TrailingBytes(2))
    );
}

#[test]
fn control_frames_hold_ten_thousand_partitions_with_long_names() {
    use corelog_net::wire::messages::delete_records::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
    };
    let request = DeleteRecordsRequest {
        topics: (0..10_000)
            .map(|index| DeleteRecordsTopic {
                name: format!("{index:0249}"),
                partitions: vec![DeleteRecordsPartition::default()],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    for version in DeleteRecordsRequest::VALID_VERSIONS {
        let bytes = Bytes::from(request.to_vec(version).expect("encodes"));
        assert!(bytes.len() < CONTROL_FRAME_SIZE_MAX / 2);
        assert_eq!(
            DeleteRecordsRequest::from_bytes(&bytes, version).as_ref(),
            Ok(&request)
        );
    }
}

#[test]
fn frame_limits_follow_the_setting() {
    for &api in ApiKey::ALL {
        assert!(request_frame_size_max(api, 1000) <= 1000, "{api}");
        assert!(
            request_frame_size_max(api, FRAME_SIZE_MAX_DEFAULT) >= 256 * 1024,
            "{api}"
        );
    }
    assert_eq!(request_frame_size_max(ApiKey::Produce, 1 << 30), 1 << 30);
}

#[test]
fn headers_follow_the_version_also_when_it_is_unknown() {
    assert_eq!(ApiKey::ApiVersions.request_header_version(99), 2);
    assert_eq!(ApiKey::ApiVersions.request_header_version(-1), 1);
    assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
    assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
    assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    assert_eq!(ApiKey::from_key(999), Err(DecodeError::UnknownApiKey(999)));
    assert_eq!(ApiKey::from_key(-1), Err(DecodeError::UnknownApiKey(-1)));
    assert_eq!(Uuid::ZERO, Uuid::default());
}
