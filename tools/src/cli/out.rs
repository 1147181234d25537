//! **Owns** everything that a command prints, and what it reads as standard input.
//! **Lives on** the command's thread.
//! **Invariants** (1) Standard output is buffered and flushed before the process ends, before standard error is written,
//! and whenever a command waits. (2) A reader that has gone away (a closed pipe) ends the command, not with a panic.
//! (3) With `--output json` standard output holds JSON and nothing else: the command's documents, or one with what it
//! said; what goes to standard error is one object, too ([`Out::conclude`]).
//! **Not here** what is printed.

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::rc::Rc;

use serde_json::{Value, json};

/// Where a command prints to.
pub struct Out {
    standard: BufWriter<Box<dyn Write>>,
    error: Box<dyn Write>,
    broken: bool,
    is_terminal: bool,
    input: Option<Box<dyn Read + Send>>,
    /// With `--output json`: what was said in words meanwhile.
    said: Option<Said>,
}

/// Words of a command whose answer is JSON.
#[derive(Debug, Default)]
struct Said {
    standard: Vec<u8>,
    error: Vec<String>,
    /// Whether there were documents.
    documents: bool,
    /// Whether the command failed in spite of its exit code.
    failed: bool,
}

/// What a command has printed.
#[derive(Clone, Debug, Default)]
pub struct Kept(Rc<RefCell<Vec<u8>>>);

impl Kept {
    /// As text; bytes that are none are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow()).into_owned()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out {
    /// The process's standard output and error.
    pub fn standard() -> Self {
        Self {
            standard: BufWriter::with_capacity(BUFFER, Box::new(io::stdout())),
            error: Box::new(io::stderr()),
            broken: false,
            is_terminal: io::stdout().is_terminal(),
            input: None,
            said: None,
        }
    }

    /// Into these writers.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        Self {
            standard: BufWriter::with_capacity(BUFFER, out),
            error: err,
            broken: false,
            is_terminal: false,
            input: Some(Box::new(io::empty())),
            said: None,
        }
    }

    /// Into memory: standard output and error, to be read when this is dropped.
    pub fn kept() -> (Self, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        let into = |kept: &Kept| Box::new(kept.clone());
        (Self::new(into(&out), into(&err)), out, err)
    }

    /// With this as standard input.
    #[must_use]
    pub fn reading(mut self, input: Box<dyn Read + Send>) -> Self {
        self.input = Some(input);
        self
    }

    /// Standard input, once.
    pub fn input(&mut self) -> Box<dyn Read + Send> {
        self.input.take().unwrap_or_else(|| Box::new(io::stdin()))
    }

    /// Writes a line to standard output.
    pub fn line(&mut self, line: &str) {
        self.bytes(line.as_bytes());
        self.bytes(b"\n");
    }

    /// From here to [`Out::conclude`] the answer is JSON: documents are printed, words are kept.
    pub fn begin_json(&mut self) {
        self.said = Some(Said::default());
    }

    /// Says that the command failed, where Kafka's tool has the exit code 0 all the same.
    pub fn note_failure(&mut self) {
        if let Some(said) = &mut self.said {
            said.failed = true;
        }
    }

    /// Whether the answer is JSON.
    pub fn is_json(&self) -> bool {
        self.said.is_some()
    }

    /// Prints the document that is a command's answer.
    pub fn document(&mut self, value: &Value) {
        self.put_json(&format!("{value:#}\n"));
    }

    /// Prints one of many documents, each a line of its own.
    pub fn item(&mut self, value: &Value) {
        self.put_json(&format!("{value}\n"));
    }

    /// Says that the documents are many, or none.
    pub fn begin_items(&mut self) {
        if let Some(said) = &mut self.said {
            said.documents = true;
        }
    }

    fn put_json(&mut self, text: &str) {
        if let Some(said) = &mut self.said {
            said.documents = true;
        }
        self.write(text.as_bytes());
    }

    /// The end of an answer that is JSON. A command that had no document but words gets one of these,
    /// `{"messages": ["…"]}`; one that failed says why on standard error: `{"error": "…", "exitCode": 1}`, one that did
    /// not what else it said there: `{"messages": ["…"]}`.
    pub fn conclude(&mut self, code: u8) {
        let Some(said) = self.said.take() else {
            return;
        };
        let standard = String::from_utf8_lossy(&said.standard);
        let words = |line: &&str| !line.trim().is_empty();
        let mut lines: Vec<&str> = standard.lines().filter(words).collect();
        let failed = code != 0 || said.failed;
        if !failed && !said.documents {
            self.document(&json!({ "messages": lines }));
            lines.clear();
        }
        let error = said.error.iter().flat_map(|text| text.lines());
        lines.extend(error.filter(words));
        if !lines.is_empty() {
            let object = if failed {
                json!({ "error": lines.join("\n"), "exitCode": code })
            } else {
                json!({ "messages": lines })
            };
            self.error(&object.to_string());
        }
    }

    /// Writes bytes to standard output.
    pub fn bytes(&mut self, bytes: &[u8]) {
        match &mut self.said {
            Some(said) => said.standard.extend_from_slice(bytes),
            None => self.write(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.standard.write_all(bytes).is_err() {
            self.broken = true;
        }
    }

    /// Writes a line to standard error.
    pub fn error(&mut self, line: &str) {
        if let Some(said) = &mut self.said {
            said.error.push(line.to_owned());
            return;
        }
        self.flush();
        // There is nobody left to tell.
        let _ = writeln!(self.error, "{line}");
    }

    /// Writes to standard error how far long work is; with `--output json` nothing.
    pub fn progress(&mut self, line: &str) {
        if !self.is_json() {
            self.error(line);
        }
    }

    /// Hands everything written on.
    pub fn flush(&mut self) {
        if self.standard.flush().is_err() {
            self.broken = true;
        }
    }

    /// Whether nobody reads standard output any more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether standard output is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.flush();
    }
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").finish_non_exhaustive()
    }
}

const BUFFER: usize = 64 * 1024;
