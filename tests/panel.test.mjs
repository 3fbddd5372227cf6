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

const login = {
  ...{ name: "qbench", title: "QBench", sandbox: false, address: "https://acme.qbench.net" },
  ...{
    left: 100,
    life: 900,
    margin: 60,
    state: "valid",
    renewable: false,
    words: "no known expiry",
  },
  ...{ who: "ada", error: "" },
};
const renews = { ...login, renewable: true };

holds(
  "a login expires for as long as the kernel says; then it renews itself, or needs somebody",
  page.stateOf,
  [
    ...shared.phases.map(({ state, left, margin, renewable }) => [
      state,
      { ...login, margin, renewable },
      left,
    ]),
    ...["needs", "renewing", "unreachable"].map((state) => [state, { ...renews, state }, 100]),
    ["asleep", { ...renews, state: "asleep" }, null],
  ],
);

holds("a login counts down from when its row came", (row, ms) => page.leftOf(row, ms), [
  [100, login, 0],
  [98.5, login, 1500],
  [-1, login, 101_000],
  [null, { ...login, left: null }, 1500],
]);

const noon = new Date(2026, 0, 2, 12, 0).getTime();

holds("what ran out says when", page.ranOut, [
  ["ran out at 11:58", -120, noon],
  ["ran out at 12:01", -120, noon + 181_000],
  ["ran out at 12:30", -23.5 * 3600, noon],
  ["ran out 1 day ago", -86400, noon],
  ["ran out 89 days ago", -89.5 * 86400, noon],
]);

const looks = (row, left) => {
  const { state, text, share } = page.looksOf(row, left, noon);
  return [state, text, share];
};

holds("a login's time is said as its state needs it", looks, [
  [["valid", "1 min 40 s", 1 / 9], login, 100],
  [["expiring", "59 s", 59 / 900], login, 59],
  [["needs", "ran out at 11:59", null], login, -60],
  [["asleep", "renews itself when used", 0], renews, -60],
  [["valid", "no known expiry", null], { ...login, left: null, margin: null }, null],
  [["needs", "no longer accepted", null], { ...login, state: "needs" }, null],
  [["renewing", "renewing…", 0], { ...renews, state: "renewing" }, -60],
  [["unreachable", "QBench is unreachable", 0], { ...renews, state: "unreachable" }, -60],
]);

const acts = (row, state) => page.actsOf(row, state).map(([text, , main]) => [text, main]);

holds("a login offers what helps, and the cure as the main button where it needs somebody", acts, [
  [
    [
      ["Renew", false],
      ["Log out", false],
    ],
    renews,
    "asleep",
  ],
  [[["Log out", false]], login, "valid"],
  [
    [
      ["Sign in again", false],
      ["Log out", false],
    ],
    login,
    "expiring",
  ],
  [
    [
      ["Sign in again", true],
      ["Log out", false],
    ],
    login,
    "needs",
  ],
  [
    [
      ["Sign in again", false],
      ["Log out", false],
    ],
    { ...login, error: "refused" },
    "valid",
  ],
]);

const found = { field: "tenant", address: "https://acme.example", by: "" };
const issuer = { field: "issuer", address: "https://id.example", by: ".env" };
const doubt = { field: "tenant", address: "https://acme.example", why: "Only .env says so." };
const asked = { number: 1, address: "", error: "", links: [] };

const place = (address, why = "", field = "tenant") => ({ field, address, why });

holds("the form shows the address that the kernel resolved, and none of its own", page.placesOf, [
  [[place("https://acme.example")], [found], [], null],
  [[place("https://id.example", "Only .env names this address.", "issuer")], [issuer], [], null],
  [[place("https://acme.example", "Only .env says so.")], [found], [doubt], null],
  [[place("")], [found], [doubt], asked],
  ...shared.tenants.map(({ address }) => [
    [place(address)],
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
  ["Continue in the browser", { ...method, browser: true }, null],
  ["Yes, sign in there", { ...method, browser: true, doubts: [doubt] }, null],
  ["Sign in", { ...method, doubts: [doubt] }, asked],
  ["Yes, sign in there", { ...method, doubts: [{ ...doubt, field: "issuer" }] }, asked],
]);

const made = { ...method, name: "key", page: "https://a.example/", page_words: "Make a key" };
const links = [{ method: "key", page: "https://b.example/", page_words: "Make one" }];

holds(
  "a link follows the address that was typed; there is none until it is resolved",
  page.linkOf,
  [
    [["https://a.example/", "Make a key"], made, null],
    [["", ""], made, asked],
    [["https://b.example/", "Make one"], made, { ...asked, links }],
  ],
);

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

holds("a hint that stands by itself begins as a sentence, an address as it is", page.sentence, [
  ["Your profile settings", "your profile settings"],
  ["api.dnanexus.com (the default)", "api.dnanexus.com (the default)"],
]);

const names = (them) => them.map((each) => each.name);
const parted = (fields) => Object.values(page.partedOf({ fields })).map(names);

holds("what most people leave alone is behind one click, a one-time code is not", parted, [
  [
    [["username", "password", "otp"], []],
    [tenant, user, secret, { ...code, optional: true }],
  ],
  [
    [["username"], ["scope"]],
    [tenant, user, { ...user, name: "scope", optional: true }],
  ],
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
const expired = { ...state, login: { ...login, state: "asleep" } };
const failed = { ...state, login: { ...login, state: "unreachable", error: "No response." } };
const stood = { phase: "valid", lost: false };

holds("a change is announced once, and what was said stays to be read", page.announcement, [
  ["Signed in to QBench.", state, form, { phase: "", lost: false }, "Signing in…"],
  ["Signed in to QBench.", state, null, { phase: "", lost: false }, ""],
  ["Signing in…", { ...form, busy: true }, form, stood, ""],
  ["Wrong key.", { ...form, error: "Wrong key." }, form, stood, "Signing in…"],
  [
    "Only .env says so.",
    { ...form, form: { method: "key", methods: [{ name: "key", doubts: [doubt] }] } },
    null,
    stood,
    "",
  ],
  ["Revoked.", { ...form, note: "Revoked." }, state, stood, ""],
  ["Renewed.", state, expired, { phase: "asleep", lost: false }, "has expired"],
  ["No response.", failed, expired, { phase: "renewing", lost: false }, ""],
  ["Renewed.", state, state, stood, "Renewed."],
  ["", state, state, { ...stood, lost: true }, "The kernel is gone"],
  ["", expired, state, stood, "Renewed."],
  ["", state, { ...state, note: "Not renewed." }, stood, "Not renewed."],
  ["Signed out.", { view: "status", rows: [], note: "Signed out." }, null, stood, ""],
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

// Every state, drawn without a browser: what can be read, pressed and filled in.

/** As much of an element as drawing needs. */
class Element {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], dataset: {}, style: {} });
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
    if (["name", "id", "type", "value", "href", "class"].includes(name)) this[name] = value;
  }
  toggleAttribute(name, on) {
    if (on) this.attributes[name] = "";
    else delete this.attributes[name];
  }
  addEventListener() {}
  append(...children) {
    this.children.push(...children);
  }
  get lastElementChild() {
    return this.children.findLast((each) => each instanceof Element);
  }
  *all() {
    yield this;
    for (const each of this.children) if (each instanceof Element) yield* each.all();
  }
  querySelector(wanted) {
    const fits = (it) => it.tag === wanted || it.class?.split(" ").includes(wanted.slice(1));
    return [...this.all()].find(fits);
  }
  get text() {
    if ("hidden" in this.attributes) return "";
    return this.children.map((each) => each.text ?? each).join("");
  }
}
globalThis.document = { createElement: (tag) => new Element(tag) };

const view = {
  id: "p",
  method: "",
  typed: {},
  resolved: null,
  remember: "",
  past: "Run this cell.",
};
const drawn = (state, changed = {}) => {
  const it = page.partOf({ ...view, received: Date.now(), ...changed }, state, {});
  const all = [...it.all()];
  const texts = (...tags) => all.filter((each) => tags.includes(each.tag)).map((e) => e.text);
  return {
    all,
    text: it.text,
    presses: texts("button", "a").filter(Boolean),
    fields: all.filter((e) => e.tag === "input" && !["radio", "checkbox"].includes(e.type)),
  };
};

const { STATES } = await import("./states.mjs");

for (const [name, state] of Object.entries(STATES))
  test(`${name}: every box has a label, every id that is named is there, no text is a slip`, () => {
    const { all, text } = drawn(state);
    assert.doesNotMatch(text, /undefined|null|NaN|\[object/);
    const ids = all.map((each) => each.id).filter(Boolean);
    assert.equal(new Set(ids).size, ids.length);
    const labels = all.filter((each) => each.tag === "label").map((each) => each.attributes.for);
    for (const each of all) {
      if (each.tag === "input") assert.ok(labels.includes(each.id), each.id);
      for (const id of (each.attributes["aria-describedby"] ?? "").split(" ").filter(Boolean))
        assert.ok(ids.includes(id), id);
    }
  });

const wait = ["Wait longer", "Give the cell back (Esc)"];
const key = "Make a key on acme.benchling.com";
const app = "Make an app on acme.benchling.com";

holds("what can be pressed in each state, in this order", (name) => drawn(STATES[name]).presses, [
  [["Renew", "Log out", "Copy code"], "card-valid"],
  [["Sign in again", "Log out", "Copy code"], "card-needs"],
  [["Sign in again", "Log out", "Copy code"], "card-refused"],
  [["Renew", "Log out", "Copy code"], "card-unreachable"],
  [["Log out", "Copy code"], "card-endless"],
  [[key, app, "Continue in the browser", ...wait], "form-browser"],
  [[key, "Show", app, "Sign in", ...wait], "form-key"],
  [["Show", "Sign in", ...wait], "form-first"],
  [["Continue in the browser", ...wait], "form-preset"],
  [["Yes, sign in there", "No", ...wait], "form-doubt"],
  [
    [
      "In this browser",
      "Paste the address",
      "With a code",
      "Open the sign-in page",
      "Cancel",
      ...wait,
    ],
    "attempt-here",
  ],
  [["Open the sign-in page", "Continue", "Cancel", ...wait], "attempt-paste"],
  [["Sign in again"], "line"],
  [[], "table-past"],
  [["Log out"], "table-note"],
]);

const boxes = (name) => drawn(STATES[name]).fields.map((each) => each.name);

holds("only the chosen way's fields are asked for, the address first", boxes, [
  [["tenant", "scopes"], "form-browser"],
  [["tenant", "api_key"], "form-key"],
  [["client_secret"], "form-app-found"],
  [["scopes"], "form-preset"],
  [[], "form-doubt"],
  [["answer"], "attempt-paste"],
]);

test("what is preset is shown with who set it; what is remembered, only where it can be", () => {
  const found = drawn(STATES["form-app-found"]).text;
  for (const part of ["preset by your admin", "BENCHLING_CLIENT_ID", "mine"])
    assert.ok(found.includes(part), part);
  assert.doesNotMatch(drawn(STATES["form-keeps-nothing"]).text, /Remember/);
  assert.match(drawn(STATES["form-file"]).text, /Remember me in a file.*not encrypted/);
});

test("without a kernel nothing can be pressed, and the past is said", () => {
  for (const name of ["card-valid", "form-key", "attempt-here", "table"]) {
    const { presses, fields, text } = drawn(STATES[name], { lost: true });
    assert.deepEqual([presses, fields], [[], []]);
    assert.match(text, /Run this cell/);
  }
});

const encrypted = "What you type is encrypted on its way to this kernel.";
const open = "What you type is not encrypted beyond the connection itself. To change that, ";

holds(
  "the small print says whether what is typed is encrypted, and else the cure",
  page.sealWords,
  [
    [encrypted, { id: "1", key: "" }, true],
    [`${open}open this page over https or on localhost.`, { id: "1", key: "" }, false],
    [`${open}open this page over https or on localhost.`, null, false],
    [`${open}install the package cryptography in this kernel.`, null, true],
  ],
);

/** What a page with `seal` sends and says when "kanari" is typed, in a secure context or not. */
async function typing(seal, secure) {
  const sent = [];
  const said = [];
  const view = { state: { ...form, attempt: null, busy: true, seal } };
  const actions = {
    send: (each) => sent.push(each),
    draw: () => {},
    say: (each) => said.push(each),
  };
  globalThis.isSecureContext = secure;
  page.sendTyped(view, { type: "submit" }, { fields: { secret: "kanari" } }, actions);
  for (let turn = 0; turn < 500 && !sent.length && !said.length; turn++)
    await new Promise((wake) => setTimeout(wake, 10));
  return { sent, state: view.state };
}

const curve = { name: "ECDH", namedCurve: "P-256" };
const pair = await crypto.subtle.generateKey(curve, true, ["deriveBits"]);
const point = Buffer.from(await crypto.subtle.exportKey("raw", pair.publicKey)).toString("base64");

test("what is typed is sent sealed where page and kernel can, else as it is", async () => {
  const plain = [{ type: "submit", fields: { secret: "kanari" } }];
  assert.deepEqual((await typing({ id: "1", key: point }, false)).sent, plain);
  assert.deepEqual((await typing(null, true)).sent, plain);
  const { sent } = await typing({ id: "1", key: point }, true);
  assert.deepEqual(Object.keys(sent[0]), ["type", "sealed"]);
  assert.deepEqual(Object.keys(sent[0].sealed), ["id", "key", "iv", "text"]);
});

test("what cannot be sealed is not sent, and that is said", async () => {
  for (const key of ["", "*", "AAAA", point.slice(4)]) {
    const { sent, state } = await typing({ id: "1", key }, true);
    assert.deepEqual(sent, []);
    assert.match(state.error, /^Nothing was submitted: this page could not encrypt .* Reload/);
    assert.equal(state.busy, false);
  }
});

test("what is said of a paste that could not be sealed stands in its form", () => {
  const { text } = drawn({ ...STATES["attempt-paste"], error: "Nothing was submitted." });
  assert.match(text, /Nothing was submitted\./);
});
