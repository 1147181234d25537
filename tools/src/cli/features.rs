//! **Owns** `features`: Kafka's `kafka-features`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** which release has which features (`levels`), changing them (the controller).

use std::collections::BTreeMap;

use corelog_net::wire::messages::update_features::FeatureUpdateKey;
use serde_json::{Value, json};

use super::Out;
use super::argparse::{Arg, Args, Complaint, Kind, Parser, Sub, arg};
use super::session::{Address, Fault, Printer, ended, lend};

pub(super) mod levels;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let args = match PARSER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match args.command {
        "version-mapping" => return local(levels::mapping(&args, out), out),
        "feature-dependencies" => return local(levels::dependencies(&args, out), out),
        _ => {}
    }
    if !args.has("bootstrap-server") && !args.has("bootstrap-controller") {
        out.error(
            "Command line error: You must specify either --bootstrap-controller or --bootstrap-server.. Type --help for help.",
        );
        return 1;
    }
    let done = lend(out, |printer| async move { work(&args, &printer).await });
    ended(done, out)
}

/// The exit code of what needs no cluster.
fn local(done: Result<(), String>, out: &mut Out) -> u8 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

async fn work(args: &Args, out: &Printer) -> Result<u8, Fault> {
    let update = match args.command {
        "describe" => None,
        _ => Some(Update::read(args, out)?),
    };
    let controllers = args.has("bootstrap-controller");
    let bootstrap = args
        .one("bootstrap-server")
        .or(args.one("bootstrap-controller"))
        .unwrap_or_default();
    let call = if update.is_some() {
        "updateFeatures"
    } else {
        "describeFeatures"
    };
    let admin = Address::new(bootstrap, controllers, args.one("command-config"))?
        .connect(call)
        .await?;
    let Some(update) = update else {
        let versions = admin
            .versions(args.number("node-id"))
            .await
            .map_err(|error| Fault::of(call, &error))?;
        let mut rows: BTreeMap<&str, [i16; 3]> = BTreeMap::new();
        for feature in &versions.supported_features {
            let row = rows.entry(&feature.name).or_default();
            row[0] = feature.min_version;
            row[1] = feature.max_version;
        }
        for feature in &versions.finalized_features {
            rows.entry(&feature.name).or_default()[2] = feature.max_version_level;
        }
        describe(&rows, versions.finalized_features_epoch, args, out);
        return Ok(0);
    };
    let results = admin
        .update_features(update.keys(), update.validate_only)
        .await
        .map_err(|error| Fault::of(call, &error))?;
    Ok(update.show(results, args, out))
}

fn describe(rows: &BTreeMap<&str, [i16; 3]>, epoch: i64, args: &Args, out: &Printer) {
    if args.json() {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, [min, max, level])| {
                json!({
                    "feature": name,
                    "supportedMinVersion": levels::shown(name, *min),
                    "supportedMaxVersion": levels::shown(name, *max),
                    "finalizedVersionLevel": levels::shown(name, *level),
                    "epoch": Some(epoch).filter(|it| *it >= 0),
                })
            })
            .collect();
        out.json(&json!(rows));
        return;
    }
    for (name, [min, max, level]) in rows {
        let epoch = if epoch >= 0 {
            epoch.to_string()
        } else {
            "-".to_owned()
        };
        let [min, max, level] = [min, max, level].map(|it| levels::shown(name, *it));
        out.line(&format!(
            "Feature: {name:<42}SupportedMinVersion: {min:<17}SupportedMaxVersion: {max:<17}FinalizedVersionLevel: {level:<17}Epoch: {epoch}"
        ));
    }
}

/// What is to be changed.
struct Update {
    verb: &'static str,
    features: BTreeMap<String, i16>,
    upgrade_type: i8,
    validate_only: bool,
}

impl Update {
    fn read(args: &Args, out: &Printer) -> Result<Self, Fault> {
        let verb = match args.command {
            "upgrade" => "upgrade",
            "downgrade" => "downgrade",
            _ => "disable",
        };
        let upgrade_type = match (verb, args.has("unsafe")) {
            ("upgrade", _) => 1,
            (_, false) => 2,
            (_, true) => 3,
        };
        let mut features = BTreeMap::new();
        let mut put = |name: &str, level: i16| {
            if features.insert(name.to_owned(), level).is_some() {
                return Err(format!("Feature {name} was specified more than once."));
            }
            Ok(())
        };
        if verb == "disable" {
            for name in args.all("feature") {
                put(name, 0)?;
            }
        } else {
            let others = args.has("metadata") || args.has("feature");
            if let Some(release) = args.one("release-version") {
                if others {
                    return Err(
                        "Can not specify `release-version` with other feature flags."
                            .to_owned()
                            .into(),
                    );
                }
                let level = levels::metadata(release)?;
                put("metadata.version", level)?;
                for (name, level) in levels::defaults(level) {
                    // Kafka's tool leaves out what a release does not have yet.
                    if level > 0 {
                        put(name, level)?;
                    }
                }
            }
            if let Some(version) = args.one("metadata") {
                out.line(" `metadata` flag is deprecated and may be removed in a future release.");
                put("metadata.version", levels::metadata(version)?)?;
            }
            for text in args.all("feature") {
                let (name, level) = levels::feature_level(text)?;
                put(&name, level)?;
            }
        }
        let too_low = features.values().find(|level| **level < 1);
        if let ("upgrade", Some(level)) = (verb, too_low) {
            return Err(format!(
                "The upgradeType flag should be set to SAFE_DOWNGRADE or UNSAFE_DOWNGRADE when the provided \
                 maxVersionLevel:{level} is < 1."
            )
            .into());
        }
        if features.is_empty() {
            return Err(format!("You must specify at least one feature to {verb}").into());
        }
        Ok(Self {
            verb,
            features,
            upgrade_type,
            validate_only: args.has("dry-run"),
        })
    }

    fn keys(&self) -> Vec<FeatureUpdateKey> {
        self.features
            .iter()
            .map(|(name, level)| FeatureUpdateKey {
                feature: name.clone(),
                max_version_level: *level,
                upgrade_type: self.upgrade_type,
                ..FeatureUpdateKey::default()
            })
            .collect()
    }

    fn show(
        &self,
        results: Vec<(String, Result<(), crate::client::ApiError>)>,
        args: &Args,
        out: &Printer,
    ) -> u8 {
        let total = results.len();
        let mut failed = 0;
        let mut rows = Vec::new();
        for (name, result) in results {
            let level = self.features.get(&name).copied().unwrap_or_default();
            let to = if self.verb == "disable" {
                String::new()
            } else {
                format!(" to {level}")
            };
            failed += usize::from(result.is_err());
            if args.json() {
                rows.push(json!({
                    "feature": name,
                    "level": level,
                    "error": result.err().map(|error| error.text()),
                }));
                continue;
            }
            let verb = self.verb;
            out.line(&match result {
                Ok(()) if self.validate_only => format!("{name} can be {verb}d{to}."),
                Ok(()) => format!("{name} was {verb}d{to}."),
                Err(error) => {
                    let can = if self.validate_only { "Can" } else { "Could" };
                    format!("{can} not {verb} {name}{to}. {}", error.text())
                }
            });
        }
        if args.json() {
            out.json(&json!(rows));
        } else if failed > 0 {
            out.error(&format!("{failed} out of {total} operation(s) failed."));
        }
        u8::from(failed > 0)
    }
}

const FEATURE: Arg = arg("feature", Kind::Text, "a feature and its level, name=level");
const RELEASE: Arg = arg("release-version", Kind::Text, "a release, as 4.3");
const METADATA: Arg = arg(
    "metadata",
    Kind::Text,
    "(DEPRECATED) a level of metadata.version",
);
const DRY_RUN: Arg = arg("dry-run", Kind::Flag, "only say what would be done");
const UNSAFE: Arg = arg("unsafe", Kind::Flag, "even where metadata is lost");

/// The command line.
pub(super) const PARSER: Parser = Parser {
    prog: "kafka-features",
    about: "The features of a cluster and their levels.",
    usage: "usage: kafka-features [-h] [--command-config COMMAND_CONFIG]
                      [--bootstrap-server BOOTSTRAP_SERVER |
                      --bootstrap-controller BOOTSTRAP_CONTROLLER]
                      {describe,upgrade,downgrade,disable,version-mapping,feature-dependencies}
                      ...",
    args: &[
        arg(
            "bootstrap-server",
            Kind::Text,
            "the brokers to connect to, host:port separated by commas",
        ),
        arg(
            "bootstrap-controller",
            Kind::Text,
            "the controllers to connect to, host:port separated by commas",
        ),
        arg(
            "command-config",
            Kind::Text,
            "a file of properties for the client",
        ),
    ],
    subs: &[
        Sub {
            name: "describe",
            about: "describe the features",
            usage: "usage: kafka-features describe [-h] [--node-id NODE_ID]",
            args: &[arg("node-id", Kind::Integer, "the node to ask")],
        },
        Sub {
            name: "upgrade",
            about: "raise levels",
            usage: "usage: kafka-features upgrade [-h] [--metadata METADATA]
                      [--release-version RELEASE_VERSION]
                      [--feature FEATURE] [--dry-run]",
            args: &[METADATA, RELEASE, FEATURE, DRY_RUN],
        },
        Sub {
            name: "downgrade",
            about: "lower levels",
            usage: "usage: kafka-features downgrade [-h] [--metadata METADATA]
                      [--release-version RELEASE_VERSION]
                      [--feature FEATURE] [--unsafe] [--dry-run]",
            args: &[METADATA, RELEASE, FEATURE, UNSAFE, DRY_RUN],
        },
        Sub {
            name: "disable",
            about: "set levels to 0",
            usage: "usage: kafka-features disable [-h] [--feature FEATURE] [--unsafe]
                      [--dry-run]",
            args: &[FEATURE, UNSAFE, DRY_RUN],
        },
        Sub {
            name: "version-mapping",
            about: "print the levels of a release",
            usage: "usage: kafka-features version-mapping [-h]
                      [--release-version RELEASE_VERSION]",
            args: &[RELEASE],
        },
        Sub {
            name: "feature-dependencies",
            about: "print what a level needs",
            usage: "usage: kafka-features feature-dependencies [-h] --feature FEATURE",
            args: &[FEATURE.required()],
        },
    ],
    complaint: Complaint::Line,
};
