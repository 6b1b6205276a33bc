//! Revenue intake: what a listener paid, for a month and a territory. It comes from billing through `POST /v1/royalties/revenue`, is
//! named by the biller's `source_id`, and lands in the month's pool in the same transaction.

use protocol::{AccountId, Territory, UnixMs, keys::TokenKeys};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::{
    error::RoyaltyError,
    ledger::{self, Account, Entry, Posted, Transfer},
    money::{Currency, Money},
    period::Period,
    settlement,
};

/// Items of one call.
pub const ITEMS_MAX: usize = 10_000;
const SOURCE_ID_CHARS_MAX: usize = 128;

/// A payment of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revenue {
    /// Names the payment; sent again it counts once.
    pub source_id: String,
    /// Who paid.
    #[schema(value_type = uuid::Uuid)]
    pub account_id: AccountId,
    /// For which month.
    #[schema(value_type = String, example = "2026-11")]
    pub period: Period,
    /// Where.
    #[schema(value_type = String, example = "DE")]
    pub territory: Territory,
    /// How much reaches the pool.
    pub amount: Money,
}

/// What became of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct Intake {
    /// Taken in now.
    pub accepted: usize,
    /// Known already.
    pub duplicate: usize,
}

/// Takes items in: all of them, or none when one of them cannot be.
///
/// # Errors
/// [`RoyaltyError::BadItem`], [`RoyaltyError::OtherCurrency`], [`RoyaltyError::EntryConflict`], [`RoyaltyError::PeriodClosed`], or the database.
pub async fn take(pool: &PgPool, keys: &TokenKeys, ours: Currency, items: &[Revenue], now: UnixMs) -> Result<Intake, RoyaltyError> {
    check(ours, items)?;
    let entries: Vec<Entry> = items.iter().map(|item| entry(item, keys)).collect();
    let mut tx = pool.begin().await?;
    // Shared with other intakes, kept from settlements: a pool does not grow while it is given out.
    settlement::lock_shared(&mut tx).await?;
    let posted = ledger::post(&mut tx, &entries, now).await?;
    let new: Vec<(&Revenue, i64)> = items
        .iter()
        .zip(&posted)
        .filter_map(|(item, posted)| match posted {
            Posted::New(entry) => Some((item, *entry)),
            Posted::Already => None,
        })
        .collect();
    refuse_closed(&mut tx, &new).await?;
    insert(&mut tx, keys, &new).await?;
    tx.commit().await?;
    Ok(Intake { accepted: new.len(), duplicate: items.len() - new.len() })
}

fn check(ours: Currency, items: &[Revenue]) -> Result<(), RoyaltyError> {
    if items.len() > ITEMS_MAX {
        return Err(RoyaltyError::BadItem { pointer: "/items".to_owned(), detail: format!("a call has at most {ITEMS_MAX} items") });
    }
    for (index, item) in items.iter().enumerate() {
        let bad = |field: &str, detail: String| Err(RoyaltyError::BadItem { pointer: format!("/items/{index}/{field}"), detail });
        let named = (1..=SOURCE_ID_CHARS_MAX).contains(&item.source_id.len()) && item.source_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !named {
            return bad("source_id", format!("a source_id is 1 to {SOURCE_ID_CHARS_MAX} printable ASCII characters"));
        }
        if item.amount.micros <= 0 {
            return bad("amount/micros", "revenue is more than nothing; a refund is another call".to_owned());
        }
        if item.amount.currency != ours {
            return Err(RoyaltyError::OtherCurrency { ours, asked: item.amount.currency });
        }
    }
    Ok(())
}

fn entry(item: &Revenue, keys: &TokenKeys) -> Entry {
    Entry {
        source: "revenue",
        source_id: item.source_id.clone(),
        content: format!("{} {}", keys.pseudonym(item.account_id), item.territory),
        currency: item.amount.currency,
        transfers: vec![Transfer {
            debit: Account::ListenerRevenue(item.period),
            credit: Account::Pool(item.period),
            micros: item.amount.micros,
        }],
    }
}

async fn refuse_closed(tx: &mut PgConnection, new: &[(&Revenue, i64)]) -> Result<(), RoyaltyError> {
    let closed: Option<String> =
        sqlx::query_scalar("SELECT period FROM royalty.settlements WHERE period = ANY ($1) ORDER BY period LIMIT 1")
            .bind(new.iter().map(|(item, _)| item.period.to_string()).collect::<Vec<_>>())
            .fetch_optional(tx)
            .await?;
    let closed = closed.and_then(|closed| new.iter().map(|(item, _)| item.period).find(|period| period.to_string() == closed));
    closed.map_or(Ok(()), |closed| Err(RoyaltyError::PeriodClosed(closed)))
}

async fn insert(tx: &mut PgConnection, keys: &TokenKeys, new: &[(&Revenue, i64)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO royalty.revenue (source_id, pseudonym, period, territory, currency, micros, entry)
         SELECT source_id, pseudonym, period, territory, currency, micros, entry
         FROM unnest($1::TEXT[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BIGINT[], $7::BIGINT[])
              AS item (source_id, pseudonym, period, territory, currency, micros, entry)",
    )
    .bind(new.iter().map(|(item, _)| item.source_id.clone()).collect::<Vec<_>>())
    .bind(new.iter().map(|(item, _)| keys.pseudonym(item.account_id).uuid()).collect::<Vec<_>>())
    .bind(new.iter().map(|(item, _)| item.period.to_string()).collect::<Vec<_>>())
    .bind(new.iter().map(|(item, _)| item.territory.to_string()).collect::<Vec<_>>())
    .bind(new.iter().map(|(item, _)| item.amount.currency.to_string()).collect::<Vec<_>>())
    .bind(new.iter().map(|(item, _)| item.amount.micros).collect::<Vec<_>>())
    .bind(new.iter().map(|(_, entry)| *entry).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
