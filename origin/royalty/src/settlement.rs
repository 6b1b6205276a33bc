//! Settling a period: fold what waits, close the period, share its pool, post, and write the statements, all in one transaction
//! behind one lock. Inputs come from plays, splits, revenue and the ledger; the sharing itself is [`crate::settle`].
//!
//! A settlement is its period's closing. A listen that becomes valid later than that is not lost: the next settlement takes it.
//! Asked again, the stored settlement is the answer and nothing is posted.

use protocol::{
    UnixMs,
    keys::TokenKeys,
    listen::{RULE_VERSION, Uncorroborated},
    token::Pseudonym,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    error::RoyaltyError,
    jobs::fold,
    ledger::{self, Account, Entry, Posted, Transfer},
    money::{Currency, Money},
    period::Period,
    settle::{self, Inputs, Model, Payee, Settled},
    store::{settlement as store, splits, statements},
    sum_tree::{self, Leaf},
};

/// What is to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// The month.
    #[schema(value_type = String, example = "2026-11")]
    pub period: Period,
    /// The currency.
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
    /// How the pool is shared.
    pub model: Model,
    /// Compute and tell, but close and post nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Settlement {
    /// Its id; null for a dry run.
    pub id: Option<Uuid>,
    /// The month.
    #[schema(value_type = String, example = "2026-11")]
    pub period: Period,
    /// The currency.
    #[schema(value_type = String, example = "EUR")]
    pub currency: Currency,
    /// How the pool was shared.
    pub model: Model,
    /// The listen rule.
    pub rule_version: u16,
    /// Listens that counted.
    pub listens: u64,
    /// Revenue of the month and what earlier settlements carried.
    pub pool: Money,
    /// The part of `pool` that earlier settlements carried.
    pub carried_in: Money,
    /// What was given out.
    pub paid: Money,
    /// What is carried on: `pool - paid`.
    pub remainder: Money,
    /// The root of the Merkle sum tree over the payees, hex.
    pub root: String,
    /// SHA-256 of everything the settlement was computed from, hex.
    pub inputs_sha256: String,
}

/// Settles, or tells what was settled.
///
/// # Errors
/// [`RoyaltyError::SettledOtherwise`] when another model posted; otherwise the database, and nothing is written.
pub async fn settle(
    pool: &PgPool,
    keys: &TokenKeys,
    uncorroborated: Uncorroborated,
    request: SettleRequest,
    now: UnixMs,
) -> Result<Settlement, RoyaltyError> {
    fold::finish(pool, uncorroborated, now).await?;
    let mut tx = pool.begin().await?;
    lock_alone(&mut tx).await?;
    let known = store::of_period(&mut tx, request.period, request.currency).await?;
    match known {
        Some(known) if known.model == request.model => Ok(known),
        Some(known) if request.dry_run => {
            let id = known.id.ok_or_else(|| RoyaltyError::Invariant("a stored settlement has no id".to_owned()))?;
            let listens = store::frozen_listens(&mut tx, id).await?;
            let inputs = inputs(&mut tx, request, known.carried_in.micros, listens).await?;
            Ok(Outcome::of(inputs, request.model, keys, None, now)?.settlement)
        }
        Some(known) => Err(RoyaltyError::SettledOtherwise { period: request.period, settled_by: known.model }),
        None => compute(tx, keys, request, now).await,
    }
}

async fn compute(
    mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
    keys: &TokenKeys,
    request: SettleRequest,
    now: UnixMs,
) -> Result<Settlement, RoyaltyError> {
    let carried_in = ledger::balance(&mut tx, Account::Carry, request.currency).await?;
    let listens =
        if request.dry_run { store::due_listens(&mut tx, request.period).await? } else { store::close(&mut tx, request.period).await? };
    let inputs = inputs(&mut tx, request, carried_in, listens).await?;
    let id = (!request.dry_run).then(|| derived_id(&[request.period.to_string(), request.currency.to_string()], now));
    let outcome = Outcome::of(inputs, request.model, keys, id, now)?;
    if let Some(id) = id {
        store::insert(&mut tx, id, &outcome.settlement, now).await?;
        store::freeze(&mut tx, id, &outcome.inputs.listens).await?;
        statements::insert(&mut tx, id, &outcome.statements).await?;
        post(&mut tx, &outcome, now).await?;
        tx.commit().await?;
    }
    Ok(outcome.settlement)
}

async fn inputs(
    tx: &mut PgConnection,
    request: SettleRequest,
    carried_in_micros: i64,
    listens: Vec<settle::Listens>,
) -> Result<Inputs, RoyaltyError> {
    let mut splits_used: Vec<i64> = listens.iter().filter_map(|heard| heard.split).collect();
    splits_used.sort_unstable();
    splits_used.dedup();
    Ok(Inputs {
        period: request.period,
        currency: request.currency,
        rule_version: RULE_VERSION,
        carried_in_micros,
        revenue: store::revenue(tx, request.period, request.currency).await?,
        splits: splits::shares(tx, &splits_used).await?,
        listens,
    })
}

/// A payee's part of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementDraft {
    /// Its id.
    pub id: Uuid,
    /// The payee, the amount and the salt of its leaf.
    pub leaf: Leaf,
    /// Listens behind it.
    pub listens: u64,
    /// Track by track.
    pub lines: Vec<settle::Line>,
}

struct Outcome {
    inputs: Inputs,
    settled: Settled,
    statements: Vec<StatementDraft>,
    settlement: Settlement,
}

impl Outcome {
    fn of(inputs: Inputs, model: Model, keys: &TokenKeys, id: Option<Uuid>, now: UnixMs) -> Result<Self, RoyaltyError> {
        let settled = settle::settle(&inputs, model)?;
        let statements = draft_statements(&inputs, &settled, model, keys, now);
        let leaves: Vec<Leaf> = statements.iter().map(|statement| statement.leaf).collect();
        let root = sum_tree::root(&leaves);
        if root.micros != settled.paid_micros || settled.paid_micros + settled.remainder_micros != settled.pool_micros {
            return Err(RoyaltyError::Invariant(format!("statements add up to {}, {} are paid", root.micros, settled.paid_micros)));
        }
        let money = |micros| Money { micros, currency: inputs.currency };
        let settlement = Settlement {
            id,
            period: inputs.period,
            currency: inputs.currency,
            model,
            rule_version: inputs.rule_version,
            listens: settled.listens,
            pool: money(settled.pool_micros),
            carried_in: money(inputs.carried_in_micros),
            paid: money(settled.paid_micros),
            remainder: money(settled.remainder_micros),
            root: hex::encode(root.hash),
            inputs_sha256: hex::encode(inputs.digest()),
        };
        Ok(Self { inputs, settled, statements, settlement })
    }
}

/// One statement for each payee; lines come sorted by payee.
fn draft_statements(inputs: &Inputs, settled: &Settled, model: Model, keys: &TokenKeys, now: UnixMs) -> Vec<StatementDraft> {
    settled
        .lines
        .chunk_by(|one, next| one.payee == next.payee)
        .filter_map(|lines| {
            let payee = lines.first()?.payee;
            let (secret, name) = match payee {
                Payee::Account(account) => (keys.pseudonym(account), account.to_string()),
                Payee::Unclaimed(track) => (keys.pseudonym(protocol::AccountId(track.uuid())), track.to_string()),
            };
            let names = [inputs.period.to_string(), inputs.currency.to_string(), model.to_string(), name];
            let leaf = Leaf { salt: salt(secret, &names), payee, micros: lines.iter().map(|line| line.micros).sum() };
            let listens = lines.iter().map(|line| line.listens).sum();
            Some(StatementDraft { id: derived_id(&names, now), leaf, listens, lines: lines.to_vec() })
        })
        .collect()
}

/// The same settlement always has the same salts, and so the same root; only who holds the keys can compute them.
fn salt(secret: Pseudonym, names: &[String]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"antiphon leaf salt 1\n");
    hash.update(secret.0);
    names.iter().for_each(|name| hash.update(name.as_bytes()));
    first_bytes(hash)
}

/// A UUIDv7 whose random bits come from what it names: no two names in one settlement can meet, and no generator is needed.
fn derived_id(names: &[String], now: UnixMs) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(b"antiphon settlement id 1\n");
    names.iter().for_each(|name| hash.update(format!("{name}\n").as_bytes()));
    let millis = u64::try_from(now.0).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &first_bytes(hash)).into_uuid()
}

fn first_bytes<const N: usize>(hash: Sha256) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
    bytes
}

/// Empties the pool: what was carried comes in, every payee gets theirs, what is left is carried on.
async fn post(tx: &mut PgConnection, outcome: &Outcome, now: UnixMs) -> Result<(), RoyaltyError> {
    let Outcome { inputs, settled, statements, settlement } = outcome;
    let pool = Account::Pool(inputs.period);
    let payees = statements.iter().map(|statement| {
        let credit = match statement.leaf.payee {
            Payee::Account(account) => Account::Payee(account),
            Payee::Unclaimed(track) => Account::Unclaimed(track),
        };
        Transfer { debit: pool, credit, micros: statement.leaf.micros }
    });
    let carried_in = Transfer { debit: Account::Carry, credit: pool, micros: inputs.carried_in_micros };
    let carried_on = Transfer { debit: pool, credit: Account::Carry, micros: settled.remainder_micros };
    let transfers = [carried_in].into_iter().chain(payees).chain([carried_on]).filter(|transfer| transfer.micros > 0).collect();
    let entry = Entry {
        source: "settlement",
        source_id: format!("{} {}", inputs.period, inputs.currency),
        content: format!("{} {}", settlement.model, settlement.inputs_sha256),
        currency: inputs.currency,
        transfers,
    };
    if ledger::post(tx, &[entry], now).await?.as_slice() == [Posted::Already] {
        return Err(RoyaltyError::Invariant(format!("{} was posted without a settlement", inputs.period)));
    }
    match ledger::balance(tx, pool, inputs.currency).await? {
        0 => Ok(()),
        left => Err(RoyaltyError::Invariant(format!("{left} micros are left in the pool of {}", inputs.period))),
    }
}

const LOCK: &str = "royalty.settlement";

/// Only one settlement at a time, and no revenue meanwhile. Settling a large period may take longer than a request's statement may.
async fn lock_alone(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(LOCK).execute(tx).await?;
    Ok(())
}

/// Any number of these at a time, but no settlement.
pub(crate) async fn lock_shared(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))").bind(LOCK).execute(tx).await?;
    Ok(())
}
