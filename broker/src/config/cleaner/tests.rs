use super::*;
use crate::config::{ConfigMap, StaticSettings};

#[test]
fn kafkas_defaults_are_divided_among_the_shards() {
    let fixed = StaticSettings::default();
    let one = CleanerConfig::resolve(Layers::fixed(&fixed), 1);
    assert_eq!(
        one,
        CleanerConfig {
            enable: true,
            backoff: Duration::from_secs(15),
            dedupe_bytes: 128 << 20,
            dedupe_load: 0.9,
            buffer_bytes: 512 << 10,
            bytes_per_second: f64::MAX,
        }
    );
    let four = CleanerConfig::resolve(Layers::fixed(&fixed), 4);
    assert_eq!(
        (four.dedupe_bytes, four.buffer_bytes),
        (32 << 20, 128 << 10)
    );
}

#[test]
fn what_is_set_at_run_time_comes_first() {
    let fixed = StaticSettings::default();
    let cluster = ConfigMap::from([
        (
            "log.cleaner.io.max.bytes.per.second".to_owned(),
            "1000".to_owned(),
        ),
        ("log.cleaner.backoff.ms".to_owned(), "7".to_owned()),
    ]);
    let layers = Layers {
        cluster: Some(&cluster),
        ..Layers::fixed(&fixed)
    };
    let config = CleanerConfig::resolve(layers, 2);
    assert!((config.bytes_per_second - 500.0).abs() < f64::EPSILON);
    assert_eq!(config.backoff, Duration::from_millis(7));
}
