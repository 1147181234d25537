//! The layouts of records as plain data, for tools that print what they do not otherwise use.
//!
//! **Owns** `layout/tables.rs`: one row per schema that is neither request, response nor header.
//! **Lives on** a developer's machine and in CI.
//! **Invariants** 1. Fields keep the schema's order; a field of no valid version is left out.
//! **Not here**: what a row means (`net::wire::layout`).

use std::fmt::Write as _;

use super::schema::{Field, Schema, Type, Versions};
use super::structs::{GENERATED, snake};

/// The file's text.
pub(crate) fn tables(messages: &[Schema], records: &[Schema]) -> String {
    let mut rows = String::new();
    let mut statics = String::new();
    let all = messages.iter().chain(records);
    for schema in all.filter(|schema| role(schema).is_some() && !schema.valid.is_empty()) {
        for (name, fields, versions) in schema.structs() {
            let inner: String = fields
                .iter()
                .filter(|field| !field.versions.and(versions).is_empty())
                .map(|field| row(schema, field))
                .collect();
            let name = static_name(schema, &name);
            writeln!(statics, "static {name}: &[Field] = &[{inner}];").expect("a String takes it");
        }
        let (role, number) = (role(schema).unwrap_or("Data"), schema.api_key);
        writeln!(
            rows,
            "Layout {{ name: {:?}, role: Role::{role}, record_type: {number:?}, valid: {}, \
             flexible: {}, fields: {} }},",
            schema.name,
            range(schema.valid),
            range(schema.flexible.and(schema.valid)),
            static_name(schema, &schema.name),
        )
        .expect("a String takes it");
    }
    format!("{GENERATED}{HEAD}\npub(super) static LAYOUTS: &[Layout] = &[{rows}];\n\n{statics}")
}

fn role(schema: &Schema) -> Option<&'static str> {
    match schema.kind.as_str() {
        "coordinator-key" => Some("Key"),
        "coordinator-value" => Some("Value"),
        "metadata" => Some("Metadata"),
        "data" => Some("Data"),
        _ => None,
    }
}

fn row(schema: &Schema, field: &Field) -> String {
    let mut name = field.name.clone();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!(
        "Field {{ name: {name:?}, kind: {}, versions: {}, nullable: {}, tag: {:?}, default: {} }},",
        kind(schema, &field.kind),
        range(field.versions),
        range(field.nullable),
        field.tag,
        default(field),
    )
}

fn kind(schema: &Schema, kind: &Type) -> String {
    match kind {
        Type::Struct(name) => format!("Kind::Struct({})", static_name(schema, name)),
        Type::Array(element) => format!("Kind::Array(&{})", self::kind(schema, element)),
        scalar => format!("Kind::{scalar:?}"),
    }
}

/// What a tagged field has when it is not written.
fn default(field: &Field) -> String {
    match field.default.as_deref() {
        Some("null") => "Default::Null".to_owned(),
        Some("true") => "Default::Number(1)".to_owned(),
        Some(text) => match (&field.kind, parse_integer(text)) {
            (Type::String, _) | (_, None) => "Default::Empty".to_owned(),
            (_, Some(number)) => format!("Default::Number({number})"),
        },
        None => "Default::Empty".to_owned(),
    }
}

fn parse_integer(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn range(versions: Versions) -> String {
    if versions.is_empty() {
        return "NONE".to_owned();
    }
    format!("{}..={}", versions.first, versions.last)
}

fn static_name(schema: &Schema, name: &str) -> String {
    let schema_name = snake(&schema.name).to_uppercase();
    if name == schema.name {
        schema_name
    } else {
        format!("{schema_name}__{}", snake(name).to_uppercase())
    }
}

const HEAD: &str = "//! The layout of every record, as its schema has it.
//!
//! **Owns** the rows.
//! **Lives on** any thread: constants.
//! **Invariants** 1. Fields stand in the schema's order.
//! **Not here**: reading by them (`layout`).

use super::{Default, Field, Kind, Layout, NONE, Role};
";
