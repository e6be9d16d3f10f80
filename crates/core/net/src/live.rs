//! How a synchronous core is driven in real time, on a thread of its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

use atoll_kernel::{Context, Core, Driver, Kernel, Moment};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Sleep, sleep_until};

/// A core that runs live: shared by the tasks of one thread, each of which borrows it for the length of one batch.
///
/// Every borrow begins with the fault events that have happened since the last. The turn ends when all tasks that were
/// ready have had theirs: then [`Live::drive`] lets the core do what has become due, once for all of them.
pub struct Live<C> {
    core: RefCell<(C, Driver)>,
    kernel: Kernel,
    /// Wakes `drive`: the core was called, or a fault event happened.
    called: Arc<Notify>,
    /// `drive` has been woken and has not come to it.
    is_called: Cell<bool>,
}

impl<C: Core> Live<C> {
    /// Takes a core over. Fault events from now on wake it.
    pub fn new(kernel: &Kernel, core: C) -> Rc<Live<C>> {
        let called = Arc::new(Notify::new());
        let notified = Arc::clone(&called);
        kernel.watch(move || notified.notify_one());
        let core = RefCell::new((core, Driver::default()));
        Rc::new(Live { core, kernel: kernel.clone(), called, is_called: Cell::new(false) })
    }

    /// Calls the core at the present moment, after the fault events that it has not seen.
    pub fn with<T>(&self, call: impl FnOnce(&mut C, &Context<'_>) -> T) -> T {
        let mut borrowed = self.core.borrow_mut();
        let (core, driver) = &mut *borrowed;
        driver.pass_events(&self.kernel, core);
        let answer = call(core, &Context::new(&self.kernel));
        drop(borrowed);
        self.end_turn_soon();
        answer
    }

    /// Tells the core, or asks it, what no time passes for and nothing follows from: it is not told of fault events first,
    /// and no turn ends.
    pub fn tell<T>(&self, call: impl FnOnce(&mut C) -> T) -> T {
        call(&mut self.core.borrow_mut().0)
    }

    /// Has `drive` end the turn, after the tasks that are ready now.
    pub fn end_turn_soon(&self) {
        if !self.is_called.replace(true) {
            self.called.notify_one();
        }
    }

    /// Ends every turn: calls `before`, lets the core do what is due, and calls `afterwards` if something was, which passes
    /// on what the core has for others. Never ends. A core that asks for nothing costs nothing.
    pub async fn drive(&self, before: impl Fn(&mut C, &Context<'_>), afterwards: impl Fn(&mut C, &Context<'_>)) {
        let mut alarm = Alarm::default();
        let mut advanced_at = None;
        loop {
            self.is_called.set(false);
            alarm.set(&self.kernel, self.end_turn(&mut advanced_at, &before, &afterwards));
            tokio::select! {
                biased;
                () = self.called.notified() => {}
                () = alarm.rings() => {}
            }
        }
    }

    /// Returns when the core wants to be woken. `advanced_at` is how many fault events it had seen when it last did what is
    /// due: whatever it says, it does so at first and after each of them.
    fn end_turn(
        &self,
        advanced_at: &mut Option<u64>,
        before: &impl Fn(&mut C, &Context<'_>),
        afterwards: &impl Fn(&mut C, &Context<'_>),
    ) -> Option<Moment> {
        let mut borrowed = self.core.borrow_mut();
        let (core, driver) = &mut *borrowed;
        before(core, &Context::new(&self.kernel));
        let wake = core.next_wake();
        let is_due = wake.is_some_and(|wake| wake <= self.kernel.now());
        if !is_due && *advanced_at == Some(self.kernel.version()) {
            return wake;
        }
        driver.turn(&self.kernel, core);
        *advanced_at = Some(driver.events_seen());
        afterwards(core, &Context::new(&self.kernel));
        core.next_wake()
    }
}

/// A timer that is set anew only when it is to ring at another time.
#[derive(Default)]
struct Alarm {
    moment: Option<Moment>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn set(&mut self, kernel: &Kernel, moment: Option<Moment>) {
        if self.moment == moment {
            return;
        }
        self.moment = moment;
        let deadline = moment.and_then(|moment| kernel.real_instant(moment));
        match (deadline, &mut self.sleep) {
            (None, sleep) => *sleep = None,
            (Some(deadline), Some(sleep)) => sleep.as_mut().reset(deadline.into()),
            (Some(deadline), sleep) => *sleep = Some(Box::pin(sleep_until(deadline.into()))),
        }
    }

    async fn rings(&mut self) {
        match &mut self.sleep {
            Some(sleep) => sleep.await,
            None => std::future::pending().await,
        }
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
