//! **Owns** everything that a command prints, and what it reads as standard input.
//! **Lives on** the command's thread.
//! **Invariants** (1) Standard output is buffered and flushed before the process ends, before standard error is written,
//! and whenever a command waits. (2) A reader that has gone away (a closed pipe) ends the command, not with a panic.
//! **Not here** what is printed.

use std::cell::RefCell;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::rc::Rc;

/// Where a command prints to.
pub struct Out {
    standard: BufWriter<Box<dyn Write>>,
    error: Box<dyn Write>,
    broken: bool,
    is_terminal: bool,
    input: Option<Box<dyn Read + Send>>,
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

    /// Writes bytes to standard output.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.standard.write_all(bytes).is_err() {
            self.broken = true;
        }
    }

    /// Writes a line to standard error.
    pub fn error(&mut self, line: &str) {
        self.flush();
        // There is nobody left to tell.
        let _ = writeln!(self.error, "{line}");
    }

    /// Writes to standard error what is replaced by the next line of it, when somebody looks on.
    pub fn progress(&mut self, line: &str) {
        self.error(line);
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
