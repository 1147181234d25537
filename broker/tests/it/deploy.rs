//! What `deploy/` holds works: examples start, units and rules are well formed, names are those of the broker, and every alert
//! has its place in the operations guide.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Broker, free_address};
use crate::records::values;
use crate::topics::{create, produce};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).expect("a file of deploy/ can be read")
}

/// The example with its directories and ports replaced, nothing else.
fn fitted(example: &str, data: &Path, address: SocketAddr) -> String {
    let admin = free_address().port();
    let mut text = text(&format!("config/{example}"));
    for directory in [
        "/data/1/corelog",
        "/data/2/corelog",
        "/data/3/corelog",
        "/data/4/corelog",
    ] {
        let here = data.join(directory.trim_start_matches("/data/").replace('/', "-"));
        text = text.replace(directory, &here.display().to_string());
    }
    let here = data.display().to_string();
    text = text
        .replace("log.dirs=/data\n", &format!("log.dirs={here}\n"))
        .replace("/var/lib/corelog/data", &here)
        .replace("/tmp/kraft-combined-logs", &here);
    text.replace("9092", &address.port().to_string())
        .replace("9644", &admin.to_string())
}

#[test]
fn every_example_starts_without_a_warning() {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(deploy("config")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name").to_owned();
        let check = Command::new(env!("CARGO_BIN_EXE_corelog-broker"))
            .arg("--check")
            .arg(deploy("config").join(&name))
            .output()
            .expect("the broker can be run");
        let said = String::from_utf8_lossy(&check.stdout);
        // What has no effect here and is meant for Kafka is information.
        let bad = said.lines().filter(|line| !line.starts_with("info: "));
        assert_eq!(bad.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
        let mut broker = Broker::with_settings(|data, address| fitted(&name, data, address));
        let mut client = broker.client();
        create(&mut client, "example", 4, &[]);
        produce(&mut client, "example", 3, values(&["a"]));
        broker.restart();
        broker.stop();
        let log = broker.log();
        assert!(
            !log.contains(" WARN ") && !log.contains(" ERROR "),
            "{name}: {log}"
        );
        assert!(log.contains("admin address="), "{name}: {log}");
        seen.insert(name);
    }
    let wanted = [
        "adopt-kafka",
        "container",
        "jbod",
        "single-node",
        "small-vm",
    ];
    assert_eq!(seen, wanted.map(|name| format!("{name}.properties")).into());
}

#[test]
fn systemd_takes_the_unit() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("units-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let unit = text("systemd/corelog.service");
    let unit = unit.replace(
        "/usr/bin/corelog-broker",
        env!("CARGO_BIN_EXE_corelog-broker"),
    );
    fs::write(folder.join("corelog.service"), unit).expect("it can be written");
    let drop_in = folder.join("corelog.service.d");
    fs::create_dir_all(&drop_in).expect("a folder can be made");
    fs::write(
        drop_in.join("jbod.conf"),
        text("systemd/corelog.service.d/jbod.conf"),
    )
    .expect("it can be written");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(folder.join("corelog.service"))
        .output();
    match verified {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && !said.contains("corelog"),
                "{said}"
            );
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            println!("systemd-analyze is not installed: the unit is not verified by it");
        }
    }
    fs::remove_dir_all(folder).expect("it can be removed");
}

#[test]
fn prometheus_takes_the_alert_rules() {
    for (task, file) in [
        ("check", "prometheus/corelog-alerts.yml"),
        ("test", "prometheus/corelog-alerts-test.yml"),
    ] {
        let check = Command::new("promtool")
            .args([task, "rules"])
            .arg(deploy(file))
            .output();
        match check {
            Ok(output) => assert!(
                output.status.success(),
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                println!("promtool is not installed: the rules are not looked at by it");
            }
        }
    }
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let ours = |word: &&str| {
        ["corelog_", "kafka_", "process_"]
            .iter()
            .any(|start| word.starts_with(start))
    };
    words.filter(ours).collect()
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    let documented = fs::read_to_string(deploy("../docs/metrics.md")).expect("the page of metrics");
    let documented = metrics(&documented);
    for name in ["prometheus/corelog-alerts.yml", "grafana/corelog.json"] {
        let text = text(name);
        let asked = metrics(&text);
        assert!(asked.len() > 20, "{name}: {asked:?}");
        // A summary's sum and count are series of their own.
        let unknown: Vec<_> = asked
            .into_iter()
            .filter(|name| {
                let stem = name
                    .strip_suffix("_sum")
                    .or_else(|| name.strip_suffix("_count"));
                !documented.contains(name) && !stem.is_some_and(|stem| documented.contains(stem))
            })
            .collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn the_guide_says_what_to_do_for_each_alert() {
    let rules = text("prometheus/corelog-alerts.yml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: BTreeSet<&str> = alerts.collect();
    let guide = text("OPERATIONS.md");
    let treated: BTreeSet<&str> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `Corelog"))
        .filter_map(|line| line.split('`').next())
        .collect();
    let alerts: BTreeSet<&str> = alerts
        .iter()
        .filter_map(|one| one.strip_prefix("Corelog"))
        .collect();
    assert_eq!(treated, alerts);
}

#[test]
fn the_seccomp_profile_allows_what_the_broker_needs() {
    let profile: serde_json::Value =
        serde_json::from_str(&text("container/seccomp.json")).expect("it is JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let names: BTreeSet<&str> = profile["syscalls"]
        .as_array()
        .expect("rules")
        .iter()
        .flat_map(|rule| rule["names"].as_array().expect("names"))
        .map(|name| name.as_str().expect("a name"))
        .collect();
    for needed in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "fdatasync",
        "fallocate",
        "sendfile",
        "cachestat",
        "renameat2",
    ] {
        assert!(names.contains(needed), "{needed}");
    }
    for refused in [
        "ptrace",
        "mount",
        "bpf",
        "unshare",
        "setns",
        "init_module",
        "kexec_load",
        "perf_event_open",
    ] {
        assert!(!names.contains(refused), "{refused}");
    }
}
