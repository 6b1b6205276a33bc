//! Who is on the other end: the address of the client, as far as the hops before this service can be believed.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};

/// The header in which our gateway tells its services the client's address; it strips what a client sends under that name.
pub const HEADER: &str = "antiphon-peer";

/// The client's address. Behind our gateway (a loopback peer) it is what the gateway says, otherwise the connection's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Ok(Self(client(connection, &parts.headers)))
    }
}

fn client(connection: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
    let connection = connection.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if !connection.is_loopback() {
        return connection;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // The last address of X-Forwarded-For is the one that our own proxy saw; those before it are the client's word.
    let forwarded = || text("x-forwarded-for").and_then(|list| list.rsplit(',').next());
    text(HEADER).or_else(forwarded).and_then(|address| address.trim().parse().ok()).unwrap_or(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hop_on_this_machine_may_name_the_client() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "203.0.113.9, 198.51.100.7".parse().unwrap());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(client(Some(address("127.0.0.1")), &headers), address("198.51.100.7"));
        assert_eq!(client(Some(address("192.0.2.1")), &headers), address("192.0.2.1"));
        headers.insert(HEADER, "2001:db8::1".parse().unwrap());
        assert_eq!(client(Some(address("::1")), &headers), address("2001:db8::1"));
    }
}
