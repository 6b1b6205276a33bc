//! The ledger: double entry by construction. A row is a *transfer*: it debits one account by exactly what it credits another, in one
//! currency, so an unbalanced entry has no representation. An *entry* groups the transfers of one cause, which is named by
//! (source, source_id) and posted once; the same name with other content is an error. Nothing is ever changed or removed: the
//! database refuses it, and its role has no grant for it.
//!
//! ```text
//! listener_revenue:2026-11 ──revenue──► pool:2026-11 ──settlement──► payee:{account}
//!                                             │            ├───────► unclaimed:{track}
//!                     carry: ◄──remainder─────┘            │
//!                        └──────carried into the next──────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};

use protocol::{AccountId, TrackId, UnixMs};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{error::RoyaltyError, money::Currency, period::Period};

/// Where money is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// What listeners paid for a month; only ever debited.
    ListenerRevenue(Period),
    /// What a month has to give out.
    Pool(Period),
    /// What settlements could not pay out.
    Carry,
    /// What an account may have.
    Payee(AccountId),
    /// What an account may have once a doubt about it is settled.
    Held(AccountId),
    /// What waits for somebody to be known.
    Unclaimed(TrackId),
}

impl Account {
    const fn kind(self) -> &'static str {
        match self {
            Self::ListenerRevenue(_) => "listener_revenue",
            Self::Pool(_) => "pool",
            Self::Carry => "carry",
            Self::Payee(_) => "payee",
            Self::Held(_) => "held",
            Self::Unclaimed(_) => "unclaimed",
        }
    }

    fn owner(self) -> String {
        match self {
            Self::ListenerRevenue(period) | Self::Pool(period) => period.to_string(),
            Self::Carry => String::new(),
            Self::Payee(account) | Self::Held(account) => account.to_string(),
            Self::Unclaimed(track) => track.to_string(),
        }
    }
}

/// Money on its way from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Gives.
    pub debit: Account,
    /// Takes.
    pub credit: Account,
    /// How much, above zero.
    pub micros: i64,
}

/// The transfers of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What kind of cause.
    pub source: &'static str,
    /// Its name.
    pub source_id: String,
    /// What the cause says, beside its transfers: the same name must always say the same.
    pub content: String,
    /// The currency of all its transfers.
    pub currency: Currency,
    /// The transfers.
    pub transfers: Vec<Transfer>,
}

impl Entry {
    /// SHA-256 of everything the entry says.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |field: &str| {
            hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(field.as_bytes());
        };
        put(&self.content);
        put(&self.currency.to_string());
        for Transfer { debit, credit, micros } in &self.transfers {
            for account in [debit, credit] {
                put(account.kind());
                put(&account.owner());
            }
            put(&micros.to_string());
        }
        hash.finalize().into()
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It was posted now, under this id.
    New(i64),
    /// It had been posted before, with the same content.
    Already,
}

/// Posts entries of one source, in the caller's transaction. Concurrent posts of the same cause wait for each other: one of them is new.
///
/// # Errors
/// [`RoyaltyError::EntryConflict`] when a cause was posted with other content; otherwise those of the database. The caller's transaction
/// must then be rolled back.
pub async fn post(tx: &mut PgConnection, entries: &[Entry], now: UnixMs) -> Result<Vec<Posted>, RoyaltyError> {
    let mut sorted: Vec<(&Entry, [u8; 32])> = entries.iter().map(|entry| (entry, entry.digest())).collect();
    sorted.sort_by(|(one, _), (other, _)| (one.source, &one.source_id).cmp(&(other.source, &other.source_id)));
    let rows: Vec<(i64, String, String)> = sqlx::query_as(
        "INSERT INTO royalty.entries (source, source_id, sha256, at_ms)
         SELECT source, source_id, decode(sha256, 'hex'), $4
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS entry (source, source_id, sha256)
         ORDER BY source, source_id
         ON CONFLICT (source, source_id) DO NOTHING
         RETURNING id, source, source_id",
    )
    .bind(sorted.iter().map(|(entry, _)| entry.source.to_owned()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(entry, _)| entry.source_id.clone()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, digest)| hex::encode(digest)).collect::<Vec<_>>())
    .bind(now.0)
    .fetch_all(&mut *tx)
    .await?;
    let mut new: BTreeMap<(String, String), i64> = rows.into_iter().map(|(id, source, source_id)| ((source, source_id), id)).collect();
    check_known(tx, &sorted).await?;
    let mut transfers = Vec::new();
    let posted = entries
        .iter()
        .map(|entry| match new.remove(&(entry.source.to_owned(), entry.source_id.clone())) {
            Some(id) => {
                transfers.extend(entry.transfers.iter().zip(0i32..).map(|(transfer, line)| (id, line, entry.currency, *transfer)));
                Posted::New(id)
            }
            None => Posted::Already,
        })
        .collect();
    insert_transfers(tx, &transfers).await?;
    Ok(posted)
}

/// Every cause is now in the database: with this content, or it is an error. Repeats within the call are held to the same.
async fn check_known(tx: &mut PgConnection, entries: &[(&Entry, [u8; 32])]) -> Result<(), RoyaltyError> {
    let stranger: Option<(String,)> = sqlx::query_as(
        "SELECT entry.source_id
         FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS entry (source, source_id, sha256)
         LEFT JOIN royalty.entries AS known USING (source, source_id)
         WHERE known.sha256 IS DISTINCT FROM decode(entry.sha256, 'hex')
         ORDER BY entry.source_id LIMIT 1",
    )
    .bind(entries.iter().map(|(entry, _)| entry.source.to_owned()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(entry, _)| entry.source_id.clone()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, digest)| hex::encode(digest)).collect::<Vec<_>>())
    .fetch_optional(tx)
    .await?;
    match (stranger, entries.first()) {
        (Some((id,)), Some((entry, _))) => Err(RoyaltyError::EntryConflict { cause: entry.source, id }),
        _ => Ok(()),
    }
}

async fn insert_transfers(tx: &mut PgConnection, transfers: &[(i64, i32, Currency, Transfer)]) -> Result<(), RoyaltyError> {
    if transfers.is_empty() {
        return Ok(());
    }
    let ids = account_ids(tx, transfers).await?;
    let id = |account: Account, currency: Currency| {
        ids.get(&(account.kind().to_owned(), account.owner(), currency.to_string()))
            .copied()
            .ok_or_else(|| RoyaltyError::Invariant(format!("account {account:?} has no row")))
    };
    let mut debits = Vec::with_capacity(transfers.len());
    let mut credits = Vec::with_capacity(transfers.len());
    for (_, _, currency, transfer) in transfers {
        debits.push(id(transfer.debit, *currency)?);
        credits.push(id(transfer.credit, *currency)?);
    }
    sqlx::query(
        "INSERT INTO royalty.transfers (entry, line, debit, credit, currency, amount_micros)
         SELECT entry, line, debit, credit, currency, amount_micros
         FROM unnest($1::BIGINT[], $2::INTEGER[], $3::BIGINT[], $4::BIGINT[], $5::TEXT[], $6::BIGINT[])
              AS transfer (entry, line, debit, credit, currency, amount_micros)",
    )
    .bind(transfers.iter().map(|(entry, ..)| *entry).collect::<Vec<_>>())
    .bind(transfers.iter().map(|(_, line, ..)| *line).collect::<Vec<_>>())
    .bind(debits)
    .bind(credits)
    .bind(transfers.iter().map(|(_, _, currency, _)| currency.to_string()).collect::<Vec<_>>())
    .bind(transfers.iter().map(|(.., transfer)| transfer.micros).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

type AccountName = (String, String, String);

/// The rows of the accounts that `transfers` touch, made where they are missing.
async fn account_ids(
    tx: &mut PgConnection,
    transfers: &[(i64, i32, Currency, Transfer)],
) -> Result<BTreeMap<AccountName, i64>, sqlx::Error> {
    let names: BTreeSet<AccountName> = transfers
        .iter()
        .flat_map(|(_, _, currency, transfer)| [(transfer.debit, currency), (transfer.credit, currency)])
        .map(|(account, currency)| (account.kind().to_owned(), account.owner(), currency.to_string()))
        .collect();
    let kinds: Vec<&str> = names.iter().map(|(kind, ..)| kind.as_str()).collect();
    let owners: Vec<&str> = names.iter().map(|(_, owner, _)| owner.as_str()).collect();
    let currencies: Vec<&str> = names.iter().map(|(.., currency)| currency.as_str()).collect();
    sqlx::query(
        "INSERT INTO royalty.accounts (kind, owner, currency)
         SELECT kind, owner, currency FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS account (kind, owner, currency)
         ORDER BY kind, owner, currency
         ON CONFLICT DO NOTHING",
    )
    .bind(&kinds)
    .bind(&owners)
    .bind(&currencies)
    .execute(&mut *tx)
    .await?;
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
        "SELECT kind, owner, currency, id
         FROM royalty.accounts JOIN unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS account (kind, owner, currency)
              USING (kind, owner, currency)",
    )
    .bind(&kinds)
    .bind(&owners)
    .bind(&currencies)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|(kind, owner, currency, id)| ((kind, owner, currency), id)).collect())
}

/// What an account holds: everything credited less everything debited.
///
/// # Errors
/// Those of the database.
pub async fn balance(tx: &mut PgConnection, account: Account, currency: Currency) -> Result<i64, sqlx::Error> {
    let micros: Option<i64> =
        sqlx::query_scalar("SELECT micros::BIGINT FROM royalty.balances WHERE kind = $1 AND owner = $2 AND currency = $3")
            .bind(account.kind())
            .bind(account.owner())
            .bind(currency.to_string())
            .fetch_optional(tx)
            .await?;
    Ok(micros.unwrap_or(0))
}
