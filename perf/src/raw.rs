//! **Owns** `corelog-perf raw`: the least that the machine needs for what a broker does, as loops without a broker.
//! **Lives on** two threads with a loopback connection between them; only the one in the broker's place is measured.
//! **Invariants** (1) What is measured touches its memory, its file and its connection once before. (2) The file is written in
//! place over and over, so no page cache grows: that is the machine's business and not the loop's.
//! **Not here** the same through a broker (`cargo dev compare`).
#![expect(
    clippy::disallowed_methods,
    reason = "a loop against the bare machine goes through none of our doors"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use corelog_runtime::now;
use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Given, Opt, Table, value};
use corelog_tools::load::{cpu_time_of, to_f64};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, open};
use serde::Serialize;

use crate::result::{JSON_FILE, Origin, put};

const OPTIONS: &[Opt] = &[
    value(
        "loop",
        "name",
        "receive-crc-write, send or sendfile (default: each in turn).",
    ),
    value("gb", "count", "10⁹ bytes to move (default 1)."),
    value("piece", "bytes", "Of one system call (default 1048576)."),
    value(
        "dir",
        "folder",
        "Where the file lies (default: the temporary folder).",
    ),
    JSON_FILE,
];

const TABLE: Table = Table {
    about: "Measures what the bare machine needs to receive, check and write, to send, or to sendfile.",
    options: OPTIONS,
};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let given = match TABLE.parse(arguments) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    match measure(&given) {
        Ok(loops) => {
            let is_json = given.json().unwrap_or(false);
            if !is_json {
                for one in &loops {
                    out.line(&one.line());
                }
            }
            let result = RawResult {
                origin: Origin::new("raw", arguments),
                loops,
            };
            let mut printed = Ok(());
            if is_json {
                printed = put(&result, None, out);
            }
            if let Ok(Some(file)) = given.one("json") {
                printed = printed.and(put(&result, Some(file), out));
            }
            match printed {
                Ok(()) => 0,
                Err(error) => {
                    out.error(&error);
                    1
                }
            }
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

#[derive(Serialize)]
struct RawResult {
    #[serde(flatten)]
    origin: Origin,
    loops: Vec<Loop>,
}

/// What a loop took.
#[derive(Clone, Debug, Serialize)]
pub struct Loop {
    /// Which.
    pub name: &'static str,
    /// How much went through it.
    pub bytes: u64,
    /// Of the system call.
    pub piece: usize,
    /// How long it ran.
    pub seconds: f64,
    /// Of the thread in the broker's place.
    pub user_seconds_per_gb: f64,
    /// Of the thread in the broker's place.
    pub system_seconds_per_gb: f64,
    /// Both.
    pub cpu_seconds_per_gb: f64,
}

impl Loop {
    fn line(&self) -> String {
        format!(
            "{:<18} {:.3} CPU-s/GB ({:.3} user, {:.3} system), {:.0} MB/s",
            self.name,
            self.cpu_seconds_per_gb,
            self.user_seconds_per_gb,
            self.system_seconds_per_gb,
            to_f64(self.bytes) / 1e6 / self.seconds
        )
    }
}

fn measure(given: &Given) -> Result<Vec<Loop>, String> {
    let names: Vec<&'static str> = match given.one("loop")? {
        None => LOOPS.to_vec(),
        Some(name) => LOOPS
            .iter()
            .filter(|known| **known == name)
            .copied()
            .collect(),
    };
    if names.is_empty() {
        return Err(format!("--loop: one of {}", LOOPS.join(", ")));
    }
    let piece = given.parsed("piece")?.unwrap_or(1 << 20_usize);
    if !(1..=FILE_BYTES).contains(&piece) {
        return Err(format!("--piece {piece}: 1 to {FILE_BYTES}"));
    }
    let gigabytes: f64 = given.parsed("gb")?.unwrap_or(1.0);
    if !(gigabytes > 0.0 && gigabytes <= 10_000.0) {
        return Err(format!("--gb {gigabytes}: above zero"));
    }
    let temporary = std::env::temp_dir();
    let folder = given.one("dir")?.map_or(temporary.as_path(), Path::new);
    let path = folder.join(format!("corelog-raw-{}", std::process::id()));
    let bytes = whole(gigabytes * 1e9).max(piece as u64);
    let results = names
        .into_iter()
        .map(|name| one(name, bytes, piece, &path))
        .collect();
    // It may never have been made.
    let _ = std::fs::remove_file(&path);
    results
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of bytes, checked to be small and positive"
)]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

fn one(name: &'static str, bytes: u64, piece: usize, path: &Path) -> Result<Loop, String> {
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let (ours, mut theirs) = connected().map_err(failed)?;
    let is_receiving = name == "receive-crc-write";
    let total = bytes + WARM_BYTES;
    let peer = std::thread::spawn(move || {
        let mut buffer = vec![b'x'; PEER_PIECE];
        let mut left = total;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(PEER_PIECE);
            let moved = if is_receiving {
                theirs.write_all(&buffer[..count]).map(|()| count)
            } else {
                theirs.read(&mut buffer[..count])
            };
            match moved {
                Ok(0) | Err(_) => return,
                Ok(count) => left -= count as u64,
            }
        }
    });
    let mut work = Work::new(name, ours, piece, path).map_err(failed)?;
    work.move_bytes(WARM_BYTES).map_err(failed)?;
    let (begun, cpu) = (now(), cpu_time_of(THIS_THREAD));
    work.move_bytes(bytes).map_err(failed)?;
    let cpu_end = cpu_time_of(THIS_THREAD);
    let seconds = (now() - begun).as_secs_f64();
    peer.join()
        .map_err(|_| format!("{name}: the other end panicked"))?;
    let per_gb = |span: Duration| span.as_secs_f64() / (to_f64(bytes) / 1e9);
    let user = per_gb(cpu_end.0.saturating_sub(cpu.0));
    let system = per_gb(cpu_end.1.saturating_sub(cpu.1));
    Ok(Loop {
        name,
        bytes,
        piece,
        seconds,
        user_seconds_per_gb: user,
        system_seconds_per_gb: system,
        cpu_seconds_per_gb: user + system,
    })
}

fn connected() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let theirs = TcpStream::connect(listener.local_addr()?)?;
    let (ours, _) = listener.accept()?;
    ours.set_nodelay(true)?;
    Ok((ours, theirs))
}

/// The broker's place.
struct Work {
    name: &'static str,
    wire: TcpStream,
    file: rustix::fd::OwnedFd,
    position: u64,
    buffer: Vec<u8>,
    crc: u32,
}

impl Work {
    fn new(
        name: &'static str,
        wire: TcpStream,
        piece: usize,
        path: &Path,
    ) -> std::io::Result<Self> {
        let file = open(
            path,
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES as u64)?;
        let mut work = Self {
            name,
            wire,
            file,
            position: 0,
            buffer: vec![b'x'; piece],
            crc: 0,
        };
        for _ in 0..FILE_BYTES / piece {
            work.write(piece)?;
        }
        work.position = 0;
        Ok(work)
    }

    fn write(&mut self, count: usize) -> std::io::Result<()> {
        let mut done = 0;
        while done < count {
            let at = self.position + done as u64;
            done += rustix::io::pwrite(&self.file, &self.buffer[done..count], at)?;
        }
        self.advance(count);
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.position += count as u64;
        if self.position + self.buffer.len() as u64 > FILE_BYTES as u64 {
            self.position = 0;
        }
    }

    fn move_bytes(&mut self, bytes: u64) -> std::io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let count = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            match self.name {
                "receive-crc-write" => {
                    self.wire.read_exact(&mut self.buffer[..count])?;
                    self.crc = crc32c::crc32c_append(self.crc, &self.buffer[..count]);
                    self.write(count)?;
                }
                "send" => self.wire.write_all(&self.buffer[..count])?,
                _ => {
                    let mut at = self.position;
                    let end = at + count as u64;
                    while at < end {
                        let rest = usize::try_from(end - at).unwrap_or(0);
                        if rustix::fs::sendfile(
                            self.wire.as_fd(),
                            self.file.as_fd(),
                            Some(&mut at),
                            rest,
                        )? == 0
                        {
                            return Err(std::io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    self.advance(count);
                }
            }
            left -= count as u64;
        }
        Ok(())
    }
}

const LOOPS: &[&str] = &["receive-crc-write", "send", "sendfile"];
/// `/proc/thread-self`, as `cpu_time_of` names it.
const THIS_THREAD: &str = "thread-self";
/// What lies in the page cache all the time.
const FILE_BYTES: usize = 64 << 20;
/// What goes through before it counts.
const WARM_BYTES: u64 = 64 << 20;
const PEER_PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{LOOPS, one};

    #[test]
    fn every_loop_moves_what_it_is_told_to() {
        let path = std::env::temp_dir().join(format!("corelog-raw-test-{}", std::process::id()));
        for name in LOOPS {
            let took = one(name, 10_000_001, 1 << 16, &path).unwrap();
            assert_eq!((took.name, took.bytes), (*name, 10_000_001));
            assert!(took.seconds > 0.0 && took.cpu_seconds_per_gb >= 0.0);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
