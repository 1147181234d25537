//! Typed access to broker settings over their layers.
//!
//! **Owns** the way from a name to a number, a flag, a text or a list.
//! **Lives on** no shard; it borrows for the length of a reading.
//! **Invariants**: given values were checked before, and the table's defaults are right.
//! **Not here**: what the values mean.

use super::super::broker_settings;
use super::super::layers::Layers;
use super::super::setting::{self, Value};

/// Typed access over layers. Given values were checked and the table's defaults are right, so a
/// value of another type is a fault of the table.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) layers: Layers<'a>,
}

impl Values<'_> {
    pub(super) fn find(self, name: &str) -> Option<Value> {
        let row = broker_settings::find(name)
            .unwrap_or_else(|| panic!("{name} is not in the table of settings"));
        if row.synonyms.is_empty() {
            return self.layers.value(row).map(|(_, value)| value);
        }
        self.layers.first_of(row.synonyms).map(|(_, value)| value)
    }

    pub(super) fn number(self, name: &str) -> i64 {
        match self.find(name) {
            Some(Value::Number(number)) => number,
            other => panic!("setting {name} is not a number: {other:?}"),
        }
    }

    pub(super) fn int(self, name: &str) -> i32 {
        i32::try_from(self.number(name)).unwrap_or(i32::MAX)
    }

    pub(super) fn short(self, name: &str) -> i16 {
        i16::try_from(self.number(name)).unwrap_or(i16::MAX)
    }

    pub(super) fn size(self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or(0)
    }

    pub(super) fn flag(self, name: &str) -> bool {
        match self.find(name) {
            Some(Value::Boolean(flag)) => flag,
            other => panic!("setting {name} is not a flag: {other:?}"),
        }
    }

    pub(super) fn text(self, name: &str) -> Option<String> {
        match self.find(name) {
            Some(Value::Text(text)) => Some(text),
            None => None,
            other => panic!("setting {name} is not a text: {other:?}"),
        }
    }

    pub(super) fn list(self, name: &str) -> Vec<String> {
        match self.find(name) {
            Some(Value::List(list)) => list,
            None => Vec::new(),
            other => panic!("setting {name} is not a list: {other:?}"),
        }
    }

    /// `node.id`, else `broker.id`, else 1.
    pub(super) fn node_id(self) -> i32 {
        match self.find("node.id") {
            Some(Value::Number(id)) => i32::try_from(id).unwrap_or(1),
            _ => 1,
        }
    }

    /// `log.dirs`, else `log.dir`; never empty.
    pub(super) fn log_dirs(self) -> Vec<String> {
        let mut dirs = self.list("log.dirs");
        if dirs.is_empty() {
            dirs = self.list("log.dir");
        }
        dirs.retain(|dir| !dir.is_empty());
        if dirs.is_empty() {
            dirs.push(setting_default("log.dir"));
        }
        dirs
    }
}

fn setting_default(name: &str) -> String {
    let row = broker_settings::find(name).and_then(setting::Setting::default_text);
    row.unwrap_or_default().to_owned()
}
