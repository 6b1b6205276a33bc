//! A running system: its parts in the order they are started, the loop that watches them, and the orderly stop.
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{
    music,
    part::{self, Change, Part, Program, bound_to_us},
    ports::Ports,
    postgres::Postgres,
    readiness::Readiness,
    record::{self, Entry, Record},
    settings::{self, Accounts},
    state::State,
};
use crate::{
    build, say,
    setup::node,
    shell,
    workspace::{Profile, Workspace},
};

/// How often the parts are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// A start that is not complete by then has failed.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// A part that dies more often than this before the system is ready will not get better by itself.
const EARLY_DEATHS_MAX: u32 = 3;
/// How long the edge, the roles and PostgreSQL may each take to finish what they do.
const STOP_PATIENCE: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(12), Duration::from_secs(10)];

/// Ctrl-C and SIGTERM, as messages.
pub(crate) struct Signals(Receiver<i32>);

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be listened to")?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
        Ok(Self(receiver))
    }

    /// Waits a moment; true when a stop was asked for.
    fn asked_to_stop(&self, within: Duration) -> bool {
        match self.0.recv_timeout(within) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}

/// Everything that runs. The fields are dropped in this order, so that a failed start also stops from the bottom up.
pub(crate) struct System {
    edge: Part,
    roles: Part,
    postgres: Part,
    record: Record,
    readiness: Readiness,
    accounts: Accounts,
    antiphon: Antiphon,
    early_deaths: u32,
    ready: bool,
    signals: Signals,
    _ports: Ports,
    state: State,
}

/// The binary, the configuration it reads, and the settings that override it.
struct Antiphon {
    program: PathBuf,
    config: PathBuf,
    settings: Vec<String>,
}

impl Antiphon {
    /// `antiphon WORDS --config FILE --set …`
    fn command(&self, mut antiphon: Command, words: &[&str]) -> Command {
        antiphon.args(words).arg("--config").arg(&self.config);
        for setting in &self.settings {
            antiphon.args(["--set", setting]);
        }
        antiphon
    }

    fn plain(&self, words: &[&str]) -> Command {
        self.command(Command::new(&self.program), words)
    }
}

impl System {
    /// Starts every part; none of them need be ready yet.
    pub(crate) fn start(
        workspace: &Workspace,
        state: State,
        ports: Ports,
        profile: Profile,
        settings: &[String],
        ffmpeg: &Path,
        signals: Signals,
    ) -> Result<Self> {
        say::step("starting PostgreSQL");
        let database = Postgres::start(workspace, &state, ports.of("postgres")?)?;
        settings::write_config(&state, &ports, &database.url, ffmpeg)?;
        let antiphon = Antiphon { program: workspace.antiphon(profile), config: state.path(settings::CONFIG), settings: settings.to_vec() };

        say::step("bringing the database up to date");
        shell::output(&mut antiphon.plain(&["migrate"]))?;
        let accounts = shell::output(&mut antiphon.plain(&["accounts", "ensure"]))?;
        let accounts: Accounts = serde_json::from_str(&accounts).context("antiphon accounts ensure did not answer with accounts")?;
        let vars = shell::output(&mut antiphon.plain(&["edge-vars"]))?;
        state.write("edge-vars.json", &vars)?;

        say::step("starting the services and the edge");
        let roles = Part::start(Program {
            name: "supervisor",
            command: roles_command(workspace, &antiphon),
            log: state.log("supervisor"),
            stop: Signal::TERM,
            speaks: true,
        })?;
        let edge = Part::start(Program {
            name: "edge",
            command: edge_command(workspace, &state, ports.of("edge")?)?,
            log: state.log("edge"),
            stop: Signal::TERM,
            speaks: false,
        })?;
        Ok(Self {
            edge,
            roles,
            postgres: database.part,
            record: Record::new(&ports, &database.url, &accounts)?,
            readiness: Readiness::new(&ports)?,
            accounts,
            antiphon,
            early_deaths: 0,
            ready: false,
            signals,
            _ports: ports,
            state,
        })
    }

    /// The directory it keeps everything in.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Waits until every part answers. False when a stop was asked for meanwhile.
    ///
    /// # Errors
    /// When some part does not get ready, with what it last said.
    pub(crate) fn until_ready(&mut self) -> Result<bool> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.readiness.ask() {
                self.ready = true;
                return Ok(true);
            }
            if Instant::now() > deadline {
                let words: Vec<String> =
                    self.readiness.missing().map(|part| format!("{part}:\n{}", part::last_words(&self.state.log(part)))).collect();
                bail!("not ready after {} s:{}\n{}", READY_WITHIN.as_secs(), self.readiness.complaint(), words.join("\n"));
            }
            if !self.watch()? {
                return Ok(false);
            }
        }
    }

    /// Imports music as the demo's artist. False when a stop was asked for meanwhile. Trouble with a piece is told, and
    /// does not keep the system from running.
    pub(crate) fn import(&mut self, sources: &[PathBuf], is_demo: bool) -> Result<bool> {
        if sources.is_empty() {
            return Ok(true);
        }
        say::step("importing music (what is there already is not imported again)");
        // Without --email it is the demo's artist who uploads.
        let mut import =
            self.antiphon.plain(&["import"]).args(sources).stdin(Stdio::null()).spawn().context("antiphon import cannot be started")?;
        let status = loop {
            if let Some(status) = import.try_wait()? {
                break status;
            }
            if !self.watch()? {
                end(&mut import);
                return Ok(false);
            }
        };
        if !status.success() {
            say::warning("not all music was imported; the next start tries again");
        } else if is_demo {
            music::demo_is_in(&self.state)?;
        }
        Ok(true)
    }

    /// Writes run.json and tells the person where everything is.
    pub(crate) fn announce(&mut self) -> Result<()> {
        self.describe()?;
        let login = |who: &str, login: &settings::Login| format!("  {who:<9} {}  password {}\n", login.email, login.password);
        say::result(&format!(
            "\nAntiphon is running.\n\n  page      {}\n  gateway   {}\n\n{}{}{}\n  state     {}\n  logs      {}\n\nCtrl-C stops it.",
            self.record.page,
            self.record.gateway,
            login("listener", &self.accounts.listener),
            login("artist", &self.accounts.artist),
            login("admin", &self.accounts.admin),
            self.state.path("run.json").display(),
            self.state.path("log").display(),
        ));
        Ok(())
    }

    /// Watches until a stop is asked for.
    pub(crate) fn keep_running(&mut self) -> Result<()> {
        while self.watch()? {
            self.describe()?;
        }
        Ok(())
    }

    /// Stops every part, the ones that use others first.
    pub(crate) fn stop(mut self) {
        Record::remove(&self.state);
        for (part, patience) in [&mut self.edge, &mut self.roles, &mut self.postgres].into_iter().zip(STOP_PATIENCE) {
            part.stop(patience);
        }
    }

    /// Waits a moment and looks at every part. False when a stop was asked for.
    fn watch(&mut self) -> Result<bool> {
        if self.signals.asked_to_stop(LOOK_EVERY) {
            return Ok(false);
        }
        for part in [&mut self.postgres, &mut self.roles, &mut self.edge] {
            match part.look()? {
                Change::None => {}
                Change::Died { status, again_in } => {
                    let how = status.signal().map_or_else(|| status.to_string(), |signal| format!("killed by signal {signal}"));
                    say::warning(&format!(
                        "{} died ({how}); it is started again in {} ms; its last words:\n{}",
                        part.name(),
                        again_in.as_millis(),
                        part.last_words()
                    ));
                    self.early_deaths += u32::from(!self.ready);
                    if self.early_deaths > EARLY_DEATHS_MAX {
                        bail!("{} does not stay up", part.name());
                    }
                }
                Change::Restarted => say::step(&format!("{} runs again", part.name())),
            }
        }
        Ok(true)
    }

    fn describe(&mut self) -> Result<()> {
        // The edge's process is the runtime, not the node that minds it; while it starts there is none.
        let own =
            [(&self.postgres, self.postgres.pid()), (&self.roles, self.roles.pid()), (&self.edge, self.edge.pid().and_then(workerd_of))];
        let mut parts: Vec<Entry> = own
            .iter()
            .filter_map(|(part, pid)| Some(Entry { name: part.name().to_owned(), pid: (*pid)?, log: part.log().to_owned() }))
            .collect();
        parts.extend(record::roles(&self.state));
        self.record.update(&self.state, parts)
    }
}

fn roles_command(workspace: &Workspace, antiphon: &Antiphon) -> Command {
    let mut command = antiphon.plain(&["all", "--supervised"]);
    command.arg("--pingora").arg(workspace.root.join("pingora.yaml"));
    command
}

fn edge_command(workspace: &Workspace, state: &State, port: u16) -> Result<Command> {
    let mut command = bound_to_us(&node::node(workspace)?, "TERM");
    command.arg(workspace.root.join("edge/serve.mjs")).args(["--port", &port.to_string(), "--state"]).arg(state.path("edge"));
    command.arg("--vars").arg(state.path("edge-vars.json")).arg("--assets").arg(build::page_directory(workspace));
    command.env("PATH", node::path(workspace)?);
    Ok(command)
}

/// The runtime that the edge's node started: its child of that name. Not every kernel lists children, so the parent is read of each
/// process (`proc_pid_stat(5)`: the second field after the name in parentheses).
fn workerd_of(node: u32) -> Option<u32> {
    let is_ours = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map(|(head, rest)| (head.ends_with("(workerd"), rest));
        after_name.is_some_and(|(named, rest)| named && rest.split_whitespace().nth(1) == Some(node.to_string().as_str()))
    };
    std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours)
}

fn end(child: &mut Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let _ = child.wait();
}
