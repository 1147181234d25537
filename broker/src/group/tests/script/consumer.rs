//! The words of scripts that are about consumer groups.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use corelog_net::wire::Uuid;
use corelog_net::wire::records::{PartitionRecord, RemoveTopicRecord, TopicRecord};

use super::super::super::consumer::replay::Entry;
use super::super::super::{
    ConsumerBeat, ConsumerHeartbeat, DescribedConsumerGroup, GroupError, Refusal, Request,
};
use crate::metadata::{Delta, Image, MetadataRecord};

/// `t=3`: the topic has three partitions from now on; `t=0`: it is gone.
pub(in super::super) fn topics(before: &Image, words: &[&str]) -> (Image, Delta) {
    let mut records: Vec<MetadataRecord> = Vec::new();
    for word in words {
        let (name, count) = word.split_once('=').unwrap();
        let (topic_id, count): (_, i32) = (topic_id(name), count.parse().unwrap());
        let known = before
            .topic(name)
            .map_or(0, |topic| topic.partition_count());
        if count == 0 {
            records.push(
                RemoveTopicRecord {
                    topic_id,
                    ..Default::default()
                }
                .into(),
            );
            continue;
        }
        if known == 0 {
            let name = name.to_owned();
            records.push(
                TopicRecord {
                    name,
                    topic_id,
                    ..Default::default()
                }
                .into(),
            );
        }
        for partition_id in known..count {
            let record = PartitionRecord {
                partition_id,
                topic_id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                leader_epoch: 0,
                partition_epoch: 0,
                ..PartitionRecord::default()
            };
            records.push(record.into());
        }
    }
    let (mut image, delta) = before.after(&records).unwrap();
    let mut at = before.at();
    at.end_offset += i64::try_from(records.len()).unwrap();
    image.set_at(at);
    (image, delta)
}

/// The first letter of a topic's name, sixteen times.
pub(in super::super) fn topic_id(name: &str) -> Uuid {
    Uuid([name.as_bytes()[0]; 16])
}

fn topic_name(id: Uuid) -> char {
    char::from(id.0[0])
}

pub(super) fn heartbeat(group_id: String, options: &BTreeMap<&str, &str>) -> Request {
    let option = |name: &str| options.get(name).map(|value| (*value).to_owned());
    let epoch = options
        .get("epoch")
        .map_or(0, |epoch| epoch.parse().unwrap());
    let list = |text: &str| -> Vec<String> {
        text.split(',')
            .filter(|part| *part != "-")
            .map(str::to_owned)
            .collect()
    };
    let owned = |text: &str| {
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for place in list(text) {
            let (topic, partition) = place.split_once(':').unwrap();
            owned
                .entry(topic_id(topic))
                .or_default()
                .push(partition.parse().unwrap());
        }
        owned.into_iter().collect()
    };
    let joins = epoch == 0;
    Request::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        group_id,
        member_id: option("id").unwrap_or_default(),
        member_epoch: epoch,
        instance_id: option("instance"),
        rack_id: option("rack"),
        rebalance_timeout_ms: options
            .get("rebalance")
            .map_or(if joins { 20_000 } else { -1 }, |ms| ms.parse().unwrap()),
        topics: options.get("topics").map(|text| list(text)),
        regex: option("regex"),
        assignor: option("assignor"),
        owned: options
            .get("owns")
            .map(|text| owned(text))
            .or(joins.then(Vec::new)),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
    }))
}

pub(super) fn beat(beat: &Result<ConsumerBeat, Box<Refusal>>, id: &str) -> String {
    match beat {
        Ok(beat) => {
            let mut shown = format!("hb {id} epoch={}", beat.member_epoch);
            if let Some(assignment) = &beat.assignment {
                write!(shown, " assigned={}", places(assignment)).unwrap();
            }
            shown
        }
        Err(refusal) => {
            let text = refusal.message.as_deref().unwrap_or("-");
            format!("hb {:?}: {text}", refusal.error)
        }
    }
}

fn places(topics: &[(Uuid, Vec<i32>)]) -> String {
    let places = topics.iter().flat_map(|(topic, partitions)| {
        partitions
            .iter()
            .map(|partition| format!("{}:{partition}", topic_name(*topic)))
    });
    let places: Vec<_> = places.collect();
    if places.is_empty() {
        "-".to_owned()
    } else {
        places.join(",")
    }
}

pub(super) fn described(
    group: &Result<DescribedConsumerGroup, GroupError>,
    alias: &mut impl FnMut(&str) -> String,
) -> String {
    let group = match group {
        Ok(group) => group,
        Err(refused) => return format!("cdescribe {refused:?}"),
    };
    let mut shown = format!(
        "cdescribe {} {}/{} {}",
        group.state, group.epoch, group.assignment_epoch, group.assignor
    );
    for member in &group.members {
        let kind = if member.is_classic { "classic " } else { "" };
        write!(
            shown,
            " {}({kind}{} {} -> {})",
            alias(&member.member_id),
            member.epoch,
            places(&member.assignment),
            places(&member.target)
        )
        .unwrap();
    }
    shown
}

/// A record, by the last words of Kafka's name for it.
pub(super) fn entry(entry: &Entry, alias: &mut impl FnMut(&str) -> String) -> String {
    match entry {
        Entry::Group(None) => "epoch gone".to_owned(),
        Entry::Group(Some(value)) => {
            let topics = if value.metadata_hash == 0 {
                "none"
            } else {
                "some"
            };
            format!("epoch={} topics={topics}", value.epoch)
        }
        Entry::Partitions => "partitions gone".to_owned(),
        Entry::TargetMetadata(None) => "target epoch gone".to_owned(),
        Entry::TargetMetadata(Some(value)) => {
            format!(
                "target epoch={} at={}",
                value.assignment_epoch, value.assignment_timestamp
            )
        }
        Entry::Member(id, None) => format!("member {} gone", alias(id)),
        Entry::Member(id, Some(value)) => {
            let mut shown = format!(
                "member {} wants={}",
                alias(id),
                value.subscribed_topic_names.join(",")
            );
            let options = [
                ("regex", value.subscribed_topic_regex.as_deref()),
                ("instance", value.instance_id.as_deref()),
                ("rack", value.rack_id.as_deref()),
                ("assignor", value.server_assignor.as_deref()),
            ];
            for (name, option) in options {
                if let Some(option) = option.filter(|option| !option.is_empty()) {
                    write!(shown, " {name}={option}").unwrap();
                }
            }
            if value.classic_member_metadata.is_some() {
                shown.push_str(" classic");
            }
            shown
        }
        Entry::Target(id, None) => format!("target {} gone", alias(id)),
        Entry::Target(id, Some(value)) => {
            let topics = value.topic_partitions.iter();
            let topics: Vec<_> = topics.map(|t| (t.topic_id, t.partitions.clone())).collect();
            format!("target {}={}", alias(id), places(&topics))
        }
        Entry::Assignment(id, None) => format!("current {} gone", alias(id)),
        Entry::Assignment(id, Some(value)) => {
            let state = ["stable", "unrevoked", "unreleased"];
            let list = |topics: &[corelog_net::wire::records::consumer_group_current_member_assignment::TopicPartitions]| {
                let mut all = Vec::new();
                for topic in topics {
                    let epochs = topic.assignment_epochs.clone().unwrap_or_default();
                    for (partition, epoch) in topic.partitions.iter().zip(epochs) {
                        all.push(format!("{}:{partition}@{epoch}", topic_name(topic.topic_id)));
                    }
                }
                all.join(",")
            };
            let mut shown = format!(
                "current {} epoch={}/{} {} has={}",
                alias(id),
                value.member_epoch,
                value.previous_member_epoch,
                state[usize::try_from(value.state).unwrap()],
                list(&value.assigned_partitions)
            );
            if !value.partitions_pending_revocation.is_empty() {
                let list = list(&value.partitions_pending_revocation);
                write!(shown, " revokes={list}").unwrap();
            }
            shown
        }
        Entry::Regex(pattern, None) => format!("regex {pattern} gone"),
        Entry::Regex(pattern, Some(value)) => {
            format!("regex {pattern}={}", value.topics.join(","))
        }
    }
}
