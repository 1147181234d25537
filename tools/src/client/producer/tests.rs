use std::rc::Rc;

use bytes::Bytes;
use corelog_runtime::{Config, Runtime, now};
use corelog_storage::batch::{BatchBuilder, BatchOptions, BatchRules, Codec, validate};
use corelog_storage::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::batch::{Fate, Sealed};
use super::{Identity, Prepared};

/// What a broker checks of a batch whose header was rewritten without reading its records: the CRC follows.
#[test]
fn a_rewritten_header_is_as_valid_as_a_new_one() {
    Runtime::new(&Config::default()).unwrap().run(async {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(BatchOptions {
                compression: codec.into(),
                ..BatchOptions::default()
            });
            for number in 0..50 {
                let value = vec![b'x'; number * 7];
                builder
                    .append(Timestamp(1_700_000_000_000), None, Some(&value), &[])
                    .unwrap();
            }
            let prepared = Prepared::new(&builder.finish().unwrap());
            // The same batch again and again: the first ones are checksummed whole, later ones carried over the body.
            for (at, sequence) in [
                (1_700_000_000_000, 0),
                (1_700_000_001_234, i32::MAX - 3),
                (1_700_000_001_235, 50),
                (1_700_000_099_999, 7),
            ] {
                let fate = Rc::new(Fate::new(now()));
                let mut sealed = Sealed::new(prepared.at(at), 0, 0, fate);
                let identity = Identity {
                    id: ProducerId(4242),
                    epoch: ProducerEpoch(3),
                };
                sealed.stamp(identity, Sequence(sequence), sequence == 0);
                let mut whole = Vec::new();
                sealed.batch.put_head(&mut whole);
                whole.extend_from_slice(sealed.batch.body());
                let rules = BatchRules::default();
                let batch = validate(Bytes::from(whole), &rules, Timestamp(at)).unwrap();
                assert_eq!(batch.header().producer_id, ProducerId(4242));
                assert_eq!(batch.header().base_sequence, Sequence(sequence));
                assert_eq!(batch.header().max_timestamp, Timestamp(at));
                assert_eq!(batch.header().record_count, 50);
            }
        }
    });
}
