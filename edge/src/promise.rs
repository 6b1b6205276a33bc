//! A future as JavaScript gets it: what it comes to when it waits for nothing, which is true of most answers, else a promise. A promise, and the
//! task that works on it, cost more than such an answer.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;
use worker::{
    js_sys::{Promise, futures::future_to_promise},
    wasm_bindgen::JsValue,
};

type Work = Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>>;

/// Wakes whoever works on it by then: who first looked at it had no task yet, and some futures (`worker::Delay`) keep the first waker they see.
#[derive(Default)]
struct Relay(AtomicWaker);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

struct Underway {
    work: Work,
    relay: Arc<Relay>,
    waker: Waker,
}

impl Underway {
    fn look(&mut self) -> Poll<Result<JsValue, JsValue>> {
        self.work.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

impl Future for Underway {
    type Output = Result<JsValue, JsValue>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.relay.0.register(context.waker());
        self.look()
    }
}

/// The outcome of `work`, or a promise of it.
pub(crate) fn of(work: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> JsValue {
    let relay = Arc::new(Relay::default());
    let mut underway = Underway { work: Box::pin(work), waker: Waker::from(Arc::clone(&relay)), relay };
    match underway.look() {
        Poll::Ready(Ok(value)) => value,
        Poll::Ready(Err(error)) => Promise::reject(&error).into(),
        Poll::Pending => future_to_promise(std::panic::AssertUnwindSafe(underway)).into(),
    }
}
