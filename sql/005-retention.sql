-- How far the deletion of old messages has come: one worker at a time, whoever finds the row free and due.

CREATE TABLE IF NOT EXISTS retention (
    one  TINYINT UNSIGNED NOT NULL DEFAULT 1,
    done VARBINARY(24) NOT NULL DEFAULT '' COMMENT 'the conversations up to this key have been looked at',
    due  DATETIME(3) NOT NULL COMMENT 'when to go on, UTC',
    PRIMARY KEY (one)
) ENGINE = InnoDB;

INSERT IGNORE INTO retention (one, due) VALUES (1, '2000-01-01');
