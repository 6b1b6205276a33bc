//! Small scripts, run as a user would run them: what they print, write and exit with.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a test may fail by panic")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A server that answers every request with 200 and what it was asked for.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                while let Some(request) = read_request(&mut connection) {
                    let line = request.lines().next().unwrap_or_default().to_owned();
                    let body = serde_json::json!({ "asked": line, "request": request }).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
                    if connection.write_all((head + &body).as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// Head and body, however many pieces they come in.
fn read_request(connection: &mut impl Read) -> Option<String> {
    let mut request = String::new();
    let mut bytes = [0; 8192];
    loop {
        let length = connection.read(&mut bytes).ok().filter(|length| *length > 0)?;
        request.push_str(&String::from_utf8_lossy(&bytes[..length]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let declared = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= declared.unwrap_or(0) {
            return Some(request);
        }
    }
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
    summary: Value,
    folder: TempDir,
}

impl Ran {
    fn metric(&self, name: &str, value: &str) -> f64 {
        self.summary["metrics"][name]["values"][value]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name} {value}: {}\n{}", self.summary, self.stderr))
    }
}

fn run(script: &str, arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, script).unwrap();
    std::fs::write(folder.path().join("beside.js"), "export const answer = 42;").unwrap();
    let export = folder.path().join("summary.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest-runner"));
    command.arg("run").arg(&path).arg("--quiet").arg("--summary-export").arg(&export).args(arguments).current_dir(folder.path());
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        code: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
        summary: std::fs::read(export).ok().map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap()),
        folder,
    }
}

#[test]
fn a_whole_life_from_setup_to_summary() {
    let script = r#"
        import http from 'k6/http';
        import { check, group, sleep } from 'k6';
        import { Trend, Counter } from 'k6/metrics';
        import { answer } from './beside.js';
        const lag = new Trend('lag', true);
        const seen = new Counter('seen');
        export const options = {
          scenarios: { s: { executor: 'per-vu-iterations', vus: 2, iterations: 3, exec: 'work', tags: { who: 'me' }, env: { EXTRA: 'yes' } } },
          thresholds: { 'http_req_duration{name:thing}': ['p(95)<5000'], checks: ['rate==1'], 'seen{who:me}': ['count==6'] },
        };
        export function setup() { return { token: http.get(__ENV.BASE + '/setup').json().asked }; }
        export function work(data) {
          group('outer', () => group('inner', () => {
            const r = http.post(`${__ENV.BASE}/thing`, JSON.stringify({ vu: __VU, iter: __ITER }), { headers: { 'X-Extra': __ENV.EXTRA }, tags: { name: 'thing' } });
            check(r, {
              'is asked': (r) => r.status === 200 && r.json().asked === 'POST /thing HTTP/1.1',
              'has the header and body': (r) => /x-extra: yes/i.test(r.json().request) && r.json().request.includes('"iter":' + __ITER),
              'has setup data': () => data.token === 'GET /setup HTTP/1.1' && answer === 42,
            });
            lag.add(r.timings.duration);
          }));
          seen.add(1);
          sleep(0.01);
        }
        export function teardown(data) { http.get(__ENV.BASE + '/teardown'); }
        export function handleSummary(data) { return { stdout: `posts ${data.metrics.seen.values.count}\n`, 'out.txt': 'written' }; }
    "#;
    let ran = run(script, &["-e", &format!("BASE={}", server())]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "posts 6\n"), "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(ran.folder.path().join("out.txt")).unwrap(), "written");
    assert_eq!((ran.metric("http_reqs", "count"), ran.metric("iterations", "count"), ran.metric("checks", "passes")), (8.0, 6.0, 18.0));
    assert_eq!(ran.summary["root_group"]["groups"][0]["groups"][0]["path"], "::outer::inner");
    assert_eq!(ran.summary["metrics"]["http_req_duration{name:thing}"]["thresholds"]["p(95)<5000"]["ok"], true);
    assert!(ran.metric("lag", "avg") > 0.0);
}

#[test]
fn a_crossed_threshold_exits_99_after_the_summary() {
    let script = "import http from 'k6/http';
        export const options = { iterations: 1, thresholds: { http_req_failed: ['rate<0.01'] } };
        export default () => http.get('http://127.0.0.1:1/');";
    let ran = run(script, &[]);
    assert_eq!(ran.code, 99, "{}", ran.stderr);
    assert!(ran.stdout.contains("FAIL http_req_failed rate<0.01") && ran.stderr.contains("thresholds were crossed"));
    assert_eq!(ran.metric("http_req_failed", "rate"), 1.0);
}

#[test]
fn a_threshold_may_abort_the_run() {
    let script = "import http from 'k6/http'; import { sleep } from 'k6';
        export const options = { vus: 1, duration: '60s', thresholds: { http_req_failed: [{ threshold: 'rate<0.5', abortOnFail: true }] } };
        export default () => { http.get('http://127.0.0.1:1/'); sleep(0.05); };";
    let begun = Instant::now();
    assert_eq!(run(script, &[]).code, 99);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_only_k6_has_is_refused_by_name() {
    let table = [
        ("import ws from 'k6/ws'; export default () => {};", 107, "k6/ws"),
        ("import { SharedArray } from 'k6/data'; export default () => {};", 107, "k6/data"),
        (
            "export const options = { scenarios: { a: { executor: 'ramping-vus', stages: [] } } }; export default () => {};",
            104,
            "ramping-vus",
        ),
        ("export const options = { hosts: {} }; export default () => {};", 104, "hosts"),
        ("export const options = { thresholds: { nothing: ['count>0'] } }; export default () => {};", 104, "nothing"),
        ("export const options = { iterations: 1 };", 107, "default"),
        ("export const options = { scenarios: { a: { executor: 'per-vu-iterations', exec: 'gone' } } };", 107, "gone"),
        ("throw new Error('in the init context'); export default () => {};", 107, "in the init context"),
        ("export function setup() { throw new Error('in setup'); } export default () => {};", 107, "in setup"),
        ("this is no script", 107, "script.js"),
    ];
    for (script, code, named) in table {
        let ran = run(script, &[]);
        assert_eq!(ran.code, code, "{script}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{script}: {}", ran.stderr);
    }
}

#[test]
fn a_call_that_only_k6_has_says_so_and_the_run_goes_on() {
    let script = "import http from 'k6/http';
        export const options = { iterations: 2 };
        export default () => { http.batch([]); };";
    let ran = run(script, &[]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("http.batch is not supported") && ran.stderr.contains("2 iterations threw"));
    let script = "import http from 'k6/http'; export default () => { http.get('http://192.0.2.1/'); };";
    assert!(run(script, &[]).stderr.contains("--allow-host"));
}

#[test]
fn an_open_model_keeps_its_pace_and_counts_what_it_drops() {
    let script = |sleep: f64, max: u32| {
        format!(
            "import {{ sleep }} from 'k6';
            export const options = {{ scenarios: {{ s: {{ executor: 'constant-arrival-rate', rate: 20, duration: '2s', preAllocatedVUs: 1, maxVUs: {max} }} }} }};
            export default () => sleep({sleep});"
        )
    };
    let ran = run(&script(0.3, 20), &[]);
    assert_eq!((ran.code, ran.metric("iterations", "count")), (0, 40.0), "more VUs are hired: {}", ran.stderr);
    assert!(ran.summary["metrics"].get("dropped_iterations").is_none());
    let ran = run(&script(0.5, 2), &[]);
    let (done, dropped) = (ran.metric("iterations", "count"), ran.metric("dropped_iterations", "count"));
    assert!(done + dropped == 40.0 && (6.0..=10.0).contains(&done), "{done} done, {dropped} dropped");
}

#[test]
fn what_still_runs_at_the_end_is_cut_off_and_not_counted() {
    let script = "import { sleep } from 'k6';
        export const options = { scenarios: { s: { executor: 'constant-vus', vus: 2, duration: '1s', gracefulStop: '500ms' } } };
        export default () => { if (__VU === 1) sleep(3600); else { for (;;) {} } };";
    let begun = Instant::now();
    let ran = run(script, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(15) && ran.stderr.contains("2 were cut off"), "{}", ran.stderr);
    assert!(ran.summary["metrics"].get("iterations").is_none());
}

#[test]
fn shared_iterations_are_shared_and_the_command_line_sets_the_time() {
    let script = "import { sleep } from 'k6';
        export const options = { vus: 3, iterations: 10 };
        export default () => sleep(0.02);";
    assert_eq!(run(script, &[]).metric("iterations", "count"), 10.0);
    let script = "import { sleep } from 'k6';
        export const options = { vus: 1, duration: '10m' };
        export default () => sleep(0.1);";
    let begun = Instant::now();
    let ran = run(script, &["--duration", "1s"]);
    assert!(begun.elapsed() < Duration::from_secs(10) && ran.metric("iterations", "count") >= 5.0);
}
