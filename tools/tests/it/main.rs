//! What the commands print, beside what Kafka's tools printed: the transcripts in `tests/transcripts` are runs of Apache
//! Kafka 4.3.1, stack traces cut off. These are the runs that end before a broker is asked.
//!
//! Known differences, each on purpose: an exception is shown as its sentence, once and without its class; where Kafka's
//! option table follows, ours does.

#![cfg(test)]

#[expect(clippy::disallowed_methods, reason = "tests read fixtures")]
mod dump_log;
#[expect(clippy::disallowed_methods, reason = "tests change copies of fixtures")]
mod log_check;

#[expect(clippy::disallowed_methods, reason = "tests read transcripts")]
#[expect(dead_code, reason = "some of it is the broker's tests'")]
#[path = "../transcripts/reading.rs"]
mod transcripts;

use transcripts::{as_ours, our_options_cut, run, words};

#[test]
fn what_needs_no_broker_is_said_as_kafka_says_it() {
    let all = transcripts::transcripts(|number| NO_BROKER.contains(&number));
    assert_eq!(all.len(), NO_BROKER.len());
    for it in all {
        let command = it.command.replace("<BOOTSTRAP>", "127.0.0.1:1");
        let (code, out, err) = run(&words(&command), &it.input);
        assert_eq!(code.to_string(), it.exit, "{command}");
        assert_eq!(out, it.out, "{command}");
        assert_eq!(our_options_cut(&err), as_ours(&it.err), "{command}");
    }
}

/// Transcripts that end before a broker is asked.
const NO_BROKER: &[u32] = &[
    6, 13, 14, 29, 33, 34, 35, 36, 37, 38, 44, 45, 46, 51, 52, 65, 66, 80, 81, 82,
];

#[test]
fn a_command_is_found_by_its_links() {
    for program in ["kafka-topics", "/opt/bin/kafka-topics.sh", "./kafka-topics"] {
        let (code, out, _) = run(&words(&format!("{program} --version")), "");
        assert_eq!((code, out.as_str()), (0, "4.3.1\n"), "{program}");
    }
    let (code, _, err) = run(&words("corelog topcs"), "");
    assert_eq!(code, 1);
    assert_eq!(err, "'topcs' is not a command; did you mean 'topics'?\n");
}
