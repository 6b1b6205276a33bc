//! What a presigned upload promises: these bytes, once, and told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use platform::{queue::Queue, testing};
use reqwest::{Client, Method, StatusCode, Url};
use support::{Running, Upload, events, put, read, send, wait_for_events};

const SONG: &[u8] = b"RIFF a song, or something that calls itself one";

async fn world() -> (testing::TestDatabase, Running) {
    let database = testing::postgres().await;
    let store = Running::start(&database.dir().join("store"), Queue::new(database.pool("store"))).await;
    (database, store)
}

#[tokio::test]
async fn an_upload_is_kept_and_told_before_it_is_answered() {
    let (database, store) = world().await;
    let answer = Upload::new(&store.url, "raw/a b+c", SONG).put(SONG).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let e_tag = answer.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();

    let told = events(&database).await;
    let [message] = told.as_slice() else { panic!("{told:?}") };
    let record = &message["Records"][0];
    assert_eq!((&record["eventVersion"], &record["eventName"]), (&"2.5".into(), &"ObjectCreated:Put".into()));
    assert_eq!(record["s3"]["bucket"]["name"], "raw");
    let object = &record["s3"]["object"];
    assert_eq!((&object["key"], &object["size"], &object["eTag"]), (&"raw/a+b%2Bc".into(), &SONG.len().into(), &e_tag.into()));
    assert_eq!(object["sequencer"].as_str().unwrap().len(), 16);
    assert_eq!(read(&store.url, "raw", "raw/a b+c").await.unwrap(), SONG);
}

#[tokio::test]
async fn the_same_url_does_not_work_twice() {
    let (database, store) = world().await;
    let upload = Upload::new(&store.url, "raw/1", SONG);
    assert_eq!(upload.put(SONG).await.status(), StatusCode::OK);
    assert_eq!(upload.put(SONG).await.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(events(&database).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uploads_at_once_one_gets_through() {
    let (database, store) = world().await;
    let bodies: Vec<Vec<u8>> = (0..16_u8).map(|n| vec![n; 200_000]).collect();
    let uploads: Vec<_> = bodies.iter().map(|body| Upload::new(&store.url, "raw/1", body)).collect();
    let answers = futures::future::join_all(uploads.iter().zip(&bodies).map(|(upload, body)| upload.put(body.clone()))).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
    let winner = statuses.iter().position(|status| *status == 200).unwrap();
    assert_eq!(read(&store.url, "raw", "raw/1").await.unwrap(), bodies[winner]);
    assert_eq!(events(&database).await.len(), 1);
}

#[tokio::test]
async fn other_bytes_than_declared_leave_nothing() {
    let (database, store) = world().await;
    let upload = Upload::new(&store.url, "raw/1", SONG);
    let mut other = SONG.to_vec();
    other[7] ^= 1;
    let answer = upload.put(other).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(answer.text().await.unwrap().contains("BadDigest"));
    assert_eq!(read(&store.url, "raw", "raw/1").await, Err(StatusCode::NOT_FOUND));
    assert!(events(&database).await.is_empty());
    assert_eq!(upload.put(SONG).await.status(), StatusCode::OK, "the right bytes are still welcome");
}

#[tokio::test]
async fn signed_headers_cannot_be_changed_or_left_out() {
    let (_database, store) = world().await;
    for (name, value) in [("content-length", "10"), ("if-none-match", "\"x\""), ("x-amz-checksum-sha256", "AAAA")] {
        let mut upload = Upload::new(&store.url, "raw/1", SONG);
        upload.set(name, value);
        let body = if name == "content-length" { &SONG[..10] } else { SONG };
        assert_eq!(upload.put(body).await.status(), StatusCode::FORBIDDEN, "{name} changed");

        let mut upload = Upload::new(&store.url, "raw/1", SONG);
        upload.headers.retain(|header| header.0 != name);
        // Without a declared length the client sends the body in chunks.
        let chunks = futures::stream::iter([Ok::<_, std::io::Error>(SONG)]);
        let answer = upload.put(reqwest::Body::wrap_stream(chunks)).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name} left out");
    }
    assert_eq!(read(&store.url, "raw", "raw/1").await, Err(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let (database, store) = world().await;
    let upload = Upload::new(&store.url, "raw/1", &[7; 1_000_000]);
    let half = futures::stream::iter([Ok(vec![7_u8; 500_000]), Err(std::io::Error::other("the line went dead"))]);
    assert!(upload.try_put(reqwest::Body::wrap_stream(half)).await.is_err());
    assert_eq!(read(&store.url, "raw", "raw/1").await, Err(StatusCode::NOT_FOUND));
    assert!(events(&database).await.is_empty());
    let staging = database.dir().join("store/.staging");
    for _ in 0..200 {
        if std::fs::read_dir(&staging).unwrap().count() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("half an upload stays in {}", staging.display());
}

#[tokio::test]
async fn a_url_expires_and_cannot_be_altered() {
    let (_database, store) = world().await;
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(86_400);
    assert_eq!(Upload::at(&store.url, "raw/1", SONG, yesterday).put(SONG).await.status(), StatusCode::FORBIDDEN);

    let upload = Upload::new(&store.url, "raw/1", SONG);
    let alter = |from: &str, to: &str| Url::parse(&upload.url.as_str().replace(from, to)).unwrap();
    let signature = upload.url.query_pairs().find(|pair| pair.0 == "X-Amz-Signature").unwrap().1.into_owned();
    let flipped = signature.chars().map(|digit| if digit == 'a' { 'b' } else { 'a' }).collect::<String>();
    for url in [alter(&signature, &flipped), alter("/raw/raw/1", "/raw/raw/2"), alter("Expires=900", "Expires=9000"), {
        let mut unsigned = upload.url.clone();
        unsigned.set_query(None);
        unsigned
    }] {
        let altered = Upload { url: url.clone(), headers: upload.headers.clone() };
        assert_eq!(altered.put(SONG).await.status(), StatusCode::FORBIDDEN, "{url}");
    }
}

#[tokio::test]
async fn headers_that_were_not_signed_are_refused() {
    let (_database, store) = world().await;
    assert_eq!(put(&store.url, "media", "secret", b"another artist's master").await, StatusCode::OK);
    let mut upload = Upload::new(&store.url, "raw/1", SONG);
    upload.headers.push(("x-amz-copy-source", "media/secret".to_owned()));
    let answer = upload.put(SONG).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(answer.text().await.unwrap().contains("x-amz-copy-source"));
}

#[tokio::test]
async fn an_object_stays_below_the_limit() {
    let (_database, store) = world().await;
    let large = vec![0; usize::try_from(support::OBJECT_BYTES_MAX).unwrap() + 1];
    // The refusal comes before the body is read, so a client may see the connection close instead.
    if let Ok(answer) = Upload::new(&store.url, "raw/large", &large).try_put(large).await {
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(read(&store.url, "raw", "raw/large").await, Err(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn objects_are_read_whole_in_ranges_and_not_again_when_known() {
    let (database, store) = world().await;
    let body: &'static [u8] = (0..400_000_u32).map(|n| n as u8).collect::<Vec<_>>().leak();
    assert_eq!(put(&store.url, "media", "media/v/aac-128.mp4", body).await, StatusCode::OK);
    let url = support::signed_get(&store.url, "media", "media/v/aac-128.mp4");

    let whole = send(Method::GET, url.clone(), &[]).await;
    assert_eq!(whole.headers()["content-type"], "audio/mp4");
    let e_tag: &'static str = whole.headers()["etag"].to_str().unwrap().to_owned().leak();
    assert_eq!(whole.bytes().await.unwrap(), body);

    let table: [(&'static str, std::ops::Range<usize>, &str); 3] = [
        ("bytes=1000-299999", 1000..300_000, "bytes 1000-299999/400000"),
        ("bytes=399990-", 399_990..400_000, "bytes 399990-399999/400000"),
        ("bytes=-5", 399_995..400_000, "bytes 399995-399999/400000"),
    ];
    for (range, expected, content_range) in table {
        let part = send(Method::GET, url.clone(), &[("range", range)]).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.headers()["content-range"], content_range);
        assert_eq!(part.bytes().await.unwrap(), body[expected]);
    }
    assert_eq!(send(Method::GET, url.clone(), &[("range", "bytes=400000-")]).await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(send(Method::GET, url, &[("if-none-match", e_tag)]).await.status(), StatusCode::NOT_MODIFIED);
    assert!(events(&database).await.is_empty(), "only the raw bucket is told");
}

#[tokio::test]
async fn a_page_of_any_origin_may_use_a_url() {
    let (_database, store) = world().await;
    let upload = Upload::new(&store.url, "raw/1", SONG);
    let preflight = Client::new()
        .request(Method::OPTIONS, upload.url.clone())
        .header("origin", "https://studio.example")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "if-none-match,x-amz-checksum-sha256")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success());
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    assert_eq!(preflight.headers()["access-control-allow-headers"], "if-none-match,x-amz-checksum-sha256");
    // A refusal must be readable by the page, too.
    let refused = Client::new().put(store.url.join("raw/raw/1").unwrap()).header("origin", "https://studio.example").body(SONG);
    assert_eq!(refused.send().await.unwrap().headers()["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn health_is_answered_without_a_signature_and_nothing_else_is() {
    let (_database, store) = world().await;
    let status = async |method, path: &str| send(method, store.url.join(path).unwrap(), &[]).await.status();
    for path in ["healthz", "readyz", "metrics"] {
        assert_eq!(status(Method::GET, path).await, StatusCode::OK, "{path}");
    }
    for path in ["", "raw", "raw/raw/1", "media?list-type=2"] {
        assert_eq!(status(Method::GET, path).await, StatusCode::FORBIDDEN, "{path}");
    }
    let form = send(Method::POST, store.url.join("raw").unwrap(), &[("content-type", "multipart/form-data; boundary=x")]).await;
    assert_eq!(form.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn the_services_client_reads_what_it_writes() {
    let (database, store) = world().await;
    let mut config = database.config();
    config.objects.endpoint = store.url.to_string();
    let mut keys = config.keys().unwrap();
    keys.objects.access_key = support::ACCESS_KEY.to_owned();
    keys.objects.secret_key = support::SECRET_KEY.to_owned();
    let objects = platform::objects::Objects::new(&config, &keys).unwrap();
    objects.put("media", "media/v/sheet.json", SONG.into(), "application/json").await.unwrap();
    objects.put("media", "media/v/sheet.json", SONG.into(), "application/json").await.unwrap();
    assert_eq!(objects.get("media", "media/v/sheet.json").await.unwrap(), SONG);
    assert_eq!(objects.head("media", "media/v/sheet.json").await.unwrap().unwrap().size, SONG.len() as u64);
    objects.delete("media", "media/v/sheet.json").await.unwrap();
    assert!(objects.head("media", "media/v/sheet.json").await.unwrap().is_none());
    wait_for_events(&database, 0).await;
}

#[tokio::test]
async fn the_role_runs_from_the_configuration_and_stops_when_asked() {
    let database = testing::postgres().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = database.config();
    config.listen.store = free.to_string();
    let shutdown = platform::Shutdown::new();
    let running = tokio::spawn(store::run(config, shutdown.clone()));
    let ready = Url::parse(&format!("http://{free}/readyz")).unwrap();
    while Client::new().get(ready.clone()).send().await.is_err() {
        assert!(!running.is_finished(), "it ended instead of serving");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(database.dir().join("store/raw").is_dir() && database.dir().join("store/media").is_dir());
    shutdown.request();
    running.await.unwrap().unwrap();
}
