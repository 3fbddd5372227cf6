// What the panel's page decides by itself. Run by: node --test tests/panel.test.mjs
// What it shares with the kernel stands in panel.json, on which test_panel.py tests the kernel.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
// A notebook loads panel.js as a module from text; so does this.
const text = encodeURIComponent(read("../labauth_nb/notebook/panel.js"));
const page = await import(`data:text/javascript,${text}`);
const shared = JSON.parse(read("panel.json"));

/** One test per promise: `cases` are [what comes out, ...what goes in]. */
function holds(promise, decide, cases) {
  test(promise, () => {
    for (const [out, ...given] of cases)
      assert.deepEqual(decide(...given), out, JSON.stringify(given));
  });
}

holds(
  "a time left is said in its two largest units, rounded up",
  page.inWords,
  shared.times.map(([seconds, , exact]) => [exact, seconds]),
);

holds(
  "a login is expiring for as long as the kernel says, and expired at 0",
  page.phase,
  shared.phases.map(({ phase, left, margin }) => [phase, left, margin]),
);

const login = { left: 100, margin: 60, status: "valid", renewable: false, words: "unknown" };

holds(
  "a login counts down from when its row came, and stops at 0",
  (row, ms) => page.leftOf(row, ms),
  [
    [100, login, 0],
    [98.5, login, 1500],
    [0, login, 100_001],
    [null, { ...login, left: null }, 1500],
  ],
);

const renews = { ...login, renewable: true };

holds("a time left is said with its phase; no time is said without a kernel", page.timeOf, [
  [{ now: "valid", text: "1 min 40 s" }, login, 100, false],
  [{ now: "expiring", text: "59 s" }, login, 59, false],
  [{ now: "expired", text: "expired" }, login, 0, false],
  [{ now: "expired", text: "0 min; renews on next request" }, renews, 0, false],
  [{ now: "expired", text: "expired" }, { ...login, status: "expired" }, 100, false],
  [{ now: "valid", text: "unknown" }, { ...login, left: null }, null, false],
  [{ now: "valid", text: "unknown: reconnect the kernel" }, login, 100, true],
]);

const found = { field: "tenant", address: "https://acme.example", by: "" };
const issuer = { field: "issuer", address: "https://id.example", by: ".env" };
const doubt = { field: "tenant", address: "https://acme.example", why: "Only .env says so." };
const asked = { number: 1, address: "", error: "" };

holds("the form shows the address that the kernel resolved, and none of its own", page.placesOf, [
  [[{ address: "https://acme.example", why: "" }], [found], [], null],
  [[{ address: "https://id.example", why: "Only .env names this address." }], [issuer], [], null],
  [[{ address: "https://acme.example", why: "Only .env says so." }], [found], [doubt], null],
  [[{ address: "", why: "" }], [found], [doubt], asked],
  ...shared.tenants.map(({ address }) => [
    [{ address, why: "" }],
    [found],
    [doubt],
    { ...asked, address },
  ]),
]);

test("the page has no means to make an address", () => {
  assert.doesNotMatch(decodeURIComponent(text), /:\/\/|new URL/);
});

const method = { browser: false, doubts: [] };

holds("a form in doubt asks for a yes; a tenant that was typed is in no doubt", page.submitLabel, [
  ["Sign in", method, null],
  ["Sign in with the browser", { ...method, browser: true }, null],
  ["Yes, sign in there", { ...method, browser: true, doubts: [doubt] }, null],
  ["Sign in", { ...method, doubts: [doubt] }, asked],
  ["Yes, sign in there", { ...method, doubts: [{ ...doubt, field: "issuer" }] }, asked],
]);

const tenant = { name: "tenant", secret: false, optional: false };
const user = { ...tenant, name: "username" };
const secret = { ...tenant, name: "password", secret: true };
const code = { ...secret, name: "otp" };

holds("a password manager is told which field is which", page.autofill, [
  ["off", tenant, [tenant, user, secret]],
  ["username", user, [tenant, user, secret]],
  ["current-password", secret, [tenant, user, secret]],
  ["one-time-code", code, [tenant, user, secret, code]],
  ["off", { ...user, name: "scope", optional: true }, [tenant, user, secret]],
]);

holds("what is remembered is what the method can keep", page.kept, [
  ["", "", ["credentials"]],
  ["credentials", "credentials", ["credentials", "refresh-token"]],
  ["refresh-token", "credentials", ["refresh-token"]],
]);

const attempt = { here: false, proof: "", offers: false };

holds("an attempt offers the ways home that it has", (a) => page.waysOf(a).map(([way]) => way), [
  [["paste"], attempt],
  [["here", "paste"], { ...attempt, proof: "http://127.0.0.1:1/" }],
  [["paste", "device"], { ...attempt, offers: true }],
  [["here", "paste", "device"], { here: true, proof: "http://127.0.0.1:1/", offers: true }],
]);

holds("the best way home is this browser, then a code, then a paste", page.bestWay, [
  ["here", { ...attempt, here: true, offers: true }, false],
  ["here", { ...attempt, offers: true }, true],
  ["device", { ...attempt, offers: true }, false],
  ["paste", attempt, false],
]);

const state = { view: "login", title: "QBench", login, form: null, busy: false, note: "" };
const form = { ...state, login: null, form: {} };
const expired = { ...state, login: { ...login, status: "expired" } };
const stood = { phase: "valid", lost: false };

holds("a change is announced once, and what was said stays to be read", page.announcement, [
  ["Signed in to QBench.", state, form, { phase: "", lost: false }, "Signing in…"],
  ["Signed in to QBench.", state, null, { phase: "", lost: false }, ""],
  ["Signing in…", { ...form, busy: true }, form, stood, ""],
  ["Revoked.", { ...form, note: "Revoked." }, state, stood, ""],
  ["Renewed.", state, expired, { phase: "expired", lost: false }, "has expired"],
  ["Renewed.", state, state, stood, "Renewed."],
  ["", state, state, { ...stood, lost: true }, "The kernel is gone"],
  ["", expired, state, stood, "Renewed."],
  ["", state, { ...state, note: "Not renewed." }, stood, "Not renewed."],
  ["Signed out.", { view: "status", rows: [], note: "Signed out.", empty: "" }, null, stood, ""],
]);

const kernel = { isDisposed: false, status: "idle", connectionStatus: "connected" };

holds("a kernel that restarts, is gone or is out of reach does not answer", page.isDead, [
  [false, kernel],
  [false, { ...kernel, status: "busy" }],
  [true, { ...kernel, isDisposed: true }],
  [true, { ...kernel, status: "restarting" }],
  [true, { ...kernel, status: "dead" }],
  [true, { ...kernel, connectionStatus: "disconnected" }],
]);
