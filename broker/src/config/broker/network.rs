//! The listeners, taken together.
//!
//! **Owns** which listeners are opened, what clients are told of them, which one brokers use.
//! **Lives on** no shard.
//! **Invariants**: an error is one sentence that begins with where the value stands.
//! **Not here**: the text of one endpoint (`config::listener`); opening (`boot`).

use super::super::listener::{Endpoint, Listener, SecurityProtocol, parse_protocol_map};
use super::super::properties::StaticSettings;
use super::values::Values;
use super::{Note, at};

/// The listeners, taken together.
pub(super) struct Network {
    pub(super) listeners: Vec<Listener>,
    pub(super) controller: Vec<Endpoint>,
    pub(super) advertised: Vec<Endpoint>,
    pub(super) inter_broker: String,
}

impl Network {
    pub(super) fn read(values: Values<'_>, notes: &mut Vec<Note>) -> Result<Self, String> {
        let fixed = values.layers.fixed;
        let protocols = values
            .text("listener.security.protocol.map")
            .unwrap_or_default();
        let protocols = parse_protocol_map(&protocols).map_err(|fault| {
            at(
                fixed,
                "listener.security.protocol.map",
                &format!("is wrong: {fault}"),
            )
        })?;
        let controller_names: Vec<String> = values
            .list("controller.listener.names")
            .iter()
            .map(|name| name.to_ascii_uppercase())
            .collect();
        let endpoints = endpoints(values, "listeners")?;
        let (controller, endpoints): (Vec<_>, Vec<_>) = endpoints
            .into_iter()
            .partition(|endpoint| controller_names.contains(&endpoint.name));
        let listeners = endpoints
            .into_iter()
            .map(|endpoint| open(fixed, endpoint, &protocols))
            .collect::<Result<Vec<_>, _>>()?;
        if listeners.is_empty() {
            return Err(at(
                fixed,
                "listeners",
                "must name at least one listener for clients",
            ));
        }
        for endpoint in &controller {
            notes.push(Note::Information(format!(
                "listener={} not opened: this node is its own controller, nobody else asks it",
                endpoint.name
            )));
        }
        let advertised = advertised(values, &listeners, &controller_names)?;
        let inter_broker = inter_broker(values, &listeners)?;
        Ok(Self {
            listeners,
            controller,
            advertised,
            inter_broker,
        })
    }
}

fn endpoints(values: Values<'_>, name: &str) -> Result<Vec<Endpoint>, String> {
    let fixed = values.layers.fixed;
    let endpoints = values
        .list(name)
        .iter()
        .map(|text| Endpoint::parse(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|fault| at(fixed, name, &format!("is wrong: {fault}")))?;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let earlier = &endpoints[..index];
        if earlier.iter().any(|other| other.name == endpoint.name) {
            let sentence = format!("names the listener {} twice", endpoint.name);
            return Err(at(fixed, name, &sentence));
        }
        let clash = |other: &Endpoint| other.port == endpoint.port && other.host == endpoint.host;
        if name == "listeners" && endpoint.port != 0 && earlier.iter().any(clash) {
            let sentence = format!("uses port {} for two listeners", endpoint.port);
            return Err(at(fixed, name, &sentence));
        }
    }
    Ok(endpoints)
}

fn open(
    fixed: &StaticSettings,
    endpoint: Endpoint,
    protocols: &[(String, SecurityProtocol)],
) -> Result<Listener, String> {
    let protocol = protocols.iter().find(|(name, _)| *name == endpoint.name);
    match protocol.map(|(_, protocol)| *protocol) {
        Some(SecurityProtocol::Plaintext) => Ok(Listener {
            endpoint,
            protocol: SecurityProtocol::Plaintext,
        }),
        Some(protocol) => {
            let sentence = format!(
                "has the listener {} with {protocol}: only PLAINTEXT listeners can be opened yet",
                endpoint.name
            );
            Err(at(fixed, "listeners", &sentence))
        }
        None => {
            let sentence = format!(
                "has the listener {}, whose protocol listener.security.protocol.map does not say",
                endpoint.name
            );
            Err(at(fixed, "listeners", &sentence))
        }
    }
}

/// One advertised address for each listener.
fn advertised(
    values: Values<'_>,
    listeners: &[Listener],
    controller_names: &[String],
) -> Result<Vec<Endpoint>, String> {
    let fixed = values.layers.fixed;
    let given = endpoints(values, "advertised.listeners")?;
    let known = |endpoint: &Endpoint| {
        controller_names.contains(&endpoint.name)
            || listeners
                .iter()
                .any(|listener| listener.endpoint.name == endpoint.name)
    };
    for endpoint in &given {
        if !known(endpoint) {
            let sentence = format!("names {}, which is not among listeners", endpoint.name);
            return Err(at(fixed, "advertised.listeners", &sentence));
        }
        if matches!(endpoint.host.as_str(), "0.0.0.0" | "::") {
            let sentence = format!(
                "cannot be {}: clients could not connect to it",
                endpoint.host
            );
            return Err(at(fixed, "advertised.listeners", &sentence));
        }
    }
    let advertise = |listener: &Listener| {
        let own = given
            .iter()
            .find(|endpoint| endpoint.name == listener.endpoint.name);
        let mut endpoint = own.unwrap_or(&listener.endpoint).clone();
        if matches!(endpoint.host.as_str(), "0.0.0.0" | "::") {
            endpoint.host.clear();
        }
        endpoint
    };
    Ok(listeners.iter().map(advertise).collect())
}

fn inter_broker(values: Values<'_>, listeners: &[Listener]) -> Result<String, String> {
    let fixed = values.layers.fixed;
    let find = |name: &str| {
        listeners
            .iter()
            .find(|listener| listener.endpoint.name == name)
    };
    if let Some(name) = values.text("inter.broker.listener.name") {
        if fixed.get("security.inter.broker.protocol").is_some() {
            let sentence = "and security.inter.broker.protocol cannot both be set";
            return Err(at(fixed, "inter.broker.listener.name", sentence));
        }
        let name = name.to_ascii_uppercase();
        return match find(&name) {
            Some(_) => Ok(name),
            None => Err(at(
                fixed,
                "inter.broker.listener.name",
                "is not among listeners",
            )),
        };
    }
    let protocol = values
        .text("security.inter.broker.protocol")
        .unwrap_or_default();
    Ok(find(&protocol)
        .unwrap_or(&listeners[0])
        .endpoint
        .name
        .clone())
}
