-- Version 10: the locks of maildrops are in memory. Only one process has the store open, and its sessions end with it.

DROP TABLE maildrop_locks;
