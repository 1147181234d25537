use super::*;

fn level(targets: &Targets, name: &str) -> Option<Level> {
    BY_DETAIL
        .into_iter()
        .find(|level| targets.would_enable(name, level))
}

fn change(name: &str, operation: Operation, value: Option<&str>) -> Change {
    Change {
        name: name.to_owned(),
        operation,
        value: value.map(str::to_owned),
    }
}

#[test]
fn a_level_holds_for_what_is_inside_until_it_is_taken_back() {
    let begun: Targets = "info,corelog_net=warn".parse().expect("a filter");
    let set = changed(&begun, "corelog_broker::shard", Some(LevelFilter::DEBUG));
    assert_eq!(
        level(&set, "corelog_broker::shard::logs"),
        Some(Level::DEBUG)
    );
    assert_eq!(level(&set, "corelog_broker::boot"), Some(Level::INFO));
    assert_eq!(level(&set, "corelog_net::server"), Some(Level::WARN));
    let back = changed(&set, "corelog_broker::shard", None);
    assert_eq!(
        level(&back, "corelog_broker::shard::logs"),
        Some(Level::INFO)
    );
    assert_eq!(level(&back, "corelog_net::server"), Some(Level::WARN));
    let root = changed(&back, ROOT, Some(LevelFilter::ERROR));
    assert_eq!(level(&root, "corelog_broker::boot"), Some(Level::ERROR));
    assert_eq!(level(&root, "corelog_net::server"), Some(Level::WARN));
}

#[test]
fn a_fatal_logger_shows_as_such_with_what_is_inside() {
    let targets: Targets = "info,corelog_net=error".parse().expect("a filter");
    note_fatal("corelog_net", Some("FATAL"));
    assert_eq!(shown(&targets, "corelog_net"), "FATAL");
    assert_eq!(shown(&targets, "corelog_net::server"), "FATAL");
    assert_eq!(shown(&targets, "corelog_broker"), "INFO");
    note_fatal("corelog_net", None);
    assert_eq!(shown(&targets, "corelog_net::server"), "ERROR");
    assert_eq!(shown(&targets, ROOT), "INFO");
}

#[test]
fn changes_are_refused_in_kafkas_words() {
    let said = |name, operation, value| {
        let refused = check(&[change(name, operation, value)]).expect_err("a refusal");
        format!(
            "{} {}",
            refused.error.name(),
            refused.message.unwrap_or_default()
        )
    };
    assert_eq!(
        said("no.such.logger", Operation::Set, Some("DEBUG")),
        "INVALID_CONFIG Logger no.such.logger does not exist!"
    );
    assert_eq!(
        said("corelog_net", Operation::Set, Some("BOGUS")),
        "INVALID_CONFIG Cannot set the log level of corelog_net to BOGUS as it is not a supported \
         log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    );
    assert_eq!(
        said("root", Operation::Delete, None),
        "INVALID_REQUEST Removing the log level of the root logger is not allowed"
    );
    assert_eq!(
        said("root", Operation::Append, Some("INFO")),
        "INVALID_REQUEST APPEND operation is not allowed for the BROKER_LOGGER resource"
    );
    assert_eq!(
        check(&[change("root", Operation::Set, Some("FATAL"))]),
        Ok(())
    );
}
