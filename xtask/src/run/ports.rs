//! Where each part listens: the well-known ports, or free ones (`--ports auto`) so that several systems run side by side.
use std::{
    fs::{self, File, TryLockError},
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How the ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// 8787 for the edge, 8080 for the gateway, 9000 for the object store, and so on
    Fixed,
    /// Free ones, different from those of every other system on this machine
    Auto,
}

/// One port for each part that listens, by the name it has in the configuration.
pub(crate) struct Ports {
    list: Vec<(&'static str, u16)>,
    /// Keeps the block of ports ours for as long as this process lives.
    _block: Option<File>,
}

/// Parts in the order in which they are listed; the numbers are the defaults of the configuration file.
const FIXED: &[(&str, u16)] = &[
    ("edge", 8787),
    ("gateway", 8080),
    ("gateway_admin", 8090),
    ("identity", 7001),
    ("catalog", 7002),
    ("ingest", 7003),
    ("store", 9000),
    ("search", 7005),
    ("recommend", 7006),
    ("royalty", 7007),
    ("lake", 7008),
    // Not 5432: a PostgreSQL of the system's may be there.
    ("postgres", 15432),
];

/// Blocks of free ports lie below the range from which Linux gives ports to outgoing connections (32768 and up): a
/// port chosen now cannot be taken by somebody's connection before its part listens.
const BLOCK_FIRST: u16 = 16_000;
const BLOCK_PORTS: u16 = 16;
const BLOCKS: u16 = 1_000;

impl Ports {
    /// Chooses, and checks that nothing listens there yet.
    ///
    /// # Errors
    /// When a fixed port is in use: by which part it is wanted and which process has it.
    pub(crate) fn choose(choice: Choice) -> Result<Self> {
        match choice {
            Choice::Fixed => {
                let taken: Vec<String> =
                    FIXED.iter().filter(|(_, port)| !is_free(*port)).map(|(part, port)| complaint(part, *port)).collect();
                if !taken.is_empty() {
                    bail!("{}\nStop what uses it, or let the system choose: --ports auto", taken.join("\n"));
                }
                Ok(Self { list: FIXED.to_vec(), _block: None })
            }
            Choice::Auto => Self::free_block(),
        }
    }

    /// The port of a part.
    ///
    /// # Errors
    /// When there is no part of that name.
    pub(crate) fn of(&self, part: &str) -> Result<u16> {
        self.list.iter().find(|(name, _)| *name == part).map(|(_, port)| *port).with_context(|| format!("no part is called {part}"))
    }

    /// All parts and their ports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u16)> + '_ {
        self.list.iter().copied()
    }

    /// Systems agree among themselves by locks that vanish with their holders; a bind shows what anyone else uses.
    fn free_block() -> Result<Self> {
        let locks = workspace::cache()?.join("ports");
        fs::create_dir_all(&locks).with_context(|| format!("{} cannot be made", locks.display()))?;
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
        for number in (start..BLOCKS).chain(0..start) {
            let lock = File::create(locks.join(number.to_string())).context("a lock on free ports cannot be made")?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).context("a lock on free ports cannot be taken"),
            }
            let first = BLOCK_FIRST + number * BLOCK_PORTS;
            let list: Vec<(&str, u16)> = FIXED.iter().zip(first..).map(|((part, _), port)| (*part, port)).collect();
            if list.iter().all(|(_, port)| is_free(*port)) {
                return Ok(Self { list, _block: Some(lock) });
            }
        }
        bail!("no {BLOCK_PORTS} neighbouring ports from {BLOCK_FIRST} on are free")
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn complaint(part: &str, port: u16) -> String {
    let holder = holder(port).map_or_else(String::new, |(pid, name)| format!(" by process {pid} ({name})"));
    format!("port {port}, wanted for {part}, is in use{holder}")
}

/// Who listens on a port: the socket's inode from /proc/net/tcp*, then the process that has it open.
fn holder(port: u16) -> Option<(u32, String)> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let socket = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let has_it = files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str()));
        if has_it {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// The inode of the listening socket in one table of the kernel (`proc_pid_net(5)`): state 0A is LISTEN.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        (local.ends_with(&wanted) && state == "0A").then(|| fields.nth(5).map(str::to_owned)).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test without free ports should stop")]
    use super::*;

    #[test]
    fn two_systems_never_get_the_same_ports() {
        let (one, two) = (Ports::choose(Choice::Auto).unwrap(), Ports::choose(Choice::Auto).unwrap());
        for (_, port) in one.iter() {
            assert!(two.iter().all(|(_, other)| other != port), "{port} is given out twice");
        }
    }

    #[test]
    fn whoever_holds_a_port_is_named() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_eq!(holder(port).unwrap().0, std::process::id());
        assert!(complaint("gateway", port).starts_with(&format!("port {port}, wanted for gateway, is in use by process")));
    }
}
