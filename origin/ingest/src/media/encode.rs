//! ffmpeg as an encoder and nothing else: raw PCM goes in on its standard input, AAC frames come out on its standard output.
//!
//! It opens no file, no address and no format of the uploader's choosing (`-protocol_whitelist pipe`), sees an empty environment, and is held by limits on
//! CPU, memory, output and open files before its first byte of input, and by a wall clock after. `decode` feeds it, `adts` reads what it wrote.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use protocol::Rung;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{ladder::output_rate, reject::MediaError};

/// Address space of one encoder: ffmpeg maps about 600 MB of libraries and uses 40 MB.
const MEMORY_MAX: u64 = 2 << 30;
/// Standard streams, libraries while it starts, and room to spare.
const FILES_MAX: u64 = 64;
/// How often the watchdog looks for a cancelled job.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// What the encoders may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Wall-clock and CPU seconds for each encoder.
    pub seconds: u64,
    /// Length of music whose coded size an encoder may write, seconds.
    pub music_seconds_max: u64,
}

/// One encoder a rung, all fed the same samples.
#[derive(Debug)]
pub struct Encoders {
    inputs: Vec<ChildStdin>,
    children: Arc<Mutex<Vec<Child>>>,
    outputs: Vec<(Rung, PathBuf)>,
    logs: Vec<PathBuf>,
    watchdog: Watchdog,
    bytes: Vec<u8>,
}

impl Encoders {
    /// Starts an encoder for each lossy rung, reading stereo f32 at `rate` and writing into `folder`.
    ///
    /// # Errors
    /// When ffmpeg cannot be started or limited.
    pub fn start(ffmpeg: &Path, rate: u32, folder: &Path, budget: Budget, cancelled: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let children = Arc::new(Mutex::new(Vec::new()));
        // The watchdog exists first, so that whatever fails below, what was started is killed when it drops.
        let watchdog = Watchdog::start(Arc::clone(&children), budget, cancelled)?;
        let (mut inputs, mut outputs, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for rung in Rung::LOSSY {
            let output = folder.join(format!("{rung}.aac"));
            let log = folder.join(format!("{rung}.log"));
            let mut child = command(ffmpeg, rung, rate)
                .stdin(Stdio::piped())
                .stdout(File::create(&output)?)
                .stderr(File::create(&log)?)
                .current_dir(folder)
                .spawn()
                .with_context(|| format!("start {}", ffmpeg.display()))?;
            let input = child.stdin.take();
            let limited = limit(&child, rung, budget);
            lock(&children).push(child);
            limited?;
            inputs.push(input.context("the encoder's standard input")?);
            outputs.push((rung, output));
            logs.push(log);
        }
        Ok(Self { inputs, children, outputs, logs, watchdog, bytes: Vec::new() })
    }

    /// Encodes `frames`, interleaved stereo.
    ///
    /// # Errors
    /// When an encoder has died or was killed, or the job was cancelled.
    pub fn feed(&mut self, frames: &[f32]) -> Result<(), MediaError> {
        self.bytes.clear();
        self.bytes.extend(frames.iter().flat_map(|sample| sample.to_le_bytes()));
        for input in &mut self.inputs {
            if let Err(error) = input.write_all(&self.bytes) {
                return Err(self.watchdog.verdict().unwrap_or_else(|| self.died(&error.to_string())));
            }
        }
        self.watchdog.verdict().map_or(Ok(()), Err)
    }

    /// Ends the input and waits for the last frame; the ADTS file of each rung.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn finish(mut self) -> Result<Vec<(Rung, PathBuf)>, MediaError> {
        self.inputs.clear();
        loop {
            let mut running = false;
            for child in lock(&self.children).iter_mut() {
                match child.try_wait()? {
                    None => running = true,
                    Some(status) if status.success() => {}
                    Some(status) => return Err(self.watchdog.verdict().unwrap_or_else(|| self.died(&status.to_string()))),
                }
            }
            if let Some(verdict) = self.watchdog.verdict() {
                return Err(verdict);
            }
            if !running {
                return Ok(std::mem::take(&mut self.outputs));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn died(&self, how: &str) -> MediaError {
        let said: String = self.logs.iter().filter_map(|log| std::fs::read_to_string(log).ok()).collect();
        let said: String = said.chars().take(1000).collect();
        MediaError::Failed(anyhow::anyhow!("the encoder died ({how}): {}", said.trim()))
    }
}

/// The encoder's identity: other versions may write other bytes, so it is part of the media version's name.
///
/// # Errors
/// When ffmpeg cannot be run or lacks the native AAC encoder.
pub fn identity(ffmpeg: &Path) -> anyhow::Result<String> {
    let answer = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = bare(ffmpeg).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let output = output.with_context(|| format!("run {}", ffmpeg.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let version = answer(&["-hide_banner", "-version"])?;
    let line = version.lines().next().unwrap_or_default();
    // "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) ...": the years say nothing about the bytes.
    let name = line.split(" Copyright").next().unwrap_or_default().trim();
    if !name.starts_with("ffmpeg version") {
        bail!("{} is not ffmpeg: it says {line:?}", ffmpeg.display());
    }
    if !answer(&["-hide_banner", "-h", "encoder=aac"])?.contains("Encoder aac") {
        bail!("{} has no AAC encoder", ffmpeg.display());
    }
    Ok(name.to_owned())
}

/// ffmpeg with nothing of our environment but where its own files are.
fn bare(ffmpeg: &Path) -> Command {
    let mut command = Command::new(ffmpeg);
    command.env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn command(ffmpeg: &Path, rung: Rung, rate: u32) -> Command {
    let mut command = bare(ffmpeg);
    let (rate, out_rate, bps) = (rate.to_string(), output_rate(rate).to_string(), rung.nominal_bps().to_string());
    command
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1", "-filter_threads", "1"])
        .args(["-protocol_whitelist", "pipe", "-f", "f32le", "-ar", &rate, "-ac", "2", "-i", "pipe:0"])
        .args(["-map", "0:a:0", "-map_metadata", "-1", "-c:a", "aac", "-profile:a", "aac_low", "-b:a", &bps, "-ar", &out_rate])
        .args(["-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact", "-f", "adts", "pipe:1"]);
    command
}

/// Limits on a child that has read nothing yet: they are in force before any input is.
fn limit(child: &Child, rung: Rung, budget: Budget) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the encoder's process id")?;
    let coded_max = u64::from(rung.nominal_bps() / 8) * budget.music_seconds_max;
    let limits = [
        (Resource::Cpu, budget.seconds),
        (Resource::As, MEMORY_MAX),
        (Resource::Fsize, coded_max * 3 / 2 + (1 << 20)),
        (Resource::Nofile, FILES_MAX),
        (Resource::Core, 0),
    ];
    for (resource, most) in limits {
        prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) }).context("limit the encoder")?;
    }
    Ok(())
}

fn lock(children: &Mutex<Vec<Child>>) -> std::sync::MutexGuard<'_, Vec<Child>> {
    children.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the encoders when their time is up, when the job is cancelled, and when it is dropped.
#[derive(Debug)]
struct Watchdog {
    children: Arc<Mutex<Vec<Child>>>,
    cancelled: Arc<AtomicBool>,
    overdue: Arc<AtomicBool>,
    seconds: u64,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn start(children: Arc<Mutex<Vec<Child>>>, budget: Budget, cancelled: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let overdue = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_secs(budget.seconds);
        let (watched, cancel, late) = (Arc::clone(&children), Arc::clone(&cancelled), Arc::clone(&overdue));
        let thread = std::thread::Builder::new().name("encoder-watchdog".to_owned()).spawn(move || {
            while stopped.recv_timeout(WATCH_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                late.store(Instant::now() >= deadline, Ordering::Relaxed);
                if late.load(Ordering::Relaxed) || cancel.load(Ordering::Relaxed) {
                    break;
                }
            }
            for child in lock(&watched).iter_mut() {
                // Already gone is as good; waiting leaves no zombie behind.
                let _ = child.kill();
                let _ = child.wait();
            }
        })?;
        Ok(Self { children, cancelled, overdue, seconds: budget.seconds, stop: Some(stop), thread: Some(thread) })
    }

    fn verdict(&self) -> Option<MediaError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some(MediaError::Interrupted);
        }
        let late = self.overdue.load(Ordering::Relaxed);
        late.then(|| MediaError::Failed(anyhow::anyhow!("encoding took longer than its {} s", self.seconds)))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It only kills and waits; a panic there must not become one here.
            let _ = thread.join();
        }
        lock(&self.children).clear();
    }
}
