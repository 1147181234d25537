//! A disk that is really full, or really fails. Needs a small file system of its own, named by
//! `CORELOG_SMALL_DISK`; `../disks/run` makes one and runs these.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Broker, eventually};
use crate::log_dirs::{directory_of, with_directories};
use crate::records::values;
use crate::table::error;
use crate::topics::{create, produce, producing, read_all};

fn small_disk() -> PathBuf {
    let path = std::env::var("CORELOG_SMALL_DISK");
    PathBuf::from(path.expect("CORELOG_SMALL_DISK names a small file system of its own"))
}

/// Takes all space but about `leave` bytes.
fn fill(leave: u64) -> PathBuf {
    let disk = small_disk();
    let volume = rustix::fs::statvfs(&disk).expect("the disk can be asked");
    let free = volume.f_bavail * volume.f_frsize;
    let path = disk.join("filler");
    let file = fs::File::create(&path).expect("a file can be made");
    let size = free.saturating_sub(leave);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)
        .expect("there is room for the filler");
    path
}

#[test]
#[ignore = "needs CORELOG_SMALL_DISK: see broker/tests/disks/run"]
fn what_was_acknowledged_before_a_write_found_no_space_is_kept() {
    let data = small_disk().join("data");
    let _ = fs::remove_dir_all(&data);
    let mut broker = Broker::with(&[
        &format!("log.dirs={}", data.display()),
        "corelog.disk.reserve.bytes=0",
    ]);
    let mut client = broker.client();
    create(&mut client, "squeezed", 2, &[("segment.bytes", "1048576")]);
    let mut acknowledged = [Vec::new(), Vec::new()];
    let value = |number: usize| format!("{number} {}", "squeezed ".repeat(7000));
    let mut number = 0;
    for round in 0..3 {
        // At the third time the shards still hold what the last look allowed them.
        let filler = fill(if round == 2 { 200 << 10 } else { 3 << 20 });
        let mut full = 0;
        while full < 4 {
            let place = number % 2;
            let text = value(number);
            let partition = i32::try_from(place).expect("0 or 1");
            let request = producing("squeezed", partition, values(&[text.as_str()]));
            let response = client.call(9, &request);
            let answer = &response.responses[0].partition_responses[0];
            match error(answer.error_code) {
                "NONE" => acknowledged[place].push((answer.base_offset, text.into_bytes())),
                "KAFKA_STORAGE_ERROR" => {
                    let message = answer.error_message.clone().unwrap_or_default();
                    assert!(message.contains("is full"), "{message}");
                    full += 1;
                }
                other => panic!("{other}"),
            }
            number += 1;
        }
        if round == 1 {
            broker.kill();
            fs::remove_file(filler).expect("it is there");
            broker.launch();
            client = broker.client();
        } else {
            // All that was acknowledged can be read while there is no space.
            for (place, expected) in acknowledged.iter().enumerate() {
                let partition = i32::try_from(place).expect("0 or 1");
                let read = read_all(&mut client, "squeezed", partition, 0);
                assert!(expected.iter().all(|one| read.contains(one)), "{place}");
            }
            fs::remove_file(filler).expect("it is there");
        }
        eventually("there is room again", || {
            let response = client.call(9, &producing("squeezed", 0, values(&["x"])));
            response.responses[0].partition_responses[0].error_code == 0
        });
        produce(&mut client, "squeezed", 1, values(&["x"]));
        for (place, expected) in acknowledged.iter().enumerate() {
            let partition = i32::try_from(place).expect("0 or 1");
            let read = read_all(&mut client, "squeezed", partition, 0);
            assert!(
                expected.iter().all(|one| read.contains(one)),
                "round {round}: partition {place} has lost something"
            );
        }
    }
    assert!(acknowledged.iter().all(|one| one.len() > 20));
    let log = broker.log();
    assert!(!log.contains("is offline"), "full is not failed\n{log}");
    assert!(log.contains("waits for space"), "no write found it\n{log}");
    broker.stop();
}

#[test]
#[ignore = "needs CORELOG_SMALL_DISK: see broker/tests/disks/run"]
fn a_broker_starts_on_a_full_disk() {
    let data = small_disk().join("data");
    let _ = fs::remove_dir_all(&data);
    let mut broker = Broker::with(&[&format!("log.dirs={}", data.display())]);
    let mut client = broker.client();
    create(&mut client, "kept", 1, &[]);
    create(&mut client, "spare", 1, &[]);
    produce(&mut client, "kept", 0, values(&["v0", "v1"]));
    for kill in [false, true] {
        if kill {
            broker.kill();
        } else {
            broker.stop();
        }
        let filler = fill(256 << 10);
        let mut last = fs::File::options()
            .append(true)
            .open(&filler)
            .expect("the filler is there");
        // The last blocks are not to be had by asking for them, but by writing.
        while std::io::Write::write(&mut last, &[1; 4096]).is_ok() {}
        broker.launch();
        client = broker.client();
        assert_eq!(
            read_all(&mut client, "kept", 0, 0),
            [(0, b"v0".to_vec()), (1, b"v1".to_vec())]
        );
        let response = client.call(9, &producing("kept", 0, values(&["x"])));
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(error(answer.error_code), "KAFKA_STORAGE_ERROR");
        let message = answer.error_message.clone().unwrap_or_default();
        assert!(message.contains("is full"), "{message}");
        fs::remove_file(filler).expect("it is there");
    }
    eventually("there is room again", || {
        let response = client.call(9, &producing("kept", 0, values(&["v2"])));
        response.responses[0].partition_responses[0].error_code == 0
    });
    let log = broker.log();
    assert!(!log.contains("is offline"), "full is not failed\n{log}");
    broker.stop();
}

#[test]
#[ignore = "needs CORELOG_SMALL_DISK: see broker/tests/disks/run"]
fn a_file_system_that_turns_read_only_takes_its_partitions_offline_until_it_is_back() {
    let (mut broker, directories) = with_directories(1, &[]);
    let data = small_disk().join("data");
    let _ = fs::remove_dir_all(&data);
    broker.stop();
    broker.set(&format!(
        "log.dirs={},{}",
        directories[0].display(),
        data.display()
    ));
    broker.launch();
    let mut client = broker.client();
    create(&mut client, "torn", 4, &[]);
    let mut places = Vec::new();
    for partition in 0..4 {
        produce(&mut client, "torn", partition, values(&["v0", "v1"]));
        places.push(directory_of(&mut client, "torn", partition).expect("it is somewhere"));
    }
    assert_eq!(places.iter().filter(|at| **at == 1).count(), 2);
    let mounts = fs::read_to_string("/proc/mounts").expect("it can be read");
    let disk = small_disk().display().to_string();
    let mut lines = mounts.lines().map(|line| line.split(' '));
    let device = lines.find_map(|mut words| {
        let device = words.next()?;
        (words.next()? == disk).then(|| device.trim_start_matches("/dev/").to_owned())
    });
    let device = device.expect("the small disk is mounted");
    let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
    fs::write(trigger, "as a disk's error would").expect("the error can be brought about");
    for (partition, at) in (0..4).zip(&places) {
        let expected = if *at == 1 {
            "KAFKA_STORAGE_ERROR"
        } else {
            "NONE"
        };
        eventually("the directory is offline, the other is not", || {
            let response = client.call(9, &producing("torn", partition, values(&["x"])));
            error(response.responses[0].partition_responses[0].error_code) == expected
        });
    }
    let log = broker.log();
    assert!(log.contains("OfflineLogDirectoryCount=1"), "{log}");
    broker.stop();
    let image = std::env::var("CORELOG_SMALL_DISK_IMAGE").expect("the image of the small disk");
    for arguments in [
        vec!["umount", &disk],
        vec!["mount", "-o", "loop,errors=remount-ro", &image, &disk],
    ] {
        let done = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{arguments:?}");
    }
    broker.launch();
    client = broker.client();
    for partition in 0..4 {
        let read = read_all(&mut client, "torn", partition, 0);
        assert_eq!(read[..2], [(0, b"v0".to_vec()), (1, b"v1".to_vec())]);
        produce(&mut client, "torn", partition, values(&["v2"]));
    }
    broker.stop();
}

#[test]
#[ignore = "needs CORELOG_FAILING_DISK: see broker/tests/disks/run"]
fn a_sync_that_fails_loses_nothing_that_was_acknowledged() {
    let named = |name: &str| std::env::var(name).expect("broker/tests/disks/run says where");
    let (disk, under) = (
        named("CORELOG_FAILING_DISK"),
        named("CORELOG_FAILING_UNDER"),
    );
    // Past the page cache this disk says that it is full, before a sync can fail.
    let (mut broker, directories) = with_directories(1, &["corelog.io.direct=never"]);
    broker.stop();
    broker.set(&format!(
        "log.dirs={},{disk}/data",
        directories[0].display()
    ));
    broker.launch();
    let mut client = broker.client();
    create(&mut client, "eio", 2, &[]);
    let failing = (0..2).find(|one| directory_of(&mut client, "eio", *one) == Some(1));
    let failing = failing.expect("one partition is on the failing disk");
    let filler = "eio ".repeat(50_000);
    let mut acknowledged = Vec::new();
    let failed = (0..500).find_map(|number| {
        let value = format!("{number} {filler}");
        let request = producing("eio", failing, values(&[value.as_str()]));
        let response = client.call(9, &request);
        let answer = &response.responses[0].partition_responses[0];
        if answer.error_code == 0 {
            acknowledged.push((answer.base_offset, value.into_bytes()));
            return None;
        }
        Some(error(answer.error_code))
    });
    assert_eq!(failed, Some("KAFKA_STORAGE_ERROR"));
    assert!(acknowledged.len() > 3, "{}", acknowledged.len());
    let log = broker.log();
    assert!(log.contains("Input/output error"), "{log}");
    assert!(log.contains("OfflineLogDirectoryCount=1"), "{log}");
    // The other disk is not concerned.
    produce(&mut client, "eio", 1 - failing, values(&["v0"]));
    broker.stop();
    let image = format!("{under}/image");
    for arguments in [
        vec!["umount", &disk],
        vec!["mount", "-o", "remount,size=128M", &under],
        vec!["fsck.ext4", "-fy", &image],
        vec!["mount", "-o", "loop", &image, &disk],
    ] {
        let done = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .status();
        // fsck says 1 when it repaired something.
        assert!(
            done.is_ok_and(|status| matches!(status.code(), Some(0 | 1))),
            "{arguments:?}"
        );
    }
    broker.launch();
    client = broker.client();
    let read = read_all(&mut client, "eio", failing, 0);
    assert!(read.len() >= acknowledged.len());
    assert!(
        read[..acknowledged.len()] == acknowledged,
        "records are lost or changed"
    );
    produce(&mut client, "eio", failing, values(&["after"]));
    broker.stop();
}
