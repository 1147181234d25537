//! `cargo dev gen-wire [--check]`: schemas in, Rust out.
//!
//! **Owns** which files are generated: `net/src/wire/{messages,records}{.rs,/*.rs}`, `visit.rs`,
//! `api_key.rs`, `error_code.rs` and `layout/tables.rs`, from `net/schemas`.
//! **Lives on** a developer's machine and in CI.
//! **Invariants** 1. The same schemas give the same bytes. 2. `--check` writes nothing to the
//! repository.
//! **Not here**: reading schemas (`schema`), the layout code of a struct (`structs`), the tables
//! (`tables`, `layouts`).
#![expect(
    clippy::disallowed_methods,
    reason = "a developer's tool, not part of the broker"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

#[path = "gen_wire/layouts.rs"]
mod layouts;
#[path = "gen_wire/schema.rs"]
mod schema;
#[path = "gen_wire/structs.rs"]
mod structs;
#[path = "gen_wire/tables.rs"]
mod tables;

use schema::Schema;

/// Generated text by path below `net/src/wire`.
type Files = BTreeMap<String, String>;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo dev gen-wire [--check]"),
    };
    let root = repository_root()?;
    let schemas = root.join("net/schemas");
    let messages = read_schemas(&schemas.join("messages"))?;
    let records = read_schemas(&schemas.join("records"))?;
    let errors = read(&schemas.join("error_codes.tsv"))?;

    let mut files = Files::new();
    structs::write_folder(&mut files, "messages", &messages);
    structs::write_folder(&mut files, "records", &records);
    files.insert("visit.rs".into(), tables::visit(&messages, &records));
    let layouts = layouts::tables(&messages, &records);
    files.insert("layout/tables.rs".into(), layouts);
    files.insert("api_key.rs".into(), tables::api_key(&messages));
    files.insert("error_code.rs".into(), tables::error_code(&errors)?);
    let files = format(files)?;

    let wire = root.join("net/src/wire");
    let stale = stale(&wire, &files)?;
    if check {
        ensure!(
            stale.is_empty(),
            "not current, run `cargo dev gen-wire`: {}",
            stale.join(", ")
        );
        return Ok(());
    }
    for path in &stale {
        let target = wire.join(path);
        match files.get(path) {
            Some(text) => {
                if let Some(folder) = target.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::write(&target, text)
                    .with_context(|| format!("writing {}", target.display()))?;
            }
            None => fs::remove_file(&target)?,
        }
    }
    eprintln!("gen-wire: {} files, {} changed", files.len(), stale.len());
    Ok(())
}

/// The nearest folder upwards that holds `net/schemas`.
fn repository_root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here
        .ancestors()
        .find(|folder| folder.join("net/schemas").is_dir());
    root.map(Path::to_owned)
        .context("not inside the repository")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Schemas that have versions, by name.
fn read_schemas(folder: &Path) -> Result<Vec<Schema>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let json = serde_json::from_str(&read(&path)?)?;
        all.push(Schema::parse(&json).with_context(|| format!("in {}", path.display()))?);
    }
    Ok(all)
}

/// Runs rustfmt over all files at once, in a temporary folder.
fn format(files: Files) -> Result<Files> {
    let folder = std::env::temp_dir().join(format!("gen-wire-{}", std::process::id()));
    let result = format_in(&folder, files);
    fs::remove_dir_all(&folder).ok();
    result
}

fn format_in(folder: &Path, files: Files) -> Result<Files> {
    let mut paths = Vec::new();
    for (name, text) in &files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, text)?;
        paths.push(path);
    }
    let status = Command::new("rustfmt")
        .args(["--edition", "2024", "--config", "max_width=100"])
        .args(&paths)
        .status()
        .context("running rustfmt")?;
    ensure!(status.success(), "rustfmt refused generated code");
    files
        .into_keys()
        .map(|name| Ok((name.clone(), read(&folder.join(name))?)))
        .collect()
}

/// Paths whose content in the repository differs, is missing, or should not be there.
fn stale(wire: &Path, files: &Files) -> Result<Vec<String>> {
    let mut stale: Vec<String> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(wire.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path.clone())
        .collect();
    for folder in ["messages", "records"] {
        let Ok(entries) = fs::read_dir(wire.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if !files.contains_key(&path) {
                stale.push(path);
            }
        }
    }
    Ok(stale)
}
