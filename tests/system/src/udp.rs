//! A bad network between one client and a server: a proxy for UDP that delays, loses and reorders
//! packets by a seed, cuts the way, and moves the client to another address.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of packets, in each direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Every packet takes so long.
    pub delay: Duration,
    /// And up to so much longer, each for itself: those that follow overtake it.
    pub jitter: Duration,
    /// The share that is lost, 0 to 1.
    pub loss: f64,
}

/// The way of one client. Dropping it cuts it.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    moves: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Link {
    /// A way to `server` in fair weather.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn to(server: SocketAddr, seed: u64) -> Self {
        let near = bind().await;
        let address = near.local_addr().expect("it is bound");
        let weather = Arc::new(Mutex::new(Weather::default()));
        let (moves, moved) = watch::channel(0);
        let task = tokio::spawn(carry(near, server, seed, Arc::clone(&weather), moved));
        Self {
            address,
            weather,
            moves,
            task,
        }
    }

    /// Where the client connects to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().expect("nobody panics with it") = weather;
    }

    /// Nothing gets through for so long.
    pub async fn cut_for(&self, time: Duration) {
        let before = *self.weather.lock().expect("nobody panics with it");
        self.set(Weather {
            loss: 1.0,
            ..before
        });
        tokio::time::sleep(time).await;
        self.set(before);
    }

    /// The server sees the client come from another port.
    pub fn move_client(&self) {
        self.moves.send_modify(|moves| *moves += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    near: UdpSocket,
    server: SocketAddr,
    seed: u64,
    weather: Arc<Mutex<Weather>>,
    mut moved: watch::Receiver<u32>,
) {
    let near = Arc::new(near);
    let mut far = Arc::new(bind().await);
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = None;
    let (mut out, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (through, to, packet) = tokio::select! {
            Ok((len, from)) = near.recv_from(&mut out) => {
                client = Some(from);
                (Arc::clone(&far), server, out[..len].to_vec())
            }
            Ok((len, _)) = far.recv_from(&mut back) => match client {
                Some(client) => (Arc::clone(&near), client, back[..len].to_vec()),
                None => continue,
            },
            changed = moved.changed() => match changed {
                Ok(()) => {
                    far = Arc::new(bind().await);
                    continue;
                }
                Err(_) => return,
            },
        };
        let weather = *weather.lock().expect("nobody panics with it");
        // Drawn for every packet, so that a seed means the same whatever the weather was.
        let (luck, late) = (random.random::<f64>(), random.random::<f64>());
        if luck < weather.loss {
            continue;
        }
        let delay = weather.delay + weather.jitter.mul_f64(late);
        tokio::spawn(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            // As in any network, what cannot be sent is lost.
            let _ = through.send_to(&packet, to).await;
        });
    }
}

async fn bind() -> UdpSocket {
    let any = (Ipv4Addr::LOCALHOST, 0);
    UdpSocket::bind(any).await.expect("a free port")
}
