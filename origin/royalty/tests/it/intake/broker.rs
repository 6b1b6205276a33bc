//! A real Kafka broker: one node of KRaft on loopback, from the jars that `cargo xtask setup` fetched. It flushes each message before it
//! acknowledges it. It ends with the test process, however that ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use platform::testing;
use rskafka::client::{Client, ClientBuilder};
use tokio::sync::OnceCell;

static SHARED: OnceCell<Option<Broker>> = OnceCell::const_new();
static TOPICS: AtomicU32 = AtomicU32::new(0);
/// A broker that takes longer is broken, not slow.
const START_WITHIN: Duration = Duration::from_secs(120);
/// Starts what follows and kills it when the other end of standard input is closed.
const KEEPER: &str = r#""$@" >>server.log 2>&1 & pid=$!; echo $pid; cat >/dev/null; kill -9 $pid"#;

const ARGUMENTS: [&str; 5] =
    ["-Xms256m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dlog4j2.configurationFile=log4j2.properties"];

pub struct Broker {
    pub address: String,
    home: PathBuf,
    jars: PathBuf,
    keeper: Option<Child>,
    pid: String,
}

/// The broker of tests that leave it alone. `None` where it cannot be had and need not be.
pub async fn shared() -> Option<&'static Broker> {
    SHARED.get_or_init(|| Broker::start("shared")).await.as_ref()
}

/// Whether there is everything a broker needs. Root has it or fails; others are told in one line.
fn jars() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let jars = cache.join("antiphon/tools/kafka-4.4.0");
    let java =
        Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if java && jars.is_dir() {
        return Some(jars);
    }
    let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0;
    assert!(!root, "there is no Kafka broker: cargo xtask setup installs java and the jars in {}", jars.display());
    println!("skipped: no java, or no Kafka in {} (cargo xtask setup)", jars.display());
    None
}

impl Broker {
    /// Makes a broker with a log of its own.
    pub async fn start(name: &str) -> Option<Self> {
        let jars = jars()?;
        // Removed when the test process ends.
        let home = testing::postgres().await.dir().join(format!("kafka-{name}"));
        fs::create_dir(&home).unwrap();
        let ports: Vec<u16> =
            [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).iter().map(|on| on.local_addr().unwrap().port()).collect();
        let (port, controller) = (ports[0], ports[1]);
        fs::write(
            home.join("server.properties"),
            format!(
                "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
                 controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs=data\n\
                 offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                 share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\noffsets.topic.num.partitions=1\n\
                 transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n\
                 auto.create.topics.enable=false\nbroker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\nlog.flush.interval.messages=1\n"
            ),
        )
        .unwrap();
        let log4j = "appender.c.type=Console\nappender.c.name=c\nappender.c.layout.type=PatternLayout\nappender.c.layout.pattern=%d %p %m (%c)%n\n\
                     rootLogger.level=warn\nrootLogger.appenderRef.c.ref=c\nlogger.k.name=kafka.server\nlogger.k.level=info\n";
        fs::write(home.join("log4j2.properties"), log4j).unwrap();
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", "server.properties"];
        let formatted =
            Command::new("java").args(ARGUMENTS).args(format).env("CLASSPATH", jars.join("*")).current_dir(&home).output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let mut broker = Self { address: format!("127.0.0.1:{port}"), home, jars, keeper: None, pid: String::new() };
        broker.begin();
        Some(broker)
    }

    /// Starts the process and waits until it says that it has started.
    pub fn begin(&mut self) {
        let said = |home: &Path| {
            fs::read_to_string(home.join("server.log")).unwrap_or_default().matches("started (kafka.server.KafkaRaftServer)").count()
        };
        let before = said(&self.home);
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper", "java"]).args(ARGUMENTS).args(["kafka.Kafka", "server.properties"]);
        keeper.env("CLASSPATH", self.jars.join("*")).current_dir(&self.home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        self.pid.clear();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut self.pid).unwrap();
        self.keeper = Some(keeper);
        let deadline = Instant::now() + START_WITHIN;
        while said(&self.home) == before {
            let log = || fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the broker does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let killed = Command::new("kill").args(["-9", self.pid.trim()]).status().unwrap();
        assert!(killed.success());
        self.rest();
    }

    /// Lets go of the keeper, which ends when its input does.
    fn rest(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().unwrap();
        }
    }

    pub async fn client(&self) -> Client {
        ClientBuilder::new(vec![self.address.clone()]).build().await.unwrap()
    }

    /// A new topic that nobody else uses.
    pub async fn topic(&self, partitions: u16) -> String {
        let name = format!("heartbeats-{}", TOPICS.fetch_add(1, Ordering::Relaxed));
        self.make_topic(&name, partitions).await;
        name
    }

    pub async fn make_topic(&self, name: &str, partitions: u16) {
        let controller = self.client().await.controller_client().unwrap();
        controller.create_topic(name, i32::from(partitions), 1, 10_000).await.unwrap();
    }

    pub async fn drop_topic(&self, name: &str) {
        let controller = self.client().await.controller_client().unwrap();
        controller.delete_topic(name, 10_000).await.unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.rest();
    }
}
