use super::*;

#[test]
fn malformed_text_is_replaced_as_java_does() {
    for (bytes, text) in [
        (&b"plain"[..], "plain"),
        (&[0x61, 0xed, 0xa0, 0x80, 0x62], "a\u{fffd}b"),
        (&[0xed, 0xa0, 0x62], "\u{fffd}b"),
        (&[0xed, 0xa0], "\u{fffd}"),
        (&[0xed, 0xa0, 0x80, 0x80], "\u{fffd}\u{fffd}"),
        (&[0xed, 0xed, 0xbf, 0xbf], "\u{fffd}\u{fffd}"),
        (&[0xe0, 0x80, 0x80], "\u{fffd}\u{fffd}\u{fffd}"),
        (&[0xf0, 0x90, 0x80], "\u{fffd}"),
        (&[0xc3, 0xa9, 0xff], "é\u{fffd}"),
    ] {
        let mut line = String::new();
        put_text(&mut line, bytes);
        assert_eq!(line, text, "{bytes:02x?}");
    }
}

#[test]
fn a_place_is_named_as_java_names_files() {
    let place = Place::of("a//b/00000000000000000007.log/");
    assert_eq!(place.path, "a/b/00000000000000000007.log");
    assert_eq!(place.folder, "a/b");
    assert_eq!(place.extension(), Some(".log"));
    assert_eq!(place.base_offset().ok(), Some(7));
    let place = Place::of("nofile.log");
    assert_eq!(place.folder, ".");
    assert!(place.base_offset().is_err());
}
