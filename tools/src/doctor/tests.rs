//! Recorded facts and what is found: `testdata/cases.txt`, changes (RFC 7396) to `testdata/healthy.json`.

use serde_json::Value;

use super::{Facts, Level, Remedy, findings, fix};

const HEALTHY: &str = include_str!("testdata/healthy.json");
const CASES: &str = include_str!("testdata/cases.txt");

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().expect("it was made one");
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn facts(patch: &str) -> Facts {
    let mut facts: Value = serde_json::from_str(HEALTHY).unwrap();
    merge(&mut facts, serde_json::from_str(patch).unwrap());
    serde_json::from_value(facts).unwrap()
}

#[test]
fn recorded_facts_give_these_findings() {
    let mut count = 0;
    for case in CASES.split("\n== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (patch, rest) = rest.split_once('\n').unwrap();
        let (exit, wanted) = rest.split_once('\n').unwrap_or((rest, ""));
        let found = findings(&facts(patch));
        let worst = found.iter().map(|one| one.level).max().unwrap_or(Level::Ok);
        let lines: Vec<String> = found
            .iter()
            .filter(|one| one.level != Level::Ok)
            .flat_map(super::Finding::lines)
            .collect();
        assert_eq!(lines.join("\n"), wanted.trim_end(), "{name}");
        assert_eq!(
            exit.trim_end(),
            format!("-- exit {}", worst as u8),
            "{name}"
        );
        count += 1;
    }
    assert!(count > 70, "{count} cases were read");
}

#[test]
fn everything_that_is_not_well_says_why_and_what_to_do() {
    for case in CASES.split("\n== ").skip(1) {
        let patch = case.lines().nth(1).unwrap();
        for found in findings(&facts(patch)) {
            let well = found.level == Level::Ok;
            assert_eq!(found.why.is_empty(), well, "{found:?}");
            assert!(!well || found.remedy == Remedy::None, "{found:?}");
        }
    }
}

#[test]
fn a_change_is_wanted_once_and_names_its_file() {
    let both = r#"{"machine":{"huge_pages":"always","sysctls":{"net.core.somaxconn":"128"}}}"#;
    let mut found = findings(&facts(both));
    found.extend(findings(&facts(both)));
    let changes = fix::wanted(&found);
    let files: Vec<_> = changes.iter().map(super::Change::files).collect();
    assert_eq!(
        files,
        [
            (vec!["/proc/sys/net/core/somaxconn".to_owned()], "4096"),
            (
                vec!["/sys/kernel/mm/transparent_hugepage/enabled".to_owned()],
                "madvise"
            ),
        ]
    );
}

#[test]
fn facts_are_written_as_they_are_read() {
    let facts = facts("{}");
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test makes its file")]
fn a_change_is_reported_as_it_is_read_again() {
    let path = std::env::temp_dir().join(format!("corelog-doctor-fix-{}", std::process::id()));
    std::fs::write(&path, "128\n").unwrap();
    let name = path.display().to_string();
    let missing = format!("{name}/not-there");
    let made = fix::make(&super::Change::Sys {
        paths: vec![name.clone(), missing.clone()],
        value: "4096".to_owned(),
    });
    assert_eq!(made[0].before, "128");
    assert_eq!(made[0].after, Ok("4096".to_owned()));
    assert_eq!(made[1].path, missing);
    assert!(made[1].after.is_err());
    std::fs::remove_file(path).unwrap();
}

/// What `deploy/sysctl.d` sets is what the doctor finds well.
#[test]
fn the_sysctl_file_leaves_nothing_to_find() {
    let mut facts = facts("{}");
    let mut count = 0;
    for line in include_str!("../../../deploy/sysctl.d/60-corelog.conf").lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').expect("name = value");
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        facts.machine.sysctls.insert(name, value);
        count += 1;
    }
    assert!(count >= 8, "{count} settings");
    facts.machine.swap_bytes = Some(8 << 30);
    let bad: Vec<_> = findings(&facts)
        .into_iter()
        .filter(|one| one.level != Level::Ok)
        .collect();
    assert_eq!(bad, []);
}

/// What `deploy/udev` sets is what the doctor finds well.
#[test]
fn the_udev_rules_leave_nothing_to_find() {
    let mut seen = 0;
    for line in include_str!("../../../deploy/udev/60-corelog.rules").lines() {
        let Some(rest) = line.strip_prefix("KERNEL==\"") else {
            continue;
        };
        let (kernels, rest) = rest.split_once('"').expect("KERNEL is quoted");
        let of = |name: &str| {
            let (_, rest) = rest.split_once(&format!("ATTR{{queue/{name}}}"))?;
            let value = rest.trim_start_matches('=').trim_start_matches('"');
            value.split('"').next().map(str::to_owned)
        };
        for kernel in kernels.split('|') {
            let mut facts = facts("{}");
            let disk = facts.directories[0].disk.as_mut().expect("there is one");
            disk.name = kernel.replace('*', "0");
            disk.rotational = of("rotational").map(|text| text == "1");
            // A rule that leaves the scheduler alone follows one that sets it.
            disk.scheduler = of("scheduler").or_else(|| Some("mq-deadline".to_owned()));
            disk.read_ahead_kb = of("read_ahead_kb").and_then(|text| text.parse().ok());
            let bad: Vec<_> = findings(&facts)
                .into_iter()
                .filter(|one| one.level != Level::Ok)
                .collect();
            assert_eq!(bad, [], "{kernel}");
            seen += 1;
        }
    }
    assert_eq!(seen, 5, "disks");
}
