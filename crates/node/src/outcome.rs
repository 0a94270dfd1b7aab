//! Outcomes: a value, or `{ failure: { code, message, errno, hint } }`. Thrown nowhere; TypeScript makes classes.

use napi::bindgen_prelude::{Env, Object, ToNapiValue};
use napi::sys;
use nix::errno::Errno;

/// What failed.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
    errno: i32,
}

impl Failure {
    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: "ARGUMENT_INVALID", message: message.into(), hint: None, errno: 0 }
    }

    /// A system call that failed while `doing` something.
    pub fn system(doing: &str, errno: Errno) -> Self {
        let code = match errno {
            Errno::ENOSPC | Errno::EDQUOT => "DISK_FULL",
            Errno::EMFILE | Errno::ENFILE => "DESCRIPTORS_EXHAUSTED",
            _ => "SYSTEM_CALL_FAILED",
        };
        Self { code, message: format!("cannot {doing}: {}", errno.desc()), hint: None, errno: errno as i32 }
    }
}

impl From<kapsel_state::Error> for Failure {
    fn from(error: kapsel_state::Error) -> Self {
        Self { code: error.code, message: error.message, hint: error.hint, errno: error.errno }
    }
}

impl From<kapsel_storage::Error> for Failure {
    fn from(error: kapsel_storage::Error) -> Self {
        Self { code: error.code, message: error.message, hint: None, errno: error.errno.unwrap_or(0) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid(format!("a row cannot be understood: {error}"))
    }
}

/// What a function of this crate returns to JavaScript.
pub struct Outcome<T>(pub Result<T, Failure>);

impl<T, E: Into<Failure>> From<Result<T, E>> for Outcome<T> {
    fn from(result: Result<T, E>) -> Self {
        Self(result.map_err(Into::into))
    }
}

impl<T: ToNapiValue> ToNapiValue for Outcome<T> {
    unsafe fn to_napi_value(env: sys::napi_env, outcome: Self) -> napi::Result<sys::napi_value> {
        match outcome.0 {
            // SAFETY: `env` is what the caller was given.
            Ok(value) => unsafe { T::to_napi_value(env, value) },
            Err(failure) => {
                let env_ref = Env::from_raw(env);
                let mut inner = Object::new(&env_ref)?;
                inner.set("code", failure.code)?;
                inner.set("message", failure.message)?;
                inner.set("errno", failure.errno)?;
                if let Some(hint) = failure.hint {
                    inner.set("hint", hint)?;
                }
                let mut outer = Object::new(&env_ref)?;
                outer.set("failure", inner)?;
                // SAFETY: as above.
                unsafe { Object::to_napi_value(env, outer) }
            }
        }
    }
}
