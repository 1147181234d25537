//! **Owns** the judgement of addresses, ports, socket buffers and clocks.
//! **Lives on** no thread in particular.
//! **Invariants** those of `findings`.
//! **Not here** resolving and connecting (`gather`).

use std::net::IpAddr;

use super::facts::{Facts, Listener, Settings, Tried};
use super::finding::{Change, Finding};

/// Listeners and what clients are told of them.
pub(super) fn listeners(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    for listener in &facts.listeners {
        bind(facts, listener, all);
        advertised(listener, all);
        ephemeral(facts, listener, all);
    }
    if let Some(backlog) = facts.sysctl("net.core.somaxconn")
        && !facts.listeners.is_empty()
    {
        let what = format!(
            "net.core.somaxconn={backlog}, socket.listen.backlog.size={}",
            settings.listen_backlog
        );
        if backlog < settings.listen_backlog.max(BACKLOG_MIN) {
            all.push(
                Finding::warn(
                    "backlog",
                    what,
                    "when many clients come back at once (after a restart), connections beyond it wait a second or more",
                )
                .change(Change::Sysctl {
                    name: "net.core.somaxconn",
                    value: settings.listen_backlog.max(4096).to_string(),
                }),
            );
        } else {
            all.push(Finding::ok("backlog", what));
        }
    }
}

fn named(listener: &Listener) -> String {
    let host = if listener.host.is_empty() {
        "*"
    } else {
        &listener.host
    };
    format!("{} {host}:{}", listener.name, listener.port)
}

fn bind(facts: &Facts, listener: &Listener, all: &mut Vec<Finding>) {
    let name = named(listener);
    if listener.addresses.is_empty() {
        all.push(
            Finding::fail(
                "listener",
                format!("{name}: the host is not known"),
                "the broker cannot bind an address it cannot find, and does not start",
            )
            .command(format!("getent hosts {}", listener.host)),
        );
        return;
    }
    let own = listener.holder.is_some() && listener.holder == facts.broker.running;
    match (&listener.bound, &listener.holder) {
        (Some(Tried::Worked), _) => all.push(Finding::ok("listener", format!("{name} is free"))),
        (Some(Tried::Failed(_)), Some(holder)) if own => all.push(Finding::ok(
            "listener",
            format!("{name} is held by the broker, pid {}", holder.pid),
        )),
        (Some(Tried::Failed(why)), holder) => {
            let who = holder.as_ref().map_or(String::new(), |holder| {
                format!("; {} (pid {}) listens there", holder.name, holder.pid)
            });
            let what = format!("{name} cannot be bound: {why}{who}");
            all.push(if listener.is_default {
                Finding::warn(
                    "listener",
                    what,
                    "the broker goes on without its admin port: no metrics, no health checks",
                )
                .command("corelog.admin.listener=127.0.0.1:9645")
            } else {
                Finding::fail("listener", what, "the broker does not start")
                    .command(format!("ss -ltnp 'sport = :{}'", listener.port))
            });
        }
        (None, _) => {}
    }
}

fn advertised(listener: &Listener, all: &mut Vec<Finding>) {
    let Some(advertised) = &listener.advertised else {
        return;
    };
    let name = format!(
        "{} advertised as {}:{}",
        listener.name, advertised.host, advertised.port
    );
    if advertised.addresses.is_empty() {
        all.push(
            Finding::fail(
                "advertised",
                format!("{name}: the host is not known here"),
                "clients connect, are told this address, and then cannot find it",
            )
            .command(format!("getent hosts {}", advertised.host)),
        );
        return;
    }
    let loopback = |addresses: &[String]| {
        !addresses.is_empty()
            && addresses
                .iter()
                .all(|one| one.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
    };
    if loopback(&advertised.addresses) && !loopback(&listener.addresses) {
        all.push(
            Finding::warn(
                "advertised",
                format!("{name}, a loopback address, but it listens for other machines"),
                "clients on other machines are sent to themselves",
            )
            .command(format!(
                "advertised.listeners={}://HOST:{} with a name that clients can resolve",
                listener.name, advertised.port
            )),
        );
        return;
    }
    match &advertised.reached {
        Some(Tried::Worked) => {
            all.push(Finding::ok("advertised", format!("{name}, reached from here")));
        }
        Some(Tried::Failed(why)) => all.push(
            Finding::warn(
                "advertised",
                format!("{name}, not reached from here: {why}"),
                "clients are sent there; from this machine nothing arrives (a firewall, or an address translation that \
                 works only from outside)",
            )
            .command(format!(
                "from a client's machine: nc -vz {} {}",
                advertised.host, advertised.port
            )),
        ),
        None => all.push(Finding::ok("advertised", name)),
    }
}

/// A port that the kernel may give to an outgoing connection is sometimes taken at a start.
fn ephemeral(facts: &Facts, listener: &Listener, all: &mut Vec<Finding>) {
    let Some((first, last)) = facts.machine.local_ports else {
        return;
    };
    let port = listener.port;
    let reserved = &facts.machine.reserved_ports;
    let is_reserved = reserved
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&port));
    if port == 0 || !(first..=last).contains(&port) || is_reserved {
        return;
    }
    let mut ranges: Vec<String> = reserved
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    ranges.push(port.to_string());
    all.push(
        Finding::warn(
            "port",
            format!(
                "{} lies in net.ipv4.ip_local_port_range ({first} to {last})",
                named(listener)
            ),
            "an outgoing connection of any process may hold the port at the moment the broker starts",
        )
        .change(Change::Sysctl {
            name: "net.ipv4.ip_local_reserved_ports",
            value: ranges.join(","),
        }),
    );
}

/// Socket buffers that are asked for, and those that the kernel grows by itself.
pub(super) fn buffers(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    let mut well = true;
    for (setting, wanted, name) in [
        (
            "socket.send.buffer.bytes",
            settings.send_buffer_bytes,
            "net.core.wmem_max",
        ),
        (
            "socket.receive.buffer.bytes",
            settings.receive_buffer_bytes,
            "net.core.rmem_max",
        ),
    ] {
        let (Some(wanted), Some(max)) = (wanted, facts.sysctl(name)) else {
            continue;
        };
        if wanted > max {
            well = false;
            all.push(
                Finding::warn(
                    "buffers",
                    format!("{setting}={wanted} is more than {name}={max}"),
                    "the kernel gives the smaller one without a word; over a distance that bounds the throughput",
                )
                .change(Change::Sysctl {
                    name,
                    value: wanted.to_string(),
                }),
            );
        }
    }
    for (name, set) in [
        ("net.ipv4.tcp_wmem", settings.send_buffer_bytes),
        ("net.ipv4.tcp_rmem", settings.receive_buffer_bytes),
    ] {
        let Some(text) = facts.machine.sysctls.get(name) else {
            continue;
        };
        let numbers: Vec<&str> = text.split_whitespace().collect();
        let [least, first, max] = numbers[..] else {
            continue;
        };
        // A size that is set takes the place of what the kernel would have grown it to.
        if set.is_none() && max.parse().is_ok_and(|max: u64| max < TCP_BUFFER_MIN) {
            well = false;
            all.push(
                Finding::warn(
                    "buffers",
                    format!("{name} ends at {max} bytes"),
                    "a connection's buffer cannot grow to what a fast link over a distance needs",
                )
                .change(Change::Sysctl {
                    name,
                    value: format!("{least} {first} {TCP_BUFFER_MIN}"),
                }),
            );
        }
    }
    if well && facts.sysctl("net.core.wmem_max").is_some() {
        all.push(Finding::ok(
            "buffers",
            "socket buffers are as large as the settings want",
        ));
    }
}

/// This machine's clock, and those of others.
pub(super) fn clocks(facts: &Facts, all: &mut Vec<Finding>) {
    match facts.machine.clock_synchronised {
        Some(true) => all.push(Finding::ok("clock", "kept right by a time service")),
        Some(false) => all.push(
            Finding::warn(
                "clock",
                "no time service keeps it right",
                "retention and timestamps go by it, and clients compare them with their own",
            )
            .command("timedatectl set-ntp true (or install chrony)"),
        ),
        None => {}
    }
    for clock in &facts.clocks {
        let Some(ahead) = clock.ahead_ms else {
            let why = clock.unknown.as_deref().unwrap_or("it did not say");
            all.push(
                Finding::warn(
                    "skew",
                    format!("{} could not be asked for its clock: {why}", clock.address),
                    "nodes of a quorum that do not reach each other are no quorum",
                )
                .command(format!(
                    "corelog metadata-quorum --bootstrap-server {} describe --status",
                    clock.address
                )),
            );
            continue;
        };
        let what = format!(
            "the quorum's leader, asked through {}, is {} ms {} (within {} ms)",
            clock.address,
            ahead.abs(),
            if ahead < 0 { "behind" } else { "ahead" },
            clock.uncertain_ms
        );
        // What the question took is not a difference of clocks.
        let sure = ahead.saturating_abs().saturating_sub(clock.uncertain_ms);
        if sure > SKEW_MS_FAIL {
            all.push(
                Finding::fail(
                    "skew",
                    what,
                    "records are deleted too early or too late, and tokens and transactions expire at the wrong time",
                )
                .command("chronyc makestep (on the machine that is wrong)"),
            );
        } else if sure > SKEW_MS_WARN {
            all.push(
                Finding::warn(
                    "skew",
                    what,
                    "timestamps of records jump when a partition's leader changes",
                )
                .command("chronyc tracking (on both machines)"),
            );
        } else {
            all.push(Finding::ok("skew", what));
        }
    }
}

/// Hundreds of clients that reconnect at the same time.
const BACKLOG_MIN: u64 = 1024;
/// A gigabit over 8 ms.
const TCP_BUFFER_MIN: u64 = 1 << 20;
const SKEW_MS_WARN: i64 = 100;
const SKEW_MS_FAIL: i64 = 10_000;
