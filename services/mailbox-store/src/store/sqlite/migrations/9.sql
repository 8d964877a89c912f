-- Version 9: a message keeps who has submitted it at first (RFC 4954 section 5), and the queue is looked at cheaply.

-- A mailbox in angle brackets, <> where nobody knows it; NULL where nobody has said.
ALTER TABLE messages ADD COLUMN submitter TEXT;

-- Those on hold are found without a look at the rest of the queue. Nothing is written for other entries.
CREATE INDEX queue_held ON queue (message_id) WHERE held_at_ms IS NOT NULL;
