use serde_json::{Value, json};

use super::*;
use crate::access::verb::Verb;
use crate::mutants::Mutants;
use crate::signer::{Signer, base64url, claims, now, with};

fn keyring(signers: &[(&Signer, Option<&str>)]) -> Keyring {
    let read = |(signer, kid): &(&Signer, Option<&str>)| Key::read(&signer.verifying(), *kid).unwrap();
    let expected = Expected { audience: "presently".into(), issuer: None };
    Keyring::new(signers.iter().flat_map(read).collect(), Vec::new(), expected)
}

fn check(keyring: &Keyring, token: &str) -> &'static str {
    match keyring.token(token, now()) {
        Ok(_) => "good",
        Err(refusal) => refusal.check.unwrap(),
    }
}

#[test]
fn a_good_token_of_each_algorithm_gives_its_pass() {
    for signer in Signer::all() {
        let keyring = keyring(&[(&signer, Some("k"))]);
        let said = with(&claims("ann", "by/{sub}"), "jti", json!("t-1"));
        let said = with(&said, "aud", json!(["other", "presently"]));
        for kid in [Some("k"), None] {
            let pass = keyring.token(&signer.token(kid, &said), now()).unwrap();
            assert_eq!(pass.sub.as_deref(), Some("ann"));
            assert_eq!(pass.expires, said["exp"].as_u64());
            let token = pass.token.clone().unwrap();
            assert_eq!((token.jti.as_deref(), Some(token.issued)), (Some("t-1"), said["iat"].as_u64()));
            assert!(pass.rights.may(Verb::Manage, "by/ann") && !pass.rights.may(Verb::Count, "by/bob"));
            assert!(keyring.knows(pass.key.unwrap()));
        }
    }
}

/// RFC 9864 gives EdDSA over this curve a name of its own.
#[test]
fn ed25519_has_two_names() {
    let (signer, body) = (Signer::eddsa(), claims("ann", "*").to_string());
    for (alg, is) in [("EdDSA", "good"), ("Ed25519", "good"), ("Ed448", "alg"), ("eddsa", "alg")] {
        let token = signer.token_of(&json!({"alg": alg}).to_string(), &body);
        assert_eq!(check(&keyring(&[(&signer, None)]), &token), is, "{alg}");
    }
}

#[test]
fn each_check_of_the_head_fails_by_itself() {
    let (signer, other) = (Signer::es256(), Signer::es256());
    let (rsa, body) = (Signer::rs256_2048(), claims("ann", "*").to_string());
    let keyring = keyring(&[(&signer, Some("a")), (&rsa, Some("r"))]);
    for (head, is) in [
        (r#"{"alg":"ES256","kid":"a"}"#, "good"),
        (r#"{"alg":"ES256"}"#, "good"),
        (r#"{"alg":"ES256","kid":"a","jku":"http://evil.example","x5u":"http://evil.example","jwk":{}}"#, "good"),
        (r#"{"alg":"ES256","kid":"b"}"#, "kid"),
        (r#"{"alg":"ES256","kid":""}"#, "kid"),
        (r#"{"alg":"ES256","kid":1}"#, "kid"),
        (r#"{"alg":"ES256","kid":null}"#, "kid"),
        (r#"{"alg":"ES256","kid":["a"]}"#, "kid"),
        (r#"{"alg":"ES256","kid":"../../../../dev/null"}"#, "kid"),
        (r#"{"alg":"ES256","kid":"a' OR '1'='1"}"#, "kid"),
        (r#"{"alg":"ES256","kid":"a\u0000"}"#, "kid"),
        (r#"{"alg":"ES256","kid":"r"}"#, "alg"),
        (r#"{"alg":"RS256","kid":"a"}"#, "alg"),
        (r#"{"alg":"none","kid":"a"}"#, "alg"),
        (r#"{"alg":"None"}"#, "alg"),
        (r#"{"alg":"HS256"}"#, "alg"),
        (r#"{"alg":"ES384"}"#, "alg"),
        (r#"{"alg":["ES256"]}"#, "alg"),
        (r#"{"kid":"a"}"#, "alg"),
        ("{}", "alg"),
        (r#"{"alg":"ES256","crit":["exp"]}"#, "crit"),
        (r#"{"alg":"ES256","crit":[]}"#, "crit"),
        (r#"{"alg":"ES256","b64":false,"crit":["b64"]}"#, "crit"),
        (r#"{"alg":"none","alg":"ES256"}"#, "format"),
        (r#"{"alg":"ES256","\u0061lg":"ES256"}"#, "format"),
        (r#"["ES256"]"#, "format"),
        (r#"{"alg":"ES256"} "#, "good"),
        (r#"{"alg":"ES256"},"#, "format"),
        ("", "format"),
    ] {
        assert_eq!(check(&keyring, &signer.token_of(head, &body)), is, "{head}");
    }
    assert_eq!(check(&keyring, &other.token_of(r#"{"alg":"ES256","kid":"a"}"#, &body)), "signature");
}

/// A token with this claim, or without where the value is null, fails this check.
fn claim_checks() -> Vec<(&'static str, Value, &'static str)> {
    let (now, deep) = (now(), "[".repeat(900) + &"]".repeat(900));
    let deep: Value = json!(deep);
    let grants = |rooms: Value| json!({ "rooms": rooms });
    let many = |n: usize| grants((0..n).map(|n| json!({"match": n.to_string(), "can": ["count"]})).collect());
    vec![
        ("aud", json!("presently"), "good"),
        ("aud", json!("other"), "aud"),
        ("aud", json!(["presently2", "Presently"]), "aud"),
        ("aud", json!([]), "aud"),
        ("aud", json!(["presently", 5]), "aud"),
        ("aud", json!({"presently": 1}), "aud"),
        ("aud", json!(5), "aud"),
        ("aud", Value::Null, "aud"),
        ("exp", json!(now - 29), "good"),
        ("exp", json!(now - 31), "exp"),
        ("exp", json!(now as f64 + 0.5), "good"),
        ("exp", json!(now + 86_400), "good"),
        ("exp", json!(now + 86_500), "exp"),
        ("exp", json!(now.to_string()), "exp"),
        ("exp", json!(-1), "exp"),
        ("exp", json!(u64::MAX), "exp"),
        ("exp", json!(1e300), "exp"),
        ("exp", json!([now + 60]), "exp"),
        ("exp", Value::Null, "exp"),
        ("iat", Value::Null, "good"),
        ("iat", json!(now - 86_400), "exp"),
        ("iat", json!("yesterday"), "iat"),
        ("nbf", json!(now + 29), "good"),
        ("nbf", json!(now + 40), "nbf"),
        ("nbf", json!("now"), "nbf"),
        ("sub", json!(""), "claims"),
        ("sub", json!(".."), "claims"),
        ("sub", json!("a\nb"), "claims"),
        ("sub", json!("x".repeat(129)), "claims"),
        ("sub", json!(7), "claims"),
        ("sub", Value::Null, "claims"),
        ("jti", json!(7), "claims"),
        ("jti", json!("x".repeat(129)), "claims"),
        ("presently", json!("all"), "claims"),
        ("presently", json!({"rooms": "*"}), "claims"),
        ("presently", json!({"room": []}), "claims"),
        ("presently", json!({"admin": "yes"}), "claims"),
        ("presently", json!({"info": []}), "claims"),
        ("presently", json!({"info": {"a": "x".repeat(5_000)}}), "claims"),
        ("presently", grants(json!([{"match": "a", "can": ["watch"]}, {"match": "b", "can": ["fly"]}])), "claims"),
        ("presently", grants(json!([{"match": "a", "can": []}])), "claims"),
        ("presently", grants(json!([{"match": "a", "can": "watch"}])), "claims"),
        ("presently", grants(json!([{"match": "a*b", "can": ["watch"]}])), "claims"),
        ("presently", grants(json!([{"match": "", "can": ["watch"]}])), "claims"),
        ("presently", grants(json!([{"match": "a", "can": ["watch"], "not": 1}])), "claims"),
        ("presently", grants(json!([{"can": ["watch"]}])), "claims"),
        ("presently", grants(json!([["a", ["watch"]]])), "claims"),
        ("presently", many(100), "good"),
        ("presently", many(101), "claims"),
        ("other", deep, "good"),
    ]
}

#[test]
fn each_check_of_the_claims_fails_by_itself() {
    let (signer, good) = (Signer::hs256(), claims("ann", "*"));
    let keyring = keyring(&[(&signer, None)]);
    for (name, value, is) in claim_checks() {
        let token = signer.token(None, &with(&good, name, value.clone()));
        assert_eq!(check(&keyring, &token), is, "{name} {value}");
    }
    let mut late = good.clone();
    late["exp"] = json!(now() - 40);
    late["iat"] = json!(now() - 50);
    let refusal = keyring.token(&signer.token(None, &late), now()).unwrap_err();
    assert_eq!((refusal.code.row().name, refusal.code.row().retry), ("token_expired", true));
    for (text, is) in [
        (good.to_string().replacen('{', r#"{"sub":"bob","#, 1), "format"),
        (good.to_string().replacen('{', r#"{"\u0073ub":"bob","#, 1), "format"),
        (good.to_string().replacen('{', r#"{"other":1,"other":2,"#, 1), "format"),
        (good.to_string().replacen(r#""presently":{"#, r#""presently":{"admin":true,"admin":false,"#, 1), "claims"),
        (good.to_string().replacen(r#"{"can""#, r#"{"can":["count"],"can""#, 1), "claims"),
        (format!("[{good}]"), "format"),
        ("[".repeat(3_000), "format"),
        ("null".to_owned(), "format"),
    ] {
        assert_eq!(check(&keyring, &signer.token_of(r#"{"alg":"HS256"}"#, &text)), is, "{text}");
    }
}

#[test]
fn an_issuer_is_judged_where_one_is_expected() {
    let signer = Signer::hs256();
    let keys = Key::read(&signer.verifying(), None).unwrap();
    let expected = Expected { audience: "gate".into(), issuer: Some("https://login.example".into()) };
    let keyring = Keyring::new(keys, Vec::new(), expected);
    let good = with(&claims("ann", "*"), "aud", json!("gate"));
    for (issuer, is) in [
        (json!("https://login.example"), "good"),
        (json!("https://login.example/"), "iss"),
        (json!(["https://login.example"]), "iss"),
        (Value::Null, "iss"),
    ] {
        assert_eq!(check(&keyring, &signer.token(None, &with(&good, "iss", issuer))), is);
    }
    let issued = with(&claims("ann", "*"), "iss", json!("https://login.example"));
    assert_eq!(check(&keyring, &signer.token(None, &issued)), "aud");
}

/// Whoever knows a public key may sign with its text as a secret.
#[test]
fn a_public_key_is_no_secret() {
    for signer in [Signer::rs256_2048(), Signer::es256(), Signer::eddsa()] {
        let keyring = keyring(&[(&signer, None), (&Signer::hs256(), None)]);
        let pem = signer.verifying();
        for secret in [pem.clone(), pem.trim_ascii_end().to_vec(), signer.public_der()] {
            let token = Signer::Hs256(secret).token(None, &claims("eve", "*"));
            assert_eq!(check(&keyring, &token), "signature", "{}", signer.alg());
        }
    }
}

#[test]
fn signatures_are_exact() {
    for signer in Signer::all() {
        let keyring = keyring(&[(&signer, None)]);
        let token = signer.token(None, &claims("ann", "*"));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let bytes = signer.sign(message.as_bytes());
        let last = signature.chars().last().unwrap();
        let forged = [
            String::new(),
            "=".to_owned(),
            format!("{signature}="),
            format!("{signature}=="),
            format!("{signature} "),
            format!("{signature}A"),
            signature[1..].to_owned(),
            // The last character of 32, 64 or 256 bytes has bits that decode to nothing.
            format!("{}{}", &signature[..signature.len() - 1], char::from(last as u8 + 1)),
            base64url(vec![0; bytes.len()]),
            base64url([&[0; 32][..], &bytes[32..]].concat()),
            base64url([&bytes[..32], &vec![0; bytes.len() - 32]].concat()),
            base64url([&bytes[..], &[0]].concat()),
            base64url([&[0], &bytes[..]].concat()),
        ];
        for (at, forged) in forged.iter().enumerate().filter(|(_, forged)| *forged != signature) {
            assert_eq!(check(&keyring, &format!("{message}.{forged}")), "signature", "{} {at}", signer.alg());
        }
        for (text, is) in [
            (token.replace('.', ""), "format"),
            (format!("{token}."), "format"),
            (format!(".{token}"), "format"),
            (message.to_owned(), "format"),
            (format!("{token} "), "signature"),
            (token.replacen('.', "=.", 1), "format"),
            ("..".to_owned(), "format"),
            ("a.b.c.d.e".to_owned(), "format"),
            (String::new(), "format"),
            (token.clone() + &"A".repeat(8_192), "format"),
        ] {
            assert_eq!(check(&keyring, &text), is, "{text}");
        }
        assert_eq!(check(&keyring, &token), "good");
    }
}

#[test]
fn old_and_new_keys_stand_side_by_side_and_few_are_tried() {
    let all: Vec<_> = (0..6).map(|_| Signer::hs256()).collect();
    let named: Vec<_> = ["a", "b", "c", "d", "e", "f"].into_iter().map(Some).collect();
    let some = |n: usize| keyring(&all.iter().zip(named.clone()).take(n).collect::<Vec<_>>());
    let token = |kid| all[3].token(kid, &claims("ann", "*"));
    assert_eq!(check(&some(4), &token(None)), "good");
    assert_eq!(check(&some(5), &token(None)), "kid", "one key too many to try");
    assert_eq!(check(&some(6), &token(Some("d"))), "good");
    assert_eq!(check(&some(3), &token(Some("d"))), "kid");
    assert_eq!(check(&some(6), &token(Some("c"))), "signature");
    let unnamed = keyring(&[(&all[3], None)]);
    assert_eq!((check(&unnamed, &token(None)), check(&unnamed, &token(Some("d")))), ("good", "kid"));
    assert_eq!(check(&keyring(&[]), &token(None)), "keys");
    let (old, new) = (some(4), some(5));
    let key = old.token(&token(Some("d")), now()).unwrap().key.unwrap();
    assert!(new.knows(key) && !some(3).knows(key) && !new.is_like(&old) && some(5).is_like(&new));
}

#[test]
fn api_keys_are_lines_of_a_file() {
    let (one, two) = ("a".repeat(32), "b".repeat(40));
    let read = ApiKey::read(&format!("# ours\n\n{one}\r\nread {two}\n")).unwrap();
    let keyring = Keyring::new(Vec::new(), read, Expected { audience: String::new(), issuer: None });
    let pass = |key: &str| keyring.api_key(key);
    assert!(pass(&one).unwrap().rights.may(Verb::Manage, "any"));
    let reads = pass(&two).unwrap();
    assert!(reads.rights.may(Verb::Watch, "any") && !reads.rights.may(Verb::Join, "any"));
    assert!(keyring.knows(reads.key.unwrap()));
    for not in ["", "a", "# ours", &one[1..], &format!("{one}a"), &format!("read {two}"), &one.to_uppercase()] {
        assert!(pass(not).is_none(), "{not}");
    }
    for (text, said) in [
        ("", "there is no API key in it"),
        ("# only words\n", "there is no API key in it"),
        (&*format!("{one}\nsecret\n"), "line 2: an API key has at least 32 bytes"),
        (&*format!("read \n{one}"), "line 1: an API key has at least 32 bytes"),
        (&*format!("{one} {two}"), "line 1: an API key has no spaces"),
    ] {
        let error = ApiKey::read(text).err().unwrap();
        assert_eq!(error, said);
        assert!(!error.contains("secret"));
    }
}

/// Seeded: no mutant of a good token is good, and none makes the judge panic.
#[test]
fn a_token_is_good_only_as_it_was_signed() {
    let signers = Signer::all();
    let kids = [Some("h"), Some("r"), Some("e"), None];
    let keyring = keyring(&signers.iter().zip(kids).collect::<Vec<_>>());
    let token = |(signer, kid): (&Signer, Option<&str>)| signer.token(kid, &claims("ann", "team-*"));
    let tokens: Vec<_> = signers.iter().zip(kids).map(token).collect();
    for mutant in Mutants::of(&tokens, 20_000).texts() {
        let is_good = keyring.token(&mutant, now()).is_ok();
        assert_eq!(is_good, tokens.contains(&mutant), "{mutant}");
    }
}

/// Seeded: what a holder of the key signs by mistake gives a pass or a refusal.
#[test]
fn no_claims_make_the_judge_panic() {
    let signer = Signer::hs256();
    let keyring = keyring(&[(&signer, None)]);
    let good = with(&claims("ann", "team-*"), "nbf", json!(now()));
    let good = with(&good, "presently", json!({"rooms": [{"match": "{sub}", "can": ["watch"]}], "info": {"a": 1}}));
    let head = r#"{"alg":"HS256","kid":null}"#;
    for mutant in Mutants::of([good.to_string()], 20_000).texts() {
        let _ = keyring.token(&signer.token_of(r#"{"alg":"HS256"}"#, &mutant), now());
    }
    for mutant in Mutants::of([head], 5_000).texts() {
        let _ = keyring.token(&signer.token_of(&mutant, &good.to_string()), now());
    }
}
