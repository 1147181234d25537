//! **Owns** `storage`: Kafka's `kafka-storage`.
//! **Lives on** the command's thread.
//! **Invariants** (1) Only `format` writes, and only into directories that are not formatted.
//! **Not here** what a formatted directory holds (`format`), the levels of features (`features`).

mod format;

use std::io;

use corelog_storage::checkpoint::MetaProperties;
use serde_json::json;

use super::Out;
use super::argparse::{Args, Complaint, Kind, Parser, Sub, arg};
use super::client_metrics::random_id;
use super::features::levels;
use super::properties::Properties;
use super::session::{Fault, lend, load, read_file};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let args = match PARSER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = match args.command {
        "info" => info(&args, out),
        "format" => format::run(&args, out),
        "version-mapping" => levels::mapping(&args, out).map(|()| 0).map_err(Fault::from),
        "feature-dependencies" => levels::dependencies(&args, out)
            .map(|()| 0)
            .map_err(Fault::from),
        _ => lend(out, |printer| async move {
            let id = random_id().to_string();
            if printer.is_json() {
                printer.json(&json!({ "id": id }));
            } else {
                printer.line(&id);
            }
            0
        }),
    };
    match done {
        Ok(code) => code,
        Err(fault) => {
            out.error(fault.message());
            1
        }
    }
}

/// The directories of a configuration.
fn directories(properties: &Properties) -> Vec<String> {
    let mut all: Vec<String> = properties
        .get("log.dirs")
        .or_else(|| properties.get("log.dir"))
        .map_or("./data", String::as_str)
        .split(',')
        .map(|dir| dir.trim().to_owned())
        .filter(|dir| !dir.is_empty())
        .collect();
    if let Some(dir) = properties.get("metadata.log.dir")
        && !all.contains(dir)
    {
        all.push(dir.clone());
    }
    all
}

fn meta(directory: &str) -> Result<Option<MetaProperties>, String> {
    let path = format!("{directory}/meta.properties");
    match read_file(&path) {
        Ok(bytes) => MetaProperties::parse(&bytes)
            .map(Some)
            .map_err(|error| format!("{path}: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {path}: {error}")),
    }
}

/// As Kafka's tool shows a `meta.properties`.
fn shown(meta: &MetaProperties) -> String {
    let mut all = vec![format!("cluster.id={}", meta.cluster_id)];
    if let Some(id) = meta.directory_id {
        all.push(format!("directory.id={id}"));
    }
    all.push(format!("node.id={}", meta.node_id));
    all.push("version=1".to_owned());
    format!("{{{}}}", all.join(", "))
}

fn info(args: &Args, out: &mut Out) -> Result<u8, Fault> {
    let properties = load(args.one("config").unwrap_or_default())?;
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut first: Option<MetaProperties> = None;
    for directory in directories(&properties) {
        match meta(&directory) {
            Ok(Some(meta)) => {
                found.push(directory);
                first.get_or_insert(meta);
            }
            Ok(None) if !std::path::Path::new(&directory).exists() => {
                problems.push(format!("{directory} does not exist"));
            }
            Ok(None) => {
                // Kafka's tool has found it all the same.
                found.push(directory.clone());
                problems.push(format!("{directory} is not formatted."));
            }
            Err(error) => problems.push(error),
        }
    }
    if args.json() {
        let value = json!({
            "directories": found,
            "clusterId": first.as_ref().map(|it| &it.cluster_id),
            "nodeId": first.as_ref().map(|it| it.node_id),
            "problems": problems,
        });
        out.document(&value);
        return Ok(u8::from(!problems.is_empty()));
    }
    if !found.is_empty() {
        let plural = if found.len() == 1 { "y" } else { "ies" };
        out.line(&format!("Found log director{plural}:"));
        for directory in &found {
            out.line(&format!("  {directory}"));
        }
        out.line("");
    }
    if let Some(meta) = &first {
        out.line(&format!("Found metadata: {}", shown(meta)));
        out.line("");
    }
    if !problems.is_empty() {
        let plural = if problems.len() == 1 { "" } else { "s" };
        out.line(&format!("Found problem{plural}:"));
        for problem in &problems {
            out.line(&format!("  {problem}"));
        }
        out.line("");
    }
    Ok(u8::from(!problems.is_empty()))
}

/// The command line.
pub(super) const PARSER: Parser = Parser {
    prog: "kafka-storage",
    about: "Log directories of a broker that does not run, and ids.",
    usage: "usage: kafka-storage [-h]
                     {info,format,version-mapping,feature-dependencies,random-uuid}
                     ...",
    args: &[],
    subs: &[
        Sub {
            name: "info",
            about: "say what the log directories are",
            usage: "usage: kafka-storage info [-h] --config CONFIG",
            args: &[arg("config", Kind::Text, "the broker's server.properties")
                .short('c')
                .required()],
        },
        Sub {
            name: "format",
            about: "format the log directories; the broker formats empty ones itself when it starts",
            usage: "usage: kafka-storage format [-h] --config CONFIG --cluster-id CLUSTER_ID
                     [--add-scram ADD_SCRAM] [--ignore-formatted]
                     [--release-version RELEASE_VERSION]
                     [--feature FEATURE] [--standalone |
                     --no-initial-controllers |
                     --initial-controllers INITIAL_CONTROLLERS]",
            args: &[
                arg("config", Kind::Text, "the broker's server.properties")
                    .short('c')
                    .required(),
                arg("cluster-id", Kind::Text, "the cluster's id")
                    .short('t')
                    .required(),
                arg("add-scram", Kind::Text, "a SCRAM credential").short('S'),
                arg(
                    "ignore-formatted",
                    Kind::Flag,
                    "formatted directories are no error",
                )
                .short('g'),
                arg("release-version", Kind::Text, "a release, as 4.3").short('r'),
                arg("feature", Kind::Text, "a feature and its level, name=level").short('f'),
                arg("standalone", Kind::Flag, "a quorum of this one controller").short('s'),
                arg("no-initial-controllers", Kind::Flag, "no quorum yet").short('N'),
                arg(
                    "initial-controllers",
                    Kind::Text,
                    "the quorum's first members",
                )
                .short('I'),
            ],
        },
        Sub {
            name: "version-mapping",
            about: "print the levels of a release",
            usage: "usage: kafka-storage version-mapping [-h]
                     [--release-version RELEASE_VERSION]",
            args: &[arg("release-version", Kind::Text, "a release, as 4.3").short('r')],
        },
        Sub {
            name: "feature-dependencies",
            about: "print what a level needs",
            usage: "usage: kafka-storage feature-dependencies [-h] --feature FEATURE",
            args: &[
                arg("feature", Kind::Text, "a feature and its level, name=level")
                    .short('f')
                    .required(),
            ],
        },
        Sub {
            name: "random-uuid",
            about: "print a new id",
            usage: "usage: kafka-storage random-uuid [-h]",
            args: &[],
        },
    ],
    complaint: Complaint::Usage,
};
