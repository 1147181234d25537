use super::*;

fn segments(sizes: &[(i64, u64, i64)]) -> Vec<Segment> {
    sizes
        .iter()
        .map(|(base, size, timestamp)| {
            let mut segment = Segment::empty(Offset(*base), Timestamp(0));
            segment.size = *size;
            segment.max_timestamp = Timestamp(*timestamp);
            segment
        })
        .collect()
}

fn settings(ms: Option<i64>, bytes: Option<u64>) -> LogSettings {
    LogSettings {
        retention_ms: ms,
        retention_bytes: bytes,
        ..LogSettings::default()
    }
}

fn due_at(
    segments: &[Segment],
    settings: &LogSettings,
    start: i64,
    high_watermark: i64,
    now: i64,
) -> Option<(usize, Reason)> {
    due(
        segments,
        settings,
        Offset(start),
        Offset(high_watermark),
        Offset(40),
        Timestamp(now),
    )
}

#[test]
fn segments_expire_oldest_first_without_a_gap() {
    let log = segments(&[(0, 10, 100), (10, 10, 300), (20, 10, 100), (30, 10, 400)]);
    let settings = settings(Some(50), None);
    assert_eq!(due_at(&log, &settings, 0, 40, 150), None);
    assert_eq!(due_at(&log, &settings, 0, 40, 151), Some((1, Reason::Time)));
    assert_eq!(due_at(&log, &settings, 0, 40, 351), Some((3, Reason::Time)));
    assert_eq!(due_at(&log, &settings, 0, 40, 451), Some((4, Reason::Time)));
    assert_eq!(due_at(&log, &settings, 0, 15, 451), Some((1, Reason::Time)));
}

#[test]
fn an_empty_active_segment_does_not_expire() {
    let log = segments(&[(0, 0, -1)]);
    assert_eq!(due_at(&log, &settings(Some(1), None), 0, 40, 1_000), None);
}

#[test]
fn size_leaves_at_least_what_is_asked() {
    let log = segments(&[(0, 10, 1), (10, 10, 1), (20, 10, 1), (30, 10, 1)]);
    assert_eq!(due_at(&log, &settings(None, Some(40)), 0, 40, 9), None);
    assert_eq!(due_at(&log, &settings(None, Some(31)), 0, 40, 9), None);
    assert_eq!(
        due_at(&log, &settings(None, Some(30)), 0, 40, 9),
        Some((1, Reason::Size))
    );
    assert_eq!(
        due_at(&log, &settings(None, Some(0)), 0, 40, 9),
        Some((3, Reason::Size))
    );
}

#[test]
fn what_lies_below_the_start_goes_even_without_the_delete_policy() {
    let log = segments(&[(0, 10, 1), (10, 10, 1), (20, 10, 1), (30, 10, 1)]);
    let settings = LogSettings {
        delete: false,
        ..settings(Some(1), Some(0))
    };
    assert_eq!(due_at(&log, &settings, 9, 40, 9_000), None);
    assert_eq!(
        due_at(&log, &settings, 10, 40, 9_000),
        Some((1, Reason::LogStart))
    );
    assert_eq!(
        due_at(&log, &settings, 40, 40, 9_000),
        Some((3, Reason::LogStart))
    );
}
