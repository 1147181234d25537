//! **Owns** `cluster`: Kafka's `kafka-cluster`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use serde_json::{Value, json};

use super::Out;
use super::argparse::{Arg, Args, Complaint, Kind, Parser, Sub, arg};
use super::session::{Address, Fault, Printer, ended, lend};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let args = match PARSER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = lend(out, |printer| async move { work(&args, &printer).await });
    ended(done, out)
}

async fn work(args: &Args, out: &Printer) -> Result<u8, Fault> {
    if args.has("config") && args.has("command-config") {
        return Err(
            "--config and --command-config cannot be specified together."
                .to_owned()
                .into(),
        );
    }
    if args.has("config") {
        out.line(
            "Option --config has been deprecated and will be removed in a future version. Use --command-config instead.",
        );
    }
    let controllers = args.has("bootstrap-controller");
    let bootstrap = args
        .one("bootstrap-server")
        .or(args.one("bootstrap-controller"))
        .unwrap_or_default();
    let file = args.one("command-config").or(args.one("config"));
    let call = if args.command == "unregister" {
        "unregisterBroker"
    } else {
        "listNodes"
    };
    let admin = Address::new(bootstrap, controllers, file)?
        .connect(call)
        .await?;
    match args.command {
        "cluster-id" => {
            let cluster = admin
                .describe_cluster(false)
                .await
                .map_err(|error| Fault::of(call, &error))?;
            if args.json() {
                out.json(&json!({ "clusterId": cluster.cluster_id }));
            } else {
                out.line(&format!("Cluster ID: {}", cluster.cluster_id));
            }
        }
        "unregister" => {
            let id: i32 = args.number("id").unwrap_or(-1);
            admin
                .unregister_broker(id)
                .await
                .map_err(|error| Fault::of(call, &error))?;
            if args.json() {
                out.json(&json!({ "unregistered": id }));
            } else {
                out.line(&format!("Broker {id} is no longer registered."));
            }
        }
        _ => {
            let with_fenced = args.has("include-fenced-brokers");
            let cluster = admin
                .describe_cluster(with_fenced)
                .await
                .map_err(|error| Fault::of(call, &error))?;
            let kind = if controllers { "controller" } else { "broker" };
            if args.json() {
                let nodes: Vec<Value> = cluster
                    .brokers
                    .iter()
                    .map(|node| {
                        json!({
                            "id": node.broker_id,
                            "host": node.host,
                            "port": node.port,
                            "rack": node.rack,
                            "fenced": node.is_fenced,
                            "endpointType": kind,
                        })
                    })
                    .collect();
                out.json(&json!(nodes));
                return Ok(0);
            }
            let host_width = cluster
                .brokers
                .iter()
                .map(|node| node.host.chars().count())
                .max()
                .unwrap_or_default()
                .max(4);
            let line = |id: &str, host: &str, port: &str, rack: &str, state: &str, kind: &str| {
                let state = if controllers {
                    String::new()
                } else {
                    format!("{state:<10} ")
                };
                format!("{id:<10} {host:<host_width$} {port:<10} {rack:<10} {state}{kind:<15}")
            };
            out.line(&line(
                "ID",
                "HOST",
                "PORT",
                "RACK",
                "STATE",
                "ENDPOINT_TYPE",
            ));
            for node in cluster.brokers {
                out.line(&line(
                    &node.broker_id.to_string(),
                    &node.host,
                    &node.port.to_string(),
                    node.rack.as_deref().unwrap_or("null"),
                    if node.is_fenced { "fenced" } else { "unfenced" },
                    kind,
                ));
            }
        }
    }
    Ok(0)
}

const SERVER: Arg = arg(
    "bootstrap-server",
    Kind::Text,
    "the brokers to connect to, host:port separated by commas",
)
.short('b')
.one_of(1);
const CONTROLLER: Arg = arg(
    "bootstrap-controller",
    Kind::Text,
    "the controllers to connect to, host:port separated by commas",
)
.short('C')
.one_of(1);
const CONFIG: Arg = arg("config", Kind::Text, "(DEPRECATED) see --command-config");
const COMMAND_CONFIG: Arg = arg(
    "command-config",
    Kind::Text,
    "a file of properties for the client",
)
.short('c');

/// The command line.
pub(super) const PARSER: Parser = Parser {
    prog: "kafka-cluster",
    about: "The id and the nodes of a cluster.",
    usage: "usage: kafka-cluster [-h] {cluster-id,unregister,list-endpoints} ...",
    args: &[],
    subs: &[
        Sub {
            name: "cluster-id",
            about: "print the id of the cluster",
            usage: "usage: kafka-cluster cluster-id [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG]
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            args: &[SERVER, CONTROLLER, CONFIG, COMMAND_CONFIG],
        },
        Sub {
            name: "unregister",
            about: "forget a broker that is gone for good",
            usage: "usage: kafka-cluster unregister [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG] --id ID
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                arg("id", Kind::Integer, "the broker's id")
                    .short('i')
                    .required(),
            ],
        },
        Sub {
            name: "list-endpoints",
            about: "list the nodes and where they listen",
            usage: "usage: kafka-cluster list-endpoints [-h] [--config CONFIG]
                     [--command-config COMMAND_CONFIG]
                     [--include-fenced-brokers]
                     (--bootstrap-server BOOTSTRAP_SERVER |
                     --bootstrap-controller BOOTSTRAP_CONTROLLER)",
            args: &[
                SERVER,
                CONTROLLER,
                CONFIG,
                COMMAND_CONFIG,
                arg(
                    "include-fenced-brokers",
                    Kind::Flag,
                    "brokers that are fenced, too",
                ),
            ],
        },
    ],
    complaint: Complaint::Usage,
};
