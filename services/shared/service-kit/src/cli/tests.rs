use super::*;
use std::path::Path;

fn launch(config: &str, bind: &str) -> Launch {
    let config = Config::parse(config, Path::new("config.toml")).unwrap();
    Launch {
        stack: config.stack("a").unwrap().clone().into(),
        servers: Vec::new(),
        token: None,
        shutdown: CancellationToken::new(),
        reload: Reload::never(),
        bind: bind.parse().unwrap(),
        http_bind: LOOPBACK,
        http_socket: None,
        clock: Clock::system(),
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told_with_one_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = format!("{:#}", ready(address).await.unwrap_err());
    let expected =
        format!("http://{address}/readyz is silent: Connection refused (os error 111); is the town running?");
    assert_eq!(error, expected);
}

#[tokio::test]
async fn the_url_of_a_neighbour_is_that_of_a_host_or_of_a_socket() {
    let launch = launch("[server.a]\nsmtp = 1\npop = 2\n", "127.0.0.1");
    for url in ["http://a-store:1080", "unix:/run/a.sock", "unix:///run/a.sock"] {
        launch.store(Some(url)).unwrap();
    }
    for url in ["a-store:1080", "unix:run/a.sock", "unix://run/a.sock", "unix://"] {
        let error = launch.store(Some(url)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("\"{url}\" is no URL of a service; give one such as ")), "{error}");
    }
}

#[test]
fn the_name_server_is_on_the_host_of_the_url_or_on_this_machine() {
    let (server, lookup) = ("[server.a]\nsmtp = 1\npop = 2\n", "[relay]\nlookup = \"dns\"\n");
    let with_port = format!("{server}dns = 53\n{lookup}");
    for (bind, url, expected) in [
        ("127.0.0.1", None, "127.0.0.1:53"),
        ("0.0.0.0", None, "127.0.0.1:53"),
        ("192.0.2.1", None, "192.0.2.1:53"),
        ("::1", None, "[::1]:53"),
        ("0.0.0.0", Some("http://a-dns:1054"), "a-dns:53"),
        ("0.0.0.0", Some("http://[::1]:1054/"), "[::1]:53"),
        ("0.0.0.0", Some("unix:/run/a-dns.sock"), "127.0.0.1:53"),
        ("0.0.0.0", Some("unix:///run/a-dns.sock"), "127.0.0.1:53"),
        ("0.0.0.0", Some("unix://run/a-dns.sock"), "127.0.0.1:53"),
    ] {
        let found = launch(&with_port, bind).name_server(url).unwrap();
        assert_eq!(found.as_deref(), Some(expected), "{bind} {url:?}");
    }
    for port in ["", "dns = 0\n"] {
        assert_eq!(launch(&format!("{server}{port}"), "127.0.0.1").name_server(None).unwrap(), None, "{port}");
        let error = launch(&format!("{server}{port}{lookup}"), "127.0.0.1").name_server(None).unwrap_err();
        assert!(error.to_string().contains("server.\"a\".dns is"), "{error}");
    }
}
