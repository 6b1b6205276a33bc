//! One virtual user: its own JavaScript runtime, connections and sample buffer, on its own thread.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rquickjs::{
    ArrayBuffer, CatchResultExt, Context, Ctx, Exception, Function, IntoJs, Module, Object, Runtime, Value,
    prelude::{Func, MutFn, Opt},
    promise::MaybePromise,
};
use serde::Deserialize;

use crate::{
    duration,
    failure::Failure,
    halt::Halt,
    http::{Answer, Call, Client},
    metrics::{Contains, Kind, Sample, Tags},
    modules::Modules,
    run::Run,
};

/// A script that needs more has a leak.
const MEMORY_BYTES: usize = 256 << 20;
const STACK_BYTES: usize = 512 << 10;
const TIMEOUT: Duration = Duration::from_secs(60);
const SCRIPT: &str = "__loadtest_script";
const DATA: &str = "__loadtest_data";

/// Who a VU is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Role {
    /// `__VU`; 0 for setup and teardown.
    pub(crate) id: u32,
    /// On every sample.
    pub(crate) tags: Tags,
    /// Additions to `__ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// The group its samples are in outside any `group()`.
    pub(crate) root_group: String,
}

/// How an iteration ended that did not end well.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The run ended first.
    Interrupted,
    /// The script threw.
    Threw(String),
}

/// A virtual user.
pub(crate) struct Vu {
    context: Context,
    state: Rc<State>,
}

struct State {
    run: Arc<Run>,
    halt: Arc<Halt>,
    client: Client,
    role: Role,
    groups: RefCell<Vec<(String, Instant)>>,
    samples: RefCell<Vec<Sample>>,
}

impl Vu {
    /// Evaluates the script's init context.
    ///
    /// # Errors
    /// When the script cannot be loaded or throws.
    pub(crate) fn new(run: &Arc<Run>, halt: &Arc<Halt>, role: Role) -> Result<Self, Failure> {
        let state = Rc::new(State {
            run: Arc::clone(run),
            halt: Arc::clone(halt),
            client: Client::new(&run.user_agent, &run.allowed_hosts),
            role,
            groups: RefCell::new(Vec::new()),
            samples: RefCell::new(Vec::new()),
        });
        let broken = |error: rquickjs::Error| Failure::script(error.to_string());
        let runtime = Runtime::new().map_err(broken)?;
        runtime.set_memory_limit(MEMORY_BYTES);
        runtime.set_max_stack_size(STACK_BYTES);
        runtime.set_loader(Modules, Modules);
        let watched = Arc::clone(halt);
        runtime.set_interrupt_handler(Some(Box::new(move || watched.is_cut())));
        let context = Context::full(&runtime).map_err(broken)?;
        let source = std::fs::read_to_string(&run.script).map_err(|error| Failure::script(format!("{}: {error}", run.script.display())))?;
        context.with(|ctx| {
            load(&ctx, &state, source).catch(&ctx).map_err(|error| Failure::script(format!("{}: {error}", run.script.display())))
        })?;
        Ok(Self { context, state })
    }

    /// Whether the script exports `name`.
    pub(crate) fn exports(&self, name: &str) -> bool {
        self.context.with(|ctx| exported(&ctx, name).is_ok_and(|value| value.is_function()))
    }

    /// The script's `options` as JSON.
    ///
    /// # Errors
    /// When they are no JSON.
    pub(crate) fn options(&self) -> Result<serde_json::Value, Failure> {
        let wrong = |why: String| Failure::config(format!("options: {why}"));
        self.context.with(|ctx| {
            let options = exported(&ctx, "options").map_err(|error| wrong(error.to_string()))?;
            let Some(text) = ctx.json_stringify(options).map_err(|error| wrong(error.to_string()))? else {
                return Ok(serde_json::Value::Null);
            };
            let text = text.to_string().map_err(|error| wrong(error.to_string()))?;
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
        })
    }

    /// Gives the VU its own copy of what `setup()` returned.
    ///
    /// # Errors
    /// When it is no JSON.
    pub(crate) fn give(&self, data: &str) -> Result<(), Failure> {
        self.context
            .with(|ctx| {
                let value = ctx.json_parse(data)?;
                ctx.globals().set(DATA, value)
            })
            .map_err(|error| Failure::script(format!("setup data: {error}")))
    }

    /// Calls an exported function with the setup data; its result as JSON.
    ///
    /// # Errors
    /// As [`Broken`].
    pub(crate) fn call(&self, name: &str) -> Result<Option<String>, Broken> {
        self.call_with(name, |ctx| ctx.globals().get(DATA))
    }

    /// Calls an exported function with `argument`, a JSON text.
    ///
    /// # Errors
    /// As [`Broken`].
    pub(crate) fn call_json(&self, name: &str, argument: &str) -> Result<Option<String>, Broken> {
        self.call_with(name, |ctx| ctx.json_parse(argument))
    }

    fn call_with(
        &self,
        name: &str,
        argument: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Value<'js>>,
    ) -> Result<Option<String>, Broken> {
        let answer = self.context.with(|ctx| {
            let call = || {
                let function: Function<'_> = exported(&ctx, name)?.get()?;
                let result: MaybePromise<'_> = function.call((argument(&ctx)?,))?;
                let result: Value<'_> = result.finish()?;
                ctx.json_stringify(result)?.map(|text| text.to_string()).transpose()
            };
            call().catch(&ctx).map_err(|error| error.to_string())
        });
        self.state.groups.borrow_mut().clear();
        self.state.flush();
        match answer {
            Err(_) if self.state.halt.is_cut() => Err(Broken::Interrupted),
            Err(message) => Err(Broken::Threw(message)),
            Ok(json) => Ok(json),
        }
    }

    /// One iteration of `exec`, counted and timed.
    pub(crate) fn iterate(&self, exec: &str, iteration: u64) {
        let counts = &self.state.run.counts;
        let set = self.context.with(|ctx| ctx.globals().set("__ITER", iteration));
        counts.active.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let ended = if set.is_err() { Err(Broken::Threw("out of memory".to_owned())) } else { self.call(exec) };
        counts.active.fetch_sub(1, Ordering::Relaxed);
        if let Err(broken) = &ended {
            match broken {
                Broken::Interrupted => {
                    counts.interrupted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Broken::Threw(message) => {
                    counts.threw.fetch_add(1, Ordering::Relaxed);
                    eprintln!("loadtest-runner: VU {} iteration {iteration}: {message}", self.state.role.id);
                }
            }
        }
        counts.done.fetch_add(1, Ordering::Relaxed);
        let tags = Arc::new(self.state.tags(None));
        self.state.emit(&tags, "iteration_duration", ms(begun.elapsed()));
        self.state.emit(&tags, "iterations", 1.0);
        self.state.flush();
    }
}

fn exported<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Value<'js>> {
    ctx.globals().get::<_, Object<'js>>(SCRIPT)?.get(name)
}

fn load<'js>(ctx: &Ctx<'js>, state: &Rc<State>, source: String) -> rquickjs::Result<()> {
    let globals = ctx.globals();
    globals.set("__loadtest_runner", native(ctx, state)?)?;
    let env = Object::new(ctx.clone())?;
    for (name, value) in state.run.env.iter().chain(&state.role.env) {
        env.set(name.as_str(), value.as_str())?;
    }
    globals.set("__ENV", env)?;
    globals.set("__VU", state.role.id)?;
    globals.set("__ITER", 0)?;
    Module::evaluate(ctx.clone(), "loadtest-runner/prelude", include_str!("shims/prelude.js"))?.finish::<()>()?;
    let name = state.run.script.to_string_lossy().into_owned();
    let (module, evaluated) = Module::declare(ctx.clone(), name, source)?.eval()?;
    evaluated.finish::<()>()?;
    globals.set(SCRIPT, module.namespace()?)
}

/// The few functions that the shims are written on.
fn native<'js>(ctx: &Ctx<'js>, state: &Rc<State>) -> rquickjs::Result<Object<'js>> {
    let native = Object::new(ctx.clone())?;
    let s = Rc::clone(state);
    native.set("log", Func::from(move |level: String, text: String| eprintln!("{level} [VU {}] {text}", s.role.id)))?;
    let s = Rc::clone(state);
    native.set("sleep", Func::from(move |ctx: Ctx<'js>, seconds: f64| s.sleep(&ctx, seconds)))?;
    let s = Rc::clone(state);
    native.set("groupStart", Func::from(move |name: String| s.groups.borrow_mut().push((name, Instant::now()))))?;
    let s = Rc::clone(state);
    native.set("groupEnd", Func::from(move || s.group_end()))?;
    let s = Rc::clone(state);
    native.set("check", Func::from(move |name: String, held: bool, tags: String| s.check(name, held, &tags)))?;
    let s = Rc::clone(state);
    native.set("metric", Func::from(move |ctx: Ctx<'js>, kind: String, name: String, time: bool| s.define(&ctx, &kind, &name, time)))?;
    let s = Rc::clone(state);
    native.set("add", Func::from(move |ctx: Ctx<'js>, name: String, value: f64, tags: String| s.add(&ctx, &name, value, &tags)))?;
    let s = Rc::clone(state);
    let request = move |ctx: Ctx<'js>, method: String, url: String, body: Value<'js>, params: String, expected: Opt<Function<'js>>| {
        s.request(&ctx, method, url, &body, &params, expected.0.as_ref())
    };
    native.set("request", Func::from(MutFn::from(request)))?;
    Ok(native)
}

#[derive(Deserialize)]
struct Params {
    headers: Vec<(String, String)>,
    tags: BTreeMap<String, serde_json::Value>,
    timeout: Option<serde_json::Value>,
    redirects: u32,
    response_type: Option<String>,
}

impl State {
    fn emit(&self, tags: &Arc<Tags>, metric: &str, value: f64) {
        self.samples.borrow_mut().push(Sample { metric: metric.into(), value, tags: Arc::clone(tags) });
    }

    fn flush(&self) {
        let samples = std::mem::take(&mut *self.samples.borrow_mut());
        if !samples.is_empty() {
            self.run.take(samples);
        }
    }

    /// `::outer::inner`, as k6 writes it.
    fn group(&self) -> String {
        let mut path = self.role.root_group.clone();
        for (name, _) in self.groups.borrow().iter() {
            path.push_str("::");
            path.push_str(name);
        }
        path
    }

    fn tags(&self, own: Option<BTreeMap<String, serde_json::Value>>) -> Tags {
        let mut tags = self.role.tags.clone();
        tags.insert("group".to_owned(), self.group());
        for (name, value) in own.unwrap_or_default() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            tags.insert(name, value);
        }
        tags
    }

    fn sleep(&self, ctx: &Ctx<'_>, seconds: f64) -> rquickjs::Result<()> {
        self.flush();
        let length =
            Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|_| Exception::throw_message(ctx, "sleep: no number of seconds"))?;
        if self.halt.sleep_until(Instant::now() + length, Halt::is_cut) {
            return Ok(());
        }
        Err(Exception::throw_message(ctx, "the run has ended"))
    }

    fn group_end(&self) {
        let tags = Arc::new(self.tags(None));
        if let Some((_, begun)) = self.groups.borrow_mut().pop() {
            self.emit(&tags, "group_duration", ms(begun.elapsed()));
        }
    }

    fn check(&self, name: String, held: bool, tags: &str) {
        let mut tags = self.tags(serde_json::from_str(tags).ok());
        tags.insert("check".to_owned(), name);
        self.emit(&Arc::new(tags), "checks", f64::from(u8::from(held)));
    }

    fn define(&self, ctx: &Ctx<'_>, kind: &str, name: &str, time: bool) -> rquickjs::Result<()> {
        let Some(kind) = Kind::parse(kind) else { return Err(Exception::throw_message(ctx, "no such kind of metric")) };
        let contains = if time { Contains::Time } else { Contains::Default };
        self.run.registry().define(name, kind, contains).map_err(|why| Exception::throw_message(ctx, &why))
    }

    fn add(&self, ctx: &Ctx<'_>, name: &str, value: f64, tags: &str) -> rquickjs::Result<()> {
        if !value.is_finite() {
            return Err(Exception::throw_message(ctx, &format!("metric {name}: {value} is no value")));
        }
        self.emit(&Arc::new(self.tags(serde_json::from_str(tags).ok())), name, value);
        Ok(())
    }

    fn request<'js>(
        &self,
        ctx: &Ctx<'js>,
        method: String,
        url: String,
        body: &Value<'js>,
        params: &str,
        expected: Option<&Function<'js>>,
    ) -> rquickjs::Result<Object<'js>> {
        let wrong = |why: &str| Exception::throw_message(ctx, why);
        let params: Params = serde_json::from_str(params).map_err(|error| wrong(&error.to_string()))?;
        let timeout = match &params.timeout {
            None => TIMEOUT,
            Some(serde_json::Value::String(text)) => duration::parse(text).map_err(|why| wrong(&why))?,
            Some(other) => duration::parse(&other.to_string()).map_err(|why| wrong(&why))?,
        };
        let body = if body.is_null() || body.is_undefined() {
            None
        } else {
            let text = body.as_string().ok_or_else(|| wrong("loadtest-runner: a request body is a string"))?;
            Some(text.to_string()?.into_bytes())
        };
        let kind = params.response_type.as_deref().unwrap_or(if self.run.discard_bodies { "none" } else { "text" });
        let keep_body = kind != "none";
        let call = Call {
            method: method.clone(),
            url: url.clone(),
            headers: params.headers,
            body,
            timeout,
            redirects: params.redirects,
            keep_body,
        };
        let answer = self.client.send(call).map_err(|why| wrong(&why))?;
        let expected = expected.map(|allows| allows.call::<_, Option<bool>>((answer.status,))).transpose()?.flatten();
        self.measure(&method, &url, params.tags, &answer, expected);
        response(ctx, &url, kind, answer)
    }

    /// The samples of one request. Sending is part of waiting here: loopback gives it no length.
    fn measure(&self, method: &str, url: &str, own: BTreeMap<String, serde_json::Value>, answer: &Answer, expected: Option<bool>) {
        let mut tags = self.tags(None);
        tags.insert("method".to_owned(), method.to_owned());
        tags.insert("url".to_owned(), url.to_owned());
        tags.insert("name".to_owned(), url.to_owned());
        tags.insert("status".to_owned(), answer.status.to_string());
        tags.insert("proto".to_owned(), "HTTP/1.1".to_owned());
        if !answer.error.is_empty() {
            tags.insert("error".to_owned(), answer.error.clone());
        }
        if answer.error_code != 0 {
            tags.insert("error_code".to_owned(), answer.error_code.to_string());
        }
        if let Some(expected) = expected {
            tags.insert("expected_response".to_owned(), expected.to_string());
        }
        for (name, value) in own {
            tags.insert(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        let tags = Arc::new(tags);
        let emit = |metric: &str, value: f64| self.emit(&tags, metric, value);
        emit("http_reqs", 1.0);
        emit("http_req_duration", ms(answer.waiting + answer.receiving));
        emit("http_req_waiting", ms(answer.waiting));
        emit("http_req_receiving", ms(answer.receiving));
        emit("http_req_sending", 0.0);
        emit("http_req_blocked", ms(answer.connecting));
        emit("http_req_connecting", ms(answer.connecting));
        emit("http_req_tls_handshaking", 0.0);
        emit("data_sent", bytes(answer.sent));
        emit("data_received", bytes(answer.received));
        if let Some(expected) = expected {
            emit("http_req_failed", f64::from(u8::from(!expected)));
        }
    }
}

fn response<'js>(ctx: &Ctx<'js>, url: &str, kind: &str, answer: Answer) -> rquickjs::Result<Object<'js>> {
    let response = Object::new(ctx.clone())?;
    let body = match kind {
        "none" => Value::new_null(ctx.clone()),
        "binary" => ArrayBuffer::new(ctx.clone(), answer.body)?.into_js(ctx)?,
        "text" => String::from_utf8_lossy(&answer.body).into_owned().into_js(ctx)?,
        other => return Err(Exception::throw_message(ctx, &format!("responseType {other:?} is text, binary or none"))),
    };
    let headers = Object::new(ctx.clone())?;
    for (name, value) in answer.headers {
        headers.set(name, value)?;
    }
    let timings = Object::new(ctx.clone())?;
    timings.set("duration", ms(answer.waiting + answer.receiving))?;
    timings.set("blocked", ms(answer.connecting))?;
    timings.set("connecting", ms(answer.connecting))?;
    timings.set("tls_handshaking", 0)?;
    timings.set("sending", 0)?;
    timings.set("waiting", ms(answer.waiting))?;
    timings.set("receiving", ms(answer.receiving))?;
    response.set("url", url)?;
    response.set("status", answer.status)?;
    response.set("headers", headers)?;
    response.set("body", body)?;
    response.set("timings", timings)?;
    response.set("error", answer.error)?;
    response.set("error_code", answer.error_code)?;
    Ok(response)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "lengths here stay far below 2^53")]
const fn bytes(length: usize) -> f64 {
    length as f64
}
