use super::split_address;

#[test]
fn addresses_are_host_and_port() {
    assert_eq!(split_address("localhost:9092"), Some(("localhost", 9092)));
    assert_eq!(split_address("[::1]:9092"), Some(("::1", 9092)));
    assert_eq!(split_address("PLAINTEXT://a.b:1"), Some(("a.b", 1)));
    for wrong in [
        "",
        "localhost",
        ":9092",
        "a:b",
        "a:70000",
        "a:b:1",
        "[::1:9092",
    ] {
        assert_eq!(split_address(wrong), None, "{wrong}");
    }
}
