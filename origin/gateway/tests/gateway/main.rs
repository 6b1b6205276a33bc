//! The gateway's promises, each tried over HTTP against a running gateway with real services behind it.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod batches;
mod receipts;
mod revocations;
mod system;

use std::{sync::atomic::Ordering, time::Duration};

use protocol::{PlayId, UnixMs, edge_auth, heartbeat::Batch, token::Purpose};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::system::{INIT_BYTES, SEGMENT_BYTES, System, VERSION, code, media_bytes, now, sheet, track};

async fn body(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Bytes over a plain connection, and all that comes back until it is closed.
async fn raw(system: &System, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(&system.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed")
        .unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_reaches_its_service_without_what_only_a_proxy_may_say() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let answer = system
        .http
        .get(format!("{}/v1/search?q=a%20b", system.url))
        .header("x-forwarded-for", "6.6.6.6")
        .header("antiphon-peer", "6.6.6.6")
        .header("antiphon-edge", "t=1,s=00")
        .header("authorization", "Bearer x")
        .header("x-request-id", "from-the-client-1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "from-the-client-1");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let seen = body(answer).await;
    assert_eq!((seen["path"].as_str(), seen["query"].as_str()), (Some("/v1/search"), Some("q=a%20b")));
    assert_eq!(seen["headers"]["antiphon-peer"], "127.0.0.1");
    assert_eq!(seen["headers"]["authorization"], "Bearer x");
    assert_eq!(seen["headers"]["x-request-id"], "from-the-client-1");
    assert!(seen["headers"]["x-forwarded-for"].is_null() && seen["headers"]["antiphon-edge"].is_null());
    system.stop().await;
}

#[tokio::test]
async fn a_service_that_is_down_is_a_503_and_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let answer = system.get("/v1/me/recommendations").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(code(answer).await, "upstream_unavailable");
    let post = system.http.post(format!("{}/v1/ingest/upload", system.url)).json(&json!({"title": "x"})).send().await.unwrap();
    assert_eq!((post.status().as_u16(), code(post).await.as_str()), (503, "upstream_unavailable"));
    assert_eq!(system.get("/v1/search").await.status(), 200);
    system.stop().await;
}

#[tokio::test]
async fn internal_paths_open_to_the_edges_signature_alone() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let card = format!("/internal/cards/{}", track());
    let media = format!("/internal/media/{VERSION}/aac-128/{INIT_BYTES}-{}", SEGMENT_BYTES[0]);
    for path in [card.as_str(), media.as_str(), "/internal/batches", "/internal/publications", "/internal/anything"] {
        let answer = system.get(path).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (403, "edge_signature_invalid"), "{path}");
    }
    assert_eq!(system.store_reads(), 0);

    let answer = system.edge_get(&card).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("access-control-allow-origin").is_none());
    assert_eq!(body(answer).await["title"], "Song");
    assert!(system.behind.card_headers.lock().unwrap().as_ref().unwrap().get("antiphon-edge").is_none());
    assert_eq!(system.edge_get("/internal/publications").await.status(), 404);

    let answer = system.edge_get(&media).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, "audio/mp4"));
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(answer.bytes().await.unwrap(), media_bytes(u64::from(INIT_BYTES), SEGMENT_BYTES[0]));
    let gone = format!("/internal/media/{}/aac-128/0-10", protocol::MediaVersion([1; 16]));
    for _ in 0..2 {
        assert_eq!(code(system.edge_get(&gone).await).await, "no_such_media", "remembered as what it was");
    }
    let stored = body(system.edge_get(&format!("/internal/sheets/{VERSION}")).await).await;
    assert_eq!(stored, serde_json::to_value(sheet()).unwrap());
    system.stop().await;
}

#[tokio::test]
async fn a_batch_is_forwarded_byte_for_byte_only_when_its_own_bytes_were_signed() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let batch = br#"{"buffer":"7","epoch":"e","number":1,"frozen_at_ms":1,"posts":[]}"#.as_slice();
    let signature = edge_auth::sign(&system.keys.edge_secret, "POST", "/internal/batches", batch, now());
    let send = |bytes: Vec<u8>| {
        system.http.post(format!("{}/internal/batches", system.url)).header(edge_auth::HEADER, &signature).body(bytes).send()
    };
    let altered = String::from_utf8_lossy(batch).replace("\"7\"", "\"8\"").into_bytes();
    assert_eq!(code(send(altered).await.unwrap()).await, "edge_signature_invalid");
    assert!(system.behind.batches.lock().unwrap().is_empty());
    let answer = send(batch.to_vec()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(body(answer).await["outcome"], "merged");
    assert_eq!(*system.behind.batches.lock().unwrap(), [batch.to_vec()]);
    system.behind.royalty_down.store(true, Ordering::SeqCst);
    assert_eq!(send(batch.to_vec()).await.unwrap().status(), 503);
    system.stop().await;
}

#[tokio::test]
async fn a_thousand_misses_are_one_read_of_the_object_store() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    system.behind.store_delay_ms.store(300, Ordering::SeqCst);
    let (path, expected) = (
        format!("/internal/media/{VERSION}/aac-256/{INIT_BYTES}-{}", SEGMENT_BYTES[1]),
        media_bytes(u64::from(INIT_BYTES), SEGMENT_BYTES[1]),
    );
    let answers = futures::future::join_all((0..1_000).map(|_| async {
        let answer = system.edge_get(&path).await;
        let became = answer.headers()["cache-status"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), became, answer.bytes().await.unwrap())
    }))
    .await;
    assert!(answers.iter().all(|(status, _, bytes)| *status == 200 && *bytes == expected));
    assert_eq!(system.store_reads(), 1);
    assert_eq!(answers.iter().filter(|(_, became, _)| became == "antiphon-shield; fwd=miss; stored").count(), 1);
    assert_eq!(system.edge_get(&path).await.headers()["cache-status"], "antiphon-shield; hit; detail=memory");
    system.stop().await;
}

#[tokio::test]
async fn a_page_of_any_origin_may_call_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let preflight = system
        .http
        .request(reqwest::Method::OPTIONS, format!("{}/v1/ingest/upload", system.url))
        .header("origin", "https://elsewhere.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,idempotency-key,cmcd-session")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap().to_ascii_lowercase();
    for name in ["authorization", "content-type", "idempotency-key", "cmcd-request", "cmcd-session"] {
        assert!(allowed.contains(name), "{name}");
    }
    let answer = system.get(&format!("{}/index.m3u8", system.media())).await;
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_owned();
    for name in ["Antiphon-Play", "Antiphon-Ticket", "Server-Timing", "Retry-After", "X-Request-Id"] {
        assert!(exposed.contains(name), "{name}");
    }
    system.stop().await;
}

#[tokio::test]
async fn a_listeners_token_opens_exactly_what_it_says_and_never_redirects() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let media = system.media();
    let index = system.get(&format!("{media}/index.m3u8")).await;
    assert_eq!(index.status(), 200);
    let index = index.text().await.unwrap();
    assert!(index.contains("aac-128.m3u8") && !index.contains("aac-256"), "{index}");
    let playlist = system.get(&format!("{media}/aac-128.m3u8")).await.text().await.unwrap();
    assert!(playlist.contains("aac-128/2.m4s") && playlist.contains("#EXT-X-ENDLIST"));
    let init = system.get(&format!("{media}/aac-128/init.mp4")).await.bytes().await.unwrap();
    assert_eq!(init, media_bytes(0, INIT_BYTES));

    let segment = format!("{media}/aac-128/1.m4s");
    let expected = media_bytes(u64::from(INIT_BYTES + SEGMENT_BYTES[0]), SEGMENT_BYTES[1]);
    let whole = system.get(&segment).await;
    assert_eq!(whole.headers()["cache-control"], "private, max-age=31536000, immutable");
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.bytes().await.unwrap(), expected);
    let request = || system.http.get(format!("{}{segment}", system.url));
    let unchanged = request().header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((unchanged.status().as_u16(), unchanged.bytes().await.unwrap().len()), (304, 0));
    let part = request().header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()), (206, "bytes 10-19/96000"));
    assert_eq!(part.bytes().await.unwrap(), expected[10..20]);
    assert_eq!(request().header("range", "bytes=96000-").send().await.unwrap().status(), 416);
    let head = system.http.head(format!("{}{segment}", system.url)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "96000"));

    let mut tampered = segment.clone();
    tampered.replace_range(40..41, if segment.as_bytes()[40] == b'A' { "B" } else { "A" });
    let expired = format!("/v1/media/{}/aac-128/1.m4s", system.token(Purpose::Media, now().plus_ms(-60_000)));
    let ticket = format!("/v1/media/{}/aac-128/1.m4s", system.token(Purpose::Event, now().plus_ms(60_000)));
    for (path, status, expected) in [
        (tampered, 403, "token_invalid"),
        (expired, 403, "token_expired"),
        (ticket, 403, "token_invalid"),
        (format!("{media}/aac-256/1.m4s"), 403, "not_allowed_here"),
        (format!("{media}/aac-128/3.m4s"), 404, "no_such_segment"),
        (format!("{media}/aac-128/01.m4s"), 404, "no_such_segment"),
        (format!("{media}/elsewhere"), 404, "no_such_segment"),
    ] {
        let answer = system.get(&path).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (status, expected), "{path}");
    }
    system.stop().await;
}

#[tokio::test]
async fn a_playlist_is_gzipped_for_those_who_take_it() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let path = format!("{}{}/aac-64.m3u8", system.url, system.media());
    let plain = system.http.get(&path).send().await.unwrap();
    let packed = system.http.get(&path).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["vary"], "Accept-Encoding");
    assert_eq!(packed.headers()["cache-control"], "private, max-age=3600");
    let etag = plain.headers()["etag"].clone();
    assert_eq!(system.http.get(&path).header("if-none-match", etag).send().await.unwrap().status(), 304);
    let packed = packed.bytes().await.unwrap();
    let mut unpacked = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.as_ref()), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.text().await.unwrap());
    system.stop().await;
}

#[tokio::test]
async fn a_manifest_is_decided_here_and_outlives_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "gateway: {playback: {card_ttl_s: 0}}").await;
    let path = format!("{}/v1/tracks/{}/manifest", system.url, track());
    assert_eq!(code(system.http.get(&path).send().await.unwrap()).await, "session_missing");
    let ask = || system.http.get(&path).bearer_auth(system.session());
    let hls = ask().send().await.unwrap();
    assert_eq!(hls.status(), 200);
    assert_eq!(hls.headers()["cache-control"], "private, no-store");
    assert!(hls.headers()["server-timing"].to_str().unwrap().starts_with("choice;desc="));
    let (play, ticket) = (hls.headers()["antiphon-play"].clone(), hls.headers()["antiphon-ticket"].to_str().unwrap().to_owned());
    let text = hls.text().await.unwrap();
    let uri = text.lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
    assert_eq!(system.get(&uri.replacen("../../media", "/v1/media", 1)).await.status(), 200);

    system.behind.catalog_down.store(true, Ordering::SeqCst);
    let json = ask().header("accept", "application/json").query(&[("play", &ticket)]).send().await.unwrap();
    assert_eq!(json.status(), 200);
    assert_eq!(json.headers()["antiphon-play"], play);
    let json = body(json).await;
    assert_eq!(json["start"], "aac-128");
    let first = json["first"]["segment_url"].as_str().unwrap().to_owned();
    assert_eq!(system.get(&first).await.bytes().await.unwrap(), media_bytes(u64::from(INIT_BYTES), SEGMENT_BYTES[0]));
    let unknown = system
        .http
        .get(format!("{}/v1/tracks/{}/manifest", system.url, protocol::TrackId::v7(now(), [7; 10])))
        .bearer_auth(system.session())
        .send()
        .await
        .unwrap();
    assert_eq!((unknown.status().as_u16(), code(unknown).await.as_str()), (503, "catalogue_unavailable"));
    system.stop().await;
}

#[tokio::test]
async fn events_are_acknowledged_only_once_royalty_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let ticket = system.token(Purpose::Event, now().plus_ms(60_000));
    let event = |seq: u32, to_ms: u32| json!({"seq": seq, "kind": "progress", "from_ms": 0, "to_ms": to_ms});
    let post = |body: Value| {
        system
            .http
            .post(format!("{}/v1/me/play-event", system.url))
            .header("content-type", "text/plain;charset=UTF-8")
            .body(body.to_string())
            .send()
    };
    let good = json!({"ticket": ticket, "sender": "s", "events": [event(0, 5_000), event(1, 99_000_000)]});

    system.behind.royalty_down.store(true, Ordering::SeqCst);
    let refused = post(good.clone()).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    system.behind.royalty_down.store(false, Ordering::SeqCst);
    let answer = post(good).await.unwrap();
    assert_eq!(answer.status(), 202);
    let answer = body(answer).await;
    assert_eq!((answer["accepted"].as_u64(), answer["rejected"][0]["index"].as_u64()), (Some(1), Some(1)));
    assert_eq!(answer["rejected"][0]["code"], "interval_beyond_track");
    let batches = system.behind.batches.lock().unwrap().clone();
    let batch: Batch = serde_json::from_slice(&batches[0]).unwrap();
    assert_eq!((batch.buffer.as_str(), batch.events(), batch.posts[0].ticket.as_str()), ("gateway", 1, ticket.as_str()));

    let expired = json!({"ticket": system.token(Purpose::Event, now().plus_ms(-60_000)), "sender": "s", "events": []});
    for (refused, status, expected) in [
        (expired, 401, "ticket_expired"),
        (json!({"ticket": "x", "sender": "s", "events": []}), 401, "ticket_invalid"),
        (json!({"ticket": "x", "sender": "s", "events": [], "more": 1}), 400, "unknown_field"),
        (json!("x".repeat(70_000)), 413, "body_too_large"),
    ] {
        let answer = post(refused).await.unwrap();
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (status, expected));
    }
    assert_eq!(system.behind.batches.lock().unwrap().len(), 1);
    system.stop().await;
}

#[tokio::test]
async fn the_older_of_two_plays_is_told_to_stop_and_an_account_that_posts_too_fast_is_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let ticket = |minted: UnixMs| system.token_of(PlayId::v7(minted, [7; 10]), Purpose::Event, now().plus_ms(60_000));
    let (older, newer) = (ticket(now().plus_ms(-2_000)), ticket(now().plus_ms(-1_000)));
    let post = async |ticket: &str, seq: u32, kind: &str| {
        let event = json!({"seq": seq, "kind": kind, "from_ms": 0, "to_ms": 1_000});
        let body = json!({"ticket": ticket, "sender": "s", "events": [event]});
        system.http.post(format!("{}/v1/me/play-event", system.url)).json(&body).send().await.unwrap()
    };
    let stop = async |answer: reqwest::Response| body(answer).await["stop"].clone();
    assert!(stop(post(&older, 0, "progress").await).await.is_null());
    assert!(stop(post(&newer, 0, "progress").await).await.is_null());
    assert_eq!(stop(post(&older, 1, "progress").await).await, "elsewhere");
    assert!(stop(post(&newer, 1, "end").await).await.is_null());
    assert!(stop(post(&older, 2, "progress").await).await.is_null(), "the newer has ended");

    let mut refused = None;
    for seq in 3..5_000 {
        let answer = post(&older, seq, "progress").await;
        if answer.status() != 202 {
            refused = Some((seq, answer));
            break;
        }
    }
    let (seq, answer) = refused.expect("nobody posts so fast for ever");
    assert!(seq >= 195, "a burst is taken: {seq}");
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(code(answer).await, "too_many_heartbeats");
    assert_eq!(system.behind.batches.lock().unwrap().len(), 2 + seq as usize, "what was refused was not sent on");
    system.stop().await;
}

#[tokio::test]
async fn what_is_malformed_too_large_or_unknown_is_refused_at_the_door() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    for (path, status, expected) in [
        ("/", 404, "not_found"),
        ("/v1/nowhere", 404, "not_found"),
        ("/v1/search%2f..", 400, "target_not_canonical"),
        ("/v1//search", 400, "target_not_canonical"),
        ("/v1/search/", 400, "target_not_canonical"),
        (&format!("/v1/search?q={}", "x".repeat(9_000)), 414, "target_too_long"),
        ("/v1/ingest", 404, "not_found"),
    ] {
        let answer = system.get(path).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (status, expected), "{path}");
    }
    let answer = system.http.delete(format!("{}/v1/search", system.url)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "GET"));

    let large = vec![b'x'; 1024 * 1024 + 1];
    let answer = system.http.post(format!("{}/v1/sessions", system.url)).body(large.clone()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (413, "body_too_large"));
    let pieces = futures::stream::iter(large.chunks(65_536).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>());
    let chunked = system.http.post(format!("{}/v1/sessions", system.url)).body(reqwest::Body::wrap_stream(pieces)).send().await;
    // The refusal may cut the connection while the client still sends.
    if let Ok(answer) = chunked {
        assert_eq!(answer.status(), 413);
    }
    let fits = system.http.post(format!("{}/v1/sessions", system.url)).body(vec![b'x'; 1024 * 1024]).send().await.unwrap();
    assert_eq!(body(fits).await["body_bytes"], 1024 * 1024);
    system.stop().await;
}

#[tokio::test]
async fn a_request_that_could_end_in_two_places_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let smuggled = "GET /v1/search?q=smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v1/search HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "GET /v1/search HTTP/1.1\nHost: a\n\n",
        "GET /v1/search HTTP/1.1\r\n\r\n",
        "GET /v1/search HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let answers = raw(&system, &format!("{head}{smuggled}")).await;
        assert!(answers.starts_with("HTTP/1.1 400"), "{head:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answers}");
    }
    // What a connection nominates may not take away what the gateway adds.
    let answers = raw(&system, "GET /v1/search HTTP/1.1\r\nHost: a\r\nConnection: close, antiphon-peer, x-request-id\r\n\r\n").await;
    assert!(answers.contains("\"antiphon-peer\":\"127.0.0.1\"") && answers.contains("\"x-request-id\":"), "{answers}");
    system.stop().await;
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "gateway: {rates: {requests_per_s: 30}}").await;
    let answers = futures::future::join_all((0..200).map(|_| system.get("/v1/search"))).await;
    let refused = answers.into_iter().find(|answer| answer.status() == 429).expect("200 requests are too many");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(code(refused).await, "too_many_requests");
    system.stop().await;
}

#[tokio::test]
async fn media_outlives_a_restart_and_a_dead_store() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    let behind = system.behind.clone();
    let kept = "aac-128/0.m4s";
    assert_eq!(system.get(&format!("{}/{kept}", system.media())).await.status(), 200);
    // The sheet and the segment.
    assert_eq!(system.store_reads(), 2);
    // The disk is written after the answer.
    for _ in 0..200 {
        if std::fs::read_dir(dir.path().join("shield")).unwrap().count() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    system.stop().await;

    behind.store_down.store(true, Ordering::SeqCst);
    let system = System::start_over(dir.path(), "", behind).await;
    let answer = system.get(&format!("{}/{kept}", system.media())).await;
    assert_eq!(answer.headers()["cache-status"], "antiphon-shield; hit; detail=disk");
    assert_eq!(answer.bytes().await.unwrap(), media_bytes(u64::from(INIT_BYTES), SEGMENT_BYTES[0]));
    assert_eq!(system.store_reads(), 2);

    let cold = format!("{}/aac-128/1.m4s", system.media());
    let answers = futures::future::join_all((0..20).map(|_| system.get(&cold))).await;
    assert!(answers.iter().all(|answer| answer.status() == 503 && answer.headers().contains_key("retry-after")));
    // One fill, which the object store's client tries four times.
    assert!(system.store_reads() <= 2 + 4, "a failure is remembered: {} reads", system.store_reads());
    system.behind.store_down.store(false, Ordering::SeqCst);
    let mut status = 0;
    for _ in 0..60 {
        status = system.get(&cold).await.status().as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 200, "a failure is forgotten within a second");
    system.stop().await;
}

#[tokio::test]
async fn a_stop_lets_what_is_under_way_finish() {
    let dir = tempfile::tempdir().unwrap();
    let mut system = System::start(dir.path(), "").await;
    let (http, url) = (system.http.clone(), system.url.clone());
    let slow = tokio::spawn(async move { http.get(format!("{url}/v1/search?sleep_ms=700")).send().await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    system.begin_stop();
    let mut ready = 200;
    for _ in 0..50 {
        ready = system.get("/readyz").await.status().as_u16();
        if ready == 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ready, 503);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    system.stop().await;
}

#[tokio::test]
async fn the_gateway_describes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::start(dir.path(), "").await;
    assert_eq!(system.get("/healthz").await.status(), 200);
    assert_eq!(body(system.get("/openapi.json").await).await["openapi"], "3.1.0");
    let docs = system.get("/docs").await;
    assert!(docs.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let docs = docs.text().await.unwrap();
    assert!(docs.contains("/openapi.json") && !docs.contains("https://"), "the page needs no other host");
    let metrics = system.http.get(format!("{}/metrics", system.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("antiphon_gateway_requests_total{route=\"healthz\",status=\"200\"} 1"), "{metrics}");
    assert_eq!(system.get("/metrics").await.status(), 404);
    system.stop().await;
}
