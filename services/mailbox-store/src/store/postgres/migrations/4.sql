-- Version 4: the sender of a message is told once of its delay.

-- Whether that has happened for this recipient; NULL stands for no.
ALTER TABLE queue ADD COLUMN IF NOT EXISTS delay_told BOOLEAN;
