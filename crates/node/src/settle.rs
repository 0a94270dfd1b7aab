//! Promises that any thread may settle, once.

use std::thread;

use napi::JsDeferred;
use napi::bindgen_prelude::{Env, Object, ToNapiValue};
use nix::errno::Errno;

use crate::outcome::{Failure, Outcome};

type Resolver<T> = Box<dyn FnOnce(Env) -> napi::Result<Outcome<T>>>;

/// The other end of a promise.
pub struct Settle<T: ToNapiValue + Send + 'static>(JsDeferred<Outcome<T>, Resolver<T>>);

impl<T: ToNapiValue + Send + 'static> Settle<T> {
    /// A pending promise and what settles it.
    pub fn promise(env: &Env) -> napi::Result<(Self, Object<'_>)> {
        let (deferred, promise) = env.create_deferred()?;
        Ok((Self(deferred), promise))
    }

    /// Settles it, from whichever thread.
    pub fn with(self, outcome: Result<T, Failure>) {
        self.0.resolve(Box::new(move |_| Ok(Outcome(outcome))));
    }
}

/// A promise for what `work` returns, on a thread of its own with a small stack.
pub fn on_a_thread<T: ToNapiValue + Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> napi::Result<Object<'_>> {
    let (settle, promise) = Settle::promise(env)?;
    let thread = thread::Builder::new().name("kapsel".into()).stack_size(128 << 10);
    // A thread that cannot start drops the closure, and with it what could settle the promise: hence the channel.
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Settle<T>>(1);
    match thread.spawn(move || {
        if let Ok(settle) = receiver.recv() {
            settle.with(work());
        }
    }) {
        Ok(_) => drop(sender.send(settle)),
        Err(error) => {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EAGAIN as i32));
            settle.with(Err(Failure::system("start a thread", errno)));
        }
    }
    Ok(promise)
}
