use super::Uuid;

#[test]
fn text_form_is_kafkas() {
    // As printed by Kafka for these bytes.
    assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(Uuid::ONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
}

#[test]
fn text_form_parses_back() {
    for seed in 0..200_u8 {
        let id = Uuid(std::array::from_fn(|i| {
            seed.wrapping_mul(37)
                .wrapping_add((i as u8).wrapping_mul(91))
        }));
        assert_eq!(id.to_string().parse::<Uuid>(), Ok(id));
    }
    for bad in [
        "",
        "A",
        "AAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAA+AAAAAAAAAAA",
        "ä",
    ] {
        assert!(bad.parse::<Uuid>().is_err(), "{bad}");
    }
}
