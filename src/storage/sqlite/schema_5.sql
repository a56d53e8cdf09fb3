-- Accounts and certificates by ACME of a store on PostgreSQL, so that a copy keeps them. A parlor with a file as its
-- store has its own in the data directory.
CREATE TABLE acme_values (
    scope   TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    sealed  BLOB    NOT NULL,
    PRIMARY KEY (scope, kind)
) STRICT;
