//! One blocking HTTP client a VU, measured. Connections are the VU's own and kept alive, as in k6.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::Read,
    net::IpAddr,
    time::{Duration, Instant},
};

use ureq::{
    Agent,
    config::Config,
    http::{Request, Uri},
    unversioned::{
        resolver::DefaultResolver,
        transport::{ConnectionDetails, Connector, TcpConnector, Transport},
    },
};

/// An answer larger than this is an error: a load test is no download manager.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Reported as `error_code` when nothing answered, as in k6: 1000 is a general error, 1050 a timeout, 1211/1212 a connection that was not made.
const ERROR_GENERAL: u32 = 1000;
const ERROR_TIMEOUT: u32 = 1050;
const ERROR_CONNECT: u32 = 1212;

thread_local! {
    /// What the last request of this thread spent on connecting.
    static CONNECTING: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What to send.
#[derive(Debug)]
pub(crate) struct Call {
    /// `GET`, ...
    pub(crate) method: String,
    /// Absolute, `http://`.
    pub(crate) url: String,
    /// As given.
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes.
    pub(crate) body: Option<Vec<u8>>,
    /// The whole exchange's.
    pub(crate) timeout: Duration,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
    /// Whether the body is kept.
    pub(crate) keep_body: bool,
}

/// What came back; `status` is 0 when nothing did.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status or 0.
    pub(crate) status: u16,
    /// Joined by `, ` where a name comes twice, names as Go writes them.
    pub(crate) headers: BTreeMap<String, String>,
    /// Empty when not kept.
    pub(crate) body: Vec<u8>,
    /// What went wrong.
    pub(crate) error: String,
    /// k6's number for it.
    pub(crate) error_code: u32,
    /// Time from the request to the first byte, without connecting.
    pub(crate) waiting: Duration,
    /// From first to last byte.
    pub(crate) receiving: Duration,
    /// TCP connect; zero on a kept-alive connection.
    pub(crate) connecting: Duration,
    /// Approximate bytes sent, headers too.
    pub(crate) sent: usize,
    /// Approximate bytes received, headers too.
    pub(crate) received: usize,
}

/// The client of one VU.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    allowed_hosts: Vec<String>,
}

#[derive(Debug)]
struct Timed(TcpConnector);

impl<In: Transport> Connector<In> for Timed {
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let begun = Instant::now();
        let connected = self.0.connect(details, chained);
        CONNECTING.set(CONNECTING.get() + begun.elapsed());
        connected
    }
}

impl Client {
    /// May reach loopback, and the `allowed_hosts`: a load test that hits a stranger is an attack.
    pub(crate) fn new(user_agent: &str, allowed_hosts: &[String]) -> Self {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects_will_error(false)
            .user_agent(user_agent)
            .accept("*/*")
            .max_idle_connections_per_host(4)
            .no_delay(true)
            .build();
        Self {
            agent: Agent::with_parts(config, Timed(TcpConnector::default()), DefaultResolver::default()),
            allowed_hosts: allowed_hosts.to_vec(),
        }
    }

    /// Sends and waits.
    ///
    /// # Errors
    /// When the call itself is wrong (a URL or header that is none, a host that is not allowed); what the network does is in the [`Answer`].
    pub(crate) fn send(&self, call: Call) -> Result<Answer, String> {
        let uri: Uri = call.url.parse().map_err(|error| format!("{:?}: {error}", call.url))?;
        self.admit(&uri)?;
        let mut request = Request::builder().method(call.method.as_str()).uri(uri);
        let mut sent = call.url.len() + call.method.len() + 32;
        for (name, value) in &call.headers {
            sent += name.len() + value.len() + 4;
            request = request.header(name, value);
        }
        sent += call.body.as_ref().map_or(0, Vec::len);
        CONNECTING.set(Duration::ZERO);
        let begun = Instant::now();
        let answered = match call.body {
            Some(body) => self.run(request.body(body), call.timeout, call.redirects),
            None => self.run(request.body(()), call.timeout, call.redirects),
        }?;
        let to_head = begun.elapsed();
        let connecting = CONNECTING.get().min(to_head);
        let waiting = to_head.saturating_sub(connecting);
        Ok(match answered {
            Ok(response) => read(response, call.keep_body, Timings { waiting, connecting, sent }),
            Err(error) => {
                Answer { error_code: code_of(&error), error: error.to_string(), ..Answer::nothing(Timings { waiting, connecting, sent }) }
            }
        })
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        timeout: Duration,
        redirects: u32,
    ) -> Result<Result<ureq::http::Response<ureq::Body>, ureq::Error>, String> {
        let request = request.map_err(|error| error.to_string())?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).max_redirects(redirects).build();
        Ok(self.agent.run(request))
    }

    fn admit(&self, uri: &Uri) -> Result<(), String> {
        if uri.scheme_str() != Some("http") {
            return Err(format!("{uri}: only http:// is supported by loadtest-runner"));
        }
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if loopback || self.allowed_hosts.iter().any(|allowed| allowed == bare) {
            return Ok(());
        }
        Err(format!("{host} is not this machine: name it with --allow-host if you may load it"))
    }
}

#[derive(Clone, Copy)]
struct Timings {
    waiting: Duration,
    connecting: Duration,
    sent: usize,
}

impl Answer {
    fn nothing(timings: Timings) -> Self {
        Self {
            status: 0,
            headers: BTreeMap::new(),
            body: Vec::new(),
            error: String::new(),
            error_code: 0,
            waiting: timings.waiting,
            receiving: Duration::ZERO,
            connecting: timings.connecting,
            sent: timings.sent,
            received: 0,
        }
    }
}

fn read(response: ureq::http::Response<ureq::Body>, keep_body: bool, timings: Timings) -> Answer {
    let (head, body) = response.into_parts();
    let mut answer = Answer { status: head.status.as_u16(), ..Answer::nothing(timings) };
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        answer.received += name.as_str().len() + value.len() + 4;
        answer
            .headers
            .entry(canonical(name.as_str()))
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    if answer.status >= 400 {
        answer.error_code = 1000 + u32::from(answer.status);
    }
    let begun = Instant::now();
    let mut reader = body.into_with_config().limit(BODY_BYTES_MAX).reader();
    let read = if keep_body { reader.read_to_end(&mut answer.body) } else { drain(&mut reader) };
    answer.receiving = begun.elapsed();
    match read {
        Ok(length) => answer.received += length,
        Err(error) => {
            answer.error = format!("the body ended early: {error}");
            answer.error_code = ERROR_GENERAL;
            answer.status = 0;
        }
    }
    answer
}

fn drain(reader: &mut impl Read) -> std::io::Result<usize> {
    let length = std::io::copy(reader, &mut std::io::sink())?;
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

/// `content-type` -> `Content-Type`: scripts written for k6 look headers up so.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

fn code_of(error: &ureq::Error) -> u32 {
    match error {
        ureq::Error::Timeout(_) => ERROR_TIMEOUT,
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => ERROR_CONNECT,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => ERROR_CONNECT,
        _ => ERROR_GENERAL,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::{io::Write, net::TcpListener, thread};

    use super::*;

    fn call(url: String) -> Call {
        Call {
            method: "GET".to_owned(),
            url,
            headers: vec![("x-a".to_owned(), "b".to_owned())],
            body: None,
            timeout: Duration::from_secs(5),
            redirects: 0,
            keep_body: true,
        }
    }

    /// Answers every request of one connection with `answer`.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut bytes = [0; 4096];
            while connection.read(&mut bytes).is_ok_and(|read| read > 0) {
                if connection.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        });
        format!("http://{address}/x")
    }

    #[test]
    fn an_answer_is_measured_and_its_headers_are_named_as_in_k6() {
        let url = server("HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nx-n: 1\r\nx-n: 2\r\ncontent-length: 4\r\n\r\ngone");
        let client = Client::new("test", &[]);
        let first = client.send(call(url.clone())).unwrap();
        assert_eq!((first.status, first.body.as_slice(), first.error_code), (404, b"gone".as_slice(), 1404));
        assert_eq!(first.headers.get("Content-Type").map(String::as_str), Some("text/plain"));
        assert_eq!(first.headers.get("X-N").map(String::as_str), Some("1, 2"));
        assert!(first.connecting > Duration::ZERO && first.waiting > Duration::ZERO);
        let second = client.send(call(url)).unwrap();
        assert_eq!((second.status, second.connecting), (404, Duration::ZERO), "the connection is kept");
    }

    #[test]
    fn nobody_at_home_is_an_answer_with_status_0() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let answer = Client::new("test", &[]).send(call(format!("http://127.0.0.1:{port}/"))).unwrap();
        assert_eq!((answer.status, answer.error_code), (0, ERROR_CONNECT));
        assert!(!answer.error.is_empty());
    }

    #[test]
    fn only_this_machine_may_be_loaded() {
        let client = Client::new("test", &["staging.test".to_owned()]);
        let admitted = |url: &str| client.admit(&url.parse().unwrap()).is_ok();
        assert!(admitted("http://127.0.0.1:8787/") && admitted("http://[::1]:80/") && admitted("http://localhost/"));
        assert!(admitted("http://staging.test/"));
        assert!(!admitted("http://example.com/") && !admitted("https://127.0.0.1/"));
    }
}
