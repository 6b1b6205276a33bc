//! The system's own PostgreSQL, in `postgres/` below the state directory: made once, listening on loopback only.
//!
//! PostgreSQL refuses to run as root, so root starts it as the user `nobody`, who owns that one directory.
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{
    part::{Change, Part, Program, bound_to_us},
    state::{State, secret},
};
use crate::{
    say,
    setup::postgres::{Programs, programs},
    shell,
    workspace::Workspace,
};

const OWNER: &str = "antiphon_owner";
const DATABASE: &str = "antiphon";
const NOBODY: u32 = 65534;
/// A server killed the hard way leaves children behind; until they are gone a new one refuses to start.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A running server and how to reach it.
pub(crate) struct Postgres {
    pub(crate) part: Part,
    /// The owner's URL, for migrations and for whoever reads run.json.
    pub(crate) url: String,
}

impl Postgres {
    /// Makes the data directory the first time, then starts the server and waits until it takes connections.
    ///
    /// # Errors
    /// When there is no fitting PostgreSQL, or it does not start; with the last lines of its log.
    pub(crate) fn start(workspace: &Workspace, state: &State, port: u16) -> Result<Self> {
        let home = state.path("postgres");
        fs::create_dir_all(&home).with_context(|| format!("{} cannot be made", home.display()))?;
        let data = home.join("data");
        let major = fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|version| version.trim().parse().ok());
        let server = Server { programs: programs(workspace, major)?, user: User::choose(&home)?, home, data };

        let password = server.password()?;
        if major.is_none() {
            server.initialise()?;
        }
        let part = server.run(state, port)?;
        Ok(Self { part, url: format!("postgres://{OWNER}:{password}@127.0.0.1:{port}/{DATABASE}") })
    }
}

/// One data directory and the programs that may touch it.
struct Server {
    programs: Programs,
    user: User,
    home: PathBuf,
    data: PathBuf,
}

impl Server {
    fn password_file(&self) -> PathBuf {
        self.home.join("password")
    }

    /// The owner's password, made with the data directory and kept beside it.
    fn password(&self) -> Result<String> {
        let file = self.password_file();
        if let Ok(known) = fs::read_to_string(&file) {
            return Ok(known);
        }
        let new = secret(16)?;
        fs::write(&file, &new)
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        self.user.give(&file)?;
        Ok(new)
    }

    /// Makes the data directory beside its place and moves it there, so that a half-made one is never taken for whole.
    fn initialise(&self) -> Result<()> {
        say::step("making the database (once)");
        let unfinished = self.home.join("data.new");
        let _ = fs::remove_dir_all(&unfinished);
        let mut initdb = self.user.command(&self.programs.bin.join("initdb"), &self.home);
        initdb
            .args([
                "--username",
                OWNER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ])
            .arg("--pgdata")
            .arg(&unfinished)
            .arg("--pwfile")
            .arg(self.password_file());
        shell::output(&mut initdb).context("the database cannot be made")?;
        fs::rename(&unfinished, &self.data).with_context(|| format!("{} cannot be put in place", self.data.display()))
    }

    fn run(&self, state: &State, port: u16) -> Result<Part> {
        let mut command = self.user.command(&self.programs.bin.join("postgres"), &self.home);
        command.arg("-D").arg(&self.data);
        // No Unix socket: its path may be longer than the 107 bytes a socket's name can have.
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
            "unix_socket_directories=",
            "max_connections=200",
            "log_line_prefix=%m [%p] ",
        ] {
            command.args(["-c", setting]);
        }
        let log = state.log("postgres");
        let mut part = Part::start(Program { name: "postgres", command, log, stop: Signal::INT, speaks: false })?;
        let deadline = Instant::now() + START_PATIENCE;
        while !self.is_ready(&part, port) {
            if let Change::Died { .. } = part.look()? {
                let words = part.last_words();
                if !words.contains("postmaster.pid") || Instant::now() > deadline {
                    bail!("PostgreSQL does not start:\n{words}");
                }
            }
            if Instant::now() > deadline {
                bail!("PostgreSQL is not ready after {} s:\n{}", START_PATIENCE.as_secs(), part.last_words());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(part)
    }

    /// The server writes "ready" into the last line of its pid file (`pidfile.h`) once it takes connections.
    fn is_ready(&self, part: &Part, port: u16) -> bool {
        let Ok(text) = fs::read_to_string(self.data.join("postmaster.pid")) else { return false };
        let mut lines = text.lines();
        let ours = lines.next().and_then(|pid| pid.trim().parse().ok()) == part.pid();
        ours && lines.last().is_some_and(|status| status.trim() == "ready") && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }
}

/// Who runs the server.
enum User {
    /// Whoever started us.
    Ourselves,
    /// `nobody`, for root; with extra `setpriv` arguments where the state directory lies in a private place.
    Nobody { setpriv: PathBuf, passage: &'static [&'static str] },
}

impl User {
    /// As root, also hands the directory over and finds out how `nobody` can reach it.
    fn choose(home: &Path) -> Result<Self> {
        if !shell::is_root() {
            return Ok(Self::Ourselves);
        }
        chown(home, Some(NOBODY), Some(NOBODY)).with_context(|| format!("{} cannot be given to the user nobody", home.display()))?;
        let setpriv = shell::find("setpriv")
            .context("PostgreSQL refuses to run as root, and setpriv (package util-linux), which changes the user, is missing")?;
        // A directory such as /root lets nobody else pass; the second way gives just that one permission along.
        let ways: [&'static [&'static str]; 2] = [&[], &["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]];
        for passage in ways {
            let user = Self::Nobody { setpriv: setpriv.clone(), passage };
            if shell::output(&mut user.command(Path::new("true"), home)).is_ok() {
                return Ok(user);
            }
        }
        bail!(
            "PostgreSQL refuses to run as root, and the user nobody, who would run it, may not enter {}; choose another --state DIR, or run as an ordinary user",
            home.display()
        )
    }

    /// A command of this user, in a directory that it can enter, which ends when we do.
    fn command(&self, program: &Path, home: &Path) -> Command {
        match self {
            Self::Ourselves => {
                let mut command = bound_to_us(program, "INT");
                command.current_dir(home);
                command
            }
            Self::Nobody { setpriv, passage } => {
                let mut command = Command::new(setpriv);
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig", "INT"]).args(*passage);
                command.args(["env", "-C"]).arg(home).arg(program).env("HOME", home);
                command
            }
        }
    }

    fn give(&self, file: &Path) -> Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Nobody { .. } => {
                chown(file, Some(NOBODY), Some(NOBODY)).with_context(|| format!("{} cannot be given to the user nobody", file.display()))
            }
        }
    }
}
