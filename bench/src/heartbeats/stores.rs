//! Who can keep a post: our buffer at the edge, a Redis stream, a NATS stream. Each is told to acknowledge only what is on disk, each is spoken to
//! over plain TCP in its own words, and each keeps the same bytes: the post as the buffer's row has it.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{cpu, posts::Listeners};
use crate::client::Client;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that keeps posts.
pub(crate) trait Store: Sync {
    /// Its name in the tables.
    fn name(&self) -> &'static str;
    /// A connection of its own.
    ///
    /// # Errors
    /// When there is none to be had.
    fn connect(&self) -> Result<Box<dyn Connection + Send>>;
    /// CPU of its process so far.
    ///
    /// # Errors
    /// When it has ended.
    fn cpu(&self) -> Result<Duration>;
}

/// One connection.
pub(crate) trait Connection {
    /// Has the next post kept.
    ///
    /// # Errors
    /// When it is not acknowledged.
    fn keep(&mut self) -> Result<()>;
}

/// Our Worker and one of its buffers.
pub(crate) struct Edge<'a> {
    /// The system it belongs to.
    pub(crate) site: &'a super::site::Site,
    /// Who posts.
    pub(crate) listeners: Arc<Listeners>,
    /// What: every so many posts end a play.
    pub(crate) end_every: usize,
}

impl Store for Edge<'_> {
    fn name(&self) -> &'static str {
        "HeartbeatBuffer (workerd, SQLite)"
    }

    fn connect(&self) -> Result<Box<dyn Connection + Send>> {
        Ok(Box::new(Posting {
            client: Client::new(self.site.edge())?,
            listeners: Arc::clone(&self.listeners),
            end_every: self.end_every,
            sent: 0,
        }))
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(self.site.cpu()?.edge)
    }
}

struct Posting {
    client: Client,
    listeners: Arc<Listeners>,
    end_every: usize,
    sent: usize,
}

impl Connection for Posting {
    fn keep(&mut self) -> Result<()> {
        self.sent += 1;
        let kind = if self.sent.is_multiple_of(self.end_every) { "end" } else { "progress" };
        let answer = self.client.post_text("/v1/me/play-event", self.listeners.post(kind))?;
        ensure!(answer.status == 202, "a heartbeat: {} {:.300}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    }
}

/// A server that was started for this; it ends when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(mut command: Command, port: u16, log: &Path) -> Result<Self> {
        let said = std::fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn();
        let server = Self { child: child.with_context(|| format!("{command:?}"))?, port };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            ensure!(begun.elapsed() < START_TIMEOUT, "{command:?} does not listen: {}", std::fs::read_to_string(log).unwrap_or_default());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn stream(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it keeps is of no use to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line)? > 0, "the connection was closed");
    Ok(line.trim_end().to_owned())
}

/// A stream in Redis, which writes its log to disk before it answers.
pub(crate) struct Redis {
    server: Server,
    listeners: Arc<Listeners>,
}

impl Redis {
    /// Starts it, with its log in `directory`.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(program: &Path, directory: &Path, listeners: Arc<Listeners>) -> Result<Self> {
        let (port, home) = (free_port()?, directory.join("redis"));
        std::fs::create_dir_all(&home)?;
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        // Its log is not rewritten while we measure.
        command.args(["--auto-aof-rewrite-percentage", "0", "--dir"]).arg(&home);
        Ok(Self { server: Server::start(command, port, &directory.join("redis.log"))?, listeners })
    }
}

impl Store for Redis {
    fn name(&self) -> &'static str {
        "Redis stream, appendfsync always"
    }

    fn connect(&self) -> Result<Box<dyn Connection + Send>> {
        Ok(Box::new(Adding { stream: self.server.stream()?, listeners: Arc::clone(&self.listeners) }))
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(cpu::of(self.server.child.id()))
    }
}

struct Adding {
    stream: BufReader<TcpStream>,
    listeners: Arc<Listeners>,
}

impl Connection for Adding {
    fn keep(&mut self) -> Result<()> {
        let post = self.listeners.stored().to_string();
        let command = format!("*5\r\n$4\r\nXADD\r\n$2\r\nhb\r\n$1\r\n*\r\n$1\r\np\r\n${}\r\n{post}\r\n", post.len());
        self.stream.get_mut().write_all(command.as_bytes())?;
        let answer = line(&mut self.stream)?;
        ensure!(answer.starts_with('$'), "Redis: {answer}");
        line(&mut self.stream)?;
        Ok(())
    }
}

/// A JetStream stream in a file that is synced after every message.
pub(crate) struct Nats {
    server: Server,
    listeners: Arc<Listeners>,
}

impl Nats {
    /// Starts it, with its stream in `directory`.
    ///
    /// # Errors
    /// When it does not come up or takes no stream.
    pub(crate) fn start(program: &Path, directory: &Path, listeners: Arc<Listeners>) -> Result<Self> {
        let (port, home) = (free_port()?, directory.join("nats"));
        std::fs::create_dir_all(&home)?;
        let config = home.join("nats.conf");
        let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n", home.display());
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(config);
        let nats = Self { server: Server::start(command, port, &directory.join("nats.log"))?, listeners };
        let stream = json!({ "name": "HB", "subjects": ["hb.>"], "storage": "file", "retention": "limits", "max_msgs": -1, "max_bytes": -1, "num_replicas": 1 });
        Publishing::open(&nats)?.ask("$JS.API.STREAM.CREATE.HB", &stream.to_string())?;
        Ok(nats)
    }
}

impl Store for Nats {
    fn name(&self) -> &'static str {
        "NATS JetStream, sync always"
    }

    fn connect(&self) -> Result<Box<dyn Connection + Send>> {
        Ok(Box::new(Publishing::open(self)?))
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(cpu::of(self.server.child.id()))
    }
}

struct Publishing {
    stream: BufReader<TcpStream>,
    listeners: Arc<Listeners>,
    inbox: String,
}

impl Publishing {
    fn open(nats: &Nats) -> Result<Self> {
        let mut stream = nats.server.stream()?;
        let hello = line(&mut stream)?;
        ensure!(hello.starts_with("INFO "), "NATS: {hello}");
        let inbox = format!("_INBOX.{}", stream.get_ref().local_addr()?.port());
        let connect = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\nPING\r\n");
        stream.get_mut().write_all(connect.as_bytes())?;
        while line(&mut stream)? != "PONG" {}
        Ok(Self { stream, listeners: Arc::clone(&nats.listeners), inbox })
    }

    /// Publishes and waits for the reply, which JetStream gives when it has stored the message.
    fn ask(&mut self, subject: &str, payload: &str) -> Result<()> {
        let publish = format!("PUB {subject} {} {}\r\n{payload}\r\n", self.inbox, payload.len());
        self.stream.get_mut().write_all(publish.as_bytes())?;
        loop {
            let head = line(&mut self.stream)?;
            if head == "PING" {
                self.stream.get_mut().write_all(b"PONG\r\n")?;
                continue;
            }
            let Some(bytes) = head.strip_prefix("MSG ").and_then(|rest| rest.rsplit(' ').next()?.parse::<usize>().ok()) else {
                bail!("NATS: {head}");
            };
            let mut reply = vec![0; bytes + 2];
            self.stream.read_exact(&mut reply)?;
            let reply: Value = serde_json::from_slice(reply.get(..bytes).unwrap_or_default())?;
            ensure!(reply.get("error").is_none(), "NATS: {reply}");
            return Ok(());
        }
    }
}

impl Connection for Publishing {
    fn keep(&mut self) -> Result<()> {
        let post = self.listeners.stored().to_string();
        self.ask("hb.0", &post)
    }
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
