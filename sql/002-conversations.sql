-- Conversations, their members with their cursors, and the messages.
-- Keys are bytes (`d12-57`, `g9`): no collation can take two for one, and joins against values use the index.

CREATE TABLE IF NOT EXISTS conversation (
    conv        VARBINARY(24) NOT NULL,
    last_seq    BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'numbers are given under this row''s lock',
    first_seq   BIGINT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'what retention has kept begins here',
    members_ver INT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'bumped by every change of members',
    touched     DATETIME(3) NOT NULL COMMENT 'the last change by this server''s clock, UTC',
    PRIMARY KEY (conv),
    KEY touched (touched)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS member (
    user      INT UNSIGNED NOT NULL,
    conv      VARBINARY(24) NOT NULL,
    role      ENUM('normal', 'creator') NOT NULL DEFAULT 'normal',
    first_seq BIGINT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'nothing earlier is theirs to see',
    recv_seq  BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'confirmed by the client',
    read_seq  BIGINT UNSIGNED NOT NULL DEFAULT 0,
    PRIMARY KEY (user, conv),
    KEY members (conv, user)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS message (
    conv   VARBINARY(24) NOT NULL,
    seq    BIGINT UNSIGNED NOT NULL,
    sender INT UNSIGNED NOT NULL,
    cid    VARBINARY(64) NOT NULL COMMENT 'the sender''s own id of it: a resend is found by it',
    ts     BIGINT UNSIGNED NOT NULL COMMENT 'milliseconds since 1970',
    body   MEDIUMBLOB NOT NULL COMMENT 'JSON: name, msg, the sender''s extra keys',
    PRIMARY KEY (conv, seq),
    UNIQUE KEY resend (sender, cid)
) ENGINE = InnoDB;
