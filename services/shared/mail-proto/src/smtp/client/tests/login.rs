//! Logins before the first transaction.

use super::*;

fn client(is_private: bool) -> Client {
    let (user, password, nonce) = ("user".to_owned(), "pencil".to_owned().into(), "rOprNGfwEbeRWgbNEkqO".to_owned());
    Client::new("a".parse().unwrap()).with_login(Login { user, password, nonce, is_private })
}

fn greeted(mut client: Client, auth: &str) -> (Client, Step) {
    client.reply(reply("220 b"));
    let step = client.reply(reply(&format!("250-b\r\n250 AUTH {auth}")));
    (client, step)
}

fn secret(text: &str) -> Step {
    Step::SendSecret(text.as_bytes().to_vec())
}

/// RFC 7677 §3.
#[test]
fn the_password_is_not_told_where_that_can_be_avoided() {
    let (mut client, step) = greeted(client(true), "PLAIN SCRAM-SHA-256");
    assert_eq!(step, secret("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n"));
    let first = "334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=";
    let last = "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n";
    assert_eq!(client.reply(reply(first)), secret(last));
    let mut impostor = client_after(first);
    let signature = "334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==";
    assert_eq!(client.reply(reply(signature)), secret("\r\n"));
    assert_eq!(client.reply(reply("235 2.7.0 welcome")), Step::Ready);
    // One that takes the login without having proved that it knows the user.
    let failed = impostor.reply(reply("235 2.7.0 welcome"));
    assert!(matches!(failed, Step::LoginFailed(LoginError::Exchange(_))), "{failed:?}");
}

fn client_after(first: &str) -> Client {
    let (mut client, _) = greeted(client(false), "SCRAM-SHA-256");
    client.reply(reply(first));
    client
}

#[test]
fn a_challenge_that_is_none_is_cancelled() {
    let (mut client, _) = greeted(client(false), "SCRAM-SHA-256");
    assert_eq!(client.reply(reply("334 ****")), send("*\r\n"));
    let failed = client.reply(reply("501 cancelled"));
    assert!(matches!(failed, Step::LoginFailed(LoginError::Exchange(_))), "{failed:?}");
}

#[test]
fn plain_is_for_tls_and_for_ways_without_listeners() {
    let plain = secret("AUTH PLAIN AHVzZXIAcGVuY2ls\r\n");
    assert_eq!(greeted(client(false), "PLAIN").1, Step::LoginFailed(LoginError::NoMechanism));
    assert_eq!(greeted(client(true), "LOGIN XOAUTH2").1, Step::LoginFailed(LoginError::NoMechanism));
    assert_eq!(greeted(client(true), "PLAIN").1, plain);
    let (mut over_tls, step) = greeted(client(false).over_tls(), "PLAIN");
    assert_eq!(step, plain);
    assert_eq!(over_tls.reply(reply("535 5.7.8 no")), Step::LoginFailed(LoginError::Refused(reply("535 5.7.8 no"))));
    // Over STARTTLS, what is offered counts that was said over TLS.
    let mut client = client(false).with_starttls(Starttls::Required);
    feed(&mut client, &["220 b", "250-b\r\n250-AUTH SCRAM-SHA-256\r\n250 STARTTLS", "220 go"]);
    client.encrypted();
    assert_eq!(client.reply(reply("250-b\r\n250 AUTH PLAIN")), plain);
}
