//! **Owns** members of groups of the consumer protocol (KIP-848): they join, take what they are given, and send heartbeats
//! when the broker wants them.
//! **Lives on** the runtime of [`super`], one task per connection.
//! **Invariants** (1) A member sends one heartbeat at a time, also while it waits for the others: nobody's session ends.
//! (2) A phase of joining is over when each member has said that it has its one partition and no other.
//! **Not here** phases, what is printed.

use std::collections::BTreeSet;
use std::time::Duration;

use corelog_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, RequestTopicPartitions,
};
use corelog_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::{Instant, now, sleep, timeout_at};
use corelog_tools::client::Connection;

use super::{Plan, Stage, open, text};

/// Makes the topic that all groups read: a partition for each member of a group.
pub(super) async fn prepare(plan: &Plan, wire: &Connection) -> Result<(), String> {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: plan.topic(),
            num_partitions: i32::try_from(plan.members).map_err(text)?,
            replication_factor: 1,
            ..CreatableTopic::default()
        }],
        timeout_ms: 60_000,
        ..CreateTopicsRequest::default()
    };
    let response = wire.call(&request).await.map_err(text)?;
    match response.topics.first() {
        Some(topic) if topic.error_code == 0 => Ok(()),
        Some(topic) => Err(format!(
            "{} cannot be made: {:?} {}",
            topic.name,
            ErrorCode::try_from(topic.error_code),
            topic.error_message.as_deref().unwrap_or_default()
        )),
        None => Err("CreateTopics was answered without a topic".to_owned()),
    }
}

struct Member {
    group: String,
    id: String,
    epoch: i32,
    /// What it has been given, by topic.
    owned: Vec<RequestTopicPartitions>,
    /// What it has was not told yet.
    is_new: bool,
}

impl Member {
    fn request(&self, plan: &Plan) -> ConsumerGroupHeartbeatRequest {
        let is_joining = self.epoch == 0;
        ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if is_joining { 300_000 } else { -1 },
            subscribed_topic_names: is_joining.then(|| vec![plan.topic()]),
            topic_partitions: (is_joining || self.is_new).then(|| self.owned.clone()),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    /// Whether it has its share and has said so.
    fn is_settled(&self) -> bool {
        let partitions: usize = self.owned.iter().map(|topic| topic.partitions.len()).sum();
        self.epoch > 0 && !self.is_new && partitions == 1
    }

    fn begin_anew(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.is_new = false;
    }
}

/// The members of a connection, and when each is heard next.
struct Crowd<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    wire: Connection,
    members: Vec<Member>,
    due: BTreeSet<(Instant, usize)>,
    interval: Duration,
    is_measuring: bool,
}

/// One member of each group of a block, through all phases.
pub(super) async fn connection(
    plan: &Plan,
    stage: &Stage,
    block: usize,
    place: usize,
) -> Result<(), String> {
    let members = plan.groups_of(block).map(|group| Member {
        group: plan.group(group),
        id: member_id(plan, group, place),
        epoch: 0,
        owned: Vec::new(),
        is_new: false,
    });
    let mut crowd = Crowd {
        plan,
        stage,
        wire: open(plan).await?,
        members: members.collect(),
        due: BTreeSet::new(),
        interval: plan.interval.unwrap_or(INTERVAL_AT_FIRST),
        is_measuring: false,
    };
    stage.note();
    crowd.until(None, |_, stage| stage.open.get() >= 1).await?;
    for phase in 1..=1 + plan.rejoins {
        crowd.join(phase).await?;
    }
    let number = u32::try_from(block * plan.members + place).unwrap_or(0);
    crowd.measure(number).await?;
    stage.note();
    std::future::pending().await
}

impl Crowd<'_> {
    /// Joins with all members, and waits for the next phase once they have their parts.
    async fn join(&mut self, phase: usize) -> Result<(), String> {
        self.due.clear();
        for (index, member) in self.members.iter_mut().enumerate() {
            member.begin_anew();
            self.due.insert((now(), index));
        }
        let settled = |members: &[Member], _: &Stage| members.iter().all(Member::is_settled);
        self.until(None, settled).await?;
        self.stage.note();
        self.until(None, |_, stage| stage.open.get() > phase).await
    }

    async fn measure(&mut self, number: u32) -> Result<(), String> {
        let (begin, count) = (now(), self.members.len());
        self.due.clear();
        // Members do not beat in step.
        let step = self.interval / u32::try_from(count).unwrap_or(1).max(1);
        for index in 0..count {
            let place = step * u32::try_from(index).unwrap_or(0) + step * (number % 1_000) / 1_000;
            self.due.insert((begin + place, index));
        }
        self.is_measuring = true;
        let end = begin + self.plan.length;
        self.until(Some(end), |_, _| false).await
    }

    /// Sends heartbeats as they are due until the condition holds or the time is over.
    async fn until(
        &mut self,
        end: Option<Instant>,
        done: impl Fn(&[Member], &Stage) -> bool,
    ) -> Result<(), String> {
        while !done(&self.members, self.stage) {
            let next = self.due.first().copied();
            if end.is_some_and(|end| next.is_none_or(|(due, _)| due >= end)) {
                return Ok(());
            }
            match next {
                Some((due, index)) if due <= now() => {
                    self.due.pop_first();
                    self.beat(due, index).await?;
                }
                Some((due, _)) => {
                    let _ = timeout_at(due, self.stage.opened.notified()).await;
                }
                None => self.stage.opened.notified().await,
            }
        }
        Ok(())
    }

    async fn beat(&mut self, due: Instant, index: usize) -> Result<(), String> {
        let member = &mut self.members[index];
        let request = member.request(self.plan);
        let response = self.wire.call(&request).await.map_err(text)?;
        if self.is_measuring {
            self.stage.latencies.borrow_mut().add(now() - due);
        }
        let mut next = due + self.interval;
        match ErrorCode::try_from(response.error_code) {
            Ok(ErrorCode::None) => {
                member.epoch = response.member_epoch;
                member.is_new = false;
                if let Some(assignment) = response.assignment {
                    let topics = assignment.topic_partitions.into_iter();
                    let topics = topics.map(|topic| RequestTopicPartitions {
                        topic_id: topic.topic_id,
                        partitions: topic.partitions,
                        ..RequestTopicPartitions::default()
                    });
                    member.owned = topics.collect();
                    member.is_new = true;
                    // Taken or given back at once, as nothing is read, and said at once.
                    next = now();
                }
                if self.plan.interval.is_none()
                    && let Ok(ms) = u64::try_from(response.heartbeat_interval_ms)
                    && ms > 0
                {
                    self.interval = Duration::from_millis(ms);
                    self.stage.interval.set(self.interval);
                }
            }
            Ok(ErrorCode::CoordinatorLoadInProgress) => {
                sleep(Duration::from_millis(100)).await;
                next = now();
            }
            Ok(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                self.stage.errors.set(self.stage.errors.get() + 1);
                member.begin_anew();
                next = now();
            }
            error => {
                let words = response.error_message.unwrap_or_default();
                return Err(format!("ConsumerGroupHeartbeat: {error:?} {words}"));
            }
        }
        self.due.insert((next, index));
        Ok(())
    }
}

/// An id of the kind that clients draw.
fn member_id(plan: &Plan, group: usize, place: usize) -> String {
    let number = (group as u64) << 20 | place as u64;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&plan.run.to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Uuid(bytes).to_string()
}

/// Kafka's `group.consumer.heartbeat.interval.ms`, until the broker has told its own.
const INTERVAL_AT_FIRST: Duration = Duration::from_secs(5);
