-- Who was removed from a group stays out until they are let in again; who has been a member longest inherits it.

CREATE TABLE IF NOT EXISTS removed (
    conv VARBINARY(24) NOT NULL,
    user INT UNSIGNED NOT NULL,
    PRIMARY KEY (conv, user)
) ENGINE = InnoDB;

ALTER TABLE member ADD COLUMN since_ver INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'members_ver with which they joined';
