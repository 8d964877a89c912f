use super::model::canonical_name;

#[test]
fn header_names_are_written_as_go_does() {
    for (name, expected) in [("message-id", "Message-Id"), ("MIME-Version", "Mime-Version"), ("X", "X"), ("to", "To")] {
        assert_eq!(canonical_name(name), expected);
    }
}
