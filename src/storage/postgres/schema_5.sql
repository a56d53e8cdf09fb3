-- The oldest schema whose parlor may use this database: a later step that only adds leaves it as it is, so that nodes of
-- two versions run together during an upgrade; any other step raises it. A parlor of schema 4 refuses newer schemas.
ALTER TABLE schema_version ADD COLUMN min_reader integer NOT NULL DEFAULT 5;

-- Certificates by ACME, for all processes that use the database.

-- Accounts and certificates with their keys, encrypted by parlor. A scope stands for an authority, its domains and the
-- key of the encryption.
CREATE TABLE acme_values (
    scope   text   COLLATE "C" NOT NULL,
    -- account or certificate
    kind    text   COLLATE "C" NOT NULL,
    -- Grows with each new value.
    version bigint NOT NULL DEFAULT 1,
    sealed  bytea  NOT NULL,
    PRIMARY KEY (scope, kind)
);

-- The process that orders, until its lease ends, and the failures before.
CREATE TABLE acme_orders (
    scope       text COLLATE "C" PRIMARY KEY,
    holder      text COLLATE "C" NOT NULL,
    lease_until timestamptz NOT NULL,
    -- No attempt before this.
    retry_at    timestamptz NOT NULL DEFAULT '-infinity',
    -- The failures so far, as JSON.
    backoff     text,
    -- Why the last attempt failed.
    reason      text
);

-- The challenges that every process answers until the order ends.
CREATE TABLE acme_challenges (
    scope             text COLLATE "C" NOT NULL REFERENCES acme_orders (scope) ON DELETE CASCADE,
    is_tls_alpn       boolean NOT NULL,
    -- A domain for TLS-ALPN-01, a token for HTTP-01.
    name              text COLLATE "C" NOT NULL,
    key_authorization text NOT NULL,
    expires_at        timestamptz NOT NULL,
    PRIMARY KEY (scope, is_tls_alpn, name)
);
