use super::*;

/// RFC 7677 §3.
#[test]
fn the_example_of_the_rfc() {
    let salt = base64::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = ScramVerifier::new("pencil", salt.clone(), 4096).unwrap();
    let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let proof = client_proof(&client_key(&salted_password("pencil", &salt, 4096).unwrap()), auth_message);
    assert_eq!(base64::encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    assert!(verifier.fits(auth_message, &proof));
    let signature = verifier.server_signature(auth_message);
    assert_eq!(base64::encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    for octet in 0..KEY_OCTETS {
        let mut wrong = proof;
        wrong[octet] ^= 1;
        assert!(!verifier.fits(auth_message, &wrong));
    }
}

#[test]
fn a_verifier_is_text_and_shows_no_key() {
    let verifier = ScramVerifier::new("pencil", vec![1; SALT_OCTETS], 4096).unwrap();
    let text = verifier.to_string();
    assert_eq!(text.parse(), Ok(verifier.clone()));
    assert_eq!(format!("{verifier:?}"), "ScramVerifier { iterations: 4096, .. }");
    let [stored, server] = [verifier.stored_key, verifier.server_key].map(base64::encode);
    for bad in [
        "",
        "SCRAM-SHA-256$4096:AQEB",
        &text.replace("SHA-256", "SHA-1"),
        &text.replace("4096", "0"),
        &text.replace("4096", "-1"),
        &format!("SCRAM-SHA-256$4096:${stored}:{server}"),
        &format!("SCRAM-SHA-256$4096:AQEB${stored}:AQEB"),
        &format!("{text}:"),
    ] {
        assert_eq!(bad.parse::<ScramVerifier>(), Err(InvalidVerifier), "{bad}");
    }
}

#[test]
fn passwords_are_prepared() {
    let verifier = |password: &str| ScramVerifier::new(password, vec![1; SALT_OCTETS], 1);
    assert_eq!(verifier("I\u{ad}X"), verifier("\u{2168}"));
    assert_ne!(verifier("IX"), verifier("ix"));
    assert_eq!(verifier("a\u{7}"), Err(Unpreparable));
}

#[test]
fn nobody_has_the_same_verifier_again_and_another_one_elsewhere() {
    let nobody = ScramVerifier::of_nobody(b"secret", "nobody@a.test");
    assert_eq!(nobody, ScramVerifier::of_nobody(b"secret", "nobody@a.test"));
    assert_eq!((nobody.salt.len(), nobody.iterations), (SALT_OCTETS, ITERATIONS));
    for other in [ScramVerifier::of_nobody(b"secret", "other@a.test"), ScramVerifier::of_nobody(b"x", "nobody@a.test")]
    {
        assert_ne!(nobody.salt, other.salt);
        assert_ne!(nobody.stored_key, other.stored_key);
    }
}
