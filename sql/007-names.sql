-- Names that look alike belong to one account; addresses that an account's owner has logged in from.

CREATE TABLE IF NOT EXISTS name_skeleton (
    skeleton BINARY(32) NOT NULL COMMENT 'SHA-256 of the form that look-alike names share (UTS #39)',
    user     INT UNSIGNED NOT NULL COMMENT 'the first account that has it; older names may share one',
    PRIMARY KEY (skeleton)
) ENGINE = InnoDB;

-- Accounts that were made without skeletons get them from a worker that finds this row free.
CREATE TABLE IF NOT EXISTS name_indexed (
    one  TINYINT UNSIGNED NOT NULL DEFAULT 1,
    done INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'the accounts up to this id have theirs',
    PRIMARY KEY (one)
) ENGINE = InnoDB;

INSERT IGNORE INTO name_indexed (one) VALUES (1);

CREATE TABLE IF NOT EXISTS known_address (
    address BINARY(32) NOT NULL COMMENT 'SHA-256 of user and network; the address itself is nowhere',
    user    INT UNSIGNED NOT NULL,
    seen    DATE NOT NULL COMMENT 'the last login by password from there, UTC',
    PRIMARY KEY (address),
    KEY user (user)
) ENGINE = InnoDB;

-- Fractions tell apart which of a user's tokens is the oldest. COPY: whatever the server's `alter_algorithm` is.
ALTER TABLE token MODIFY expires DATETIME(6) NOT NULL COMMENT 'UTC', ALGORITHM = COPY;
