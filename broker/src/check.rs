//! `corelog-broker --check`: the settings as this broker reads them, without starting it.
//!
//! Owns: the report on a settings file, as sentences and as JSON (which `corelog doctor` reads).
//! Lives on: the main thread; nothing is opened, bound or written.
//! Invariants:
//! 1. What is reported is what a start would do with the same arguments: both load the same way.
//! 2. No value that may be a secret is printed: the report names what the machine must fit, nothing else.
//!
//! Not here: the meaning of settings (`config`), the machine they must fit (`corelog doctor`).

use serde_json::{Value, json};

use crate::config::{BrokerConfig, LoadError, Loaded, Note};

/// The report as lines: errors, warnings, information.
pub fn lines(loaded: &Result<Loaded, LoadError>) -> Vec<String> {
    match loaded {
        Err(error) => {
            let sentences = error.sentences.iter();
            sentences.map(|one| format!("error: {one}")).collect()
        }
        Ok(loaded) => loaded
            .notes
            .iter()
            .map(|note| match note {
                Note::Warning(sentence) => format!("warning: {sentence}"),
                Note::Information(sentence) => format!("info: {sentence}"),
            })
            .collect(),
    }
}

/// The report as one JSON object.
pub fn json(loaded: &Result<Loaded, LoadError>) -> Value {
    let notes = |wanted: fn(&Note) -> Option<&String>| -> Vec<&String> {
        let notes = loaded.as_ref().map_or(&[][..], |loaded| &loaded.notes);
        notes.iter().filter_map(wanted).collect()
    };
    let errors = match loaded {
        Ok(_) => &[][..],
        Err(error) => &error.sentences,
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "errors": errors,
        "warnings": notes(|note| match note {
            Note::Warning(sentence) => Some(sentence),
            Note::Information(_) => None,
        }),
        "information": notes(|note| match note {
            Note::Information(sentence) => Some(sentence),
            Note::Warning(_) => None,
        }),
        "settings": loaded.as_ref().ok().map(|loaded| settings(&loaded.config)),
    })
}

fn settings(config: &BrokerConfig) -> Value {
    let listeners = config.listeners.iter().zip(&config.advertised);
    let listeners: Vec<_> = listeners
        .map(|(listener, advertised)| {
            json!({
                "name": listener.endpoint.name,
                "protocol": listener.protocol.to_string(),
                "host": listener.endpoint.host,
                "port": listener.endpoint.port,
                "advertised_host": advertised.host,
                "advertised_port": advertised.port,
            })
        })
        .collect();
    let admin = config.admin_listener.as_ref();
    let socket = &config.socket;
    json!({
        "node_id": config.node_id,
        "listeners": listeners,
        "admin_listener": admin.map(|one| json!({
            "host": one.host,
            "port": one.port,
            "is_default": one.is_default,
        })),
        "quorum": quorum(config),
        "log_dirs": config.log_dirs,
        "metadata_log_dir": config.metadata_log_dir,
        "shards": config.shards,
        "io_backend": format!("{:?}", config.io_backend).to_ascii_lowercase(),
        "memory_bytes_per_shard": config.tail_bytes.saturating_add(config.cache_bytes),
        "disk_reserve_bytes": config.disk_reserve_bytes,
        "sync_on_ack": config.sync_on_ack,
        // Kafka's default is the largest Int: no limit.
        "connections_max": Some(socket.max_connections).filter(|max| *max < i32::MAX as usize),
        "listen_backlog": socket.listen_backlog_size,
        "send_buffer_bytes": socket.send_buffer_bytes,
        "receive_buffer_bytes": socket.receive_buffer_bytes,
    })
}

/// `host:port` of the other nodes that the settings name: voters, bootstrap servers.
fn quorum(config: &BrokerConfig) -> Vec<String> {
    let list = |name: &str| config.fixed.get(name).unwrap_or_default().to_owned();
    let voters = list("controller.quorum.voters");
    let bootstrap = list("controller.quorum.bootstrap.servers");
    let own = format!("{}@", config.node_id);
    let voters = voters
        .split(',')
        .map(str::trim)
        .filter(|voter| !voter.starts_with(&own))
        .filter_map(|voter| voter.split_once('@'))
        .map(|(_, address)| address.to_owned());
    let is_own = |address: &str| {
        config.controller_listeners.iter().any(|endpoint| {
            let host = match endpoint.host.as_str() {
                "" | "0.0.0.0" | "::" => "localhost",
                host => host,
            };
            address == format!("{host}:{}", endpoint.port)
        })
    };
    let bootstrap = bootstrap.split(',').map(str::trim);
    let bootstrap = bootstrap.filter(|one| !one.is_empty() && !is_own(one));
    voters.chain(bootstrap.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FileText;

    fn load(text: &str) -> Result<Loaded, LoadError> {
        let file = FileText {
            path: "server.properties",
            bytes: text.as_bytes(),
        };
        BrokerConfig::load(Some(file), &[])
    }

    #[test]
    fn what_a_machine_must_fit_is_reported() {
        let text = "process.roles=broker,controller\nnode.id=3\nlisteners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093\n\
                    advertised.listeners=PLAINTEXT://kafka.example:19092\ncontroller.listener.names=CONTROLLER\n\
                    controller.quorum.bootstrap.servers=localhost:9093\nlog.dirs=/a,/b\ncorelog.shards=4\n\
                    max.connections=1000\nsocket.send.buffer.bytes=-1\n";
        let report = json(&load(text));
        assert_eq!(report["errors"], json!([]), "{report}");
        let settings = &report["settings"];
        assert_eq!(
            settings["listeners"],
            json!([{"name": "PLAINTEXT", "protocol": "PLAINTEXT", "host": "0.0.0.0", "port": 9092,
                    "advertised_host": "kafka.example", "advertised_port": 19092}])
        );
        assert_eq!(settings["log_dirs"], json!(["/a", "/b"]));
        assert_eq!(settings["metadata_log_dir"], "/a");
        assert_eq!(settings["shards"], 4);
        assert_eq!(settings["node_id"], 3);
        assert_eq!(settings["connections_max"], 1000);
        assert_eq!(settings["send_buffer_bytes"], Value::Null);
        assert_eq!(settings["io_backend"], "auto");
        assert_eq!(
            settings["quorum"],
            json!([]),
            "its own address is nobody else's"
        );
    }

    #[test]
    fn what_is_wrong_is_reported_and_nothing_else() {
        let loaded = load("process.roles=broker,controller\nnode.id=x\nlog.dirs=/a\n");
        let report = json(&loaded);
        assert_eq!(report["settings"], Value::Null);
        let errors = report["errors"].as_array().expect("a list");
        assert!(!errors.is_empty());
        assert_eq!(lines(&loaded).len(), errors.len());
        assert!(
            lines(&loaded)[0].starts_with("error: server.properties:2"),
            "{:?}",
            lines(&loaded)
        );
    }
}
