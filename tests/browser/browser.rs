//! A browser of its own for a test.

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, KeyAction, KeyActions},
    elements::Element,
    error::CmdError,
};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use town_tests::PATIENCE;

/// How to get what is needed.
const NEEDED: &str = "the tests of the pages need Chromium and its driver: apt-get install chromium chromium-driver";

/// What is looked through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    /// Of a desk.
    Wide,
    /// The same, in a system with dark colours.
    Dark,
    /// The same, in a system that wants as little motion as possible.
    Still,
    /// Of a phone: 390 wide, and touched.
    Phone,
}

/// A browser that shows the console of a town.
pub(crate) struct Browser {
    client: Client,
    console: SocketAddr,
}

/// Runs a test with a browser, which is closed however the test ends.
pub(crate) async fn with_browser(console: SocketAddr, window: Window, test: impl AsyncFnOnce(&Browser)) {
    let (mut driver, url) = start_driver().await;
    let client = connect(&url, window).await;
    let browser = Browser { client: client.clone(), console };
    let outcome = AssertUnwindSafe(test(&browser)).catch_unwind().await;
    let _ = client.close().await;
    let _ = driver.kill().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

async fn start_driver() -> (Child, String) {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut driver = command.spawn().unwrap_or_else(|error| panic!("{NEEDED} (chromedriver: {error})"));
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port: u16 = port.trim_end_matches('.').parse().unwrap();
            // Its output is read on, so that it does not wait for a reader.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, format!("http://127.0.0.1:{port}"));
        }
    }
    panic!("{NEEDED} (chromedriver has ended at once)");
}

async fn connect(url: &str, window: Window) -> Client {
    // A test may run as root, in a container, where there is no sandbox for processes.
    let mut arguments =
        vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,860"];
    arguments.push(match window {
        Window::Dark => "--blink-settings=preferredColorScheme=0",
        Window::Wide | Window::Still | Window::Phone => "--blink-settings=preferredColorScheme=1",
    });
    if matches!(window, Window::Still) {
        arguments.push("--force-prefers-reduced-motion");
    }
    let mut options = json!({ "args": arguments });
    if matches!(window, Window::Phone) {
        options["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 1.0, "touch": true } });
    }
    let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
    let connected = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(url).await;
    connected.unwrap_or_else(|error| panic!("{NEEDED} ({error})"))
}

impl Browser {
    /// Opens a page of the console.
    pub(crate) async fn open(&self, path: &str) {
        self.client.goto(&format!("http://{}{path}", self.console)).await.unwrap();
    }

    /// What a script returns. It runs outside of the page's policy.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Waits until the browser has nothing to do: what a page starts by itself has started. The page must be one with scripts.
    pub(crate) async fn settled(&self) {
        let script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(() => done())));";
        self.client.execute_async(script, Vec::new()).await.unwrap();
    }

    /// Waits until there is an element.
    pub(crate) async fn appears(&self, selector: &str) {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await;
        if let Err(error) = found {
            panic!("{selector} does not appear: {error}\n{}", self.client.source().await.unwrap_or_default());
        }
    }

    /// Waits until a script returns true.
    pub(crate) async fn holds(&self, script: &str) {
        let condition = format!("return !!({script})");
        town_tests::eventually(script, PATIENCE, async || {
            // A page that is just left has no scripts.
            let value = self.client.execute(&condition, Vec::new()).await.ok()?;
            (value == true).then_some(())
        })
        .await;
    }

    /// Waits until the page has this path.
    pub(crate) async fn is_at(&self, path: &str) {
        self.holds(&format!("location.pathname === {path:?}")).await;
    }

    /// Does something with an element. It is found anew when the page is brought up to date in between.
    async fn found<T>(&self, selector: &str, act: impl AsyncFn(Element) -> Result<T, CmdError>) -> T {
        town_tests::eventually(selector, PATIENCE, async || {
            let element = self.client.find(Locator::Css(selector)).await.ok()?;
            match act(element).await {
                Ok(done) => Some(done),
                Err(error) if error.is_stale_element_reference() => None,
                Err(error) => panic!("{selector}: {error}"),
            }
        })
        .await
    }

    /// The text of an element.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.found(selector, async |element| element.text().await).await
    }

    /// Clicks an element.
    pub(crate) async fn click(&self, selector: &str) {
        self.found(selector, async |element| element.click().await).await;
    }

    /// Writes into a field.
    pub(crate) async fn write(&self, selector: &str, text: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().send_keys(text).await.unwrap();
    }

    /// Chooses a value in a list.
    pub(crate) async fn choose(&self, selector: &str, value: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().select_by_value(value).await.unwrap();
    }

    /// Answers the question that the page asks; returns it.
    pub(crate) async fn answer_question(&self, yes: bool) -> String {
        let question = self.client.get_alert_text().await.unwrap();
        match yes {
            true => self.client.accept_alert().await.unwrap(),
            false => self.client.dismiss_alert().await.unwrap(),
        }
        question
    }

    /// Presses a key, whatever has the focus.
    pub(crate) async fn press(&self, key: char) {
        let pressed = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key });
        self.client.perform_actions(pressed).await.unwrap();
    }

    /// Keeps a picture of the page.
    pub(crate) async fn picture(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        fs::create_dir_all(pictures()).unwrap();
        fs::write(pictures().join(format!("{name}.png")), picture).unwrap();
    }
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("browser")
}
