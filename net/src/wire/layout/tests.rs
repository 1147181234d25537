use super::*;

fn json(name: &str, version: i16, bytes: &[u8]) -> Result<String, DecodeError> {
    let layout = Layout::named(name).expect("a schema of this name");
    let mut text = String::new();
    layout.print_json(&mut Cursor::new(bytes), version, &mut text)?;
    Ok(text)
}

#[test]
fn a_tagged_field_stands_where_its_schema_has_it() {
    // OffsetCommitValue 4: offset 7, epoch 1, metadata "m", time 9, one tagged field: the topic id.
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 2, b'm'];
    bytes.extend_from_slice(&9_i64.to_be_bytes());
    bytes.extend_from_slice(&[1, 0, 16]);
    bytes.extend_from_slice(&[0; 15]);
    bytes.push(1);
    assert_eq!(
        json("OffsetCommitValue", 4, &bytes).unwrap(),
        r#"{"offset":7,"leaderEpoch":1,"metadata":"m","commitTimestamp":9,"topicId":"AAAAAAAAAAAAAAAAAAAAAQ"}"#
    );
    // BrokerRegistrationChangeRecord 2: of its tagged fields, the second and third, in the other order on the wire.
    let mut bytes = 3_i32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&8_i64.to_be_bytes());
    bytes.extend_from_slice(&[3, 0, 1, 0, 1, 1, 1, 99, 1, 5]);
    assert_eq!(
        json("BrokerRegistrationChangeRecord", 1, &bytes).unwrap(),
        r#"{"brokerId":3,"brokerEpoch":8,"inControlledShutdown":1}"#,
        "a default is left out and an unknown tag passed over"
    );
}

#[test]
fn every_layout_stands_hostile_bytes() {
    let mut state = 7_u64;
    for layout in [Role::Key, Role::Value, Role::Metadata, Role::Data]
        .into_iter()
        .flat_map(Layout::all)
    {
        for version in layout.versions() {
            for size in [0, 1, 3, 17, 64, 300] {
                for _ in 0..20 {
                    let bytes: Vec<u8> = (0..size)
                        .map(|_| {
                            state = state
                                .wrapping_mul(6_364_136_223_846_793_005)
                                .wrapping_add(1);
                            let byte = state.to_be_bytes()[0];
                            if byte < 128 { byte & 3 } else { byte }
                        })
                        .collect();
                    let mut text = String::new();
                    let _ = layout.print_json(&mut Cursor::new(&bytes), version, &mut text);
                    assert!(
                        text.len() < 100_000,
                        "{}: {} bytes",
                        layout.name(),
                        text.len()
                    );
                }
            }
        }
    }
}

#[test]
fn doubles_are_javas() {
    for (value, text) in [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (-2.5, "-2.5"),
        (1_000_000.0, "1000000.0"),
        (1e7, "1.0E7"),
        (1.25e-5, "1.25E-5"),
        (0.001, "0.001"),
        (123_456_789.5, "1.234567895E8"),
    ] {
        let mut out = String::new();
        put_double(&mut out, value);
        assert_eq!(out, text);
    }
}

#[test]
fn strings_are_escaped_as_jackson_does() {
    let mut out = String::new();
    put_string(&mut out, "a\"\\\n\u{1}\u{1f}/é\u{7f}");
    assert_eq!(out, "\"a\\\"\\\\\\n\\u0001\\u001F/é\u{7f}\"");
    for (bytes, text) in [
        (&b""[..], "\"\""),
        (b"a", "\"YQ==\""),
        (b"ab", "\"YWI=\""),
        (b"abc", "\"YWJj\""),
        (&[255, 254], "\"//4=\""),
    ] {
        let mut out = String::new();
        put_base64(&mut out, bytes);
        assert_eq!(out, text);
    }
}
