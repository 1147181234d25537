//! **Owns** `delegation-tokens`: Kafka's `kafka-delegation-tokens`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what tokens are good for (the broker).

use corelog_net::wire::messages::create_delegation_token::{
    CreatableRenewers, CreateDelegationTokenRequest,
};
use corelog_net::wire::messages::describe_delegation_token::DescribedDelegationToken;
use serde_json::json;

use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::session::{Address, Fault, Printer, tool};
use super::{Out, java, time};
use crate::client::ApiError;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    let actions = ["create", "renew", "expire", "describe"];
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        return Err(Refusal::Usage(
            "Command must include exactly one action: --create, --renew, --expire or --describe"
                .to_owned(),
        ));
    }
    given.require(&["bootstrap-server", "command-config"])?;
    if given.has("create") {
        given.require(&["max-life-time-period"])?;
    }
    if given.has("renew") {
        given.require(&["hmac", "renew-time-period"])?;
    }
    if given.has("expire") {
        given.require(&["hmac", "expiry-time-period"])?;
    }
    given.exclude(
        "create",
        &["hmac", "renew-time-period", "expiry-time-period"],
    )?;
    given.exclude(
        "renew",
        &[
            "renewer-principal",
            "max-life-time-period",
            "expiry-time-period",
            "owner-principal",
        ],
    )?;
    given.exclude(
        "expire",
        &[
            "renewer-principal",
            "max-life-time-period",
            "renew-time-period",
            "owner-principal",
        ],
    )?;
    given.exclude(
        "describe",
        &[
            "renewer-principal",
            "max-life-time-period",
            "renew-time-period",
            "expiry-time-period",
            "hmac",
        ],
    )
}

/// `User:alice`.
fn principals(list: Vec<&str>) -> Result<Vec<(String, String)>, Fault> {
    list.into_iter()
        .map(|text| {
            text.split_once(':')
                .map(|(kind, name)| (kind.to_owned(), name.to_owned()))
                .ok_or_else(|| {
                    format!(
                        "expected a string in format principalType:principalName but got {text}"
                    )
                    .into()
                })
        })
        .collect()
}

fn shown(principals: &[(String, String)]) -> String {
    java::list(
        principals
            .iter()
            .map(|(kind, name)| format!("{kind}:{name}")),
    )
}

fn refused(call: &'static str) -> impl Fn(ApiError) -> Fault {
    move |error| Fault::of(call, &error)
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let as_json = given.json()?;
    let address = Address::of(given, "command-config")?;
    let number = |name: &str| -> Result<i64, Fault> { Ok(given.parsed(name)?.unwrap_or(-1)) };
    let say = |text: String| {
        if !as_json {
            out.line(&text);
        }
    };
    if given.has("create") {
        let renewers = principals(given.all("renewer-principal"))?;
        let owner = principals(given.all("owner-principal"))?.into_iter().next();
        let lifetime = number("max-life-time-period")?;
        say(format!(
            "Calling create token operation with renewers :{} , max-life-time-period :{lifetime}",
            shown(&renewers)
        ));
        let admin = address.connect("createDelegationToken").await?;
        let request = CreateDelegationTokenRequest {
            owner_principal_type: owner.as_ref().map(|it| it.0.clone()),
            owner_principal_name: owner.map(|it| it.1),
            renewers: renewers
                .iter()
                .map(|(kind, name)| CreatableRenewers {
                    principal_type: kind.clone(),
                    principal_name: name.clone(),
                    ..CreatableRenewers::default()
                })
                .collect(),
            max_lifetime_ms: lifetime,
            ..CreateDelegationTokenRequest::default()
        };
        let made = admin
            .create_token(&request)
            .await
            .map_err(refused("createDelegationToken"))?;
        say(format!(
            "Created delegation token with tokenId : {}",
            made.token_id
        ));
        let token = DescribedDelegationToken {
            principal_type: made.principal_type,
            principal_name: made.principal_name,
            token_requester_principal_type: made.token_requester_principal_type,
            token_requester_principal_name: made.token_requester_principal_name,
            issue_timestamp: made.issue_timestamp_ms,
            expiry_timestamp: made.expiry_timestamp_ms,
            max_timestamp: made.max_timestamp_ms,
            token_id: made.token_id,
            hmac: made.hmac,
            ..DescribedDelegationToken::default()
        };
        print(&[token], as_json, out);
        return Ok(0);
    }
    if given.has("describe") {
        let owners = principals(given.all("owner-principal"))?;
        say(if owners.is_empty() {
            "Calling describe token operation for current user.".to_owned()
        } else {
            format!(
                "Calling describe token operation for owners: {}",
                shown(&owners)
            )
        });
        let admin = address.connect("describeDelegationToken").await?;
        let tokens = admin
            .describe_tokens((!owners.is_empty()).then_some(owners.as_slice()))
            .await
            .map_err(refused("describeDelegationToken"))?;
        say(format!("Total number of tokens : {}", tokens.len()));
        print(&tokens, as_json, out);
        return Ok(0);
    }
    let hmac = given.one("hmac")?.unwrap_or_default();
    let bytes = unbase64(hmac).ok_or_else(|| Fault::from(format!("'{hmac}' is no base64")))?;
    let (what, period) = if given.has("renew") {
        ("renew", number("renew-time-period")?)
    } else {
        ("expire", number("expiry-time-period")?)
    };
    say(format!(
        "Calling {what} token operation with hmac :{hmac} , {what}-time-period :{period}"
    ));
    let expiry = if what == "renew" {
        let call = "renewDelegationToken";
        let admin = address.connect(call).await?;
        admin
            .renew_token(bytes, period)
            .await
            .map_err(refused(call))?
    } else {
        let call = "expireDelegationToken";
        let admin = address.connect(call).await?;
        admin
            .expire_token(bytes, period)
            .await
            .map_err(refused(call))?
    };
    if as_json {
        out.json(&json!({ "expiryTimestamp": expiry }));
    } else {
        out.line(&format!(
            "Completed {what} operation. New expiry date : {}",
            time::minute_of(expiry)
        ));
    }
    Ok(0)
}

fn print(tokens: &[DescribedDelegationToken], as_json: bool, out: &Printer) {
    let principal = |kind: &str, name: &str| format!("{kind}:{name}");
    if as_json {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|it| {
                json!({
                    "tokenId": it.token_id,
                    "hmac": base64(&it.hmac),
                    "owner": principal(&it.principal_type, &it.principal_name),
                    "issueTimestamp": it.issue_timestamp,
                    "expiryTimestamp": it.expiry_timestamp,
                    "maxTimestamp": it.max_timestamp,
                })
            })
            .collect();
        out.json(&json!(tokens));
        return;
    }
    let row = |parts: [&str; 8]| {
        let [id, hmac, owner, requester, renewers, issued, expiry, max] = parts;
        format!(
            "{id:<15} {hmac:<30} {owner:<15} {requester:<15} {renewers:<25} {issued:<15} {expiry:<15} {max:<15}"
        )
    };
    out.line(&format!(
        "\n{}",
        row([
            "TOKENID",
            "HMAC",
            "OWNER",
            "REQUESTER",
            "RENEWERS",
            "ISSUEDATE",
            "EXPIRYDATE",
            "MAXDATE"
        ])
    ));
    for it in tokens {
        let renewers = java::list(
            it.renewers
                .iter()
                .map(|it| principal(&it.principal_type, &it.principal_name)),
        );
        out.line(&row([
            &it.token_id,
            &base64(&it.hmac),
            &principal(&it.principal_type, &it.principal_name),
            &principal(
                &it.token_requester_principal_type,
                &it.token_requester_principal_name,
            ),
            &renewers,
            &time::minute_of(it.issue_timestamp),
            &time::minute_of(it.expiry_timestamp),
            &time::minute_of(it.max_timestamp),
        ]));
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for (digit, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let at = (bits >> shift) & 63;
            text.push(if digit <= chunk.len() {
                char::from(ALPHABET[at as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits {
        let value = ALPHABET.iter().position(|it| it == digit)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to create, renew, expire, or describe delegation tokens.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String",
        "REQUIRED: a file of properties for the client.",
    ),
    flag("create", "Create a token."),
    flag("describe", "Describe tokens."),
    flag("expire", "Change when a token expires."),
    maybe(
        "expiry-time-period",
        "Long",
        "In how many milliseconds the token expires; -1: now.",
    ),
    maybe("hmac", "String", "The token's HMAC, in base64."),
    maybe(
        "max-life-time-period",
        "Long",
        "How long the token may live, in milliseconds; -1: as long as the broker allows.",
    ),
    maybe(
        "owner-principal",
        "String",
        "The owner, principalType:name. May be given several times.",
    ),
    flag("renew", "Renew a token."),
    maybe(
        "renew-time-period",
        "Long",
        "For how many milliseconds; -1: as the broker does.",
    ),
    maybe(
        "renewer-principal",
        "String",
        "Who may renew, principalType:name. May be given several times.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes), text);
            assert_eq!(unbase64(text).as_deref(), Some(bytes));
        }
        assert_eq!(unbase64("Z"), None);
        assert_eq!(unbase64("*"), None);
    }
}
