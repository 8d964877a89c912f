//! Hostile messages: none reaches out, and none changes the page.

use crate::{
    browser::{Browser, Window, with_browser},
    canary::Canary,
};
use std::fs;
use town_tests::{Plan, TestTown, USR1, USR2};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../services/console/tests/hostile");
/// What would be different if a message had changed the page.
const UNCHANGED: &str = "return document.title.endsWith('· mailtown') && [...document.scripts].every((script) => script.src.startsWith(`${location.origin}/assets/`)) \
                         && document.querySelectorAll('base, meta[http-equiv], object, embed').length === 0 \
                         && document.querySelectorAll('main').length === 1 && window.top === window";

/// The messages, each with its name. `canary.test` is the canary.
fn corpus(canary: &Canary) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(CORPUS).unwrap().map(|file| file.unwrap().path());
    let messages = files.filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
    let mut corpus: Vec<_> = messages
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, text.replace("canary.test", &format!("127.0.0.1:{}", canary.port)).into_bytes())
        })
        .collect();
    corpus.sort();
    corpus
}

async fn visit(browser: &Browser, canary: &Canary, name: &str, path: &str) {
    browser.open(path).await;
    // A message alone is in a sandbox without scripts; the page after it is waited for.
    if !path.starts_with("/view/") {
        browser.settled().await;
    }
    assert_eq!(browser.script("return location.pathname + location.search").await, path, "{name} has navigated");
    assert_eq!(canary.seen(), [""; 0], "{name} has reached out from {path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_message_reaches_out_or_changes_the_page() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let canary = Canary::start().await;
    let corpus = corpus(&canary);
    assert!(corpus.len() >= 40);
    let mut sent = Vec::new();
    for (name, message) in &corpus {
        sent.push((name, town.send(USR1, &[USR2], message).await));
    }
    with_browser(town.console(), Window::Wide, async |browser| {
        for page in ["/mail", "/mail?query=hostile"] {
            visit(browser, &canary, "the list", page).await;
            assert_eq!(browser.script(UNCHANGED).await, true);
        }
        browser.picture("hostile-list").await;
        for (name, id) in &sent {
            for tab in ["", "?tab=headers", "?tab=files"] {
                visit(browser, &canary, name, &format!("/mail/{id}{tab}")).await;
                assert_eq!(browser.script(UNCHANGED).await, true, "{name} has changed the page");
            }
            visit(browser, &canary, name, &format!("/view/{id}")).await;
            assert_eq!(browser.script("return document.title === 'owned'").await, false, "{name} has run a script");
        }
        // What began late has come by now.
        visit(browser, &canary, "one of them", "/mail?query=srcset").await;
        // What belongs to a message is shown.
        let (_, related) = sent.iter().find(|(name, _)| *name == "cid-good-and-tricks").unwrap();
        visit(browser, &canary, "its own image", &format!("/view/{related}")).await;
        let widths = browser.script("return [...document.images].map((image) => image.naturalWidth > 0)").await;
        assert_eq!(widths[0], true, "{widths}");
        // It is listening: what somebody asks for, the browser loads.
        let (_, images) = sent.iter().find(|(name, _)| *name == "lazy-and-protocol-relative").unwrap();
        browser.open(&format!("/mail/{images}")).await;
        browser.click("#remote-images").await;
        canary.sees("GET /").await;
    })
    .await;
    town.stop().await;
}
