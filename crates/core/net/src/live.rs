//! How a synchronous core is driven in real time, on a thread of its own.

use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

use atoll_kernel::{Context, Core, Driver, Kernel, Moment};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

/// A core that runs live: shared by the tasks of one thread, each of which borrows it for the length of one batch.
///
/// Every borrow begins with the fault events that have happened since the last, and `settle` ends it: it lets the core
/// do what has become due and re-arms the timer. [`Live::drive`] is the task that wakes the core when it asked for it.
pub struct Live<C> {
    core: RefCell<(C, Driver)>,
    kernel: Kernel,
    /// Wakes `drive`: the next wake has moved forward, or a fault event happened.
    rearm: Arc<Notify>,
    armed_for: Cell<Option<Moment>>,
}

impl<C: Core> Live<C> {
    /// Takes a core over. Fault events from now on wake it.
    pub fn new(kernel: &Kernel, core: C) -> Rc<Live<C>> {
        let rearm = Arc::new(Notify::new());
        let notified = Arc::clone(&rearm);
        kernel.watch(move || notified.notify_one());
        let core = RefCell::new((core, Driver::default()));
        Rc::new(Live { core, kernel: kernel.clone(), rearm, armed_for: Cell::new(None) })
    }

    /// Calls the core at the present moment, after the fault events that it has not seen, and settles.
    pub fn with<T>(&self, call: impl FnOnce(&mut C, &Context<'_>) -> T) -> T {
        let mut borrowed = self.core.borrow_mut();
        let (core, driver) = &mut *borrowed;
        driver.pass_events(&self.kernel, core);
        let answer = call(core, &Context::new(&self.kernel));
        self.settle(borrowed);
        answer
    }

    fn settle(&self, mut borrowed: RefMut<'_, (C, Driver)>) {
        let (core, driver) = &mut *borrowed;
        let mut wake = core.next_wake();
        if self.kernel.version() != driver.events_seen() || wake.is_some_and(|wake| wake <= self.kernel.now()) {
            driver.turn(&self.kernel, core);
            wake = core.next_wake();
        }
        let is_earlier = match (wake, self.armed_for.get()) {
            (Some(wake), Some(armed)) => wake < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            self.armed_for.set(wake);
            self.rearm.notify_one();
        }
    }

    /// Wakes the core whenever it asked for it or a fault event happened, and calls `afterwards` each time, which passes
    /// on what the core has for others. Never ends. A core that asks for nothing costs nothing.
    pub async fn drive(&self, afterwards: impl Fn(&mut C, &Context<'_>)) {
        loop {
            let wake = self.core.borrow().0.next_wake();
            self.armed_for.set(wake);
            let deadline = wake.and_then(|wake| self.kernel.real_instant(wake));
            tokio::select! {
                biased;
                () = self.rearm.notified() => {}
                () = sleep_until(deadline) => {}
            }
            let mut borrowed = self.core.borrow_mut();
            let (core, driver) = &mut *borrowed;
            driver.turn(&self.kernel, core);
            afterwards(core, &Context::new(&self.kernel));
        }
    }
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// A running engine thread. Dropping it leaves the thread alone; [`EngineThread::shut_down`] ends it.
#[derive(Debug)]
pub struct EngineThread {
    shutdown: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EngineThread {
    /// Asks the engine to finish in order and waits until its thread has ended. Blocks: not for async code.
    pub fn shut_down(&self) {
        self.shutdown.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic in an engine has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

/// Runs `serve` on a new thread with a single-threaded runtime and local tasks, and waits until it says that it is ready.
///
/// `serve` is given a sender to report readiness (or the reason why not) and a notification that asks it to finish.
pub fn engine_thread<F, Serving>(name: &str, serve: F) -> io::Result<EngineThread>
where
    F: FnOnce(oneshot::Sender<io::Result<()>>, Arc<Notify>) -> Serving + Send + 'static,
    Serving: Future<Output = ()> + 'static,
{
    let shutdown = Arc::new(Notify::new());
    let asked = Arc::clone(&shutdown);
    let (ready, is_ready) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, async move { serve(ready, asked).await }),
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    let lost = || io::Error::other("the engine's thread ended before it was ready");
    wait_for(is_ready).unwrap_or_else(|_| Err(lost()))?;
    Ok(EngineThread { shutdown, thread: Mutex::new(Some(thread)) })
}

/// Blocks this thread until a future is ready. Unlike tokio's own way it may be called on a thread that drives tasks:
/// a stack starts its engines from one, and there is nothing else to do there until they are ready.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
