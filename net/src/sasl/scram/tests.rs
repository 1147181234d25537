//! Passwords, salts and keys of the RFCs and of what Kafka stored.

use super::*;

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RFC 7677, section 3: user "user", password "pencil", 4,096 rounds. The keys: what the example's proofs are checked with.
#[test]
fn a_password_is_salted_as_in_the_rfc() {
    let salt = [
        0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa,
        0x81,
    ];
    let salted = salted_password(Mechanism::Sha256, b"pencil", &salt, 4096);
    assert_eq!(
        hex(&salted),
        "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d"
    );
    // The example's last message: server signature = HMAC(ServerKey, AuthMessage).
    let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
                r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let keys = Keys::of(Mechanism::Sha256, &salted);
    // "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert_eq!(
        hex(&mac::<Hmac<Sha256>>(&keys.server, auth.as_bytes())),
        "eabae24d1062db75a9451ff0b6ea7e98c8546549ff741e672d3251b2397de46e"
    );
    // The client's proof, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", gives a key whose hash is the stored one.
    let proof = [
        0x74, 0x7c, 0xdb, 0x65, 0xaa, 0x56, 0x22, 0x4e, 0x23, 0x52, 0x13, 0x7e, 0x52, 0xd7, 0xbd,
        0xca, 0xd6, 0xa0, 0xf7, 0x38, 0xdf, 0x30, 0x78, 0x2c, 0xaa, 0x69, 0xa2, 0xcf, 0xb0, 0x27,
        0x75, 0x54,
    ];
    let signature = mac::<Hmac<Sha256>>(&keys.stored, auth.as_bytes());
    let client: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    assert_eq!(hex(&Sha256::digest(client)), hex(&keys.stored));
}

#[test]
fn sizes_are_those_of_the_hash() {
    for (mechanism, size) in [(Mechanism::Sha256, 32), (Mechanism::Sha512, 64)] {
        let salted = salted_password(mechanism, b"", b"", 1);
        assert_eq!(salted.len(), size);
        let keys = Keys::of(mechanism, &[]);
        assert_eq!((keys.stored.len(), keys.server.len()), (size, size));
    }
}

#[test]
fn names_and_numbers_are_kafkas() {
    for (code, name) in [(1, "SCRAM-SHA-256"), (2, "SCRAM-SHA-512")] {
        let mechanism = Mechanism::from_code(code).expect("a mechanism");
        assert_eq!((mechanism.code(), mechanism.name()), (code, name));
        assert_eq!(Mechanism::from_name(name), Some(mechanism));
    }
    assert_eq!(Mechanism::from_code(0), None);
    assert_eq!(Mechanism::from_code(3), None);
    assert_eq!(Mechanism::from_name("SCRAM-SHA-1"), None);
}
