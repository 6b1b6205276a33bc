//! A brake on guessing passwords, per account and per client address, and on trying which addresses have accounts, per owner who invites. An attempt is charged when it begins and forgiven when it succeeds, so
//! that guesses made side by side are all counted and people who know their password never are.
//!
//! Kept in memory: it bounds the guesses that one process answers, and forgets when it restarts.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use protocol::{AccountId, UnixMs};

use crate::IdentityError;

/// Names remembered at the same time.
const NAMES_MAX: usize = 50_000;

/// All brakes.
#[derive(Debug)]
pub(crate) struct Throttles {
    by_email: Throttle,
    by_peer: Throttle,
    by_inviter: Throttle,
}

impl Default for Throttles {
    fn default() -> Self {
        Self { by_email: Throttle::new(10, 60_000), by_peer: Throttle::new(200, 1000), by_inviter: Throttle::new(20, 60_000) }
    }
}

impl Throttles {
    /// Charges one log-in to address and peer.
    pub(crate) fn charge(&self, email_key: &str, peer: IpAddr, now: UnixMs) -> Result<(), IdentityError> {
        self.by_peer.charge(&network(peer), now)?;
        self.by_email.charge(email_key, now)
    }

    /// Charges an owner for looking an address up, which tells whether it has an account.
    pub(crate) fn charge_invitation(&self, inviter: AccountId, now: UnixMs) -> Result<(), IdentityError> {
        self.by_inviter.charge(&inviter.to_string(), now)
    }

    /// The attempt could not be judged.
    pub(crate) fn refund(&self, email_key: &str, peer: IpAddr) {
        self.by_peer.give_back(&network(peer));
        self.by_email.give_back(email_key);
    }

    /// The attempt succeeded: the account's owner is here.
    pub(crate) fn forgive(&self, email_key: &str, peer: IpAddr) {
        self.by_peer.give_back(&network(peer));
        self.by_email.forget(email_key);
    }
}

/// The Generic Cell Rate Algorithm (ITU-T I.371): one number a name, the instant by which all its attempts so far are paid off.
#[derive(Debug)]
struct Throttle {
    burst: i64,
    interval_ms: i64,
    names: RandomState,
    paid_at_ms: Mutex<HashMap<u64, i64>>,
}

impl Throttle {
    /// `burst` attempts at once, and one more every `interval_ms`.
    fn new(burst: i64, interval_ms: i64) -> Self {
        Self { burst, interval_ms, names: RandomState::new(), paid_at_ms: Mutex::default() }
    }

    fn charge(&self, name: &str, now: UnixMs) -> Result<(), IdentityError> {
        let mut paid_at_ms = self.paid_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_at_ms.len() >= NAMES_MAX {
            forget_least(&mut paid_at_ms, now);
        }
        let paid_at = paid_at_ms.entry(self.names.hash_one(name)).or_insert(now.0);
        let after = (*paid_at).max(now.0) + self.interval_ms;
        let over_ms = after - now.0 - self.burst * self.interval_ms;
        if over_ms > 0 {
            return Err(IdentityError::Throttled(u32::try_from((over_ms + 999) / 1000).unwrap_or(u32::MAX)));
        }
        *paid_at = after;
        Ok(())
    }

    fn give_back(&self, name: &str) {
        let mut paid_at_ms = self.paid_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paid_at) = paid_at_ms.get_mut(&self.names.hash_one(name)) {
            *paid_at -= self.interval_ms;
        }
    }

    fn forget(&self, name: &str) {
        self.paid_at_ms.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.names.hash_one(name));
    }
}

/// Makes room: names that owe nothing first, then the half that owes least.
fn forget_least(paid_at_ms: &mut HashMap<u64, i64>, now: UnixMs) {
    paid_at_ms.retain(|_, paid_at| *paid_at > now.0);
    if paid_at_ms.len() < NAMES_MAX {
        return;
    }
    let mut debts: Vec<i64> = paid_at_ms.values().copied().collect();
    let middle = debts.len() / 2;
    let (_, median, _) = debts.select_nth_unstable(middle);
    let median = *median;
    paid_at_ms.retain(|_, paid_at| *paid_at > median);
}

/// One customer of an access provider: an IPv4 address, or an IPv6 /64, of which a client has all addresses.
fn network(peer: IpAddr) -> String {
    match peer {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_556_280_000);

    fn retry_after_s(charged: Result<(), IdentityError>) -> u32 {
        match charged {
            Err(IdentityError::Throttled(seconds)) => seconds,
            _ => 0,
        }
    }

    #[test]
    fn guesses_run_out_and_come_back_one_by_one() {
        let throttle = Throttle::new(3, 60_000);
        let charge = |after_ms| retry_after_s(throttle.charge("ada", NOW.plus_ms(after_ms)));
        assert_eq!([charge(0), charge(0), charge(0), charge(0)], [0, 0, 0, 60]);
        assert_eq!(charge(59_500), 1, "asking while braked costs nothing");
        assert_eq!([charge(60_000), charge(60_000)], [0, 60]);
        assert_eq!(retry_after_s(throttle.charge("bob", NOW)), 0);
    }

    #[test]
    fn whoever_knows_the_password_is_never_braked() {
        let throttles = Throttles::default();
        let peer = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..1000 {
            assert_eq!(retry_after_s(throttles.charge("ada", peer, NOW)), 0);
            throttles.forgive("ada", peer);
        }
    }

    #[test]
    fn one_client_cannot_try_many_accounts() {
        let throttles = Throttles::default();
        // All of an IPv6 /64 is one client.
        let peer = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let refused = (0..300).filter(|n| retry_after_s(throttles.charge(&format!("account {n}"), peer(*n), NOW)) > 0).count();
        assert_eq!(refused, 100);
    }

    #[test]
    fn memory_is_bounded_and_the_worst_are_remembered() {
        let throttle = Throttle::new(3, 60_000);
        for _ in 0..3 {
            throttle.charge("guessed", NOW).ok();
        }
        for n in 0..2 * NAMES_MAX {
            throttle.charge(&n.to_string(), NOW).ok();
        }
        assert!(throttle.paid_at_ms.lock().is_ok_and(|names| names.len() <= NAMES_MAX));
        assert_eq!(retry_after_s(throttle.charge("guessed", NOW)), 60);
    }
}
