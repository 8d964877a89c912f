//! The map: mail moves, and lines and services lead on.

use crate::browser::{Browser, Window, with_browser};
use town_tests::{Plan, TestTown, USR, USR1};

const RELAY: &str = "[data-edge=\"exmail.qq.com Relays to gmail.com\"]";

/// Opens the map, and counts the dots that begin to move.
async fn watch(browser: &Browser) {
    browser.open("/").await;
    browser.holds("document.getElementById('link-state').dataset.state === 'live'").await;
    let count = "window.dots = 0; new MutationObserver((changes) => { \
                 for (const { addedNodes } of changes) for (const node of addedNodes) if (node.nodeName === 'circle') window.dots++; \
                 }).observe(document.getElementById('moving'), { childList: true })";
    browser.script(count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_moves_and_edges_and_nodes_lead_on() {
    let town = TestTown::start_with_console(Plan::default()).await;
    with_browser(town.console(), Window::Wide, async |browser| {
        watch(browser).await;
        browser.appears(".notice a[href='/mail']").await;
        town.send(USR1, &[USR], b"Subject: moves\r\n\r\n").await;
        browser.holds(&format!("document.querySelector('{RELAY}').dataset.count === '1'")).await;
        // One for the way from the agent, and one for the way to the other stack.
        browser.holds("window.dots >= 2").await;
        browser.holds("document.querySelector('#moving circle') === null").await;
        browser.picture("map").await;
        browser.click(&format!("{RELAY} .count")).await;
        browser.holds("location.pathname === '/sessions' && location.search.includes('with=gmail.com')").await;
        browser.holds("document.querySelectorAll('.session-row').length === 1").await;
        assert!(browser.text(".session-row").await.contains("from exmail.qq.com"));
        assert!(browser.text(".filter .rest").await.contains("with gmail.com"));
        // What came from the agent alone.
        browser.open("/").await;
        browser.click("[data-edge='exmail.qq.com Agents send'] .count").await;
        browser
            .holds("location.pathname === '/sessions' && document.querySelectorAll('.session-row').length === 1")
            .await;
        assert!(browser.text(".session-row").await.contains("to exmail.qq.com"));

        browser.open("/").await;
        browser.click(".node[href='/town/exmail.qq.com/mailbox-store']").await;
        browser.is_at("/town/exmail.qq.com/mailbox-store").await;
        browser.holds("document.querySelector('.metrics').textContent.includes('mailtown_store_')").await;
        browser.picture("service").await;
        browser.click(".downloads a[href^='/queue']").await;
        browser.is_at("/queue").await;
        assert_eq!(browser.text(".empty h2").await, "Nothing waits");
        browser.picture("queue-empty").await;
    })
    .await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_for_who_does_not_want_it() {
    let town = TestTown::start_with_console(Plan::default()).await;
    with_browser(town.console(), Window::Still, async |browser| {
        assert_eq!(browser.script("return matchMedia('(prefers-reduced-motion: reduce)').matches").await, true);
        watch(browser).await;
        town.send(USR1, &[USR], b"Subject: one\r\n\r\n").await;
        browser.holds(&format!("document.querySelector('{RELAY}').dataset.count === '1'")).await;
        browser.settled().await;
        assert_eq!(browser.script("return window.dots").await, 0);
        browser.open("/mail").await;
        browser.holds("document.getElementById('link-state').dataset.state === 'live'").await;
        town.send(USR1, &[USR1], b"Subject: two\r\n\r\n").await;
        browser.holds("document.querySelector('.row.arrived')").await;
        assert_eq!(browser.script("return document.getAnimations().length").await, 0);
    })
    .await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_is_cut_and_mended() {
    let town = TestTown::start_with_console(Plan::default()).await;
    with_browser(town.console(), Window::Wide, async |browser| {
        watch(browser).await;
        browser.click(".fault-offers summary").await;
        browser.click(".fault-offers button[name='part']").await;
        browser.appears(&format!("{RELAY}.cut")).await;
        browser.holds("document.getElementById('link-state').dataset.state === 'live'").await;
        town.send(USR1, &[USR], b"Subject: waits\r\n\r\n").await;
        browser.holds(&format!("document.querySelector('{RELAY} .failures')")).await;
        // The count comes by itself.
        browser.holds("/[1-9] times?, last/.test(document.querySelector('#faults li').textContent)").await;
        browser.picture("map-faults").await;
        browser.click("#faults button[name='end']").await;
        browser
            .holds("document.querySelector('.edge.cut') === null && document.getElementById('faults') === null")
            .await;
    })
    .await;
    town.stop().await;
}
