//! A blocking HTTP/1.1 client that knows when the first byte came. One connection, kept alive: what a player does, and nothing in the
//! way of the clock.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer larger than this is not one of ours.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// A connection to one origin.
#[derive(Debug)]
pub(crate) struct Client {
    authority: String,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer, timed from the moment its request was written.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// All of it.
    pub(crate) body: Vec<u8>,
    /// From the request written to the first byte of the answer's head.
    pub(crate) first_byte: Duration,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// With the beginning of the body, when it is none.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: {:.200}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

impl Client {
    /// To `http://host:port`. Nothing is sent yet.
    ///
    /// # Errors
    /// When it is no such address.
    pub(crate) fn new(origin: &str) -> Result<Self> {
        let authority =
            origin.trim_end_matches('/').strip_prefix("http://").with_context(|| format!("{origin} is not http://host:port"))?;
        Ok(Self { authority: authority.to_owned(), connection: None })
    }

    /// GET.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send("GET", path, headers, None)
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        self.post_text(path, body.to_string())
    }

    /// POST of JSON that is text already.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(crate) fn post_text(&mut self, path: &str, body: String) -> Result<Answer> {
        self.send("POST", path, &[("content-type", "application/json")], Some(body))
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.authority);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.unwrap_or_default();
        if method != "GET" {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.authority)?,
        };
        let answer = exchange(&mut connection, request.as_bytes()).with_context(|| format!("{method} http://{}{path}", self.authority))?;
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !closes {
            self.connection = Some(connection);
        }
        Ok(answer)
    }
}

fn connect(authority: &str) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(authority).with_context(|| format!("{authority} cannot be reached"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(BufReader::with_capacity(64 << 10, stream))
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> Result<Answer> {
    connection.get_mut().write_all(request)?;
    let written = Instant::now();
    if connection.fill_buf()?.is_empty() {
        bail!("the connection was closed without an answer");
    }
    let first_byte = written.elapsed();
    let status_line = line(connection)?;
    let status =
        status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("no status in {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(connection)?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new(), first_byte };
    answer.body = body(connection, &answer)?;
    Ok(answer)
}

fn line(connection: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    connection.take(64 << 10).read_line(&mut line)?;
    if !line.ends_with('\n') {
        bail!("the answer ended within its head");
    }
    Ok(line.trim_end().to_owned())
}

fn body(connection: &mut BufReader<TcpStream>, answer: &Answer) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = u64::from_str_radix(line(connection)?.split(';').next().unwrap_or_default().trim(), 16)?;
            if size > BODY_BYTES_MAX {
                bail!("a chunk of {size} bytes");
            }
            connection.take(size).read_to_end(&mut body)?;
            line(connection)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length: u64 = answer.header("content-length").unwrap_or("0").parse()?;
    if length > BODY_BYTES_MAX {
        bail!("a body of {length} bytes");
    }
    connection.take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        bail!("the body ended after {} of {length} bytes", body.len());
    }
    Ok(body)
}
