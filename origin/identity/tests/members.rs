//! Who acts for an artist: invitations, roles, and an owner that always remains. Over HTTP, on a real PostgreSQL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod service;

use std::sync::Arc;

use identity::ensure_account;
use protocol::{Plan, Role};
use reqwest::Method;
use serde_json::{Value, json};
use service::{NOW, Service};

/// Someone with a session.
struct Person {
    id: String,
    token: String,
}

impl Person {
    async fn new(service: &Service, name: &str, role: &str) -> Self {
        let email = format!("{name}@example.org");
        let id = service.sign_up(&email, role).await["id"].as_str().unwrap().to_owned();
        let (_, session) = service.log_in(&email, "correct horse").await;
        Self { id, token: session["access_token"].as_str().unwrap().to_owned() }
    }

    async fn get(&self, service: &Service, path: &str) -> (u16, Value) {
        service.call(Method::GET, path, &self.token, None).await
    }

    async fn put(&self, service: &Service, path: &str, body: Option<Value>) -> (u16, Value) {
        service.call(Method::PUT, path, &self.token, body).await
    }

    async fn delete(&self, service: &Service, path: &str) -> (u16, Value) {
        service.call(Method::DELETE, path, &self.token, None).await
    }

    async fn invite(&self, service: &Service, artist: &str, email: &str, role: &str) -> (u16, Value) {
        let body = json!({"email": email, "role": role});
        service.call(Method::POST, &format!("/v1/artists/{artist}/members"), &self.token, Some(body)).await
    }

    async fn accept(&self, service: &Service, artist: &str) -> (u16, Value) {
        self.put(service, &format!("/v1/me/artists/{artist}"), None).await
    }

    /// The one artist that the account founded when it signed up.
    async fn artist(&self, service: &Service) -> String {
        let (_, artists) = self.get(service, "/v1/me/artists").await;
        artists["items"][0]["id"].as_str().unwrap().to_owned()
    }
}

/// What services are told of an account.
async fn memberships(service: &Service, account: &str) -> Vec<Value> {
    let url = format!("{}/internal/accounts/{account}/memberships", service.base);
    let page: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_invited_account_acts_for_the_artist_once_it_has_accepted() {
    let service = Service::start().await;
    let (label, grace) = (Person::new(&service, "label", "artist").await, Person::new(&service, "grace", "listener").await);
    let artist = label.artist(&service).await;

    let (status, invited) = label.invite(&service, &artist, "Grace@example.org", "editor").await;
    let expected = json!({"account_id": grace.id, "name": null, "email": "Grace@example.org", "role": "editor", "state": "invited",
        "since": NOW.rfc3339()});
    assert_eq!((status, &invited), (201, &expected));
    assert_eq!(memberships(&service, &grace.id).await, Vec::<Value>::new(), "an invitation gives no right");
    assert_eq!(grace.get(&service, &format!("/v1/artists/{artist}/members")).await.1["code"], "not_a_member");
    let (_, own) = grace.get(&service, "/v1/me/artists").await;
    assert_eq!(own["items"], json!([{"id": artist, "name": "Ada", "role": "editor", "state": "invited"}]));

    service.clock.advance(60_000);
    for _ in 0..2 {
        let (status, own) = grace.accept(&service, &artist).await;
        assert_eq!((status, own), (200, json!({"id": artist, "name": "Ada", "role": "editor", "state": "active"})));
    }
    let told = json!({"artist_id": artist, "artist_name": "Ada", "role": "editor", "payee": label.id});
    assert_eq!(memberships(&service, &grace.id).await, [told]);
    let (_, members) = label.get(&service, &format!("/v1/artists/{artist}/members")).await;
    let grace_as_seen = json!({"account_id": grace.id, "name": "Ada", "email": null, "role": "editor", "state": "active",
        "since": NOW.plus_ms(60_000).rfc3339()});
    assert_eq!((&members["items"][0]["account_id"], &members["items"][1]), (&json!(label.id), &grace_as_seen));
    assert_eq!(service.log_in("grace@example.org", "correct horse").await.1["account"]["role"], "listener");
}

#[tokio::test]
async fn members_look_and_owners_alone_decide() {
    let service = Service::start().await;
    let (label, grace) = (Person::new(&service, "label", "artist").await, Person::new(&service, "grace", "listener").await);
    let (eve, bob) = (Person::new(&service, "eve", "artist").await, Person::new(&service, "bob", "listener").await);
    let artist = label.artist(&service).await;
    label.invite(&service, &artist, "grace@example.org", "editor").await;
    label.invite(&service, &artist, "bob@example.org", "viewer").await;
    grace.accept(&service, &artist).await;
    let members = format!("/v1/artists/{artist}/members");

    let (status, seen) = grace.get(&service, &members).await;
    assert_eq!((status, seen["items"].as_array().unwrap().len()), (200, 3));
    assert_eq!(
        seen["items"].as_array().unwrap().iter().filter(|member| !member["email"].is_null()).count(),
        0,
        "addresses are the owners'"
    );
    let of_bob = format!("{members}/{}", bob.id);
    assert_eq!(grace.put(&service, &of_bob, Some(json!({"role": "editor"}))).await.1["code"], "needs_owner");
    assert_eq!(grace.delete(&service, &of_bob).await.1["code"], "needs_owner");
    assert_eq!(grace.invite(&service, &artist, "eve@example.org", "owner").await.1["code"], "needs_owner");

    for path in [&members, "/v1/artists/01936f2e-8c00-7000-8000-000000000001/members"] {
        let (status, problem) = eve.get(&service, path).await;
        assert_eq!((status, &problem["code"]), (403, &json!("not_a_member")), "a stranger cannot tell which artists there are");
    }
    assert_eq!(eve.put(&service, &format!("{members}/{}", eve.id), Some(json!({"role": "owner"}))).await.1["code"], "not_a_member");
    let (status, problem) = eve.accept(&service, &artist).await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_such_invitation")), "nobody lets themselves in");
    assert_eq!(memberships(&service, &eve.id).await.len(), 1);

    let (status, problem) = label.put(&service, &of_bob, Some(json!({"role": "admin"}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/role")));
}

#[tokio::test]
async fn a_role_changes_at_once_and_a_removed_member_has_none() {
    let service = Service::start().await;
    let (label, grace) = (Person::new(&service, "label", "artist").await, Person::new(&service, "grace", "listener").await);
    let artist = label.artist(&service).await;
    let of_grace = format!("/v1/artists/{artist}/members/{}", grace.id);
    let invited = label.put(&service, &of_grace, Some(json!({"role": "editor"}))).await;
    assert_eq!((invited.0, &invited.1["state"], &invited.1["email"]), (200, &json!("invited"), &Value::Null));
    assert_eq!(label.put(&service, &of_grace, Some(json!({"role": "editor"}))).await, invited, "again changes nothing");
    grace.accept(&service, &artist).await;

    label.put(&service, &of_grace, Some(json!({"role": "viewer"}))).await;
    assert_eq!(memberships(&service, &grace.id).await[0]["role"], "viewer");
    for _ in 0..2 {
        assert_eq!(label.delete(&service, &of_grace).await.0, 204);
    }
    assert_eq!(memberships(&service, &grace.id).await, Vec::<Value>::new());
    assert_eq!(grace.accept(&service, &artist).await.1["code"], "no_such_invitation");
    label.put(&service, &of_grace, Some(json!({"role": "editor"}))).await;
    assert_eq!(memberships(&service, &grace.id).await, Vec::<Value>::new(), "who comes back is asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artist_never_loses_its_last_owner() {
    let service = Arc::new(Service::start().await);
    let (ada, bob) = (Person::new(&service, "ada", "artist").await, Person::new(&service, "bob", "artist").await);
    let artist = ada.artist(&service).await;
    let (own, of_ada) = (format!("/v1/me/artists/{artist}"), format!("/v1/artists/{artist}/members/{}", ada.id));
    let refused = async || {
        assert_eq!(ada.delete(&service, &own).await.1["code"], "last_owner");
        assert_eq!(ada.delete(&service, &of_ada).await.1["code"], "last_owner");
        assert_eq!(ada.put(&service, &of_ada, Some(json!({"role": "editor"}))).await.1["code"], "last_owner");
        assert_eq!(memberships(&service, &ada.id).await[0]["role"], "owner");
    };
    refused().await;
    ada.invite(&service, &artist, "bob@example.org", "owner").await;
    refused().await;
    bob.accept(&service, &artist).await;

    let leave = |token: &str| {
        let (service, token, own) = (service.clone(), token.to_owned(), own.clone());
        tokio::spawn(async move { service.call(Method::DELETE, &own, &token, None).await.0 })
    };
    let (first, second) = (leave(&ada.token), leave(&bob.token));
    let mut left = [first.await.unwrap(), second.await.unwrap()];
    left.sort_unstable();
    assert_eq!(left, [204, 409], "of two owners who leave at once one stays");
}

#[tokio::test]
async fn the_owner_who_is_it_longest_is_paid() {
    let service = Service::start().await;
    let (ada, bob) = (Person::new(&service, "ada", "artist").await, Person::new(&service, "bob", "listener").await);
    let artist = ada.artist(&service).await;
    service.clock.advance(1000);
    ada.invite(&service, &artist, "bob@example.org", "owner").await;
    bob.accept(&service, &artist).await;
    assert_eq!(memberships(&service, &bob.id).await[0]["payee"], json!(ada.id));
    assert_eq!(ada.delete(&service, &format!("/v1/me/artists/{artist}")).await.0, 204);
    assert_eq!(memberships(&service, &bob.id).await[0]["payee"], json!(bob.id));
}

#[tokio::test]
async fn addresses_cannot_be_tried_at_will() {
    let service = Service::start().await;
    let label = Person::new(&service, "label", "artist").await;
    let artist = label.artist(&service).await;
    let unknown = format!("/v1/artists/{artist}/members/{artist}");
    assert_eq!(label.put(&service, &unknown, Some(json!({"role": "viewer"}))).await.1["code"], "no_such_account");
    for n in 0..20 {
        let (status, problem) = label.invite(&service, &artist, &format!("nobody{n}@example.org"), "viewer").await;
        assert_eq!((status, &problem["code"]), (404, &json!("no_such_account")));
    }
    assert_eq!(label.invite(&service, &artist, "nobody@example.org", "viewer").await.0, 429);
    assert_eq!(label.invite(&service, &artist, "label@example.org", "owner").await.0, 429, "a hit is told as little as a miss");
    service.clock.advance(60_000);
    assert_eq!(label.invite(&service, &artist, "nobody@example.org", "viewer").await.0, 404);
}

#[tokio::test]
async fn members_and_artists_are_bounded() {
    let service = Service::start().await;
    let (label, bob) = (Person::new(&service, "label", "artist").await, Person::new(&service, "bob", "listener").await);
    let artist = label.artist(&service).await;
    label.invite(&service, &artist, "bob@example.org", "viewer").await;
    let owner = service.database.owner();
    let fill =
        |sql: &'static str| sqlx::query(sql).bind(uuid::Uuid::parse_str(&artist).unwrap()).bind(uuid::Uuid::parse_str(&bob.id).unwrap());
    fill(
        "WITH made AS (
             INSERT INTO identity.accounts (id, email, email_key, name, role, plan, country, created_at_ms)
             SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', 'x', 'listener', 'free', 'DE', 0 FROM generate_series(1, 98) n
             RETURNING id)
         INSERT INTO identity.memberships (account_id, artist_id, role, created_at_ms) SELECT id, $1, 'viewer', 0 FROM made WHERE id <> $2",
    )
    .execute(&owner)
    .await
    .unwrap();
    Person::new(&service, "late", "listener").await;
    assert_eq!(label.invite(&service, &artist, "late@example.org", "viewer").await.1["code"], "too_many_members");
    assert_eq!(label.invite(&service, &artist, "bob@example.org", "editor").await.0, 201, "who is there already is no more");

    fill(
        "WITH made AS (
             INSERT INTO identity.artists (id, name, created_at_ms) SELECT gen_random_uuid(), 'x', 0 FROM generate_series(1, 100) RETURNING id)
         INSERT INTO identity.memberships (account_id, artist_id, role, created_at_ms, accepted_at_ms)
         SELECT $2, id, 'owner', 0, 0 FROM made WHERE id <> $1",
    )
    .execute(&owner)
    .await
    .unwrap();
    assert_eq!(bob.accept(&service, &artist).await.1["code"], "too_many_artists");
    let (_, own) = bob.get(&service, "/v1/me/artists").await;
    assert_eq!(own["items"].as_array().unwrap().iter().filter(|artist| artist["state"] == "invited").count(), 1, "nothing was accepted");
}

#[tokio::test]
async fn an_account_that_the_deployment_makes_an_artist_has_one_to_act_for() {
    let service = Service::start().await;
    let listener = Person::new(&service, "ada", "listener").await;
    let (pool, country) = (service.database.pool("identity"), "DE".parse().unwrap());
    for _ in 0..2 {
        ensure_account(&pool, "ada@example.org", "correct horse", "Ada", Role::Artist, country, Plan::Free, NOW).await.unwrap();
    }
    assert_eq!(memberships(&service, &listener.id).await.len(), 1);
}
