//! Accounts, certificates and orders of ACME, shared by all processes that use the database.
//!
//! All times are those of the server, because the clocks of the processes differ.

use std::time::Duration;

use super::call::{Call, Parameters, READ, REPEATABLE_WRITE, Text};
use super::database::Database;
use crate::storage::{AcmeChallenge, AcmeResult, AcmeState, AcmeValue, StoreError};

/// These writes change nobody's access.
const ACME_WRITE: Call = REPEATABLE_WRITE.without_doubt();

const STATE: &str = "
    SELECT version, coalesce(lease_until <= now() AND retry_at <= now(), true), reason,
           CASE WHEN retry_at > '-infinity' THEN extract(epoch FROM retry_at)::bigint ELSE 0 END,
           is_tls_alpn, name, key_authorization
    FROM (SELECT) once
    LEFT JOIN acme_values v ON v.scope = $1 AND v.kind = 'certificate'
    LEFT JOIN acme_orders o ON o.scope = $1
    LEFT JOIN acme_challenges c ON c.expires_at > now()
    ORDER BY is_tls_alpn, name COLLATE \"C\"";

/// `clock_timestamp()`, because the statement may have waited for the row.
const BEGIN: &str = "
    INSERT INTO acme_orders AS o (scope, holder, lease_until)
    VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')
    ON CONFLICT (scope) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
    WHERE (o.lease_until <= clock_timestamp() OR o.holder = $2)
      AND (o.retry_at <= clock_timestamp() OR $4)
    RETURNING backoff";

const END: &str = "
    WITH ended AS (
        UPDATE acme_orders SET lease_until = '-infinity',
               retry_at = coalesce(now() + $3::bigint * interval '1 millisecond', '-infinity'),
               backoff = $4, reason = $5
        WHERE scope = $1 AND holder = $2 RETURNING scope),
    stored AS (
        INSERT INTO acme_values AS v (scope, kind, sealed)
        SELECT scope, 'certificate', $6::bytea FROM ended WHERE $6::bytea IS NOT NULL
        ON CONFLICT (scope, kind) DO UPDATE SET sealed = excluded.sealed, version = v.version + 1),
    cleared AS (
        DELETE FROM acme_challenges WHERE scope IN (SELECT scope FROM ended) OR expires_at <= now())
    SELECT true FROM ended";

/// A handle on the shared orders of a database.
#[derive(Clone)]
pub struct SharedAcme {
    pub(in crate::storage) database: Database,
}

impl SharedAcme {
    /// Returns the state of the orders of `scope`, and all open challenges.
    pub async fn state(&self, scope: &str) -> Result<AcmeState, StoreError> {
        let scope = Text(scope);
        let parameters: Parameters<'_> = &[&scope];
        let rows = self.database.query(READ, STATE, parameters, |row| {
            let name: Option<String> = row.try_get(5)?;
            let challenge = match name {
                Some(name) => Some(AcmeChallenge {
                    is_tls_alpn: row.try_get(4)?,
                    name,
                    key_authorization: row.try_get(6)?,
                }),
                None => None,
            };
            let reason: Option<String> = row.try_get(2)?;
            let retry: Option<i64> = row.try_get(3)?;
            let retry = u64::try_from(retry.unwrap_or(0)).unwrap_or(0);
            let state = AcmeState {
                challenges: Vec::new(),
                certificate: row.try_get(0)?,
                may_order: row.try_get(1)?,
                failure: reason.map(|reason| (reason, retry)),
            };
            Ok((state, challenge))
        });
        let mut state: Option<AcmeState> = None;
        for (found, challenge) in rows.await? {
            state.get_or_insert(found).challenges.extend(challenge);
        }
        Ok(state.unwrap_or_default())
    }

    /// Returns a stored value.
    pub async fn value(&self, scope: &str, kind: AcmeValue) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT sealed FROM acme_values WHERE scope = $1 AND kind = $2";
        let parameters: Parameters<'_> = &[&Text(scope), &Text(name(kind))];
        self.database
            .query_opt(READ, sql, parameters, |row| row.try_get(0))
            .await
    }

    /// Stores a value, or only a first one.
    pub async fn set_value(
        &self,
        scope: &str,
        kind: AcmeValue,
        sealed: &[u8],
        replace: bool,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO acme_values AS v (scope, kind, sealed) VALUES ($1, $2, $3)
                   ON CONFLICT (scope, kind) DO UPDATE SET sealed = $3, version = v.version + 1 WHERE $4";
        self.run(sql, &[&Text(scope), &Text(name(kind)), &sealed, &replace])
            .await
    }

    /// Deletes a value. Idempotent.
    pub async fn delete_value(&self, scope: &str, kind: AcmeValue) -> Result<(), StoreError> {
        let sql = "DELETE FROM acme_values WHERE scope = $1 AND kind = $2";
        self.run(sql, &[&Text(scope), &Text(name(kind))]).await
    }

    /// Takes the lease of the order if no other process has it, and returns the failures so far. `None` if another one
    /// has it, or if an attempt has to wait; `ignore_wait` is for an admin who asks for one.
    pub async fn begin_order(
        &self,
        scope: &str,
        holder: &str,
        lease: Duration,
        ignore_wait: bool,
    ) -> Result<Option<Option<String>>, StoreError> {
        let lease = millis(lease);
        let parameters: Parameters<'_> = &[&Text(scope), &Text(holder), &lease, &ignore_wait];
        self.database
            .query_opt(ACME_WRITE, BEGIN, parameters, |row| row.try_get(0))
            .await
    }

    /// Extends the lease; false if another process has taken it.
    pub async fn extend_order(
        &self,
        scope: &str,
        holder: &str,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE acme_orders
                   SET lease_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
                   WHERE scope = $1 AND holder = $2 RETURNING true";
        let parameters: Parameters<'_> = &[&Text(scope), &Text(holder), &millis(lease)];
        let extended = self
            .database
            .query_opt(ACME_WRITE, sql, parameters, |row| row.try_get(0))
            .await?;
        Ok(extended.unwrap_or(false))
    }

    /// Adds challenges, which end with the order and after `limit` at the latest.
    pub async fn add_challenges(
        &self,
        scope: &str,
        challenges: &[AcmeChallenge],
        limit: Duration,
    ) -> Result<(), StoreError> {
        let kinds: Vec<_> = challenges.iter().map(|one| one.is_tls_alpn).collect();
        let names: Vec<_> = challenges.iter().map(|one| &*one.name).collect();
        let answers: Vec<_> = challenges
            .iter()
            .map(|one| &*one.key_authorization)
            .collect();
        let sql = "INSERT INTO acme_challenges (scope, is_tls_alpn, name, key_authorization, expires_at)
                   SELECT $1, kind, name, answer, now() + $5::bigint * interval '1 millisecond'
                   FROM unnest($2::boolean[], $3::text[], $4::text[]) AS given (kind, name, answer)
                   ON CONFLICT (scope, is_tls_alpn, name) DO UPDATE
                   SET key_authorization = excluded.key_authorization, expires_at = excluded.expires_at";
        self.run(
            sql,
            &[&Text(scope), &kinds, &names, &answers, &millis(limit)],
        )
        .await
    }

    /// Ends the order with its challenges, and stores its certificate; false if another process has the lease, and then
    /// nothing changes.
    pub async fn end_order(
        &self,
        scope: &str,
        holder: &str,
        result: AcmeResult<'_>,
    ) -> Result<bool, StoreError> {
        let failure = result.failure;
        let wait = failure.map(|(wait, ..)| millis(wait));
        let backoff = failure.map(|(_, backoff, _)| Text(backoff));
        let reason = failure.map(|(.., reason)| Text(reason));
        let parameters: Parameters<'_> = &[
            &Text(scope),
            &Text(holder),
            &wait,
            &backoff,
            &reason,
            &result.certificate,
        ];
        let ended = self
            .database
            .query_opt(ACME_WRITE, END, parameters, |row| row.try_get(0))
            .await?;
        Ok(ended.unwrap_or(false))
    }

    async fn run(&self, sql: &str, parameters: Parameters<'_>) -> Result<(), StoreError> {
        self.database
            .query(ACME_WRITE, sql, parameters, |_| Ok(()))
            .await?;
        Ok(())
    }
}

fn name(kind: AcmeValue) -> &'static str {
    match kind {
        AcmeValue::Account => "account",
        AcmeValue::Certificate => "certificate",
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
