//! A server's thread and its port: accepts, refuses as a killed process does, and comes back on the same port.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::connection::{self, House};
use super::record::Record;

/// Asks the server's thread for something; the answer comes when it is done.
enum Order {
    Refuse(mpsc::Sender<()>),
    Back(mpsc::Sender<()>),
}

/// A server in a thread of its own. Dropped, it stops and cuts its connections; a panic in a script fails the test then.
pub(crate) struct Listener {
    port: u16,
    record: Arc<Record>,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Listener {
    /// Starts on a free port.
    pub(crate) fn start<H: House>(house: Arc<H>) -> Self {
        let record = house.record().clone();
        let (orders, inbox) = unbounded_channel();
        let (told, port) = mpsc::channel();
        let thread = std::thread::Builder::new().name("scripted-server".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(house, inbox, told));
        });
        let port = port.recv().expect("the server has a port");
        Self { port, record, orders: Some(orders), thread: Some(thread.unwrap()) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As if its process were killed: connections are cut, new ones refused.
    pub(crate) fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// Listens again, on the same port.
    pub(crate) fn back(&self) {
        self.order(Order::Back);
    }

    fn order(&self, order: impl FnOnce(mpsc::Sender<()>) -> Order) {
        let (done, answer) = mpsc::channel();
        let orders = self.orders.as_ref().expect("there until it is dropped");
        assert!(orders.send(order(done)).is_ok(), "the server's thread has ended");
        answer.recv().expect("the server's thread answers");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.orders.take();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server's thread panicked");
            let panics = self.record.panics();
            assert!(panics.is_empty(), "a script panicked: {panics:?}");
        }
    }
}

fn bind(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    socket
}

/// Accepts until all orders are given.
async fn run<H: House>(house: Arc<H>, mut orders: UnboundedReceiver<Order>, told: mpsc::Sender<u16>) {
    let mut listener: Option<TcpListener> = Some(bind(0).listen(1024).unwrap());
    let port = listener.as_ref().and_then(|listener| listener.local_addr().ok()).expect("it is bound").port();
    told.send(port).expect("the test waits for the port");
    // Bound and not listening: refuses, and no other server gets the port meanwhile.
    let mut held: Option<TcpSocket> = None;
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                None => break,
                Some(Order::Refuse(done)) => {
                    if listener.take().is_some() {
                        held = Some(bind(port));
                    }
                    house.record().closing(true);
                    connections.shutdown().await;
                    house.record().closing(false);
                    house.killed();
                    let _ = done.send(());
                }
                Some(Order::Back(done)) => {
                    if let Some(socket) = held.take() {
                        listener = Some(socket.listen(1024).unwrap());
                    }
                    let _ = done.send(());
                }
            },
            accepted = accepted => if let Ok((stream, _)) = accepted {
                connections.spawn(connection::serve(stream, house.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    house.record().closing(true);
    connections.shutdown().await;
}
