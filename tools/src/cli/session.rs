//! **Owns** what commands that talk to a cluster have in common: their connection, their printer, their failures.
//! **Lives on** the command's thread.
//! **Invariants** (1) The printer that is lent out comes back. (2) A failure knows its Java class, because some tools print
//! it on standard output, where scripts look.
//! **Not here** what is asked and printed.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Write as _;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::options::{Given, Refusal, Table};
use super::properties::{self, Properties};
use super::{Out, java, on_runtime};
use crate::client::admin::Admin;
use crate::client::{ApiError, Client, ClientConfig, ConnectError};

/// A command's printer, shared with what runs on the runtime.
#[derive(Clone)]
pub(super) struct Printer(Rc<RefCell<Out>>);

impl Printer {
    /// [`Out::line`].
    pub(super) fn line(&self, line: &str) {
        self.0.borrow_mut().line(line);
    }

    /// [`Out::error`].
    pub(super) fn error(&self, line: &str) {
        self.0.borrow_mut().error(line);
    }

    /// [`Out::bytes`].
    pub(super) fn text(&self, text: &str) {
        self.0.borrow_mut().bytes(text.as_bytes());
    }

    /// [`Out::flush`].
    pub(super) fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// [`Out::is_broken`].
    pub(super) fn is_broken(&self) -> bool {
        self.0.borrow().is_broken()
    }

    /// [`Out::document`].
    pub(super) fn json(&self, value: &serde_json::Value) {
        self.0.borrow_mut().document(value);
    }

    /// [`Out::item`].
    pub(super) fn item(&self, value: &serde_json::Value) {
        self.0.borrow_mut().item(value);
    }

    /// [`Out::note_failure`].
    pub(super) fn note_failure(&self) {
        self.0.borrow_mut().note_failure();
    }

    /// [`Out::is_json`].
    pub(super) fn is_json(&self) -> bool {
        self.0.borrow().is_json()
    }
}

/// Lends the printer to work on a runtime, and gives what the work gives.
pub(super) fn lend<T, F>(out: &mut Out, work: impl FnOnce(Printer) -> F) -> Result<T, Fault>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    out.flush();
    let lent = std::mem::replace(
        out,
        Out::new(Box::new(std::io::sink()), Box::new(std::io::sink())),
    );
    let printer = Printer(Rc::new(RefCell::new(lent)));
    let done = on_runtime(work(printer.clone()));
    std::mem::swap(out, &mut printer.0.borrow_mut());
    done.map_err(Fault::from)
}

/// Why a command fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The class of Java's exception; empty where Kafka's tool prints the sentence alone.
    class: String,
    message: String,
    /// What is said of it on standard error, where that is less.
    sentence: Option<String>,
}

impl Fault {
    pub(super) fn new(class: &str, message: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            message: message.into(),
            sentence: None,
        }
    }

    /// An answer to a call that Kafka's client names so. Where nobody answered, that is what it says.
    pub(super) fn of(call: &str, error: &ApiError) -> Self {
        match error {
            ApiError::Call(error) if error.is_retriable() => Self::unreachable(call),
            ApiError::Call(error) if error.is_unsupported() => Self::new(
                &format!("{}.UnsupportedVersionException", java::ERRORS),
                format!("The node does not support {call}: {error}"),
            ),
            ApiError::Call(error) => Self::new("", error.to_string()),
            ApiError::Refused { code, .. } => Self::new(&java::exception(*code), error.text()),
        }
    }

    pub(super) fn unreachable(call: &str) -> Self {
        Self::new(
            &format!("{}.TimeoutException", java::ERRORS),
            format!("Timed out waiting for a node assignment. Call: {call}"),
        )
    }

    /// The same, with less said on standard error.
    pub(super) fn with_sentence(mut self, sentence: &str) -> Self {
        self.sentence = Some(sentence.to_owned());
        self
    }

    /// The same without its class.
    pub(super) fn unwrapped(self) -> Self {
        Self {
            class: String::new(),
            ..self
        }
    }

    /// The sentence.
    pub(super) fn message(&self) -> &str {
        self.sentence.as_deref().unwrap_or(&self.message)
    }

    /// As Java's `Throwable.getMessage`.
    pub(super) fn shown(&self) -> &str {
        &self.message
    }

    /// As Java's `Throwable.toString`.
    pub(super) fn java(&self) -> String {
        if self.class.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.class, self.message)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::new("", message)
    }
}

/// As Java's `Throwable.toString` of an answer.
pub(super) fn java_error(error: &ApiError) -> String {
    Fault::of("", error).java()
}

/// Where a cluster is, and how to speak to it.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) bootstrap: String,
    pub(super) controllers: bool,
    pub(super) properties: Properties,
}

impl Address {
    /// From `--bootstrap-server`, `--bootstrap-controller` and a file of properties.
    pub(super) fn of(given: &Given, file: &str) -> Result<Self, Fault> {
        let controllers = given.has("bootstrap-controller");
        let name = if controllers {
            "bootstrap-controller"
        } else {
            "bootstrap-server"
        };
        Self::new(
            given.one(name)?.unwrap_or_default(),
            controllers,
            given.one(file)?,
        )
    }

    pub(super) fn new(
        bootstrap: &str,
        controllers: bool,
        file: Option<&str>,
    ) -> Result<Self, Fault> {
        let properties = match file {
            Some(path) => load(path)?,
            None => Properties::new(),
        };
        Ok(Self {
            bootstrap: bootstrap.to_owned(),
            controllers,
            properties,
        })
    }

    /// The client's configuration.
    pub(super) fn config(&self) -> Result<ClientConfig, Fault> {
        for address in self.bootstrap.split(',').map(str::trim) {
            if !address.is_empty() && crate::client::split_address(address).is_none() {
                return Err(Fault::new(
                    "org.apache.kafka.common.KafkaException",
                    format!("Invalid url in bootstrap.servers: {address}"),
                ));
            }
        }
        let mut properties = self.properties.clone();
        properties.insert("bootstrap.servers".to_owned(), self.bootstrap.clone());
        let mut config = properties::client_config(&properties)?;
        config.controllers = self.controllers;
        Ok(config)
    }

    /// Connects; `call` is what Kafka's tool would ask first.
    pub(super) async fn connect(&self, call: &str) -> Result<Admin, Fault> {
        self.connect_within(call, None).await
    }

    /// [`Address::connect`] with a limit for every call.
    pub(super) async fn connect_within(
        &self,
        call: &str,
        limit: Option<Duration>,
    ) -> Result<Admin, Fault> {
        let mut config = self.config()?;
        if let Some(limit) = limit {
            config.api_timeout = limit;
        }
        let client = Client::connect(config).await.map_err(|error| {
            let ConnectError::Bootstrap(error) = error;
            Fault::of(call, &ApiError::Call(*error))
        })?;
        Ok(Admin::new(&client))
    }
}

/// Reads a file of properties; Kafka names it and the exception when it is not there.
pub(super) fn load(path: &str) -> Result<Properties, Fault> {
    match read_file(path) {
        Ok(bytes) => java_properties::read(bytes.as_slice())
            .map(|read| read.into_iter().collect())
            .map_err(|error| Fault::from(format!("cannot read {path}: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Fault::new("java.nio.file.NoSuchFileException", path))
        }
        Err(error) => Err(Fault::from(format!("cannot read {path}: {error}"))),
    }
}

/// Reads a file of the user's.
#[expect(
    clippy::disallowed_methods,
    reason = "a command reads its user's file; no shard waits"
)]
pub(super) fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Reads a text file of the user's; the failure is Kafka's.
pub(super) fn read_text(path: &str) -> Result<String, Fault> {
    read_file(path)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Fault::new("java.io.IOException", format!("Unable to read file {path}")))
}

/// What most tools do: read the options, check them, work on a runtime. A fault is a sentence, and the exit code 1.
pub(super) fn tool<F>(
    table: &'static Table,
    arguments: &[String],
    out: &mut Out,
    check: impl FnOnce(&Given) -> Result<(), Refusal>,
    work: impl FnOnce(Given, Printer) -> F,
) -> u8
where
    F: Future<Output = Result<u8, Fault>> + 'static,
{
    if arguments.is_empty() {
        return Refusal::Usage(table.about.to_owned()).print(table, out);
    }
    let given = match table
        .parse(arguments)
        .and_then(|given| check(&given).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(table, out),
    };
    let done = lend(out, |printer| work(given, printer));
    ended(done, out)
}

/// The exit code of work that is done; a fault is printed.
pub(super) fn ended(done: Result<Result<u8, Fault>, Fault>, out: &mut Out) -> u8 {
    match done {
        Ok(Ok(code)) => code,
        Ok(Err(fault)) | Err(fault) => {
            out.error(fault.message());
            1
        }
    }
}

/// Rows beneath a header, each column as wide as its widest text, tabs between and behind: Kafka's `prettyPrintTable`.
pub(super) fn tabbed(header: &[&str], rows: &[Vec<String>], out: &Printer) {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|text| text.chars().count())
                .max()
                .unwrap_or_default()
                .max(name.chars().count())
        })
        .collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (text, width) in texts.zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{text:<width$}\t");
        }
        line
    };
    out.line(&line(&mut header.iter().copied()));
    for row in rows {
        out.line(&line(&mut row.iter().map(String::as_str)));
    }
}

/// The same rows as JSON: names of columns begin with a small letter.
pub(super) fn objects(header: &[&str], rows: &[Vec<String>]) -> serde_json::Value {
    rows.iter()
        .map(|row| {
            header
                .iter()
                .zip(row)
                .map(|(name, text)| {
                    let mut name = (*name).to_owned();
                    if let Some(first) = name.get_mut(..1) {
                        first.make_ascii_lowercase();
                    }
                    let value = match text.parse::<i64>() {
                        Ok(number) => serde_json::Value::from(number),
                        Err(_) if text == "None" => serde_json::Value::Null,
                        Err(_) => serde_json::Value::from(text.as_str()),
                    };
                    (name, value)
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect::<Vec<serde_json::Value>>()
        .into()
}
