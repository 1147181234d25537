//! A disk that is really full, or really fails. Needs a small file system of its own, named by
//! `CORELOG_SMALL_DISK`; `../disks/run` makes one and runs these.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Broker, eventually};
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
