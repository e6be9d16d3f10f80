//! The limit that the Redis engine is held against: its listener, its connections and its single-threaded loop without Redis.
//! Each `*` that is read, so each command of a benchmark, is answered with `+OK`. `cargo xtask bench redis --limit` runs it.
//!
//!     cargo run --release -p atoll-redis --example echo -- INSTANCE
//!
//! INSTANCE k listens on port 6379 of 127.k.0.1. The end of standard input ends the program.

use std::io::{self, Read as _};
use std::sync::Arc;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Kernel, NodeConfig, NodeId, Seed};
use atoll_net::{Connection, Host, Limits, Listener, Permits, engine_thread};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// As much as the engine reads at once.
const INPUT_SIZE: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let instance = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let kernel = Kernel::live(vec![NodeConfig::numbered(instance, 1)], Seed(1));
    let host = Host::new(kernel, Arc::new(MemoryDisk::ephemeral()), None);
    let mut listener = Listener::bind(&host, "redis", NodeId(1), 6379, Permits::new(Limits::default()))?;
    println!("{}", listener.address()?);
    let thread = engine_thread("echo", move |ready, shutdown| async move {
        let _ = ready.send(Ok(()));
        loop {
            tokio::select! {
                connection = listener.accept(&host) => {
                    tokio::task::spawn_local(echo(connection));
                }
                () = shutdown.notified() => break,
            }
        }
    })?;
    io::stdin().read_to_end(&mut Vec::new())?;
    thread.shut_down();
    Ok(())
}

async fn echo(mut connection: Connection) -> io::Result<()> {
    let (mut input, mut output) = (vec![0; INPUT_SIZE], Vec::new());
    loop {
        let length = connection.read(&mut input).await?;
        if length == 0 {
            return Ok(());
        }
        output.clear();
        for _ in input[..length].iter().filter(|byte| **byte == b'*') {
            output.extend_from_slice(b"+OK\r\n");
        }
        connection.write_all(&output).await?;
    }
}
