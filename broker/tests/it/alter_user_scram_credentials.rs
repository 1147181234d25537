//! `AlterUserScramCredentials` and `DescribeUserScramCredentials`: stored, described, there after every kind of start, and
//! nowhere in the log. What is refused in which words: `controller/tests/scram.rs`.

use bytes::Bytes;
use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use corelog_net::wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};
use corelog_tools::cli::{self, Out};

use crate::client::Client;
use crate::harness::Broker;
use crate::table::{error, message};

fn set(client: &mut Client, name: &str, mechanism: i8, iterations: i32) -> String {
    let request = AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: name.to_owned(),
            mechanism,
            iterations,
            salt: Bytes::from_static(b"salt and pepper"),
            salted_password: Bytes::from_static(b"a salted password of 32 bytes..."),
            ..ScramCredentialUpsertion::default()
        }],
        ..AlterUserScramCredentialsRequest::default()
    };
    alter(client, &request)
}

fn delete(client: &mut Client, name: &str, mechanism: i8) -> String {
    let request = AlterUserScramCredentialsRequest {
        deletions: vec![ScramCredentialDeletion {
            name: name.to_owned(),
            mechanism,
            ..ScramCredentialDeletion::default()
        }],
        ..AlterUserScramCredentialsRequest::default()
    };
    alter(client, &request)
}

fn alter(client: &mut Client, request: &AlterUserScramCredentialsRequest) -> String {
    let response = client.call(0, request);
    let [one] = &response.results[..] else {
        panic!("{response:?}");
    };
    let code = error(one.error_code);
    format!(
        "{}: {code}{}",
        one.user,
        message(one.error_message.as_ref())
    )
}

/// `user mechanism=iterations…` of these users, or of all.
pub(crate) fn credentials(client: &mut Client, users: &[&str]) -> Vec<String> {
    let user = |name: &&str| UserName {
        name: (*name).to_owned(),
        ..UserName::default()
    };
    let request = DescribeUserScramCredentialsRequest {
        users: Some(users.iter().map(user).collect()),
        ..DescribeUserScramCredentialsRequest::default()
    };
    let response = client.call(0, &request);
    assert_eq!(response.error_code, 0, "{response:?}");
    response
        .results
        .iter()
        .map(|one| match one.error_code {
            0 => {
                let infos = one.credential_infos.iter();
                let infos: Vec<String> = infos
                    .map(|info| format!("{}={}", info.mechanism, info.iterations))
                    .collect();
                format!("{} {}", one.user, infos.join(" "))
            }
            code => format!("{} {}", one.user, error(code)),
        })
        .collect()
}

#[test]
fn credentials_outlive_crashes_and_snapshots_and_are_not_logged() {
    let mut broker = Broker::unstarted(&["metadata.log.max.record.bytes.between.snapshots=400"]);
    broker.set_environment("RUST_LOG", "trace");
    broker.launch();
    let mut client = broker.client();
    assert_eq!(set(&mut client, "alice", 1, 4096), "alice: NONE");
    assert_eq!(set(&mut client, "alice", 2, 16384), "alice: NONE");
    assert_eq!(set(&mut client, "bob", 1, 5000), "bob: NONE");
    assert_eq!(set(&mut client, "carol", 1, 5000), "carol: NONE");
    assert_eq!(delete(&mut client, "carol", 1), "carol: NONE");
    assert_eq!(
        delete(&mut client, "carol", 1),
        "carol: RESOURCE_NOT_FOUND message=Attempt to delete a user credential that does not exist"
    );
    let all = ["alice 1=4096 2=16384", "bob 1=5000"];
    assert_eq!(credentials(&mut client, &[]), all);
    broker.kill();
    broker.launch();
    let mut client = broker.client();
    assert_eq!(credentials(&mut client, &[]), all);
    assert_eq!(delete(&mut client, "alice", 1), "alice: NONE");
    broker.restart();
    let mut client = broker.client();
    let all = ["alice 2=16384", "bob 1=5000"];
    assert_eq!(credentials(&mut client, &[]), all);
    assert_eq!(
        credentials(&mut client, &["bob", "carol"]),
        ["bob 1=5000", "carol RESOURCE_NOT_FOUND"]
    );
    let log = broker.log();
    assert!(!log.is_empty());
    for secret in ["salt and pepper", "a salted password"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// Exit code and output.
fn configs(broker: &Broker, arguments: &[&str]) -> (u8, String) {
    let (mut printer, out, err) = Out::kept();
    let bootstrap = broker.bootstrap();
    let always = ["corelog", "configs", "--bootstrap-server", &bootstrap];
    let all = always.iter().chain(arguments).map(|&one| one.to_owned());
    let code = cli::main(&all.collect::<Vec<_>>(), &mut printer);
    drop(printer);
    (code, out.text() + &err.text())
}

#[test]
fn the_command_line_sets_describes_and_deletes_them() {
    let broker = Broker::start();
    let alice = ["--entity-type", "users", "--entity-name", "alice"];
    let alter = |change: &[&str]| configs(&broker, &[&["--alter"], &alice[..], change].concat());
    let describe = || configs(&broker, &[&["--describe"], &alice[..]].concat());
    let done = || (0, "Completed updating config for user alice.\n".to_owned());
    let add = "SCRAM-SHA-256=[iterations=8192,password=x],SCRAM-SHA-512=[password=y]";
    let (code, text) = alter(&["--add-config", add]);
    assert_eq!(code, 1);
    assert!(
        text.contains("A user credential cannot be altered twice in the same request"),
        "{text}"
    );
    assert_eq!(describe(), (0, String::new()));
    let add = "SCRAM-SHA-256=[iterations=8192,password=x]";
    assert_eq!(alter(&["--add-config", add]), done());
    assert_eq!(
        alter(&["--add-config", "SCRAM-SHA-512=[password=y]"]),
        done()
    );
    let both = "SCRAM credential configs for user-principal 'alice' are \
                SCRAM-SHA-256=iterations=8192, SCRAM-SHA-512=iterations=4096\n";
    assert_eq!(describe(), (0, both.to_owned()));
    assert_eq!(
        configs(&broker, &["--describe", "--entity-type", "users"]),
        (0, both.to_owned())
    );
    let (code, text) = alter(&[
        "--add-config",
        "SCRAM-SHA-512=[iterations=16385,password=y]",
    ]);
    assert_eq!(code, 1);
    assert!(text.contains("Too many iterations"), "{text}");
    assert_eq!(alter(&["--delete-config", "SCRAM-SHA-256"]), done());
    let (code, text) = alter(&["--delete-config", "SCRAM-SHA-256"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("Attempt to delete a user credential that does not exist"),
        "{text}"
    );
    let left = "SCRAM credential configs for user-principal 'alice' are \
                SCRAM-SHA-512=iterations=4096\n";
    assert_eq!(describe(), (0, left.to_owned()));
}
