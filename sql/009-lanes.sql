-- The last transaction of each connection: where the answer to a commit is lost, it says whether it was committed.

CREATE TABLE IF NOT EXISTS lane (
    id     BINARY(16) NOT NULL COMMENT 'random, of one connection of a worker',
    number BIGINT UNSIGNED NOT NULL COMMENT 'of its last transaction that was committed',
    used   DATE NOT NULL COMMENT 'when that was, UTC',
    PRIMARY KEY (id),
    KEY used (used)
) ENGINE = InnoDB;
