//! `corelog doctor` beside this broker: it reads the settings through it, knows its ports, and compares clocks with it.

use std::fs;

use corelog_tools::cli::{self, Out};
use serde_json::Value;

use crate::harness::Broker;

/// Exit code and findings.
fn doctor(arguments: &[String]) -> (u8, Vec<Value>) {
    let (mut printer, out, _) = Out::kept();
    let binary = env!("CARGO_BIN_EXE_corelog-broker");
    let all = ["corelog", "doctor", "--output", "json", "--broker", binary].map(str::to_owned);
    let code = cli::main(&[&all[..], arguments].concat(), &mut printer);
    drop(printer);
    let report: Value = serde_json::from_str(&out.text()).expect("the doctor prints JSON");
    let findings = report["findings"].as_array().expect("findings").clone();
    (code, findings)
}

fn of<'a>(findings: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let wanted = findings.iter().filter(|one| one["check"] == check);
    let text = |value: &'a Value| value.as_str().expect("a string");
    wanted
        .map(|one| (text(&one["level"]), text(&one["what"])))
        .collect()
}

fn settings(broker: &Broker, name: &str) -> String {
    let file = broker.data().join(name);
    let port = broker.addr().port();
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\ncorelog.admin.listener=\n",
        broker.data().display()
    );
    fs::write(&file, text).expect("the settings file can be written");
    file.display().to_string()
}

#[test]
fn a_running_broker_is_known_by_its_ports() {
    let broker = Broker::start();
    let file = settings(&broker, "doctor.properties");
    let arguments = [file, "--bootstrap-server".to_owned(), broker.bootstrap()];
    let (code, findings) = doctor(&arguments);
    assert!(code < 2, "nothing fails: {findings:#?}");
    let held = format!(
        "PLAINTEXT 127.0.0.1:{} is held by the broker, pid {}",
        broker.addr().port(),
        broker.pid()
    );
    assert_eq!(of(&findings, "listener"), [("ok", held.as_str())]);
    let (level, what) = of(&findings, "advertised")[0];
    assert!(
        level == "ok" && what.ends_with("reached from here"),
        "{what}"
    );
    let (level, what) = of(&findings, "skew")[0];
    assert!(level == "ok" && what.contains("within"), "{what}");
    let (level, what) = of(&findings, "nofile")[0];
    assert!(
        level == "ok" && what.starts_with("the running broker's"),
        "{what}"
    );
    assert_eq!(of(&findings, "meta")[0].0, "ok");
    // The disk is the test machine's; that it was measured is what counts.
    assert!(
        of(&findings, "sync")[0].1.contains("a sync takes"),
        "{findings:#?}"
    );
}

#[test]
fn what_keeps_a_broker_from_starting_is_found_before() {
    let mut broker = Broker::start();
    let file = settings(&broker, "doctor.properties");
    broker.stop();
    let other = std::net::TcpListener::bind(broker.addr()).expect("the port is free again");
    let text = fs::read_to_string(&file).expect("it was written");
    fs::write(&file, text.replace("node.id=1", "node.id=7")).expect("it can be written");
    let (code, findings) = doctor(std::slice::from_ref(&file));
    assert_eq!(code, 2);
    let (level, what) = of(&findings, "listener")[0];
    assert_eq!(level, "fail");
    assert!(
        what.contains(&format!("(pid {})", std::process::id())),
        "{what}"
    );
    let (level, what) = of(&findings, "meta")[0];
    assert_eq!(level, "fail");
    assert!(
        what.ends_with("belongs to node 1, the settings say node.id=7"),
        "{what}"
    );
    drop(other);

    fs::write(&file, "node.id=seven\n").expect("it can be written");
    let (code, findings) = doctor(&[file]);
    assert_eq!(code, 2);
    let (level, what) = of(&findings, "settings")[0];
    assert_eq!(level, "fail");
    assert!(what.contains("node.id"), "{what}");
}

#[test]
fn check_says_what_a_start_would_say() {
    let broker = Broker::start();
    let file = settings(&broker, "check.properties");
    let check = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_corelog-broker"))
            .args(arguments)
            .output()
            .expect("the broker can be run");
        let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
        (output.status.success(), text)
    };
    assert_eq!(check(&["--check", &file]), (true, String::new()));
    let (well, said) = check(&["--check", &file, "--override", "node.id=x"]);
    assert!(!well && said.starts_with("error: --override: "), "{said}");
    let (well, said) = check(&["--check=json", "/no/such/file"]);
    assert!(!well && said.contains("cannot be read"), "{said}");
}
