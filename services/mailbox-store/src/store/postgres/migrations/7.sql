-- Version 7: a message keeps who has submitted it at first (RFC 4954 section 5).

-- A mailbox in angle brackets, <> where nobody knows it; NULL where nobody has said.
ALTER TABLE messages ADD COLUMN IF NOT EXISTS submitter TEXT;
