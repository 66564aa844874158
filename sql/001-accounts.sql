-- Accounts, the tokens they log in with, and who has added whom.
-- Every file here may be run again: DDL commits by itself, so a crash can leave a file half applied.

CREATE TABLE IF NOT EXISTS user (
    id       INT UNSIGNED NOT NULL AUTO_INCREMENT,
    name     VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    password VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'argon2id, as argon2-cffi writes it',
    created  TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (id),
    UNIQUE KEY name (name)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS token (
    digest  BINARY(32) NOT NULL COMMENT 'SHA-256 of the token; the token itself is nowhere',
    user    INT UNSIGNED NOT NULL,
    expires DATETIME NOT NULL COMMENT 'UTC',
    PRIMARY KEY (digest),
    KEY user (user),
    KEY expires (expires)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS friend (
    user   INT UNSIGNED NOT NULL COMMENT 'who added',
    friend INT UNSIGNED NOT NULL COMMENT 'whom',
    PRIMARY KEY (user, friend),
    KEY watchers (friend, user)
) ENGINE = InnoDB;
