//! How many requests a second a client may make. Counted per client by an estimator of fixed size (it may count a collision too much,
//! never too little), so a flood of addresses costs no memory.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use pingora_limits::rate::Rate;
use serde::Deserialize;

use crate::conf::Rates;

/// The gateway's counters.
pub(crate) struct RateLimits {
    conf: Rates,
    requests: Rate,
    credentials: Rate,
}

impl RateLimits {
    pub(crate) fn new(conf: Rates) -> Self {
        let second = Duration::from_secs(1);
        Self { conf, requests: Rate::new(second), credentials: Rate::new(second) }
    }

    /// Counts a request; `false` when it is one too many.
    pub(crate) fn admit(&self, client: IpAddr, credentials: bool) -> bool {
        let key = client_key(client);
        within(&self.requests, key, self.conf.requests_per_s)
            && (!credentials || within(&self.credentials, key, self.conf.credentials_per_s))
    }

    /// The client's address: the peer's, or what a trusted peer says. Only the last entry was written by that peer.
    pub(crate) fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> IpAddr {
        if !self.conf.trusted_peers.iter().any(|network| network.contains(peer)) {
            return peer;
        }
        forwarded_for.and_then(|list| list.rsplit(',').next()).and_then(|last| last.trim().parse().ok()).unwrap_or(peer)
    }
}

/// A range of addresses, written `10.0.0.0/8`; an address alone is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Network {
    address: u128,
    mask: u128,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.address
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address or a network such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), |prefix| prefix.parse::<u32>().ok().filter(|bits| *bits <= width).ok_or_else(wrong))?;
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or_default();
        Ok(Self { address: bits(address) & mask, mask })
    }
}

/// Both families in one number: IPv4 as IPv6 maps it (RFC 4291 section 2.5.5.2).
const fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn within(rate: &Rate, key: u128, per_s_max: u32) -> bool {
    per_s_max == 0 || rate.observe(&key, 1) <= per_s_max as isize
}

/// One household is one client: an IPv4 address, or the /64 a provider hands out (RFC 6177).
fn client_key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => bits(v4.into()),
        IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
    }
}

/// Used where a connection has no address (a Unix socket): all such clients count as one.
pub(crate) const NO_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_s: u32, credentials_per_s: u32) -> RateLimits {
        RateLimits::new(Rates { requests_per_s, credentials_per_s, trusted_peers: vec!["10.0.0.0/24".to_owned().try_into().unwrap()] })
    }

    #[test]
    fn one_client_too_fast_slows_no_other() {
        let limits = limits(3, 0);
        let (fast, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let admitted = (0..10).filter(|_| limits.admit(fast, false)).count();
        assert_eq!(admitted, 3);
        assert!(limits.admit(other, false));
    }

    #[test]
    fn signing_in_is_counted_apart() {
        let limits = limits(100, 2);
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!((0..10).filter(|_| limits.admit(client, true)).count(), 2);
        assert!(limits.admit(client, false));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let key = |text: &str| client_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_network_is_its_prefix() {
        let holds = |network: &str, address: &str| Network::try_from(network.to_owned()).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.9.9.9") && !holds("10.0.0.0/8", "11.0.0.1") && holds("0.0.0.0/0", "1.2.3.4"));
        assert!(holds("192.0.2.1", "192.0.2.1") && !holds("192.0.2.1", "192.0.2.2") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/32", "2001:db8:9::1") && holds("::/0", "2001:db8::1"));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_trusted_peer_may_name_the_client() {
        let limits = limits(1, 1);
        let client = |peer: &str, forwarded: Option<&str>| limits.client(peer.parse().unwrap(), forwarded).to_string();
        assert_eq!(client("192.0.2.1", Some("6.6.6.6")), "192.0.2.1");
        assert_eq!(client("10.0.0.1", Some("6.6.6.6, 192.0.2.9")), "192.0.2.9");
        assert_eq!(client("10.0.0.1", Some("rubbish")), "10.0.0.1");
        assert_eq!(client("10.0.0.1", None), "10.0.0.1");
    }
}
