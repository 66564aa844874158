-- The epoch changes when the database was restored from a backup: clients then forget their cursors.
-- To restore: load the backup, then `UPDATE epoch SET value = LEFT(MD5(RAND()), 8)` before the start.

CREATE TABLE IF NOT EXISTS epoch (
    one   TINYINT UNSIGNED NOT NULL DEFAULT 1,
    value VARBINARY(16) NOT NULL,
    PRIMARY KEY (one)
) ENGINE = InnoDB;

INSERT IGNORE INTO epoch (one, value) VALUES (1, LEFT(MD5(CONCAT(RAND(), UUID())), 8));
