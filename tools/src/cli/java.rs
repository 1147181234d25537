//! **Owns** what Kafka's tools show of Java: names of exceptions, the order of hash maps, the texts of numbers and lists.
//! Scripts parse them.
//! **Lives on** any thread: pure.
//! **Invariants** (1) [`hash_order`] is the order of a `java.util.HashMap` that was filled in the order given, without
//! removals, as far as no bucket holds more than eight.
//! **Not here** what is printed.

use corelog_net::wire::ErrorCode;

/// The class of the exception that a code is in Kafka's Java clients.
pub(super) fn exception(code: ErrorCode) -> String {
    let short = match code {
        ErrorCode::UnknownServerError => "UnknownServerException",
        ErrorCode::CorruptMessage => "CorruptRecordException",
        ErrorCode::RequestTimedOut => "TimeoutException",
        ErrorCode::MessageTooLarge => "RecordTooLargeException",
        ErrorCode::StaleControllerEpoch => "ControllerMovedException",
        ErrorCode::OffsetMetadataTooLarge => "OffsetMetadataTooLarge",
        ErrorCode::NetworkException => "NetworkException",
        ErrorCode::InvalidTopicException => "InvalidTopicException",
        ErrorCode::RecordListTooLarge => "RecordBatchTooLargeException",
        ErrorCode::TopicAuthorizationFailed => "TopicAuthorizationException",
        ErrorCode::GroupAuthorizationFailed => "GroupAuthorizationException",
        ErrorCode::ClusterAuthorizationFailed => "ClusterAuthorizationException",
        ErrorCode::TopicAlreadyExists => "TopicExistsException",
        ErrorCode::InvalidConfig => "InvalidConfigurationException",
        ErrorCode::OutOfOrderSequenceNumber => "OutOfOrderSequenceException",
        ErrorCode::DuplicateSequenceNumber => "DuplicateSequenceException",
        ErrorCode::InvalidProducerIdMapping => "InvalidPidMappingException",
        ErrorCode::InvalidTransactionTimeout => "InvalidTxnTimeoutException",
        ErrorCode::TransactionalIdAuthorizationFailed => "TransactionalIdAuthorizationException",
        ErrorCode::KafkaStorageError => "KafkaStorageException",
        ErrorCode::SaslAuthenticationFailed => "SaslAuthenticationException",
        ErrorCode::DelegationTokenAuthDisabled => "DelegationTokenDisabledException",
        ErrorCode::DelegationTokenRequestNotAllowed => "UnsupportedByAuthenticationException",
        ErrorCode::DelegationTokenAuthorizationFailed => "DelegationTokenAuthorizationException",
        ErrorCode::NonEmptyGroup => "GroupNotEmptyException",
        ErrorCode::InvalidRecord => return "org.apache.kafka.common.InvalidRecordException".into(),
        ErrorCode::PrincipalDeserializationFailure => "PrincipalDeserializationException",
        ErrorCode::FetchSessionTopicIdError => "FetchSessionTopicIdException",
        ErrorCode::InvalidRegularExpression => "InvalidRegularExpression",
        regular => return format!("{ERRORS}.{regular:?}Exception"),
    };
    format!("{ERRORS}.{short}")
}

/// The package of most exceptions.
pub(super) const ERRORS: &str = "org.apache.kafka.common.errors";

/// `String.hashCode`.
pub(super) fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// `TopicPartition.hashCode`.
pub(super) fn partition_hash((topic, partition): &(String, i32)) -> i32 {
    31_i32
        .wrapping_mul(31_i32.wrapping_add(*partition))
        .wrapping_add(string_hash(topic))
}

/// What a `HashMap` gives its entries in, when they were put into it in this order.
pub(super) fn hash_order<T>(mut entries: Vec<T>, hash: impl Fn(&T) -> i32) -> Vec<T> {
    let mut buckets = 16_usize;
    // It doubles when more than three quarters are taken.
    while entries.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    entries.sort_by_key(|entry| {
        let hash = hash(entry).cast_unsigned();
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    });
    entries
}

/// Partitions in the order of a `HashMap` of them.
pub(super) fn partition_order(partitions: Vec<(String, i32)>) -> Vec<(String, i32)> {
    hash_order(partitions, partition_hash)
}

/// `Double.toString`, for what Kafka prints: no exponents up to ten million.
pub(super) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        return format!("{digits}{point}E{exponent}");
    }
    format!("{value:?}")
}

/// `List.toString`.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_numbers_are_javas() {
        let partitions: Vec<(String, i32)> = (0..5).map(|it| ("t1".to_owned(), it)).collect();
        let order: Vec<i32> = partition_order(partitions).iter().map(|it| it.1).collect();
        assert_eq!(order, [4, 3, 2, 1, 0]);
        let groups = hash_order(vec!["cg1", "live", "cg2", "live848"], |it| string_hash(it));
        assert_eq!(groups, ["live848", "cg1", "live", "cg2"]);
        assert_eq!(double(1024.0), "1024.0");
        assert_eq!(double(2.5e8), "2.5E8");
        assert_eq!(double(1e7), "1.0E7");
        assert_eq!(list([1, 2]), "[1, 2]");
    }

    #[test]
    fn exceptions_have_kafkas_names() {
        assert_eq!(
            exception(ErrorCode::GroupIdNotFound),
            "org.apache.kafka.common.errors.GroupIdNotFoundException"
        );
        assert_eq!(
            exception(ErrorCode::NonEmptyGroup),
            "org.apache.kafka.common.errors.GroupNotEmptyException"
        );
    }
}
