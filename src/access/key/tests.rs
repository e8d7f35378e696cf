use serde_json::{Value, json};

use super::*;
use crate::mutants::Mutants;
use crate::signer::{Signer, base64url, pem};

fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<Key>, String> {
    Key::read(bytes.as_ref(), None).map_err(|error| error.to_string())
}

fn set(keys: &[Value], origin: Origin) -> (Vec<Key>, Vec<String>) {
    Key::read_set(&json!({ "keys": keys }).to_string(), origin).unwrap()
}

#[test]
fn each_form_of_a_key_has_its_one_algorithm_and_verifies() {
    let message = "head.claims";
    for signer in Signer::all() {
        let signature = base64url(signer.sign(message.as_bytes()));
        let jwk = signer.jwk("k");
        let forms = [
            signer.verifying(),
            [b"\xEF\xBB\xBF\n", &signer.verifying()[..]].concat(),
            jwk.to_string().into_bytes(),
            json!({"keys": [jwk]}).to_string().into_bytes(),
        ];
        // A byte order mark is a part of a raw secret.
        let forms = forms.iter().enumerate().filter(|(at, _)| !(signer.alg() == "HS256" && *at == 1));
        for (at, form) in forms {
            let key = &read(form).unwrap()[0];
            assert_eq!(format!("{:?}", key.algorithm), signer.alg(), "{at}");
            assert!(key.verifies(message, &signature) && !key.verifies("head.other", &signature), "{at}");
            assert!(!key.verifies(message, "") && !key.verifies(message, &signature[1..]), "{at}");
        }
    }
}

#[test]
fn a_secret_ends_before_the_last_newline_and_has_32_bytes() {
    let secret = [b'x'; 32];
    let id = |bytes: &[u8]| read(bytes).unwrap()[0].id;
    let same = id(&secret);
    assert_eq!(id(&[&secret[..], b"\n"].concat()), same);
    assert_eq!(id(&[&secret[..], b"\r\n"].concat()), same);
    assert!(id(&[&secret[..], b"\n\n"].concat()) != same && id(&[&secret[..], b"\r"].concat()) != same);
    assert!(id(&[b"\n", &secret[..]].concat()) != same);
    let said = read([&secret[1..], b"\n"].concat()).unwrap_err();
    assert_eq!(said, "has 31 bytes; a secret for HS256 has at least 32");
    assert_eq!(read("").unwrap_err(), "has 0 bytes; a secret for HS256 has at least 32");
    assert!(read([0xC3; 32]).is_ok() && read([0x30; 32]).is_ok(), "any bytes");
}

/// Everybody may know a public key, and could sign with it.
#[test]
fn nothing_like_a_public_key_is_taken_for_a_secret() {
    for signer in [Signer::rs256_2048(), Signer::es256(), Signer::eddsa()] {
        assert!(read(signer.public_der()).unwrap_err().starts_with("is DER; "), "{}", signer.alg());
        let text = String::from_utf8(signer.verifying()).unwrap();
        let wide: Vec<u8> = [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert!(read(wide).unwrap_err().starts_with("is UTF-16; "));
        assert!(read(format!("Bag Attributes\n{text}")).is_ok_and(|keys| keys[0].algorithm != Algorithm::HS256));
        assert!(read(text.replace("PUBLIC", "PUBLIK")).is_err() && read(&text[..text.len() / 2]).is_err());
        let jwk = signer.jwk("k").to_string();
        assert!(read(&jwk[..jwk.len() - 1]).is_err() && read(format!("[{jwk}]")).is_err());
        assert_eq!(read(signer.signing()).unwrap_err(), "is a private key, and verifying needs the public one");
        assert!(read(text.repeat(2)).unwrap_err().starts_with("has several PEM blocks"));
    }
    for text in ["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHA"] {
        assert!(read(text).unwrap_err().starts_with("is in the format of ssh"), "{text}");
    }
}

#[test]
fn keys_that_could_verify_nothing_are_refused_when_read() {
    let der = Signer::es256().public_der();
    let off_the_curve = [&der[..der.len() - 1], &[der[der.len() - 1] ^ 1]].concat();
    assert!(read(pem("PUBLIC KEY", &off_the_curve)).is_err());
    let mut short = Signer::rs256_2048().jwk("k");
    short["n"] = base64url([0xC0; 128]).into();
    assert_eq!(set(&[short.clone()], Origin::File).1, ["key 0 is an RSA key of 1024 bits, and not of 2048 to 8192"]);
    short["n"] = base64url([&[0; 128][..], &[0xC0; 128]].concat()).into();
    assert_eq!(set(&[short], Origin::File).0.len(), 0, "zeros are no bits");
}

#[test]
fn a_set_is_read_key_by_key() {
    let (good, other) = (Signer::es256().jwk("good"), Signer::rs256_2048().jwk("rsa"));
    let changed = |name: &str, value: Value| crate::signer::with(&good, name, value);
    let bad = [
        ("use", changed("use", json!("enc"))),
        ("key_ops", changed("key_ops", json!(["sign"]))),
        ("alg", changed("alg", json!("ES384"))),
        ("alg", changed("alg", json!("RS256"))),
        ("alg", changed("alg", json!("none"))),
        ("alg", changed("alg", json!(5))),
        ("kind", changed("crv", json!("P-384"))),
        ("kid", changed("kid", json!(1))),
        ("kty", changed("kty", json!("XYZ"))),
        ("kty", changed("kty", Value::Null)),
        ("y", changed("y", Value::Null)),
        ("point", changed("y", good["x"].clone())),
        ("padding", changed("x", json!(format!("{}=", good["x"].as_str().unwrap())))),
        ("private", changed("d", good["x"].clone())),
        ("a secret", Signer::hs256().jwk("oct")),
        ("no object", json!("key")),
        ("nothing", json!({})),
    ];
    for (what, key) in &bad {
        let (keys, skipped) = set(&[key.clone(), good.clone(), other.clone()], Origin::Address);
        let kids: Vec<_> = keys.iter().map(|key| key.kid.as_deref()).collect();
        assert_eq!((kids, skipped.len()), (vec![Some("good"), Some("rsa")], 1), "{what}");
    }
    for fine in [json!("ES256"), Value::Null] {
        let with_alg = crate::signer::with(&changed("key_ops", json!(["verify"])), "alg", fine);
        assert_eq!(set(&[crate::signer::with(&with_alg, "use", json!("sig"))], Origin::Address).0.len(), 1);
    }
    assert_eq!(set(&[Signer::hs256().jwk("oct")], Origin::File).0.len(), 1, "one's own secret");
    assert!(read(r#"{"keys":[]}"#).is_err() && read("{}").is_err());
    let twice = good.to_string().replacen('{', r#"{"kid":"other","#, 1);
    assert!(read(twice).unwrap_err().contains("twice"));
}

#[test]
fn a_key_is_known_again_by_material_algorithm_and_name() {
    let (signer, other) = (Signer::es256(), Signer::es256());
    let id = |signer: &Signer, kid| Key::read(&signer.verifying(), kid).unwrap()[0].id;
    assert_eq!(id(&signer, Some("a")), id(&signer, Some("a")));
    let ids =
        [id(&signer, None), id(&signer, Some("a")), id(&signer, Some("b")), id(&signer, Some("")), id(&other, None)];
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    let named = Key::read(signer.jwk("in the set").to_string().as_bytes(), Some("given")).unwrap();
    assert_eq!(named[0].kid.as_deref(), Some("given"));
    assert_eq!(named[0].id, id(&signer, Some("given")), "in whichever form");
    let two = json!({"keys": [signer.jwk("a"), other.jwk("b")]}).to_string();
    assert!(Key::read(two.as_bytes(), Some("c")).is_err());
}

#[test]
fn no_file_makes_the_reader_panic() {
    let set = json!({"keys": Signer::all().map(|signer| signer.jwk("k"))}).to_string().into_bytes();
    let inputs: Vec<_> = Signer::all().iter().map(Signer::verifying).chain([set]).collect();
    for mutant in Mutants::of(inputs, 3_000) {
        let _ = Key::read(&mutant, Some("kid"));
        let _ = Key::read_set(&String::from_utf8_lossy(&mutant), Origin::Address);
    }
}
