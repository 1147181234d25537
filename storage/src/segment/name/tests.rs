use super::*;

#[test]
fn file_names_parse_as_they_print() {
    let contents = [
        Content::Log,
        Content::Index,
        Content::TimeIndex,
        Content::TxnIndex,
        Content::Snapshot,
    ];
    for content in contents {
        for fate in [Fate::Live, Fate::Deleted, Fate::Cleaned, Fate::Swap] {
            for base in [0, 207, i64::MAX] {
                let name = file_with_fate(Offset(base), content, fate);
                assert_eq!(
                    parse_file(&name),
                    Some((Offset(base), content, fate)),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(
        file(Offset(207), Content::TimeIndex),
        "00000000000000000207.timeindex"
    );
}

#[test]
fn foreign_file_names_are_not_guessed_at() {
    let foreign = [
        "leader-epoch-checkpoint",
        "partition.metadata",
        "207.log",
        "00000000000000000207.log.bak",
        "0000000000000000020x.log",
        "99999999999999999999.log",
        "+0000000000000000001.log",
        "",
        "ééééééééééé.log",
    ];
    for name in foreign {
        assert_eq!(parse_file(name), None, "{name}");
    }
}

#[test]
fn folders_parse_as_they_print() {
    let partition = TopicPartition::new("a.b_c-d", 12);
    assert_eq!(
        parse_folder(&folder(&partition)),
        Ok(Folder::Live(partition.clone()))
    );
    let deleted = deleted_folder(&partition, 7);
    assert_eq!(
        deleted,
        "a.b_c-d-12.00000000000000000000000000000007-delete"
    );
    assert_eq!(
        parse_folder(&deleted),
        Ok(Folder::Deleted(partition.clone()))
    );
    assert_eq!(
        parse_folder(&stray_folder(&partition, 7)),
        Ok(Folder::Stray(partition))
    );
}

#[test]
fn a_long_topic_is_cut_when_it_is_marked() {
    let partition = TopicPartition::new("t".repeat(249), 3);
    assert_eq!(deleted_folder(&partition, 7).len(), 255);
}

#[test]
fn foreign_folders_are_refused_with_a_sentence() {
    for name in [
        "lost+found",
        "orders",
        "orders-",
        "orders-x",
        "-3",
        "or ders-1",
        "a-99999999999",
    ] {
        let refused = parse_folder(name).expect_err(name);
        assert!(refused.contains("is not a partition"), "{refused}");
    }
}
