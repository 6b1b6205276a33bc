//! How a pool is shared: a pure function from frozen inputs to lines, with no order, clock or database in it.
//!
//! Both models see the same listens. **Pro-rata** gives every listen of the period the same weight. **User-centric** gives each
//! listener's money to what that listener heard, in proportion; money of listeners who heard nothing, and what the last period
//! could not pay out, are shared pro-rata. A listen weighs 10,000, so that a split's basis points divide it without rounding.
//!
//! Amounts are rounded once to the currency's minor unit, by largest remainder (Hamilton's method) with ties broken by name, so
//! that lines add up to what is paid exactly and every line is within one unit of its exact share. What is less than one unit
//! stays as the remainder and is carried into the next settlement.

use std::collections::BTreeMap;

use protocol::{AccountId, TrackId, token::Pseudonym};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{money::Currency, period::Period};

/// Basis points in a whole.
pub const WHOLE: u32 = 10_000;

/// Which listens a listener's money reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// All money over all listens.
    ProRata,
    /// Each listener's money over that listener's listens.
    UserCentric,
}

impl Model {
    /// The name in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProRata => "pro_rata",
            Self::UserCentric => "user_centric",
        }
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::ProRata, Self::UserCentric]
            .into_iter()
            .find(|model| model.name() == text)
            .ok_or_else(|| format!("`{text}` is not a model: pro_rata or user_centric"))
    }
}

/// Who receives a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payee {
    /// An account.
    Account(AccountId),
    /// Nobody is known yet for this track; its money waits under the track's name.
    Unclaimed(TrackId),
}

/// Listens of one listener on one track under one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listens {
    /// Who listened.
    pub listener: Pseudonym,
    /// What was heard.
    pub track: TrackId,
    /// The split that applied, by its id; without one everything goes to the owner.
    pub split: Option<i64>,
    /// The track's owner.
    pub owner: Option<AccountId>,
    /// How often.
    pub listens: u64,
}

/// Everything a settlement depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The month.
    pub period: Period,
    /// The currency.
    pub currency: Currency,
    /// The listen rule the listens were judged by.
    pub rule_version: u16,
    /// What earlier settlements could not pay out.
    pub carried_in_micros: i64,
    /// What each listener paid.
    pub revenue: BTreeMap<Pseudonym, i64>,
    /// What was heard, in any order.
    pub listens: Vec<Listens>,
    /// The splits that `listens` names.
    pub splits: BTreeMap<i64, Vec<(AccountId, u32)>>,
}

/// A payee's share in a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub payee: Payee,
    /// For which track.
    pub track: TrackId,
    /// Listens of that track in which the payee has a share.
    pub listens: u64,
    /// How much.
    pub micros: i64,
}

/// A settlement before it has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Listens that counted.
    pub listens: u64,
    /// Money there was.
    pub pool_micros: i64,
    /// Money that is given out: the exact sum of the lines.
    pub paid_micros: i64,
    /// Money that is carried on: `pool - paid`.
    pub remainder_micros: i64,
    /// By payee, then by track.
    pub lines: Vec<Line>,
}

/// Why nothing can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// More than 128 bits of intermediate or 64 of amount.
    #[error("the amounts exceed what can be computed exactly")]
    TooLarge,
    /// Listens name a split that is not among the inputs, or one that is not a whole.
    #[error("split {0} is missing or does not add up")]
    BadSplit(i64),
}

type LineKey = (Payee, TrackId);
type Weights = BTreeMap<LineKey, u128>;

impl Inputs {
    /// SHA-256 over every input in one canonical order, hex in the answer. The model is not an input: both see the same.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |field: &str| {
            hash.update(field.as_bytes());
            hash.update(b"\n");
        };
        put("antiphon settlement inputs 1");
        put(&format!("{} {} {} {}", self.period, self.currency, self.rule_version, self.carried_in_micros));
        for (listener, micros) in &self.revenue {
            put(&format!("r {listener} {micros}"));
        }
        for (split, shares) in &self.splits {
            for (payee, basis_points) in shares {
                put(&format!("s {split} {payee} {basis_points}"));
            }
        }
        let mut listens = self.listens.clone();
        listens.sort_unstable();
        for Listens { listener, track, split, owner, listens } in listens {
            let split = split.map_or_else(|| "-".to_owned(), |split| split.to_string());
            let owner = owner.map_or_else(|| "-".to_owned(), |owner| owner.to_string());
            put(&format!("l {listener} {track} {split} {owner} {listens}"));
        }
        hash.finalize().into()
    }

    /// Revenue and what was carried in.
    ///
    /// # Errors
    /// [`SettleError::TooLarge`].
    pub fn pool_micros(&self) -> Result<i64, SettleError> {
        self.revenue.values().try_fold(self.carried_in_micros, |sum, micros| sum.checked_add(*micros)).ok_or(SettleError::TooLarge)
    }

    /// Adds the weight of `listens` to the lines it pays.
    fn weigh(&self, heard: &Listens, weights: &mut Weights) -> Result<(), SettleError> {
        let mut add = |payee, basis_points: u32| {
            *weights.entry((payee, heard.track)).or_default() += u128::from(heard.listens) * u128::from(basis_points);
        };
        match (heard.split, heard.owner) {
            (Some(id), _) => {
                let shares = self.splits.get(&id).ok_or(SettleError::BadSplit(id))?;
                if shares.iter().map(|(_, basis_points)| u64::from(*basis_points)).sum::<u64>() != u64::from(WHOLE) {
                    return Err(SettleError::BadSplit(id));
                }
                shares.iter().for_each(|(payee, basis_points)| add(Payee::Account(*payee), *basis_points));
            }
            (None, Some(owner)) => add(Payee::Account(owner), WHOLE),
            (None, None) => add(Payee::Unclaimed(heard.track), WHOLE),
        }
        Ok(())
    }

    /// Listens behind each line, whatever the share.
    fn listens_by_line(&self) -> BTreeMap<LineKey, u64> {
        let mut counts = BTreeMap::new();
        for heard in &self.listens {
            let mut add = |payee| *counts.entry((payee, heard.track)).or_default() += heard.listens;
            match (heard.split.and_then(|id| self.splits.get(&id)), heard.owner) {
                (Some(shares), _) => shares.iter().for_each(|(payee, _)| add(Payee::Account(*payee))),
                (None, Some(owner)) => add(Payee::Account(owner)),
                (None, None) => add(Payee::Unclaimed(heard.track)),
            }
        }
        counts
    }
}

/// Shares the pool of `inputs` by `model`.
///
/// # Errors
/// When the inputs are not complete or too large; nothing is ever rounded away silently.
pub fn settle(inputs: &Inputs, model: Model) -> Result<Settled, SettleError> {
    let pool_micros = inputs.pool_micros()?;
    let unit = inputs.currency.minor_unit_micros();
    let mut everybody = Weights::new();
    for heard in &inputs.listens {
        inputs.weigh(heard, &mut everybody)?;
    }
    let weights = match model {
        Model::ProRata => everybody,
        Model::UserCentric => user_centric(inputs, &everybody)?,
    };
    let units = largest_remainder(pool_micros / unit, &weights)?;
    let counts = inputs.listens_by_line();
    let lines: Vec<Line> = units
        .into_iter()
        .map(|((payee, track), units)| Line {
            payee,
            track,
            listens: counts.get(&(payee, track)).copied().unwrap_or_default(),
            micros: units * unit,
        })
        .collect();
    let paid_micros = lines.iter().map(|line| line.micros).sum();
    Ok(Settled {
        listens: inputs.listens.iter().map(|heard| heard.listens).sum(),
        pool_micros,
        paid_micros,
        remainder_micros: pool_micros - paid_micros,
        lines,
    })
}

/// Each listener's money over that listener's own lines, in micros; the rest pro-rata. The result adds up to the pool and serves as
/// the weights by which whole minor units are given out.
fn user_centric(inputs: &Inputs, everybody: &Weights) -> Result<Weights, SettleError> {
    let mut by_listener: BTreeMap<Pseudonym, Weights> = BTreeMap::new();
    for heard in &inputs.listens {
        inputs.weigh(heard, by_listener.entry(heard.listener).or_default())?;
    }
    let mut micros: Weights = everybody.keys().map(|line| (*line, 0)).collect();
    let mut give = |amount: i64, weights: &Weights| -> Result<(), SettleError> {
        for (line, share) in largest_remainder(amount, weights)? {
            *micros.entry(line).or_default() += u128::from(share.unsigned_abs());
        }
        Ok(())
    };
    let mut shared = inputs.carried_in_micros;
    for (listener, paid) in &inputs.revenue {
        match by_listener.get(listener) {
            Some(own) => give(*paid, own)?,
            None => shared = shared.checked_add(*paid).ok_or(SettleError::TooLarge)?,
        }
    }
    give(shared, everybody)?;
    // Without any money every line has weight zero: then listens decide, so that zero is shared as zero.
    if micros.values().all(|weight| *weight == 0) { Ok(everybody.clone()) } else { Ok(micros) }
}

/// Shares `total` indivisible units in proportion to `weights` (Hamilton's method): everyone gets the whole units of the exact share,
/// and the units left go to the largest fractions, ties to the smaller name. The shares add up to `total` unless there is no weight,
/// when nobody gets anything.
///
/// # Errors
/// [`SettleError::TooLarge`] when a product would not fit in 128 bits, or `total` is negative.
pub fn largest_remainder<K: Ord + Clone>(total: i64, weights: &BTreeMap<K, u128>) -> Result<BTreeMap<K, i64>, SettleError> {
    let total = u128::try_from(total).map_err(|_| SettleError::TooLarge)?;
    let whole = weights.values().try_fold(0u128, |sum, weight| sum.checked_add(*weight)).ok_or(SettleError::TooLarge)?;
    if whole == 0 {
        return Ok(weights.keys().map(|name| (name.clone(), 0)).collect());
    }
    let mut shares = BTreeMap::new();
    let mut fractions = Vec::with_capacity(weights.len());
    let mut given = 0u128;
    for (name, weight) in weights {
        let exact = total.checked_mul(*weight).ok_or(SettleError::TooLarge)?;
        let units = exact / whole;
        given += units;
        fractions.push((std::cmp::Reverse(exact % whole), name));
        shares.insert(name.clone(), i64::try_from(units).map_err(|_| SettleError::TooLarge)?);
    }
    fractions.sort_unstable();
    let left = usize::try_from(total - given).map_err(|_| SettleError::TooLarge)?;
    for (_, name) in fractions.into_iter().take(left) {
        if let Some(share) = shares.get_mut(name) {
            *share += 1;
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId(Uuid::from_bytes([n; 16]))
    }

    fn track(n: u8) -> TrackId {
        TrackId(Uuid::from_bytes([n; 16]))
    }

    fn heard(listener: u8, on: u8, listens: u64) -> Listens {
        Listens { listener: Pseudonym([listener; 16]), track: track(on), split: None, owner: Some(account(on)), listens }
    }

    fn inputs(revenue: &[(u8, i64)], listens: Vec<Listens>) -> Inputs {
        Inputs {
            period: "2026-11".parse().unwrap(),
            currency: "EUR".parse().unwrap(),
            rule_version: 1,
            carried_in_micros: 0,
            revenue: revenue.iter().map(|(listener, micros)| (Pseudonym([*listener; 16]), *micros)).collect(),
            listens,
            splits: BTreeMap::new(),
        }
    }

    fn amounts(settled: &Settled) -> Vec<i64> {
        settled.lines.iter().map(|line| line.micros).collect()
    }

    #[test]
    fn an_awkward_pool_is_shared_to_the_cent_and_the_rest_is_carried() {
        // 10.004999 EUR over three equal listens: 3.34 + 3.33 + 3.33, and 0.004999 that no cent can pay.
        let settled = settle(&inputs(&[(1, 10_004_999)], vec![heard(1, 1, 1), heard(1, 2, 1), heard(1, 3, 1)]), Model::ProRata).unwrap();
        assert_eq!(amounts(&settled), [3_340_000, 3_330_000, 3_330_000]);
        assert_eq!((settled.paid_micros, settled.remainder_micros), (10_000_000, 4_999));
    }

    #[test]
    fn the_models_differ_where_listeners_differ() {
        // One listener hears track 1 nine times, the other track 2 once; both pay 5 EUR.
        let both = inputs(&[(1, 5_000_000), (2, 5_000_000)], vec![heard(1, 1, 9), heard(2, 2, 1)]);
        assert_eq!(amounts(&settle(&both, Model::ProRata).unwrap()), [9_000_000, 1_000_000]);
        assert_eq!(amounts(&settle(&both, Model::UserCentric).unwrap()), [5_000_000, 5_000_000]);
    }

    #[test]
    fn money_of_a_listener_who_heard_nothing_is_shared_pro_rata() {
        let silent = inputs(&[(1, 4_000_000), (9, 2_000_000)], vec![heard(1, 1, 1), heard(2, 2, 3)]);
        assert_eq!(amounts(&settle(&silent, Model::UserCentric).unwrap()), [4_500_000, 1_500_000]);
    }

    #[test]
    fn a_split_divides_what_its_track_earns() {
        let mut split = inputs(&[(1, 1_000_000)], vec![Listens { split: Some(7), ..heard(1, 1, 2) }]);
        split.splits.insert(7, vec![(account(1), 6_667), (account(2), 3_333)]);
        for model in [Model::ProRata, Model::UserCentric] {
            let settled = settle(&split, model).unwrap();
            assert_eq!(amounts(&settled), [670_000, 330_000]);
            assert!(settled.lines.iter().all(|line| line.listens == 2));
            assert_eq!(settled.listens, 2);
        }
        split.splits.insert(7, vec![(account(1), 6_667)]);
        assert_eq!(settle(&split, Model::ProRata), Err(SettleError::BadSplit(7)));
    }

    #[test]
    fn without_listens_the_whole_pool_is_carried() {
        let settled = settle(&inputs(&[(1, 7_000_000)], vec![]), Model::UserCentric).unwrap();
        assert_eq!((settled.paid_micros, settled.remainder_micros, settled.lines.len()), (0, 7_000_000, 0));
    }

    #[test]
    fn the_money_of_a_track_nobody_owns_waits_under_its_name() {
        let settled = settle(&inputs(&[(1, 1_000_000)], vec![Listens { owner: None, ..heard(1, 5, 1) }]), Model::ProRata).unwrap();
        assert_eq!(settled.lines[0].payee, Payee::Unclaimed(track(5)));
        assert_eq!(settled.paid_micros, 1_000_000);
    }

    #[test]
    fn units_left_over_go_to_the_largest_fractions_and_of_equal_ones_to_the_first_name() {
        // 1.5, 2.6 and 5.9 of ten.
        let shares = largest_remainder(10, &BTreeMap::from([("a", 15), ("b", 26), ("c", 59)])).unwrap();
        assert_eq!(shares, BTreeMap::from([("a", 1), ("b", 3), ("c", 6)]));
        let shares = largest_remainder(2, &BTreeMap::from([("a", 7), ("b", 7), ("c", 7)])).unwrap();
        assert_eq!(shares, BTreeMap::from([("a", 1), ("b", 1), ("c", 0)]));
    }

    fn any_inputs() -> impl Strategy<Value = Inputs> {
        let shares = prop::collection::btree_map(0u8..12, 1u32..5_000, 1..5).prop_map(|weights| {
            let weights: BTreeMap<u8, u128> = weights.into_iter().map(|(payee, weight)| (payee, u128::from(weight))).collect();
            let shares = largest_remainder(10_000, &weights).unwrap();
            shares
                .into_iter()
                .filter(|(_, points)| *points > 0)
                .map(|(payee, points)| (account(payee), u32::try_from(points).unwrap()))
                .collect()
        });
        (
            prop::collection::btree_map(0u8..20, 1i64..3_000_000_000_000, 0..12),
            prop::collection::vec((0u8..20, 0u8..12, prop::option::of(0i64..3), any::<bool>(), 1u64..1_000_000), 0..30),
            prop::collection::vec(shares, 3),
            0i64..9_999,
        )
            .prop_map(|(revenue, listens, splits, carried_in_micros)| Inputs {
                carried_in_micros,
                splits: (0..).zip(splits).collect(),
                revenue: revenue.into_iter().map(|(listener, micros)| (Pseudonym([listener; 16]), micros)).collect(),
                ..inputs(
                    &[],
                    listens
                        .into_iter()
                        .map(|(listener, on, split, owned, listens)| Listens {
                            split,
                            owner: owned.then(|| account(on)),
                            ..heard(listener, on, listens)
                        })
                        .collect(),
                )
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn shares_sum_exactly_and_lie_within_one_unit_and_grow_with_weight(
            total in 0i64..i64::MAX,
            weights in prop::collection::btree_map(0u16..500, 0u128..1_000_000_000_000_000, 1..60),
        ) {
            let shares = largest_remainder(total, &weights).unwrap();
            let whole: u128 = weights.values().sum();
            prop_assert_eq!(shares.values().sum::<i64>(), if whole == 0 { 0 } else { total });
            let total = u128::try_from(total).unwrap();
            for (name, share) in &shares {
                if whole > 0 {
                    let (exact, share) = (total * weights[name], u128::try_from(*share).unwrap() * whole);
                    prop_assert!(exact.abs_diff(share) < whole);
                }
            }
            for (one, other) in weights.keys().zip(weights.keys().skip(1)) {
                if weights[one] > weights[other] {
                    prop_assert!(shares[one] >= shares[other]);
                }
            }
        }

        #[test]
        fn a_settlement_spends_the_pool_exactly_whatever_the_order_of_its_inputs(
            inputs in any_inputs(),
            turn in any::<prop::sample::Index>(),
        ) {
            for model in [Model::ProRata, Model::UserCentric] {
                let settled = settle(&inputs, model).unwrap();
                prop_assert_eq!(settled.lines.iter().map(|line| line.micros).sum::<i64>(), settled.paid_micros);
                prop_assert_eq!(settled.paid_micros + settled.remainder_micros, settled.pool_micros);
                prop_assert_eq!(settled.pool_micros, inputs.pool_micros().unwrap());
                if !inputs.listens.is_empty() {
                    prop_assert!((0..inputs.currency.minor_unit_micros()).contains(&settled.remainder_micros));
                }
                prop_assert!(settled.lines.iter().all(|line| line.micros >= 0 && line.micros % inputs.currency.minor_unit_micros() == 0));
                let mut shuffled = inputs.clone();
                if !shuffled.listens.is_empty() {
                    let turn = turn.index(shuffled.listens.len());
                    shuffled.listens.rotate_left(turn);
                    shuffled.listens.reverse();
                }
                prop_assert_eq!(settle(&shuffled, model).unwrap(), settled);
                prop_assert_eq!(shuffled.digest(), inputs.digest());
            }
        }
    }
}
