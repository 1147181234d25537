//! What a coordinator knows of the cluster: topics, the settings of groups, and when they changed.
//!
//! Owns the image the coordinator goes by, until the shell brings another.
//! Lives inside its coordinator.
//! Invariants: 1. `sequence` rises with every change that may concern a group; it is never 0.
//! Not here: how images come about (`crate::metadata`).

use std::sync::Arc;

use crate::metadata::image::ResourceType;
use crate::metadata::{Delta, Image};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) image: Arc<Image>,
    /// Counts changes of topics and settings.
    pub(super) sequence: u64,
    /// Offset of the metadata that last brought a new topic.
    pub(super) topics_created_at: i64,
    /// `group.consumer.assignment.interval.ms`, which may change while the broker runs.
    pub(super) assignment_interval_ms: i64,
}

impl Metadata {
    pub(super) fn new(assignment_interval_ms: i64) -> Self {
        Self {
            image: Arc::new(Image::default()),
            sequence: 1,
            topics_created_at: 0,
            assignment_interval_ms,
        }
    }

    /// The first image, or one whose way here is unknown.
    pub(super) fn set(&mut self, image: Arc<Image>, assignment_interval_ms: i64) {
        self.topics_created_at = super::consumer::regex::version_of(&image);
        self.image = image;
        self.assignment_interval_ms = assignment_interval_ms;
        self.sequence += 1;
    }

    /// The next image, and what is new in it.
    pub(super) fn follow(&mut self, image: Arc<Image>, delta: &Delta, assignment_interval_ms: i64) {
        if !delta.created.is_empty() {
            self.topics_created_at = super::consumer::regex::version_of(&image);
        }
        let concerns = !delta.created.is_empty()
            || !delta.changed.is_empty()
            || !delta.deleted.is_empty()
            || !delta.configs.is_empty()
            || delta.brokers;
        self.sequence += u64::from(concerns);
        self.image = image;
        self.assignment_interval_ms = assignment_interval_ms;
    }

    /// The numbers that are set for one group.
    pub(super) fn group_setting(&self, group: &str) -> impl Fn(&str) -> Option<i64> {
        let values = self.image.config(ResourceType::Group, group);
        move |name| values?.get(name)?.trim().parse().ok()
    }
}
