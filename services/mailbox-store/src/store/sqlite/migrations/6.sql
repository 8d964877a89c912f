-- Version 6: the sender of a message is told once of its delay.

-- Whether that has happened for this recipient; NULL stands for no.
ALTER TABLE queue ADD COLUMN delay_told INTEGER;
