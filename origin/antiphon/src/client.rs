//! A client of the public API for the subcommands that are one: logs in, keeps the session fresh, waits when asked to wait,
//! and turns a refusal into a sentence.
use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow};
use platform::Config;
use reqwest::{Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use crate::accounts::{Accounts, Login};

/// How long a server that is starting, busy or restarting is waited for.
const RETRY_WITHIN: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_millis(500);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Whom to log in as, and where.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoginArgs {
    /// Log in as this account [default: the demo account of a local deployment]
    #[arg(long, env = "ANTIPHON_EMAIL", value_name = "EMAIL")]
    email: Option<String>,
    /// Read the account's password from this file [default: ANTIPHON_PASSWORD in the environment]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The API's address [default: public.edge of the configuration]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl LoginArgs {
    /// The log-in that was named, else the demo's.
    fn login(&self, config: &Config, demo: fn(Accounts) -> Login) -> Result<Login> {
        let Some(email) = self.email.clone() else {
            return Accounts::known(config)?
                .map(demo)
                .context("say whom to log in as: --email EMAIL, with the password in ANTIPHON_PASSWORD or --password-file");
        };
        let password = match &self.password_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("{} cannot be read", file.display()))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            None => std::env::var("ANTIPHON_PASSWORD")
                .ok()
                .context("the password is missing: set ANTIPHON_PASSWORD, or give --password-file FILE")?,
        };
        Ok(Login { email, password })
    }
}

/// A logged-in client.
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    login: Login,
    access_token: Mutex<String>,
    /// The account that is logged in.
    pub(crate) account: String,
}

#[derive(Deserialize)]
struct Session {
    access_token: String,
    account: AccountBody,
}

#[derive(Deserialize)]
struct AccountBody {
    id: String,
}

impl Api {
    /// Logs in.
    ///
    /// # Errors
    /// When nobody is named, the server does not answer, or the log-in is refused.
    pub(crate) async fn log_in(config: &Config, args: &LoginArgs, demo: fn(Accounts) -> Login) -> Result<Self> {
        let login = args.login(config, demo)?;
        let base = args.server.as_ref().unwrap_or(&config.public.edge).trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).build()?;
        let mut api = Self { http, base, login, access_token: Mutex::default(), account: String::new() };
        let session = api.session().await?;
        api.account = session.account.id;
        api.access_token = Mutex::new(session.access_token);
        Ok(api)
    }

    /// Asks with the session, logging in again once when it has expired.
    ///
    /// # Errors
    /// A refusal, in the server's words; or no answer.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        // One key for all tries: a POST whose answer was lost is not done twice.
        let key = uuid::Uuid::from_bytes(platform::random_bytes()).to_string();
        let mut renewed = false;
        loop {
            let token = self.access_token.lock().await.clone();
            let response = self.until_answered(&method, path, body, Some(&token), &key).await?;
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                *self.access_token.lock().await = self.session().await?.access_token;
                continue;
            }
            return answer(response).await;
        }
    }

    /// Sends a file's bytes to an address that is signed and needs no session, with exactly the given headers.
    ///
    /// # Errors
    /// A refusal, or no answer.
    pub(crate) async fn put(&self, url: &str, headers: &serde_json::Map<String, Value>, body: reqwest::Body) -> Result<()> {
        let mut request = self.http.put(url).body(body);
        for (name, value) in headers {
            request = request.header(name, value.as_str().context("a header of the upload is not text")?);
        }
        let response = request.send().await.context("the object store does not answer")?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let words = response.text().await.unwrap_or_default();
        Err(anyhow!("the object store refused the bytes: {status} {}", words.chars().take(300).collect::<String>()))
    }

    async fn session(&self) -> Result<Session> {
        let credentials = serde_json::json!({ "email": self.login.email, "password": self.login.password });
        let key = uuid::Uuid::from_bytes(platform::random_bytes()).to_string();
        let response = self.until_answered(&Method::POST, "/v1/sessions", Some(&credentials), None, &key).await?;
        let session = answer(response).await.with_context(|| format!("cannot log in as {} at {}", self.login.email, self.base))?;
        serde_json::from_value(session).context("the session is not of the form that API.md gives")
    }

    /// Sends until something other than "not now" comes back.
    async fn until_answered(&self, method: &Method, path: &str, body: Option<&Value>, token: Option<&str>, key: &str) -> Result<Response> {
        let deadline = Instant::now() + RETRY_WITHIN;
        loop {
            let mut request = self.http.request(method.clone(), format!("{}{path}", self.base)).timeout(ANSWER_WITHIN);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            if *method == Method::POST {
                request = request.header("idempotency-key", key);
            }
            let pause = match request.send().await {
                Ok(response) => match not_now(&response) {
                    Some(pause) if Instant::now() + pause < deadline => pause,
                    _ => return Ok(response),
                },
                Err(_) if Instant::now() + RETRY_EVERY < deadline => RETRY_EVERY,
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("{} does not answer; is the system running? (cargo xtask run, or --server URL)", self.base)
                    });
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// How long a server that cannot answer now wants to be left alone.
fn not_now(response: &Response) -> Option<Duration> {
    matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE).then(|| {
        let asked =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        asked.unwrap_or(RETRY_EVERY).min(RETRY_AFTER_MAX)
    })
}

/// The body of a good answer; a refusal as an error in the server's own words (RFC 9457).
async fn answer(response: Response) -> Result<Value> {
    let status = response.status();
    let text = response.text().await.context("the answer broke off")?;
    if !status.is_success() {
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let field = |name: &str| problem.get(name).and_then(Value::as_str);
        let code = field("code").unwrap_or(status.canonical_reason().unwrap_or("refused"));
        let mut words = format!("{} {code}: {}", status.as_u16(), field("detail").unwrap_or("the server gave no reason"));
        for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            words.push_str(&format!("; {} {}", part("pointer"), part("detail")));
        }
        return Err(anyhow!(words));
    }
    if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).context("the answer is not JSON") }
}
