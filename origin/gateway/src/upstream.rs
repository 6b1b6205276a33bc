//! The services behind the gateway: their addresses, as Pingora's peers for what is proxied and as a small client for the few calls the
//! gateway makes itself.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};

use crate::{conf::UpstreamConf, routes::Service};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Services {
    conf: UpstreamConf,
    /// `http://host:port` each, without a slash at the end.
    urls: HashMap<Service, String>,
    client: reqwest::Client,
}

/// The gateway's own calls are small: a card, a batch.
const OWN_CALL_MAX: Duration = Duration::from_secs(5);

impl Services {
    pub(crate) fn new(conf: UpstreamConf, url: impl Fn(Service) -> anyhow::Result<String>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(conf.connect_ms_max))
            .timeout(OWN_CALL_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let urls = Service::ALL.into_iter().map(|service| Ok((service, url(service)?))).collect::<anyhow::Result<_>>()?;
        Ok(Self { conf, urls, client })
    }

    fn url(&self, service: Service) -> &str {
        self.urls.get(&service).map_or("", String::as_str)
    }

    /// Where Pingora connects for a service. A name is looked up each time, so that a service may move.
    pub(crate) async fn peer(&self, service: Service) -> pingora::Result<Box<HttpPeer>> {
        let no_route =
            || pingora::Error::explain(pingora::ErrorType::ConnectNoRoute, format!("no address for {}", service.name())).into_up();
        let host = self.url(service).strip_prefix("http://").unwrap_or_default();
        let address: SocketAddr = match host.parse() {
            Ok(address) => address,
            Err(_) => tokio::net::lookup_host(host).await.ok().and_then(|mut found| found.next()).ok_or_else(no_route)?,
        };
        let mut peer = HttpPeer::new(address, false, String::new());
        let connect = Duration::from_millis(self.conf.connect_ms_max);
        let patience = Duration::from_millis(self.conf.read_ms_max);
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.read_timeout = Some(patience);
        peer.options.write_timeout = Some(patience);
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        // No service speaks anything but HTTP; an Upgrade is not for them.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Ok(Box::new(peer))
    }

    /// GET from a service.
    pub(crate) async fn get(&self, service: Service, path: &str) -> reqwest::Result<reqwest::Response> {
        self.client.get(format!("{}{path}", self.url(service))).send().await
    }

    /// POST JSON to a service.
    pub(crate) async fn post(&self, service: Service, path: &str, request_id: &str, body: Bytes) -> reqwest::Result<reqwest::Response> {
        self.client
            .post(format!("{}{path}", self.url(service)))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header("x-request-id", request_id)
            .body(body)
            .send()
            .await
    }
}
