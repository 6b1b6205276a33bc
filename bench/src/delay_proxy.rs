//! A TCP proxy that is far away: every byte arrives half a round trip later, in order and at full speed, and a new connection costs a
//! whole round trip more, as TCP's handshake does. In user space, so that it needs no rights and no kernel module.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::{Instant, sleep_until},
};

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks on their way at once in one direction: a bound on memory, far above what any window here holds.
const IN_FLIGHT: usize = 256;

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub(crate) struct DelayProxy {
    address: SocketAddr,
    // Dropping it ends every task.
    _runtime: Runtime,
}

impl DelayProxy {
    /// In front of `upstream` (`host:port`), `round_trip` away.
    ///
    /// # Errors
    /// When no port can be had.
    pub(crate) fn start(upstream: &str, round_trip: Duration) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let upstream = upstream.to_owned();
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, upstream.clone(), round_trip));
            }
        });
        Ok(Self { address, _runtime: runtime })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn carry(near: TcpStream, upstream: String, round_trip: Duration) {
    let opened = Instant::now();
    let Ok(far) = TcpStream::connect(&upstream).await else { return };
    let (near_is_quick, far_is_quick) = (near.set_nodelay(true), far.set_nodelay(true));
    if near_is_quick.is_err() || far_is_quick.is_err() {
        return;
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let one_way = round_trip / 2;
    // The first byte cannot leave before the handshake is done, which has taken no time to the caller yet.
    let there = tokio::spawn(delay(near_read, far_write, one_way, opened + round_trip));
    delay(far_read, near_write, one_way, opened).await;
    there.abort();
}

/// Carries bytes so that each arrives `one_way` after it was sent, and none is sent before `not_before`.
async fn delay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, one_way: Duration, not_before: Instant) {
    let (sender, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let reading = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let length = from.read(&mut chunk).await.unwrap_or(0);
            chunk.truncate(length);
            let arrives = Instant::now().max(not_before) + one_way;
            if length == 0 || sender.send((arrives, chunk)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((arrives, chunk)) = on_the_way.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use std::{
        io::{Read, Write},
        net, thread,
    };

    use super::*;

    #[test]
    fn a_round_trip_takes_as_long_as_it_should_and_the_first_one_twice() {
        let echo = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = echo.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut connection, _) = echo.accept().unwrap();
            let mut bytes = [0; 16];
            while let Ok(length @ 1..) = connection.read(&mut bytes) {
                connection.write_all(bytes.get(..length).unwrap()).unwrap();
            }
        });
        let round_trip = Duration::from_millis(40);
        let proxy = DelayProxy::start(&upstream, round_trip).unwrap();
        let mut connection = net::TcpStream::connect(proxy.url().trim_start_matches("http://")).unwrap();
        let mut took = Vec::new();
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            connection.write_all(b"ping").unwrap();
            let mut answer = [0; 4];
            connection.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"ping");
            took.push(begun.elapsed());
        }
        assert!(took.first().unwrap() >= &(round_trip * 2 - Duration::from_millis(2)), "{took:?}");
        assert!(took.iter().skip(1).all(|took| *took >= round_trip && *took < round_trip * 2), "{took:?}");
    }
}
