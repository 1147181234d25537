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
    for seed in 0..200_u128 {
        let id = Uuid((seed * 0x1357_9bdf_0246_8ace_fdb9_7531).to_be_bytes());
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
