use super::*;

#[test]
fn the_hash_is_siphash_2_4_128() {
    // The first vectors of the reference implementation: key 00 … 0f, inputs of 0 and 1 byte.
    let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
    let bytes = |hash: [u64; 2]| -> Vec<u8> {
        hash.iter()
            .flat_map(|half| half.swap_bytes().to_be_bytes())
            .collect()
    };
    assert_eq!(
        bytes(siphash128(seed, &[])),
        [
            0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
            0x02, 0x93
        ]
    );
    assert_eq!(
        bytes(siphash128(seed, &[0])),
        [
            0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
            0xfc, 0x45
        ]
    );
}

#[test]
fn it_holds_as_many_keys_as_it_was_made_for_and_their_last_offsets() {
    let mut map = KeyMap::new(1000, 1 << 20, 0.9, [1, 2]);
    for offset in 0..3000_u32 {
        let key = (offset % 1000).to_be_bytes();
        assert!(map.put(&key, Offset(i64::from(offset))));
    }
    assert_eq!(map.len(), 1000);
    assert!(!map.put(b"one more", Offset(5000)));
    assert_eq!(map.get(b"one more"), None);
    for key in 0..1000_u32 {
        let last = Offset(i64::from(key) + 2000);
        assert_eq!(map.get(&key.to_be_bytes()), Some(last));
    }
    // A known key moves on also in a full map, and never back.
    assert!(map.put(&7_u32.to_be_bytes(), Offset(9000)));
    assert!(map.put(&7_u32.to_be_bytes(), Offset(1)));
    assert_eq!(map.get(&7_u32.to_be_bytes()), Some(Offset(9000)));
}

#[test]
fn memory_and_load_bound_it_and_the_least_holds_one_key() {
    let map = KeyMap::new(u64::MAX, 24_000, 0.5, [0, 0]);
    assert_eq!((map.slots.len(), map.limit), (1000, 500));
    let map = KeyMap::new(u64::MAX, 24_000, 1.0, [0, 0]);
    assert_eq!((map.slots.len(), map.limit), (1000, 999));
    for (keys, bytes, load) in [(0, 0, 0.0), (5, 1, 0.9), (1, 48, 1.0), (9, 100, -3.0)] {
        let mut map = KeyMap::new(keys, bytes, load, [3, 4]);
        assert!(map.put(b"a", Offset(0)));
        assert_eq!(map.get(b"a"), Some(Offset(0)));
        assert_eq!(map.get(b"b"), None);
    }
}
