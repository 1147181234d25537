//! How many connections there are.
//!
//! **Owns** the counts of connections per shard, per address and in all, and the limits on them.
//! **Lives on** every shard: one value, shared. Counts are atomics; addresses are counted, limited or
//! not because limits may come later, behind a lock that is taken when a connection opens or closes
//! and at no other time.
//! **Invariants** 1. The counts are the sum of the live permits.
//! **Not here**: what happens to who is refused (`accept`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::ConnectionLimits;

#[cfg(test)]
mod tests;

#[expect(
    clippy::disallowed_types,
    reason = "addresses are few and the lock is off the request path"
)]
type Addresses = std::sync::Mutex<ByAddress>;

#[derive(Debug, Default)]
struct ByAddress {
    counts: BTreeMap<IpAddr, usize>,
    /// Other limits of single addresses.
    overrides: Vec<(IpAddr, usize)>,
}

/// The counts of connections, shared by the servers of all shards.
#[derive(Debug)]
pub struct Admission {
    shards: Box<[AtomicUsize]>,
    total: AtomicUsize,
    max: AtomicUsize,
    per_ip_max: AtomicUsize,
    addresses: Addresses,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max.connections` are open.
    #[error("max.connections={max} are open")]
    Full {
        /// The limit.
        max: usize,
    },
    /// `max.connections.per.ip` are open from this address.
    #[error("max.connections.per.ip={max} are open from this address")]
    PerIp {
        /// The limit.
        max: usize,
    },
}

impl Admission {
    /// No connections, these limits, this many shards.
    pub fn new(shards: usize, limits: &ConnectionLimits) -> Arc<Self> {
        let admission = Self {
            shards: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            total: AtomicUsize::new(0),
            max: AtomicUsize::new(0),
            per_ip_max: AtomicUsize::new(0),
            addresses: Addresses::default(),
        };
        admission.set_limits(limits);
        Arc::new(admission)
    }

    /// Other limits, for connections that are opened from now on.
    pub fn set_limits(&self, limits: &ConnectionLimits) {
        let canonical = |&(ip, max): &(IpAddr, usize)| (ip.to_canonical(), max);
        let overrides = limits.connections_per_ip_overrides.iter().map(canonical);
        self.addresses
            .lock()
            .expect("nothing panics under this lock")
            .overrides = overrides.collect();
        self.max.store(limits.connections_max, Ordering::Relaxed);
        self.per_ip_max
            .store(limits.connections_per_ip_max, Ordering::Relaxed);
    }

    /// A place for a connection from this address, on the shard with the fewest; on `here` when
    /// that has no more than any other.
    ///
    /// # Errors
    /// There is no place.
    pub fn admit(self: &Arc<Self>, here: usize, ip: IpAddr) -> Result<Permit, Refusal> {
        let ip = ip.to_canonical();
        let max = self.max.load(Ordering::Relaxed);
        let admitted = self
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                (total < max).then_some(total + 1)
            });
        // A refusal for the address tells the peer at once; being full makes it wait.
        self.count_address(ip, admitted.is_ok())?;
        if admitted.is_err() {
            return Err(Refusal::Full { max });
        }
        let shard = self.emptiest(here);
        self.shards[shard].fetch_add(1, Ordering::Relaxed);
        Ok(Permit {
            admission: Arc::clone(self),
            shard,
            ip,
        })
    }

    /// Connections on this shard.
    pub fn on_shard(&self, shard: usize) -> usize {
        self.shards[shard].load(Ordering::Relaxed)
    }

    /// Connections on all shards.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn emptiest(&self, here: usize) -> usize {
        let mut best = here;
        for shard in 0..self.shards.len() {
            if self.on_shard(shard) < self.on_shard(best) {
                best = shard;
            }
        }
        best
    }

    fn count_address(&self, ip: IpAddr, admitted: bool) -> Result<(), Refusal> {
        let mut addresses = self
            .addresses
            .lock()
            .expect("nothing panics under this lock");
        let over = addresses
            .overrides
            .iter()
            .find(|(address, _)| *address == ip);
        let max = over.map_or_else(|| self.per_ip_max.load(Ordering::Relaxed), |&(_, max)| max);
        let count = addresses.counts.get(&ip).copied().unwrap_or(0);
        if count >= max {
            drop(addresses);
            if admitted {
                self.total.fetch_sub(1, Ordering::Relaxed);
            }
            return Err(Refusal::PerIp { max });
        }
        if admitted {
            addresses.counts.insert(ip, count + 1);
        }
        Ok(())
    }

    fn uncount_address(&self, ip: IpAddr) {
        let mut addresses = self
            .addresses
            .lock()
            .expect("nothing panics under this lock");
        match addresses.counts.get_mut(&ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                addresses.counts.remove(&ip);
            }
        }
    }
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    shard: usize,
    ip: IpAddr,
}

impl Permit {
    /// The shard that the connection is counted on.
    pub fn shard(&self) -> usize {
        self.shard
    }

    pub(super) fn move_to(&mut self, shard: usize) {
        self.admission.shards[self.shard].fetch_sub(1, Ordering::Relaxed);
        self.admission.shards[shard].fetch_add(1, Ordering::Relaxed);
        self.shard = shard;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.shards[self.shard].fetch_sub(1, Ordering::Relaxed);
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        self.admission.uncount_address(self.ip);
    }
}
