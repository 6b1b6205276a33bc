//! A private PostgreSQL for tests, so that `cargo test -p <service>` needs nothing but the server's programs. One server per test process,
//! one database per call, copied from a template to which all of `migrations/` have been applied.
//!
//! The server, its files and everything in [`TestDatabase::dir`] go when the process ends, however it ends: a watcher holds the other end of
//! a pipe, and the operating system closes ours. `ANTIPHON_TEST_DATABASE_URL` names a server (as a role that may create roles and
//! databases) to use instead.
#![expect(clippy::expect_used, clippy::panic, reason = "a test without its database must stop and say why")]

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::Router;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, migrate::Migrator};
use tokio::{net::TcpListener, sync::OnceCell};
use utoipa::openapi::OpenApi;

use crate::{Config, Shutdown, migrate, pg, random_bytes};

/// Whom a server runs as when the tests run as root, as whom PostgreSQL refuses to run.
const NOBODY: u32 = 65_534;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A server with a migrated template.
struct Cluster {
    url: reqwest::Url,
    dir: PathBuf,
    template: String,
    config: Config,
    /// Closed by the operating system when this process ends, which is what the watcher waits for.
    _alive: ChildStdin,
}

/// A database of one test.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    config: Config,
    dir: PathBuf,
}

impl TestDatabase {
    /// A configuration of this database, with keys and state of its own test process.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The owner's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.config.database.url
    }

    /// A folder for the test's files, removed when the process ends.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// As the owner, who may do anything.
    #[must_use]
    pub fn owner(&self) -> PgPool {
        pg::pool(self.url(), 4).expect("the owner's URL")
    }

    /// As a service, with that service's grants and no more.
    #[must_use]
    pub fn pool(&self, role: &str) -> PgPool {
        pg::pool(&self.config.role_database_url(role).expect("the role's URL"), 8).expect("the role's URL")
    }
}

/// A new database with all migrations applied.
pub async fn postgres() -> TestDatabase {
    let cluster = CLUSTER.get_or_init(start).await;
    let name = format!("test_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    execute(&cluster.url, &format!("CREATE DATABASE {name} TEMPLATE {}", cluster.template)).await.expect("a database from the template");
    let dir = cluster.dir.join(&name);
    fs::create_dir_all(&dir).expect("a folder for the test");
    let mut config = cluster.config.clone();
    config.database.url = with_database(&cluster.url, &name).to_string();
    config.state.dir = dir.clone();
    TestDatabase { config, dir }
}

/// Serves a role's routes on a free port for as long as the test's runtime lives; gives the base URL.
pub async fn serve_here(role: &'static str, routes: (Router, OpenApi)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(crate::serve::serve_on(listener, role, routes, || async { Vec::new() }, Shutdown::new()));
    format!("http://{address}")
}

async fn start() -> Cluster {
    let dir = env::temp_dir().join(format!("antiphon-test-{}", hex::encode(random_bytes::<6>())));
    fs::create_dir(&dir).expect("a temporary folder");
    let alive = watch(&dir);
    let url = match env::var("ANTIPHON_TEST_DATABASE_URL") {
        Ok(url) => reqwest::Url::parse(&url).expect("ANTIPHON_TEST_DATABASE_URL is a URL"),
        Err(_) => start_server(&dir),
    };
    let mut config = Config::default();
    config.keys.dir = dir.join("keys");
    // Passwords come from the seed, and a server that is shared by several test processes has one set of roles.
    fs::create_dir(&config.keys.dir).expect("a folder for keys");
    fs::write(config.keys.dir.join("database.json"), format!(r#"{{"seed":"{}"}}"#, "5e".repeat(32))).expect("the database seed");
    let seed = config.keys().expect("keys").database_seed;

    let template = format!("template_{}_{}", std::process::id(), hex::encode(random_bytes::<4>()));
    execute(&url, &format!("CREATE DATABASE {template}")).await.expect("a template database");
    let migrations = Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations"))).await.expect("migrations");
    let template_url = with_database(&url, &template);
    let mut tries = 0;
    // Two processes that alter one role at the same moment disturb each other; that passes.
    while let Err(error) = migrate::apply(template_url.as_str(), &seed, &migrations).await {
        tries += 1;
        let passing = matches!(error, migrate::MigrateError::Database(_)) && tries < 10;
        assert!(passing, "the migrations do not apply: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Cluster { url, dir, template, config, _alive: alive }
}

async fn execute(url: &reqwest::Url, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url.as_str()).await?;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?;
    connection.close().await
}

fn with_database(url: &reqwest::Url, name: &str) -> reqwest::Url {
    let mut url = url.clone();
    url.set_path(name);
    url
}

/// Initialises and starts a server that listens on a socket in `dir` alone.
fn start_server(dir: &Path) -> reqwest::Url {
    let bin = programs();
    let (home, password) = (dir.join("pg"), hex::encode(random_bytes::<16>()));
    fs::create_dir(&home).expect("a folder for the server");
    fs::write(home.join("password"), &password).expect("the password file");
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root {
        for path in [&home, &home.join("password")] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("to give the folder to the server's user");
        }
    }
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(bin.join(program));
        command.current_dir(&home).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let status = command.status().unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        assert!(status.success(), "{program} failed: {}", fs::read_to_string(home.join("log")).unwrap_or_default());
    };
    run(
        "initdb",
        &["-D", "data", "-U", "owner", "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
    );
    let socket = home.display();
    // Durability is for data that outlives the test.
    let settings = format!(
        "-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
         -c max_connections=300 -c shared_buffers=64MB"
    );
    run("pg_ctl", &["-D", "data", "-l", "log", "-w", "-o", &settings, "start"]);
    let host = home.display().to_string().replace('/', "%2F");
    reqwest::Url::parse(&format!("postgres://owner:{password}@localhost/postgres?host={host}")).expect("a URL made here")
}

/// Where PostgreSQL's programs are: where `pg_config` says, or the newest of Debian's.
fn programs() -> PathBuf {
    let told =
        Command::new("pg_config").arg("--bindir").output().ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    let candidates = told.map(PathBuf::from).into_iter().chain(found.into_iter().rev().map(|(_, path)| path));
    candidates.into_iter().find(|bin| bin.join("initdb").exists()).expect("PostgreSQL is not installed: apt-get install postgresql")
}

/// Starts a process that waits until this one is gone, then stops the server and removes the folder.
#[expect(clippy::zombie_processes, reason = "it ends after this process, so it is not this one that waits for it")]
fn watch(dir: &Path) -> ChildStdin {
    let script = r#"trap '' INT TERM HUP
        cat >/dev/null
        pid=$(head -n 1 "$1/pg/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            kill -QUIT "$pid" 2>/dev/null
            while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
        fi
        rm -rf "$1""#;
    let mut watcher = Command::new("sh")
        .args(["-c", script, "watcher"])
        .arg(dir)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a watcher");
    watcher.stdin.take().expect("the watcher's input")
}
