use super::*;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn limits(max: usize, per_ip: usize) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: max,
        connections_per_ip_max: per_ip,
        ..ConnectionLimits::default()
    }
}

#[test]
fn the_emptiest_shard_gets_the_connection_and_this_one_when_equal() {
    let admission = Admission::new(3, &limits(100, usize::MAX));
    let permits: Vec<_> = (0..7)
        .map(|_| admission.admit(1, ip(1)).expect("room"))
        .collect();
    let shards: Vec<_> = permits.iter().map(Permit::shard).collect();
    assert_eq!(shards, [1, 0, 2, 1, 0, 2, 1]);
    assert_eq!((admission.total(), admission.on_shard(1)), (7, 3));
    drop(permits);
    assert_eq!((admission.total(), admission.on_shard(1)), (0, 0));
}

#[test]
fn limits_hold_at_and_above_and_places_come_back() {
    let admission = Admission::new(1, &limits(3, 2));
    let first = admission.admit(0, ip(1)).expect("1 of 2");
    let second = admission.admit(0, ip(1)).expect("2 of 2");
    assert_eq!(
        admission.admit(0, ip(1)).unwrap_err(),
        Refusal::PerIp { max: 2 }
    );
    let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, 1]);
    assert_eq!(
        admission.admit(0, mapped).unwrap_err(),
        Refusal::PerIp { max: 2 },
        "the same one"
    );
    let third = admission.admit(0, ip(2)).expect("3 of 3");
    assert_eq!(
        admission.admit(0, ip(3)).unwrap_err(),
        Refusal::Full { max: 3 }
    );
    assert_eq!(
        admission.admit(0, ip(1)).unwrap_err(),
        Refusal::PerIp { max: 2 }
    );
    drop(first);
    let again = admission.admit(0, ip(1)).expect("2 of 2 again");
    drop((second, third, again));
    assert_eq!(admission.total(), 0);
}

#[test]
fn an_override_replaces_the_limit_of_its_address() {
    let mut limits = limits(100, 1);
    limits.connections_per_ip_overrides = vec![(ip(9), 2), (ip(8), 0)];
    let admission = Admission::new(1, &limits);
    let held = [
        admission.admit(0, ip(9)).expect("1 of 2"),
        admission.admit(0, ip(9)).expect("2"),
    ];
    assert_eq!(
        admission.admit(0, ip(9)).unwrap_err(),
        Refusal::PerIp { max: 2 }
    );
    assert_eq!(
        admission.admit(0, ip(8)).unwrap_err(),
        Refusal::PerIp { max: 0 }
    );
    drop(held);
}

#[test]
fn limits_change_for_those_who_come_later() {
    let admission = Admission::new(1, &limits(3, usize::MAX));
    let held: Vec<_> = (0..2)
        .map(|_| admission.admit(0, ip(1)).expect("room"))
        .collect();
    admission.set_limits(&limits(3, 2));
    assert_eq!(
        admission.admit(0, ip(1)).unwrap_err(),
        Refusal::PerIp { max: 2 },
        "those who were there before the limit count"
    );
    admission.set_limits(&limits(2, usize::MAX));
    assert_eq!(
        admission.admit(0, ip(2)).unwrap_err(),
        Refusal::Full { max: 2 }
    );
    admission.set_limits(&limits(3, usize::MAX));
    let third = admission.admit(0, ip(2)).expect("room again");
    drop((held, third));
    assert_eq!(admission.total(), 0);
}
