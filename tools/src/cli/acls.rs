//! **Owns** `acls`: Kafka's `kafka-acls`.
//! **Lives on** the command's thread.
//! **Invariants** (1) Nothing is removed without `--force` or a yes.
//! **Not here** what ACLs mean (the broker).

use std::io::Read;

use corelog_net::wire::messages::create_acls::AclCreation;
use corelog_net::wire::messages::delete_acls::DeleteAclsFilter;
use corelog_net::wire::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResource};
use serde_json::{Value, json};

use super::Out;
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::session::{Address, Fault, Printer, lend};
use crate::client::ApiError;
use crate::client::admin::Admin;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let given = match TABLE
        .parse(arguments)
        .and_then(|given| check(&given).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let answer = out.input();
    let done = lend(out, |printer| async move {
        work(&given, answer, &printer).await
    });
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) | Err(fault) => {
            out.line(&format!(
                "Error while executing ACL command: {}",
                fault.shown()
            ));
            1
        }
    }
}

fn check(given: &Given) -> Result<(), Refusal> {
    let usage = |message: String| Err(Refusal::Usage(message));
    if !given.has("bootstrap-server") && !given.has("bootstrap-controller") {
        return usage(
            "One of --bootstrap-server or --bootstrap-controller must be specified".into(),
        );
    }
    let actions = ["list", "add", "remove"];
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        return usage("Command must include exactly one action: --list, --add, --remove. ".into());
    }
    given.exclude(
        "list",
        &[
            "producer",
            "consumer",
            "allow-host",
            "allow-principal",
            "deny-host",
            "deny-principal",
        ],
    )?;
    for convenience in ["producer", "consumer"] {
        given.exclude(convenience, &["operation", "deny-principal", "deny-host"])?;
    }
    if given.has("producer") && !given.has("topic") {
        return usage("With --producer you must specify a --topic".into());
    }
    if given.has("idempotent") && !given.has("producer") {
        return usage("The --idempotent option is only available if --producer is set".into());
    }
    let consumer_fits = given.has("topic")
        && given.has("group")
        && (given.has("producer") || (!given.has("cluster") && !given.has("transactional-id")));
    if given.has("consumer") && !consumer_fits {
        return usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option should \
             be specified."
                .into(),
        );
    }
    if given.has("list") {
        return Ok(());
    }
    let resources = resources(given);
    if resources.is_empty() {
        return usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or \
             --delegation-token <Delegation Token ID>"
                .into(),
        );
    }
    if given.has("add") && !given.has("allow-principal") && !given.has("deny-principal") {
        return usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs."
                .into(),
        );
    }
    if !given.has("producer") && !given.has("consumer") {
        for resource in &resources {
            let allowed = resource.allowed();
            for operation in operations(given) {
                if !allowed.contains(&operation) {
                    let names: Vec<&str> = allowed.iter().map(|it| operation_name(*it)).collect();
                    return usage(format!(
                        "ResourceType {} only supports operations [{}]",
                        resource_name(resource.kind),
                        names.join(", ")
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Something that is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    kind: i8,
    name: String,
}

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const TRANSACTIONAL_ID: i8 = 5;
const TOKEN: i8 = 6;
const USER: i8 = 7;

const READ: i8 = 3;
const WRITE: i8 = 4;
const CREATE: i8 = 5;
const DESCRIBE: i8 = 8;
const ALL: i8 = 2;
const IDEMPOTENT_WRITE: i8 = 12;
const ALLOW: i8 = 3;
const DENY: i8 = 2;
const ANY: i8 = 1;

impl Resource {
    /// The operations that mean something, in the order of Kafka's tool.
    fn allowed(&self) -> &'static [i8] {
        match self.kind {
            TOPIC => &[11, 2, 8, 10, 4, 3, 5, 6, 7],
            GROUP => &[11, 2, 8, 10, 3, 6],
            CLUSTER => &[9, 11, 2, 12, 8, 10, 5, 7],
            TRANSACTIONAL_ID => &[2, 8, 4, 15],
            USER => &[13, 14, 2],
            _ => &[2, 8],
        }
    }
}

fn resources(given: &Given) -> Vec<Resource> {
    let mut found = Vec::new();
    for (option, kind) in [
        ("topic", TOPIC),
        ("group", GROUP),
        ("transactional-id", TRANSACTIONAL_ID),
        ("delegation-token", TOKEN),
        ("user-principal", USER),
    ] {
        found.extend(given.all(option).into_iter().map(|name| Resource {
            kind,
            name: name.trim().to_owned(),
        }));
    }
    if given.has("cluster") || given.has("idempotent") {
        found.push(Resource {
            kind: CLUSTER,
            name: "kafka-cluster".to_owned(),
        });
    }
    found
}

fn resource_name(kind: i8) -> &'static str {
    match kind {
        1 => "ANY",
        TOPIC => "TOPIC",
        GROUP => "GROUP",
        CLUSTER => "CLUSTER",
        TRANSACTIONAL_ID => "TRANSACTIONAL_ID",
        TOKEN => "DELEGATION_TOKEN",
        USER => "USER",
        _ => "UNKNOWN",
    }
}

fn operation_name(operation: i8) -> &'static str {
    usize::try_from(operation)
        .ok()
        .and_then(|at| OPERATIONS.get(at))
        .map_or("UNKNOWN", |(_, name)| name)
}

/// As the option has them, and as they are shown; their place is their number.
const OPERATIONS: &[(&str, &str)] = &[
    ("", "UNKNOWN"),
    ("any", "ANY"),
    ("all", "ALL"),
    ("read", "READ"),
    ("write", "WRITE"),
    ("create", "CREATE"),
    ("delete", "DELETE"),
    ("alter", "ALTER"),
    ("describe", "DESCRIBE"),
    ("clusteraction", "CLUSTER_ACTION"),
    ("describeconfigs", "DESCRIBE_CONFIGS"),
    ("alterconfigs", "ALTER_CONFIGS"),
    ("idempotentwrite", "IDEMPOTENT_WRITE"),
    ("createtokens", "CREATE_TOKENS"),
    ("describetokens", "DESCRIBE_TOKENS"),
    ("twophasecommit", "TWO_PHASE_COMMIT"),
];

/// What `--operation` names; an unknown name is operation 0, which no resource allows.
fn operations(given: &Given) -> Vec<i8> {
    let named = given.all("operation");
    if named.is_empty() {
        return vec![ALL];
    }
    named
        .iter()
        .map(|name| {
            let name = name.replace('_', "").to_ascii_lowercase();
            let at = OPERATIONS.iter().position(|(it, _)| *it == name);
            at.and_then(|at| i8::try_from(at).ok()).unwrap_or(0)
        })
        .collect()
}

fn pattern_type(given: &Given) -> Result<i8, Fault> {
    let name = given.one("resource-pattern-type")?.unwrap_or("LITERAL");
    let at = PATTERNS
        .iter()
        .position(|it| it.eq_ignore_ascii_case(name) && *it != "UNKNOWN");
    at.and_then(|at| i8::try_from(at).ok()).ok_or_else(|| {
        Fault::from(format!(
            "Cannot parse argument '{name}' of option resource-pattern-type"
        ))
    })
}

/// Their place is their number.
const PATTERNS: &[&str] = &["UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"];

/// Who may do what from where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    principal: String,
    host: String,
    operation: i8,
    permission: i8,
}

fn entries(given: &Given, operations: &[i8]) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for (kind, permission) in [("allow", ALLOW), ("deny", DENY)] {
        let principals = given.all(&format!("{kind}-principal"));
        let mut hosts = given.all(&format!("{kind}-host"));
        if hosts.is_empty() {
            hosts.push("*");
        }
        for principal in principals {
            if !principal.contains(':') {
                return Err(format!(
                    "expected a string in format principalType:principalName but got {principal}"
                )
                .into());
            }
            for host in &hosts {
                for operation in operations {
                    entries.push(Entry {
                        principal: principal.to_owned(),
                        host: (*host).to_owned(),
                        operation: *operation,
                        permission,
                    });
                }
            }
        }
    }
    Ok(entries)
}

/// Resources and what is to be added to or removed from each.
fn wanted(given: &Given) -> Result<Vec<(Resource, Vec<Entry>)>, Fault> {
    let resources = resources(given);
    if !given.has("producer") && !given.has("consumer") {
        let entries = entries(given, &operations(given))?;
        return Ok(resources
            .into_iter()
            .map(|it| (it, entries.clone()))
            .collect());
    }
    let mut wanted: Vec<(Resource, Vec<Entry>)> = Vec::new();
    for resource in resources {
        let mut operations: Vec<i8> = Vec::new();
        if given.has("producer") {
            match resource.kind {
                TOPIC => operations.extend([WRITE, DESCRIBE, CREATE]),
                TRANSACTIONAL_ID => operations.extend([WRITE, DESCRIBE]),
                CLUSTER if given.has("idempotent") => operations.push(IDEMPOTENT_WRITE),
                _ => {}
            }
        }
        if given.has("consumer") {
            match resource.kind {
                TOPIC => operations.extend([READ, DESCRIBE]),
                GROUP => operations.push(READ),
                _ => {}
            }
        }
        operations.sort_unstable();
        operations.dedup();
        let entries = entries(given, &operations)?;
        wanted.push((resource, entries));
    }
    Ok(wanted)
}

fn refused(call: &'static str) -> impl Fn(ApiError) -> Fault {
    move |error| Fault::from(Fault::of(call, &error).java())
}

async fn work(given: &Given, answer: Box<dyn Read + Send>, out: &Printer) -> Result<(), Fault> {
    let pattern = pattern_type(given)?;
    let (call, wanted) = if given.has("list") {
        ("describeAcls", Vec::new())
    } else {
        ("createAcls", wanted(given)?)
    };
    let admin = Address::of(given, "command-config")?.connect(call).await?;
    if given.has("add") {
        if !matches!(pattern, 3 | 4) {
            return Err("A '--resource-pattern-type' value of 'Literal' or 'Prefixed' must be specified when adding acls."
                .to_owned()
                .into());
        }
        return add(&admin, &wanted, pattern, out).await;
    }
    if given.has("remove") {
        return remove(given, &admin, &wanted, pattern, answer, out).await;
    }
    let filters = resources(given);
    list(given, &admin, &filters, pattern, out).await
}

/// Creates what is not there yet, resource by resource.
async fn add(
    admin: &Admin,
    wanted: &[(Resource, Vec<Entry>)],
    pattern: i8,
    out: &Printer,
) -> Result<(), Fault> {
    for (resource, entries) in wanted {
        let there = describe(admin, resource, pattern).await?;
        let is_there = |entry: &Entry| {
            there.iter().flat_map(|found| &found.acls).any(|acl| {
                acl.principal == entry.principal
                    && acl.host == entry.host
                    && acl.operation == entry.operation
                    && acl.permission_type == entry.permission
            })
        };
        let shown = shown_resource(resource.kind, &resource.name, pattern);
        let mut new = Vec::new();
        for entry in entries {
            if is_there(entry) {
                let entry = shown_entries(std::slice::from_ref(entry));
                out.line(&format!(
                    "Acl (pattern={shown}, entry={entry}) already exists."
                ));
            } else {
                new.push(entry.clone());
            }
        }
        if new.is_empty() {
            continue;
        }
        out.line(&format!(
            "Adding ACLs for resource `{shown}`: \n \t{}\n",
            shown_entries(&new)
        ));
        let creation = |entry: Entry| AclCreation {
            resource_type: resource.kind,
            resource_name: resource.name.clone(),
            resource_pattern_type: pattern,
            principal: entry.principal,
            host: entry.host,
            operation: entry.operation,
            permission_type: entry.permission,
            ..AclCreation::default()
        };
        admin
            .create_acls(new.into_iter().map(creation).collect())
            .await
            .map_err(refused("createAcls"))?;
    }
    Ok(())
}

async fn remove(
    given: &Given,
    admin: &Admin,
    wanted: &[(Resource, Vec<Entry>)],
    pattern: i8,
    mut answer: Box<dyn Read + Send>,
    out: &Printer,
) -> Result<(), Fault> {
    for (resource, entries) in wanted {
        let shown = shown_resource(resource.kind, &resource.name, pattern);
        if !given.has("force") {
            let what = if entries.is_empty() {
                format!(
                    "Are you sure you want to delete all ACLs for resource filter `{shown}`? (y/n)"
                )
            } else {
                format!(
                    "Are you sure you want to remove ACLs: \n \t{}\n from resource filter `{shown}`? (y/n)",
                    shown_entries(entries)
                )
            };
            out.line(&what);
            out.flush();
            let mut byte = [0];
            let mut line = String::new();
            while answer.read(&mut byte).is_ok_and(|read| read == 1) && byte[0] != b'\n' {
                line.push(char::from(byte[0]));
            }
            if !line.trim().eq_ignore_ascii_case("y") {
                return Ok(());
            }
        }
        let filter = |entry: Option<&Entry>| DeleteAclsFilter {
            resource_type_filter: resource.kind,
            resource_name_filter: Some(resource.name.clone()),
            pattern_type_filter: pattern,
            principal_filter: entry.map(|it| it.principal.clone()),
            host_filter: entry.map(|it| it.host.clone()),
            operation: entry.map_or(ANY, |it| it.operation),
            permission_type: entry.map_or(ANY, |it| it.permission),
            ..DeleteAclsFilter::default()
        };
        let filters = if entries.is_empty() {
            vec![filter(None)]
        } else {
            entries.iter().map(|entry| filter(Some(entry))).collect()
        };
        admin
            .delete_acls(filters)
            .await
            .map_err(refused("deleteAcls"))?;
    }
    Ok(())
}

async fn describe(
    admin: &Admin,
    filter: &Resource,
    pattern: i8,
) -> Result<Vec<DescribeAclsResource>, Fault> {
    let of_all = filter.kind == ANY;
    let request = DescribeAclsRequest {
        resource_type_filter: filter.kind,
        resource_name_filter: (!of_all).then(|| filter.name.clone()),
        pattern_type_filter: if of_all { ANY } else { pattern },
        principal_filter: None,
        host_filter: None,
        operation: ANY,
        permission_type: ANY,
        ..DescribeAclsRequest::default()
    };
    admin
        .describe_acls(&request)
        .await
        .map_err(refused("describeAcls"))
}

async fn list(
    given: &Given,
    admin: &Admin,
    filters: &[Resource],
    pattern: i8,
    out: &Printer,
) -> Result<(), Fault> {
    let any = Resource {
        kind: ANY,
        name: String::new(),
    };
    let filters = if filters.is_empty() {
        std::slice::from_ref(&any)
    } else {
        filters
    };
    let principals: Vec<&str> = given.all("principal");
    let mut found: Vec<DescribeAclsResource> = Vec::new();
    for filter in filters {
        found.extend(describe(admin, filter, pattern).await?);
    }
    if given.json()? {
        let resources: Vec<Value> = found.iter().map(resource_json).collect();
        out.json(&json!(resources));
        return Ok(());
    }
    let print = |principal: Option<&str>| {
        for resource in &found {
            let entries: Vec<Entry> = resource
                .acls
                .iter()
                .filter(|acl| principal.is_none_or(|it| it == acl.principal))
                .map(|acl| Entry {
                    principal: acl.principal.clone(),
                    host: acl.host.clone(),
                    operation: acl.operation,
                    permission: acl.permission_type,
                })
                .collect();
            if entries.is_empty() {
                continue;
            }
            out.line(&format!(
                "Current ACLs for resource `{}`:\n\t{}\n",
                shown_resource(
                    resource.resource_type,
                    &resource.resource_name,
                    resource.pattern_type
                ),
                shown_entries(&entries)
            ));
        }
    };
    if principals.is_empty() || !given.has("list") {
        print(None);
    } else {
        for principal in principals {
            out.line(&format!("ACLs for principal `{principal}`"));
            print(Some(principal));
        }
    }
    Ok(())
}

fn shown_resource(kind: i8, name: &str, pattern: i8) -> String {
    let pattern = usize::try_from(pattern)
        .ok()
        .and_then(|at| PATTERNS.get(at))
        .unwrap_or(&"UNKNOWN");
    format!(
        "ResourcePattern(resourceType={}, name={name}, patternType={pattern})",
        resource_name(kind)
    )
}

fn permission_name(permission: i8) -> &'static str {
    match permission {
        ANY => "ANY",
        DENY => "DENY",
        ALLOW => "ALLOW",
        _ => "UNKNOWN",
    }
}

fn shown_entries(entries: &[Entry]) -> String {
    let all: Vec<String> = entries
        .iter()
        .map(|entry| {
            format!(
                "(principal={}, host={}, operation={}, permissionType={})",
                entry.principal,
                entry.host,
                operation_name(entry.operation),
                permission_name(entry.permission)
            )
        })
        .collect();
    all.join("\n\t")
}

fn resource_json(resource: &DescribeAclsResource) -> Value {
    let acls: Vec<Value> = resource
        .acls
        .iter()
        .map(|acl| {
            json!({
                "principal": acl.principal,
                "host": acl.host,
                "operation": operation_name(acl.operation),
                "permission": permission_name(acl.permission_type),
            })
        })
        .collect();
    json!({
        "resourceType": resource_name(resource.resource_type),
        "name": resource.resource_name,
        "patternType": PATTERNS.get(usize::try_from(resource.pattern_type).unwrap_or(0)),
        "acls": acls,
    })
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to manage acls on kafka.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    flag("add", "Add ACLs."),
    value(
        "allow-host",
        "String: allow-host",
        "A host that --allow-principal may come from; * when not given.",
    ),
    value(
        "allow-principal",
        "String: allow-principal",
        "Who may: principalType:name. May be given several times.",
    ),
    value(
        "bootstrap-controller",
        "String: controller to connect to",
        "The controllers to connect to, instead of brokers.",
    ),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "The brokers to connect to, host:port separated by commas.",
    ),
    flag("cluster", "The cluster."),
    maybe(
        "command-config",
        "String: command-config",
        "A file of properties for the client.",
    ),
    flag(
        "consumer",
        "What a consumer needs: READ and DESCRIBE of the topic, READ of the group.",
    ),
    value(
        "delegation-token",
        "String: delegation-token",
        "A delegation token.",
    ),
    value(
        "deny-host",
        "String: deny-host",
        "A host that --deny-principal may not come from; * when not given.",
    ),
    value(
        "deny-principal",
        "String: deny-principal",
        "Who may not: principalType:name. May be given several times.",
    ),
    flag("force", "Do not ask."),
    value("group", "String: group", "A consumer group."),
    flag("idempotent", "With --producer: an idempotent one."),
    flag("list", "List ACLs."),
    value("operation", "String", "The operation; All when not given."),
    maybe(
        "principal",
        "String: principal",
        "With --list: only of this principal.",
    ),
    flag(
        "producer",
        "What a producer needs: WRITE, DESCRIBE and CREATE of the topic.",
    ),
    flag("remove", "Remove ACLs."),
    value(
        "resource-pattern-type",
        "ANY|MATCH|LITERAL|PREFIXED",
        "What the resource's name is; LITERAL when not given.",
    ),
    value("topic", "String: topic", "A topic."),
    value(
        "transactional-id",
        "String: transactional-id",
        "A transactional id.",
    ),
    value("user-principal", "String: user-principal", "A user."),
];
