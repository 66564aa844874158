-- How classic clients number their messages, so that one that logs in and only listens is written to rightly.

CREATE TABLE IF NOT EXISTS classic (
    user      INT UNSIGNED NOT NULL,
    numbering VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'as the configuration names it',
    PRIMARY KEY (user)
) ENGINE = InnoDB;
