use super::*;

#[test]
fn topic_ids_print_and_parse_as_kafka_does() {
    // Bytes and text of real ids, as kafka-clients' Uuid prints them.
    let id: TopicId = "w9osNXZUTzSovuio2_7xvg".parse().unwrap();
    assert_eq!(id.to_string(), "w9osNXZUTzSovuio2_7xvg");
    assert_eq!(id.0[..4], [0xc3, 0xda, 0x2c, 0x35]);
    assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
    assert_eq!("_____________________w==".parse(), Ok(TopicId([0xff; 16])));
    for wrong in [
        "",
        "w9osNXZUTzSovuio2_7xv",
        "w9osNXZUTzSovuio2_7xvgA",
        "w9osNXZUTzSovuio2+7xvg",
    ] {
        assert_eq!(
            wrong.parse::<TopicId>(),
            Err(ParseTopicIdError),
            "{wrong:?}"
        );
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(Sequence(i32::MAX).forward(1), Sequence(0));
    assert_eq!(Sequence(i32::MAX - 1).forward(1), Sequence(i32::MAX));
    assert_eq!(Sequence(i32::MAX - 2).forward(5), Sequence(2));
    assert_eq!(Sequence(2).back(5), Sequence(i32::MAX - 2));
    assert_eq!(Sequence(5).back(5), Sequence(0));
    assert!(Sequence(0).follows(Sequence(i32::MAX)));
    assert!(Sequence(0).follows(Sequence::NONE));
    assert!(!Sequence(0).follows(Sequence(0)));
    assert!(!Sequence(i32::MIN).follows(Sequence(i32::MAX)));
}

#[test]
fn partitions_print_like_their_directories() {
    assert_eq!(TopicPartition::new("orders", 3).to_string(), "orders-3");
}
