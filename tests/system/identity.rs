//! Callers whom somebody else vouches for: tokens of an authority, and certificates.

use std::time::{SystemTime, UNIX_EPOCH};

use dashgate::config;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::callers::{ask, until};
use crate::certificates::{Authority, Folder};
use crate::support::{Running, Step, Upstream, ask_whole, assert_fault, question, whole};
use crate::support::{gateway_with, json as answer, settings};

/// Somebody who signs tokens.
struct Signer {
    id: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let key = KeyPair::generate().unwrap().serialize_der();
        let key = EncodingKey::from_ec_der(&key);
        Self { id, key }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        let mut claims = json!({
            "iss": "https://id.example",
            "aud": ["somebody", "dashgate"],
            "sub": "ann",
            "exp": now() + 300,
        });
        change(&mut header, &mut claims);
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// A gateway that takes tokens by the keys that are there.
async fn by_token(upstream: &Upstream, jwks: String) -> Running {
    let mut settings = settings(upstream);
    settings.callers.tokens = Some(config::TokenSettings {
        jwks,
        issuer: "https://id.example".to_owned(),
        audience: vec!["dashgate".to_owned()],
        algorithms: vec!["ES256".to_owned(), "EdDSA".to_owned()],
        clock_skew: std::time::Duration::from_secs(30),
        name_claim: "sub".to_owned(),
        limits_claim: Some("limits".to_owned()),
    });
    gateway_with(settings).await
}

fn unauthenticated(status: &Status) {
    assert_fault(status, Code::Unauthenticated, "UNAUTHENTICATED");
    assert!(
        status.message().contains("authorization: Bearer KEY"),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_is_taken_when_all_of_it_is_right_and_only_then() {
    let upstream = Upstream::always(answer(200, &whole("x"))).await;
    let (folder, signer) = (Folder::new(), Signer::new("a"));
    let file = folder.write("jwks.json", &set(&[&signer]));
    let gateway = by_token(&upstream, file.display().to_string()).await;
    let good = signer.sign(|_, _| ());
    ask(&gateway, &good).await.unwrap();
    for right in [
        signer.sign(|_, claims| claims["aud"] = json!("dashgate")),
        signer.sign(|_, claims| claims["exp"] = json!(now() - 10)),
        signer.sign(|_, claims| claims["nbf"] = json!(now() + 10)),
        signer.sign(|header, _| header.typ = Some("at+jwt".to_owned())),
        signer.sign(|header, _| header.kid = None),
    ] {
        ask(&gateway, &right).await.unwrap();
    }
    let stranger = Signer::new("a");
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let other = signer.sign(|_, claims| claims["sub"] = json!("bob"));
    let other = other.split('.').nth(1).unwrap();
    // {"alg":"none"} and {"alg":"HS256"}
    let (none, shared) = ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9");
    let wrong = [
        signer.sign(|_, claims| claims["exp"] = json!(now() - 31)),
        signer.sign(|_, claims| claims["nbf"] = json!(now() + 60)),
        signer.sign(|_, claims| claims["iss"] = json!("https://evil.example")),
        signer.sign(|_, claims| claims["aud"] = json!(["somebody"])),
        signer.sign(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
        signer.sign(|_, claims| drop(claims.as_object_mut().unwrap().remove("iss"))),
        signer.sign(|_, claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
        signer.sign(|_, claims| drop(claims.as_object_mut().unwrap().remove("sub"))),
        signer.sign(|_, claims| claims["sub"] = json!("a\nb")),
        signer.sign(|_, claims| claims["sub"] = json!("")),
        signer.sign(|_, claims| claims["limits"] = json!("none")),
        signer.sign(|_, claims| claims["limits"] = json!({"max_streams": -1})),
        signer.sign(|_, claims| claims["limits"] = json!({"max_stream": 1})),
        signer.sign(|header, _| header.typ = Some("secevent+jwt".to_owned())),
        signer.sign(|header, _| header.kid = Some("unknown".to_owned())),
        signer.sign(|header, _| header.crit = Some(vec!["b64".to_owned()])),
        stranger.sign(|_, _| ()),
        format!("{head}.{other}.{signature}"),
        format!("{head}.{body}."),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{shared}.{body}.{signature}"),
        "ey..".to_owned(),
        "eyJ.a.b".to_owned(),
    ];
    for token in wrong {
        unauthenticated(&ask(&gateway, &token).await.unwrap_err());
    }
    ask(&gateway, &good).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_names_its_caller_and_sets_its_limits_where_the_operator_lets_it() {
    let upstream = Upstream::always(answer(200, &whole("x"))).await;
    let (folder, signer) = (Folder::new(), Signer::new("a"));
    let file = folder.write("jwks.json", &set(&[&signer]));
    let gateway = by_token(&upstream, file.display().to_string()).await;
    let limited = |name: &str| {
        signer.sign(|_, claims| {
            claims["sub"] = json!(name);
            claims["limits"] = json!({"requests_per_minute": 2, "models": ["qwen-audio-*"]});
        })
    };
    for _ in 0..2 {
        // Each time another token: it is the caller who is limited.
        ask(&gateway, &limited("ann")).await.unwrap();
    }
    let status = ask(&gateway, &limited("ann")).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_RATE");
    assert!(
        status
            .message()
            .contains("the caller jwt:ann has reached its limit"),
        "{status:?}"
    );
    ask(&gateway, &limited("bob")).await.unwrap();
    ask(&gateway, &signer.sign(|_, _| ())).await.unwrap();

    // New keys in the file are taken up, and the old ones end.
    let next = Signer::new("b");
    folder.write("jwks.json", &set(&[&next]));
    let new = next.sign(|_, claims| claims["sub"] = json!("carl"));
    until(&gateway, &new, true).await;
    unauthenticated(&ask(&gateway, &limited("dora")).await.unwrap_err());
    folder.write("jwks.json", "{}");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    ask(&gateway, &new).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_from_an_address_are_fetched_when_they_are_new_and_not_more_often() {
    let upstream = Upstream::always(answer(200, &whole("x"))).await;
    let (first, second) = (Signer::new("a"), Signer::new("b"));
    let sets = [set(&[&first]), set(&[&first, &second])];
    let authority = Upstream::start(move |number, request| {
        assert_eq!(request.header("authorization"), None);
        match number {
            0 => answer(200, &sets[0]),
            1 => answer(500, "{}"),
            2 => answer(200, &format!("[{}]", "1,".repeat(200_000))),
            3 => vec![Step::Close],
            _ => answer(200, &sets[1]),
        }
    })
    .await;
    let jwks = format!("{}/keys", authority.base_url());
    let gateway = by_token(&upstream, jwks).await;
    let (old, new) = (first.sign(|_, _| ()), second.sign(|_, _| ()));
    ask(&gateway, &old).await.unwrap();
    assert_eq!(authority.seen().len(), 1);
    // Names of keys that nobody has: one fetch at the most until the pause is over.
    let before = tokio::time::Instant::now();
    let mut refused = 0;
    while before.elapsed() < std::time::Duration::from_secs(8) {
        let made_up = first.sign(|header, _| header.kid = Some(format!("x{refused}")));
        unauthenticated(&ask(&gateway, &made_up).await.unwrap_err());
        refused += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(refused > 10 && authority.seen().len() <= 2, "{refused}");
    // Errors of the authority change nothing but the pace; then the new key is there.
    for _ in 0..20 {
        ask(&gateway, &old).await.unwrap();
        if ask(&gateway, &new).await.is_ok() {
            assert_eq!(authority.seen().len(), 5);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    }
    panic!("the new key was not fetched");
}

#[tokio::test]
async fn a_certificate_of_a_mesh_names_its_caller() {
    let (authority, folder) = (Authority::new("the authority"), Folder::new());
    let (certificate, key) = folder.pair("server", &authority.server("first"));
    let upstream = Upstream::always(answer(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.server.tls = Some(config::Tls {
        certificate,
        key,
        client_ca: Some(folder.write("authority.pem", authority.pem())),
        client_optional: true,
        handshake_timeout: std::time::Duration::from_secs(5),
        reload_interval: std::time::Duration::from_secs(1),
    });
    settings.callers.certificate_uris = vec!["spiffe://example.org/ns/*/sa/talk".to_owned()];
    settings.callers.limits.requests_per_minute = 1;
    let gateway = gateway_with(settings).await;
    let call = async |uris: &[&str]| {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority.pem()))
            .domain_name("localhost");
        if !uris.is_empty() {
            let pair = authority.client_of(uris);
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let channel = Endpoint::from_shared(format!("https://{}", gateway.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = ConversationServiceClient::new(channel);
        client.converse(ask_whole(question())).await
    };
    let name = "spiffe://example.org/ns/shop/sa/talk";
    call(&[name]).await.unwrap();
    let status = call(&[name]).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_RATE");
    assert!(status.message().contains(name), "{status:?}");
    let other = "spiffe://example.org/ns/bank/sa/talk";
    call(&[other]).await.unwrap();
    for uris in [
        &[][..],
        &["spiffe://example.org/ns/shop/sa/other"],
        // Which of the two calls is not known.
        &[
            "spiffe://example.org/ns/new/sa/talk",
            "https://other.example",
        ],
        &[
            "spiffe://example.org/ns/new/sa/talk",
            "spiffe://example.org/ns/new/sa/talk",
        ],
        // A part of one segment, and no more.
        &["spiffe://example.org/ns/new/more/sa/talk"],
        &["spiffe://example.org/ns/../sa/talk"],
        &["spiffe://example.org/ns/%2e%2e/sa/talk"],
        &["spiffe://example.org/ns/a@b/sa/talk"],
        &["spiffe://evil.example@example.org/ns/new/sa/talk"],
        &["spiffe://example.org/ns//sa/talk"],
    ] {
        let status = call(uris).await.unwrap_err();
        assert_fault(&status, Code::Unauthenticated, "UNAUTHENTICATED");
        let advice = "use a client certificate with one URI";
        assert!(status.message().contains(advice), "{status:?}");
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_cause_no_more_requests_to_the_issuer() {
    let upstream = Upstream::always(answer(200, &whole("x"))).await;
    let authority = Upstream::always(vec![Step::Hang]).await;
    let jwks = format!("{}/keys", authority.base_url());
    let gateway = by_token(&upstream, jwks).await;
    let signer = Signer::new("a");
    let before = tokio::time::Instant::now();
    let mut calls = 0;
    while before.elapsed() < std::time::Duration::from_secs(9) {
        let made_up = signer.sign(|header, _| header.kid = Some(format!("x{calls}")));
        let asked = ask(&gateway, &made_up);
        let patience = std::time::Duration::from_millis(30);
        if let Ok(answer) = tokio::time::timeout(patience, asked).await {
            unauthenticated(&answer.unwrap_err());
            tokio::time::sleep(patience).await;
        }
        calls += 1;
    }
    assert!(calls > 200, "{calls}");
    let fetches = authority.seen().len();
    assert!(fetches <= 1, "{fetches} fetches for {calls} calls");
}
