//! **Owns** finding out about listeners: names, free ports, who holds the others, whether advertised addresses lead here.
//! **Lives on** the command's thread; connecting is bounded by [`CONNECT_TIME`].
//! **Invariants** (1) A port is held for the moment of the trial only.
//! **Not here** clocks of others.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::super::facts::{Address, Advertised, Listener, Process, Settings, Tried};
use super::{read, word};

/// Every socket that the settings want.
pub(super) fn listeners(settings: &Settings) -> Vec<Listener> {
    let mut all: Vec<Listener> = settings.listeners.iter().map(listener).collect();
    if let Some(admin) = &settings.admin_listener {
        let (one, _) = socket("admin", &admin.host, admin.port);
        all.push(Listener {
            is_default: admin.is_default,
            ..one
        });
    }
    all
}

fn listener(address: &Address) -> Listener {
    let (mut listener, bound) = socket(&address.name, &address.host, address.port);
    let host = if address.advertised_host.is_empty() {
        corelog_runtime::limits::host_name()
    } else {
        address.advertised_host.clone()
    };
    let port = match address.advertised_port {
        0 => address.port,
        port => port,
    };
    let found = resolve(&host, port);
    let held = listener.holder.is_some();
    let reached = found.first().and_then(|to| match &bound {
        Some(bound) => Some(arrives(*to, bound)),
        // Whoever holds the port answers.
        None if held && port != 0 => Some(Tried::of(TcpStream::connect_timeout(to, CONNECT_TIME))),
        None => None,
    });
    listener.advertised = Some(Advertised {
        host,
        port,
        addresses: texts(&found),
        reached,
    });
    listener
}

/// Tries to listen there.
fn socket(name: &str, host: &str, port: u16) -> (Listener, Option<TcpListener>) {
    let bind = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses = resolve(bind, port);
    let mut listener = Listener {
        name: name.to_owned(),
        host: host.to_owned(),
        port,
        addresses: texts(&addresses),
        ..Listener::default()
    };
    // The broker takes the first one too.
    let Some(address) = addresses.first() else {
        return (listener, None);
    };
    match TcpListener::bind(address) {
        Ok(socket) => {
            listener.bound = Some(Tried::Worked);
            (listener, Some(socket))
        }
        Err(error) => {
            listener.bound = Some(Tried::Failed(error.to_string()));
            if error.kind() == ErrorKind::AddrInUse {
                listener.holder = holder(*address);
            }
            (listener, None)
        }
    }
}

fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    let found = (host, port).to_socket_addrs();
    let found: BTreeSet<SocketAddr> = found.into_iter().flatten().collect();
    let mut found: Vec<SocketAddr> = found.into_iter().collect();
    // As the broker, which asks for any: version 4 first.
    found.sort_by_key(SocketAddr::is_ipv6);
    found
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    let addresses = addresses.iter().map(|address| address.ip().to_string());
    addresses.collect()
}

/// Whether a connection to `to` comes out of this socket.
fn arrives(to: SocketAddr, socket: &TcpListener) -> Tried {
    let stream = match TcpStream::connect_timeout(&to, CONNECT_TIME) {
        Ok(stream) => stream,
        Err(error) => return Tried::Failed(error.to_string()),
    };
    let arrived = socket.set_nonblocking(true).and_then(|()| {
        let own = stream.local_addr()?;
        // Others may be in the queue: clients that wait for the broker.
        for _ in 0..QUEUE_MAX {
            let (_, from) = socket.accept()?;
            if from.port() == own.port() {
                return Ok(());
            }
        }
        Err(ErrorKind::WouldBlock.into())
    });
    match arrived {
        Ok(()) => Tried::Worked,
        Err(_) => Tried::Failed("somebody else answers there".to_owned()),
    }
}

/// The broker among those that hold the ports.
pub(super) fn running_broker(listeners: &[Listener]) -> Option<Process> {
    let holders = listeners.iter().filter_map(|one| one.holder.as_ref());
    holders
        .filter(|holder| holder.name == super::BROKER)
        .min_by_key(|holder| holder.pid)
        .cloned()
}

/// Who listens on a port: its socket's inode, then the process that has it open. Only root sees others' processes.
fn holder(address: SocketAddr) -> Option<Process> {
    let inodes: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(read)
        .flat_map(|text| inodes_of(&text, address.port()))
        .collect();
    let wanted: BTreeSet<String> = inodes.iter().map(|one| format!("socket:[{one}]")).collect();
    let processes = entries("/proc")
        .filter_map(|name| name.parse::<u32>().ok())
        .collect::<BTreeSet<u32>>();
    processes.into_iter().find_map(|pid| {
        let folder = format!("/proc/{pid}/fd");
        let has_it = entries(&folder).any(|fd| {
            let target = std::fs::read_link(format!("{folder}/{fd}"));
            target.is_ok_and(|target| wanted.contains(&*target.to_string_lossy()))
        });
        has_it.then(|| Process {
            pid,
            name: program(pid),
        })
    })
}

/// The program's file name; `comm` is that of a thread, and cut off.
fn program(pid: u32) -> String {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let name = file.and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
    let name = name.map(|name| name.trim_end_matches(" (deleted)").to_owned());
    name.or_else(|| word(&format!("/proc/{pid}/comm")))
        .unwrap_or_default()
}

/// Inodes of the sockets of `/proc/net/tcp` that listen on a port.
fn inodes_of(text: &str, port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    let row = |line: &str| -> Option<String> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = columns.get(1)?.rsplit_once(':')?;
        let fits = u16::from_str_radix(hex, 16) == Ok(port) && *columns.get(3)? == LISTENS;
        fits.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    };
    text.lines().skip(1).filter_map(row).collect()
}

#[expect(clippy::disallowed_methods, reason = "/proc is no disk")]
fn entries(folder: &str) -> impl Iterator<Item = String> + use<> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Whether an address is this machine's own is not asked: connecting shows it.
const CONNECT_TIME: Duration = Duration::from_secs(2);
const QUEUE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (listener, bound) = super::socket("PLAINTEXT", "127.0.0.1", port);
        assert!(bound.is_none());
        assert!(
            matches!(listener.bound, Some(Tried::Failed(_))),
            "{listener:?}"
        );
        let holder = listener.holder.expect("a process of one's own is seen");
        assert_eq!(holder.pid, std::process::id());
    }

    #[test]
    fn an_advertised_address_is_followed_to_the_listener() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut address = Address {
            name: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            advertised_host: "localhost".to_owned(),
            advertised_port: port,
        };
        let advertised = |address: &Address| listener(address).advertised.unwrap();
        assert_eq!(advertised(&address).reached, Some(Tried::Worked));
        // Somebody else's port: it answers, but nothing arrives here.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        address.advertised_port = other.local_addr().unwrap().port();
        let reached = advertised(&address).reached;
        assert_eq!(
            reached,
            Some(Tried::Failed("somebody else answers there".to_owned()))
        );
        address.advertised_host = "no-such-host.invalid".to_owned();
        assert_eq!(advertised(&address).addresses, Vec::<String>::new());
    }

    #[test]
    fn rows_of_the_kernels_table_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
                    1: 0100007F:2384 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        assert_eq!(inodes_of(text, 9092), ["4711"]);
        assert_eq!(inodes_of(text, 9093), Vec::<String>::new());
        assert_eq!(inodes_of("", 9092), Vec::<String>::new());
    }

    #[test]
    fn version_four_comes_first() {
        let loopback: std::net::IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(resolve("localhost", 1)[0].ip(), loopback);
    }
}
