//! `corelog storage format`: a broker starts on what it made, and finds it as it was asked for.

use std::fs;
use std::path::Path;

use corelog_tools::cli::{self, Out};

use crate::alter_user_scram_credentials::credentials;
use crate::harness::Broker;
use crate::records::values;
use crate::topics::{create, produce};

const CLUSTER: &str = "Y29yZWxvZy1jbGktMDAwMQ";

/// Exit code, standard output, standard error.
fn storage(arguments: &[&str]) -> (u8, String, String) {
    let (mut printer, out, err) = Out::kept();
    let all = ["corelog", "storage"].iter().chain(arguments);
    let all: Vec<String> = all.map(|&one| one.to_owned()).collect();
    let code = cli::main(&all, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

fn settings(data: &Path, port: u16, quorum: &str) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:1\n\
         controller.listener.names=CONTROLLER\n{quorum}\nlog.dirs={0}/a,{0}/b\n\
         offsets.topic.replication.factor=1\ncorelog.admin.listener=\n",
        data.display()
    )
}

/// Formats with these options, starts a broker there, and uses it; gives the credentials that users have then.
fn format_and_start(quorum: &str, options: &[&str], metadata: &str) -> Vec<String> {
    let mut broker = Broker::with_settings(|data, address| {
        let text = settings(data, address.port(), quorum);
        fs::create_dir_all(data).expect("a folder can be made");
        let file = data.join("format.properties");
        fs::write(&file, &text).expect("it can be written");
        let file = file.display().to_string();
        let format = ["format", "-c", &file, "-t", CLUSTER];
        let (code, out, err) = storage(&[&format, options].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        let last = out.lines().last().expect("it says what it does");
        let place = data.join("a").display().to_string();
        assert!(
            last.starts_with(&format!(
                "Formatting {metadata} {place} with metadata.version 4."
            )),
            "{out}"
        );
        // Once is enough.
        let (code, _, err) = storage(&[&format, options].concat());
        assert_eq!(code, 1);
        assert!(
            err.ends_with(
                "Use --ignore-formatted to ignore this directory and format the others.\n"
            ),
            "{err}"
        );
        let again = [&format[..], options, &["--ignore-formatted"]].concat();
        let (code, out, _) = storage(&again);
        assert_eq!(
            (code, out.as_str()),
            (0, "All of the log directories are already formatted.\n")
        );
        let (code, out, _) = storage(&["info", "-c", &file]);
        assert_eq!(code, 0);
        assert!(
            out.contains(&format!(
                "Found metadata: {{cluster.id={CLUSTER}, directory.id="
            )),
            "{out}"
        );
        text
    });
    let mut client = broker.client();
    create(&mut client, "formatted", 4, &[]);
    produce(&mut client, "formatted", 0, values(&["a"]));
    broker.restart();
    let credentials = credentials(&mut broker.client(), &[]);
    broker.stop();
    let log = broker.log();
    assert!(log.contains(&format!("cluster.id={CLUSTER} ")), "{log}");
    assert!(
        !log.contains("is formatted"),
        "the broker had nothing to format: {log}"
    );
    credentials
}

#[test]
fn a_broker_starts_on_a_formatted_directory() {
    let voters = "controller.quorum.voters=1@127.0.0.1:1";
    let users = format_and_start(voters, &[], "metadata directory");
    assert_eq!(users, [""; 0]);
}

#[test]
fn a_broker_starts_on_a_directory_whose_log_names_its_voter() {
    let bootstrap = "controller.quorum.bootstrap.servers=127.0.0.1:1";
    let kind = "dynamic metadata voter directory";
    format_and_start(bootstrap, &["--standalone"], kind);
    let voter = "1@127.0.0.1:1:AAAAAAAAAAAAAAAAAAAAAQ";
    format_and_start(bootstrap, &["--initial-controllers", voter], kind);
}

#[test]
fn features_and_credentials_are_there_at_the_first_start() {
    let voters = "controller.quorum.voters=1@127.0.0.1:1";
    let options = [
        "--release-version",
        "4.2",
        "--feature",
        "share.version=0",
        "--add-scram",
        "SCRAM-SHA-256=[name=alice,password=secret]",
        "--add-scram",
        "SCRAM-SHA-512=[name=bob,password=secret,iterations=8192]",
    ];
    let users = format_and_start(voters, &options, "metadata directory");
    assert_eq!(users, ["alice 1=4096", "bob 2=8192"]);
}

#[test]
fn what_does_not_fit_together_is_refused_and_nothing_is_written() {
    let data =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("format-{}", std::process::id()));
    fs::create_dir_all(&data).expect("a folder can be made");
    let file = data.join("server.properties");
    let path = file.display().to_string();
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "controller.quorum.voters=1@127.0.0.1:1",
            &["--standalone"],
            "You cannot specify controller.quorum.voters and",
        ),
        (
            "",
            &[],
            "Because controller.quorum.voters is not set on this controller, you must",
        ),
        (
            "",
            &["-s", "-f", "nosuch=1"],
            "Unsupported feature: nosuch. Supported features are: eligible",
        ),
        (
            "",
            &["-s", "-f", "share.version=9"],
            "No feature:share.version with feature level 9",
        ),
        (
            "",
            &["-s", "-f", "kraft.version=0"],
            "Cannot set kraft.version to 0 if",
        ),
        (
            "",
            &["-s", "-r", "4.3", "-f", "metadata.version=29"],
            "Use --release-version instead of --feature",
        ),
        (
            "",
            &["-s", "-r", "9.9"],
            "Unknown metadata.version '9.9'. Supported",
        ),
        (
            "",
            &["-I", "garbage"],
            "No @ found in dynamic voter string.",
        ),
        (
            "",
            &["-s", "-S", "SCRAM-SHA-1=[name=a,password=b]"],
            "The add-scram mechanism SCRAM-SHA-1 is not supported.",
        ),
    ];
    for (quorum, options, sentence) in cases {
        fs::write(&file, settings(&data, 1, quorum)).expect("it can be written");
        let (code, out, err) =
            storage(&[&["format", "-c", &path, "-t", CLUSTER], *options].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{options:?}");
        assert!(err.starts_with(sentence), "{options:?}: {err}");
        assert!(!data.join("a").exists(), "{options:?}");
    }
    let (code, out, _) = storage(&["info", "-c", &path]);
    assert_eq!(code, 1);
    assert!(out.starts_with("Found problems:\n"), "{out}");
    assert!(out.contains("/a does not exist\n"), "{out}");
    fs::remove_dir_all(data).expect("it can be removed");
}
