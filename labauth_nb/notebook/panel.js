// @ts-check
// The page's side of the panels: plain ESM, no build step. It shows the state that the kernel sends
// and counts down by itself. A secret leaves a field once, in the message that submits it, and is
// kept nowhere.
//
// In this order: what decides (pure, tested by node), what makes elements, what a state shows, and
// what happens when the page draws, ticks or hears the kernel. `render` at the end ties them.

// What the kernel sends; panel.py says what each key is, and a test holds the two equal.

/**
 * @typedef {{
 *   name: string, label: string, hint: string, secret: boolean, optional: boolean, value: string,
 *   supplied: string, locked: boolean,
 * }} FieldState
 * @typedef {{field: string, address: string, by: string}} PlaceState
 * @typedef {{field: string, address: string, why: string}} DoubtState
 * @typedef {{
 *   name: string, label: string, hint: string, note: string, browser: boolean, keeps: string[],
 *   fields: FieldState[], where: PlaceState[], doubts: DoubtState[],
 * }} MethodState
 * @typedef {{
 *   methods: MethodState[], method: string, sandbox: boolean, remember: string, store: string,
 *   unavailable: string, refused: string[],
 * }} FormState
 * @typedef {{
 *   where: PlaceState[], url: string, note: string, here: boolean, proof: string, offers: boolean,
 *   link: string, code: string, busy: boolean, error: string,
 * }} AttemptState
 * @typedef {{
 *   name: string, title: string, tenant: string, address: string, sandbox: boolean, who: string,
 *   method: string, status: string, left: number | null, life: number | null,
 *   margin: number | null, words: string, renewable: boolean, source: string, story: string,
 *   note: string, error: string, code: string, kept: string,
 * }} LoginState
 * @typedef {{
 *   view: "login", title: string, login: LoginState | null, form: FormState | null,
 *   attempt: AttemptState | null, line: string, busy: boolean, error: string, field: string,
 *   note: string,
 * }} PanelState
 * @typedef {{
 *   view: "status", rows: LoginState[], note: string, empty: string, snapshot: string,
 * }} StatusState
 * @typedef {{number: number, address: string, error: string}} ResolvedState
 * @typedef {PanelState | StatusState} State
 */

/**
 * The way to the kernel: the widget's, or that of the JupyterLab extension.
 * @typedef {object} Port
 * @property {(message: object) => void} send never throws; what is sent before the kernel has
 *   answered is kept, and sent then
 * @property {(hear: (message: any) => void) => () => void} listen gives what stops it
 * @property {() => "connecting" | "live" | "busy" | "gone"} kernel gone: dead, restarted, another
 *   one, disconnected, or it knows this panel no more
 * @property {any} saved the output's metadata, to draw at once; null for the widget
 * @property {(bundle: object) => void} keep writes {data, metadata} into the notebook
 */

/**
 * What anywidget gives: one comm to the kernel.
 * @typedef {object} Model
 * @property {(message: object) => void} send
 * @property {(name: string, callback: (...args: any[]) => void) => void} on
 * @property {(name: string, callback: (...args: any[]) => void) => void} off
 * @property {any} [widget_manager]
 */

/**
 * What one view of a panel knows. Only `state` comes from the kernel.
 * @typedef {object} Page
 * @property {string} id what the ids of its elements begin with
 * @property {HTMLElement} root
 * @property {HTMLElement} body what a state is drawn into
 * @property {HTMLElement} live the line that a screen reader reads out
 * @property {State | null} state the last one, null before the first
 * @property {number} received when it came, in ms
 * @property {boolean} answered whether it came from the kernel, not out of the notebook
 * @property {string} past what is true without the kernel
 * @property {number} hellos how many were sent since the kernel last answered
 * @property {boolean} lost whether the kernel is gone
 * @property {boolean} pending whether the response to a submit is awaited
 * @property {boolean} asked whether the kernel was asked for a form, as the login has expired
 * @property {string} method the one chosen here, "" for the kernel's choice
 * @property {string} remember what to remember, "" for nothing
 * @property {Record<string, string>} typed what was typed and is no secret, by field
 * @property {ResolvedState | null} resolved what the typed tenant stands for, null for none
 * @property {number} looked the number of the last tenant that the kernel was asked about
 * @property {ReturnType<typeof setTimeout>} [asking] asks about a tenant when typing pauses
 * @property {string} way the way home chosen here: "here", "paste", "device", or "" for the best
 * @property {string} proving the address that was asked whether this browser reaches the kernel
 * @property {number} unproven until when that may still be answered, in ms
 * @property {string} device the attempt whose code was asked for
 * @property {string} phase the last one that was announced
 */

/**
 * What a part of a panel can do.
 * @typedef {object} Actions
 * @property {(message: object) => void} send to the kernel
 * @property {() => void} draw the state, again
 * @property {(text: string) => void} say it in the live line
 */

const HELLO_MS = 400;
const HELLOS = 50;
const SILENT = 15;
const PROOF_MS = 1500;
const RESOLVE_MS = 150;
const PAST = "Run this cell again: its kernel is gone.";

// What decides: pure.

/** "14 min 05 s" from seconds, as in_words(seconds, exact=True) of clocks.py. @param {number} seconds */
export function inWords(seconds) {
  const whole = Math.max(Math.ceil(seconds), 0);
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${two(minutes)} min`;
  return minutes ? `${minutes} min ${two(whole % 60)} s` : `${whole} s`;
}

/**
 * The phase of a login with `left` seconds (null: without an end) whose last `margin` are expiring.
 * @param {number | null} left @param {number | null} margin
 */
export function phase(left, margin) {
  if (left === null) return "valid";
  if (left <= 0) return "expired";
  return margin !== null && left <= margin ? "expiring" : "valid";
}

/**
 * The seconds that a login has left `ms` after its row came.
 * @param {LoginState} row @param {number} ms
 */
export function leftOf(row, ms) {
  return row.left === null ? null : Math.max(row.left - ms / 1000, 0);
}

/**
 * A login's phase, and the words for its time left. `lost`: the kernel is gone.
 * @param {LoginState} row @param {number | null} left @param {boolean} lost
 */
export function timeOf(row, left, lost) {
  const now = row.status === "expired" ? "expired" : phase(left, row.margin);
  let text = left === null ? row.words : inWords(left);
  if (now === "expired") text = row.renewable ? "0 min; renews on next request" : "expired";
  return { now, text: lost ? "unknown: reconnect the kernel" : text };
}

/**
 * The addresses that a sign-in goes to, each with the reason (or "") to look at it twice. The page
 * resolves nothing: for a typed tenant the kernel has said the address, or has not said it yet.
 * @param {PlaceState[]} where @param {DoubtState[]} doubts @param {ResolvedState | null} resolved
 */
export function placesOf(where, doubts, resolved) {
  const typed = (/** @type {PlaceState | DoubtState} */ each) =>
    !!resolved && each.field === "tenant";
  const doubted = (/** @type {PlaceState} */ each) =>
    doubts.some((one) => one.address === each.address);
  return [
    ...(resolved ? [{ address: resolved.address, why: "" }] : []),
    ...where
      .filter((each) => !typed(each) && !doubted(each))
      .map(({ address, by }) => ({ address, why: by && `Only ${by} names this address.` })),
    ...doubts.filter((each) => !typed(each)).map(({ address, why }) => ({ address, why })),
  ];
}

/**
 * Whether the form asks for a yes.
 * @param {MethodState} method @param {ResolvedState | null} resolved
 */
export function asks(method, resolved) {
  return method.doubts.some((doubt) => doubt.field !== "tenant" || !resolved);
}

/**
 * What the form's button says.
 * @param {MethodState} method @param {ResolvedState | null} resolved
 */
export function submitLabel(method, resolved) {
  if (asks(method, resolved)) return "Yes, sign in there";
  return method.browser ? "Sign in with the browser" : "Sign in";
}

/** What a password manager may fill in. @param {FieldState} field @param {FieldState[]} fields */
export function autofill(field, fields) {
  if (field.name === "otp") return "one-time-code";
  if (field.secret) return "current-password";
  const user = fields.find((each) => !each.secret && !each.optional && each.name !== "tenant");
  return field === user ? "username" : "off";
}

/** What of `remember` this method can keep. @param {string} remember @param {string[]} keeps */
export function kept(remember, keeps) {
  if (!remember || keeps.includes(remember)) return remember;
  return keeps[0] ?? "";
}

/** The ways home that an attempt offers: [name, label]. @param {AttemptState} attempt */
export function waysOf(attempt) {
  const ways = [["paste", "Paste the address"]];
  if (attempt.proof) ways.unshift(["here", "In this browser"]);
  if (attempt.offers) ways.push(["device", "With a code"]);
  return ways;
}

/**
 * The best way home. `proving`: this browser may still prove that it reaches the kernel.
 * @param {AttemptState} attempt @param {boolean} proving
 */
export function bestWay(attempt, proving) {
  if (attempt.here || proving) return "here";
  return attempt.offers ? "device" : "paste";
}

/**
 * What is announced when `state` comes after `before`. `page`: how the view stood until then, with
 * the kernel gone or not; `said`: what the live line says. @param {State} state
 * @param {State | null} before @param {{phase: string, lost: boolean}} page @param {string} said
 */
export function announcement(state, before, page, said) {
  if (state.view !== "login") return state.note;
  if (!state.login || state.form) return state.busy ? "Signing in…" : state.note;
  if (state.note) return state.note;
  const old = before?.view === "login" ? before : null;
  const was = !page.phase || page.phase === "valid";
  const is = state.login.status.startsWith("valid");
  if (!old?.login || old.form) return `Signed in to ${state.title}.`;
  if (is && !was) return "Renewed.";
  // Nothing new: what was said stays to be read.
  return is === was && !old.note && !page.lost ? said : "";
}

/** Whether a notebook's kernel does not answer any more. @param {any} kernel */
export function isDead(kernel) {
  const ended = ["dead", "terminating", "restarting", "autorestarting"];
  return (
    kernel.isDisposed || ended.includes(kernel.status) || kernel.connectionStatus === "disconnected"
  );
}

// What makes elements.

/**
 * An element with attributes (on...: a listener) and children; text is always text.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {Record<string, any>} attributes @param {(Node | string)[]} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** @param {string} text @param {() => void} onclick */
function button(text, onclick, main = false) {
  return make("button", { type: "button", class: main ? "main" : "", onclick }, text);
}

/**
 * A link to a provider's page, which learns nothing of the notebook.
 * @param {string} text @param {string} href
 */
function link(text, href) {
  const away = { target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer" };
  return make("a", { class: "button main", href, ...away }, text);
}

/** @param {string} text @param {boolean} sandbox */
function heading(text, sandbox) {
  return make("h3", {}, text, ...(sandbox ? [make("span", { class: "mark" }, "SANDBOX")] : []));
}

/** @param {string} text */
function soft(text) {
  return make("p", { class: "soft" }, text);
}

/** An error, which a field can name as its description. @param {Page} page @param {string} text */
function problem(page, text) {
  return make("p", { class: "error", role: "alert", id: `${page.id}-error` }, text);
}

/**
 * The addresses, in large where there is a reason to look twice.
 * @param {ReturnType<typeof placesOf>} places
 */
function shownPlaces(places) {
  return places.map(({ address, why }) =>
    why
      ? make(
          "div",
          { class: "doubt", role: "alert" },
          make("p", { class: "large" }, address),
          make("p", {}, `${why} Continue only if you recognize it.`),
        )
      : make("p", { class: "where" }, address),
  );
}

// The form.

/** The method that the form shows. @param {Page} page @param {FormState} form */
function methodOf(page, form) {
  const wanted = page.method || form.method;
  return form.methods.find((each) => each.name === wanted) ?? form.methods[0];
}

/** @param {Page} page @param {PanelState} state @param {FormState} form @param {Actions} actions */
function formOf(page, state, form, actions) {
  const method = methodOf(page, form);
  const near = method.fields.some((each) => each.name === state.field && !each.locked);
  const it = make("form", {
    autocomplete: "on",
    novalidate: true,
    "aria-label": `Sign in to ${state.title}`,
  });
  const places = shownPlaces(placesOf(method.where, method.doubts, page.resolved));
  it.append(heading(`Sign in to ${state.title}`, form.sandbox));
  it.append(make("div", { class: "places" }, ...places), ...form.refused.map(soft));
  if (state.error && !near) it.append(problem(page, state.error));
  if (form.methods.length > 1) it.append(methodRow(page, form, method, actions));
  for (const field of method.fields) {
    const error = near && field.name === state.field ? state.error : "";
    it.append(field.locked ? lockedRow(field) : fieldRow(page, method, field, error, actions));
  }
  if (method.keeps.length) it.append(rememberRow(page, form, method));
  if (method.note) it.append(soft(method.note));
  const label = state.busy ? "Signing in…" : submitLabel(method, page.resolved);
  it.append(make("button", { type: "submit", class: "main", disabled: state.busy }, label));
  const no = button("No", () => actions.send({ type: "decline" }));
  no.setAttribute("name", "no");
  no.toggleAttribute("hidden", !asks(method, page.resolved));
  it.append(no);
  it.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(page, method, it, actions);
  });
  return it;
}

/**
 * @param {Page} page @param {FormState} form @param {MethodState} method @param {Actions} actions
 */
function methodRow(page, form, method, actions) {
  const key = `${page.id}-method`;
  const select = make("select", { id: key, name: "method", "aria-describedby": `${page.id}-how` });
  for (const each of form.methods)
    select.append(make("option", { value: each.name, selected: each === method }, each.label));
  select.addEventListener("change", () => {
    page.method = select.value;
    if (page.state?.view === "login") page.state = { ...page.state, error: "" };
    actions.draw();
  });
  return make(
    "div",
    { class: "row" },
    make("label", { for: key }, "Sign-in method"),
    select,
    make("span", { class: "hint", id: `${page.id}-how` }, method.hint),
  );
}

/** A field that is supplied, and not asked for. @param {FieldState} field */
function lockedRow(field) {
  const value = field.value ? [make("span", { class: "value" }, field.value), " "] : [];
  const from = make("span", { class: "soft" }, field.supplied);
  const label = make("span", { class: "label" }, field.label);
  return make("div", { class: "row" }, label, ...value, from);
}

/**
 * @param {Page} page @param {MethodState} method @param {FieldState} field @param {string} error
 * @param {Actions} actions
 */
function fieldRow(page, method, field, error, actions) {
  const key = `${page.id}-${field.name}`;
  const box = make("input", {
    id: key,
    name: field.name,
    type: field.secret ? "password" : "text",
    autocomplete: autofill(field, method.fields),
    autocapitalize: "none",
    spellcheck: "false",
    placeholder: field.supplied ? `leave empty: ${field.supplied}` : "",
    "aria-invalid": error ? "true" : null,
    "aria-describedby": `${key}-hint${error ? ` ${page.id}-error` : ""}`,
  });
  if (!field.secret) {
    box.value = page.typed[field.name] ?? field.value;
    box.addEventListener("input", () => (page.typed[field.name] = box.value));
  }
  const label = field.label + (field.optional ? " (optional)" : "");
  const row = make("div", { class: "row" }, make("label", { for: key }, label), box);
  row.append(make("span", { class: "hint", id: `${key}-hint` }, field.hint));
  if (field.name === "tenant") {
    row.append(make("span", { class: "soft address" }));
    box.addEventListener("input", () => resolve(page, box.value, actions));
  }
  if (error) row.append(problem(page, error));
  return row;
}

/**
 * Ask the kernel, when typing pauses, which address a tenant stands for.
 * @param {Page} page @param {string} tenant @param {Actions} actions
 */
function resolve(page, tenant, actions) {
  clearTimeout(page.asking);
  const number = ++page.looked;
  // An empty box stands for what was found.
  page.resolved = tenant.trim() ? { number, address: "", error: "" } : null;
  if (page.resolved)
    page.asking = setTimeout(() => actions.send({ type: "resolve", tenant, number }), RESOLVE_MS);
  follow(page);
}

/**
 * The form follows what the kernel said of the typed tenant; nothing else is redrawn.
 * @param {Page} page
 */
function follow(page) {
  const { body, state, resolved } = page;
  const form = state?.view === "login" ? state.form : null;
  const hint = body.querySelector(".address");
  if (hint) hint.textContent = resolved?.error ?? "";
  if (!form?.methods.length) return;
  const method = methodOf(page, form);
  const places = shownPlaces(placesOf(method.where, method.doubts, resolved));
  body.querySelector(".places")?.replaceChildren(...places);
  const main = body.querySelector("button[type='submit']");
  if (main) main.textContent = submitLabel(method, resolved);
  body.querySelector("button[name='no']")?.toggleAttribute("hidden", !asks(method, resolved));
}

/**
 * What is kept for the next kernel: a box, and a choice where there is one.
 * @param {Page} page @param {FormState} form @param {MethodState} method
 */
function rememberRow(page, form, method) {
  const key = `${page.id}-remember`;
  page.remember = kept(page.remember, method.keeps);
  const box = make("input", {
    type: "checkbox",
    id: key,
    name: "remember",
    "aria-describedby": `${key}-hint`,
    disabled: !!form.unavailable,
  });
  box.checked = !!page.remember && !form.unavailable;
  const about =
    form.unavailable ||
    `In the ${form.store}: the next kernel signs in without asking. Logging out removes it.`;
  const label = make("label", { for: key, class: "check" }, box, " Remember me on this computer");
  const it = make("div", { class: "row" }, label);
  it.append(make("span", { class: "hint", id: `${key}-hint` }, about));
  const select = method.keeps.length > 1 ? keepSelect(page, method, !box.checked) : null;
  if (select) it.append(select);
  box.addEventListener("change", () => {
    page.remember = box.checked ? select?.value || method.keeps[0] : "";
    if (select) select.hidden = !box.checked;
  });
  return it;
}

/** @param {Page} page @param {MethodState} method @param {boolean} hidden */
function keepSelect(page, method, hidden) {
  /** @type {Record<string, string>} */
  const words = { credentials: "what I typed", "refresh-token": "the refresh token only" };
  const about = { name: "what", "aria-label": "What is remembered", hidden };
  const select = make("select", { id: `${page.id}-remember-what`, ...about });
  for (const each of method.keeps) {
    const selected = each === page.remember;
    select.append(make("option", { value: each, selected }, `Keep ${words[each]}`));
  }
  select.addEventListener("change", () => (page.remember = select.value));
  return select;
}

/**
 * Send what the form holds; its secrets leave the page with it.
 * @param {Page} page @param {MethodState} method @param {HTMLFormElement} form
 * @param {Actions} actions
 */
function submit(page, method, form, actions) {
  /** @type {Record<string, string>} */ const fields = {};
  for (const field of method.fields) {
    /** @type {HTMLInputElement | null} */
    const box = form.querySelector(`input[name="${field.name}"]`);
    if (!box) continue;
    fields[field.name] = box.value;
    if (field.secret) box.value = "";
  }
  page.method = method.name;
  page.way = "";
  const remember = method.keeps.includes(page.remember) ? page.remember : "";
  actions.send({ type: "submit", method: method.name, fields, remember });
  page.pending = true;
  if (page.state?.view === "login") page.state = { ...page.state, busy: true, error: "", note: "" };
  actions.draw();
  actions.say("Signing in…");
}

// The browser sign-in under way.

/**
 * The attempt: its ways home, the best one first.
 * @param {Page} page @param {PanelState} state @param {AttemptState} attempt
 * @param {Actions} actions
 */
function attemptOf(page, state, attempt, actions) {
  const cancel = button("Cancel", () => actions.send({ type: "cancel" }));
  const it = make("div", { class: "attempt" });
  it.append(heading(`Sign in to ${state.title}`, !!state.form?.sandbox));
  it.append(...shownPlaces(placesOf(attempt.where, [], null)));
  if (attempt.busy) {
    it.append(make("p", {}, "Response received; signing in…"), cancel);
    return it;
  }
  const way = wayOf(page, attempt);
  const ways = waysOf(attempt);
  if (ways.length > 1) it.append(tabsOf(page, ways, way, actions));
  if (attempt.note) it.append(soft(attempt.note));
  if (way === "paste") {
    it.append(link("Open the sign-in page", attempt.url), pasteOf(page, attempt, cancel, actions));
    return it;
  }
  if (attempt.error) it.append(problem(page, attempt.error));
  if (way === "device") it.append(...deviceOf(page, attempt, actions));
  else {
    const text = "Sign in on the page that opens, then come back: this panel continues by itself.";
    it.append(make("p", {}, text), link("Open the sign-in page", attempt.url));
  }
  it.append(cancel);
  return it;
}

/** The way home that is shown. @param {Page} page @param {AttemptState} attempt */
function wayOf(page, attempt) {
  const asked = !!attempt.proof && page.proving === attempt.proof;
  return page.way || bestWay(attempt, asked && Date.now() < page.unproven);
}

/** @param {Page} page @param {string[][]} ways @param {string} way @param {Actions} actions */
function tabsOf(page, ways, way, actions) {
  const about = { role: "group", "aria-label": "How the response comes back" };
  const tabs = make("div", { class: "ways", ...about });
  for (const [name, label] of ways) {
    const tab = button(label, () => {
      page.way = name;
      actions.draw();
      /** @type {HTMLElement | null} */
      const shown = page.body.querySelector(`[name="way-${name}"]`);
      shown?.focus();
    });
    tab.setAttribute("aria-pressed", String(name === way));
    tab.setAttribute("name", `way-${name}`);
    tabs.append(tab);
  }
  return tabs;
}

/** @param {Page} page @param {AttemptState} attempt @param {Actions} actions */
function deviceOf(page, attempt, actions) {
  if (attempt.code) {
    return [
      make(
        "p",
        {},
        "Open the page below in any browser, on this or another device. Sign in there, and " +
          "check that it shows this code, or enter it. This panel then continues by itself.",
      ),
      make("p", { class: "code", "aria-label": "Code" }, attempt.code),
      link("Open the page for the code", attempt.link),
      soft(attempt.link.split("?")[0]),
    ];
  }
  if (page.device === attempt.url && attempt.error)
    return [button("Request a new code", () => actions.send({ type: "device" }), true)];
  return [make("p", {}, "Requesting a code…")];
}

/**
 * @param {Page} page @param {AttemptState} attempt @param {HTMLElement} cancel
 * @param {Actions} actions
 */
function pasteOf(page, attempt, cancel, actions) {
  const key = `${page.id}-answer`;
  const box = make("input", {
    id: key,
    name: "answer",
    type: "text",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    "aria-describedby": `${page.id}-paste${attempt.error ? ` ${page.id}-error` : ""}`,
    "aria-invalid": attempt.error ? "true" : null,
  });
  const about =
    "After you sign in, the browser goes to a page that it may not be able to open, or to one " +
    "that shows a code. Copy the whole address (or the code) and paste it here.";
  const row = make("div", { class: "row" });
  row.append(make("label", { for: key }, "Address or code"), box);
  row.append(make("span", { class: "hint", id: `${page.id}-paste` }, about));
  if (attempt.error) row.append(problem(page, attempt.error));
  const it = make("form", { novalidate: true, "aria-label": "Paste the response" }, row);
  it.append(make("button", { type: "submit", class: "main" }, "Continue"), cancel);
  it.addEventListener("submit", (event) => {
    event.preventDefault();
    actions.send({ type: "answer", text: box.value });
    box.value = "";
    page.pending = true;
  });
  return it;
}

/**
 * Have the browser prove that it reaches the kernel, once per attempt.
 * @param {Page} page @param {AttemptState} attempt @param {Actions} actions
 */
function prove(page, attempt, actions) {
  // Only a page of this computer may ask it: from elsewhere the browser would ask for permission.
  const local = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);
  if (!attempt.proof || attempt.proof === page.proving || !local) return;
  page.proving = attempt.proof;
  page.unproven = Date.now() + PROOF_MS - 50;
  const how = { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" };
  fetch(attempt.proof, /** @type {RequestInit} */ ({ mode: "no-cors", ...how })).catch(() => {});
  setTimeout(actions.draw, PROOF_MS);
}

/**
 * Ask for a device code, once per attempt, when that way is shown.
 * @param {Page} page @param {AttemptState} attempt @param {Actions} actions
 */
function askForCode(page, attempt, actions) {
  if (attempt.busy || attempt.code) return;
  if (page.device === attempt.url || wayOf(page, attempt) !== "device") return;
  page.device = attempt.url;
  actions.send({ type: "device" });
}

// A login, and all of them.

/** @param {LoginState} row @param {Actions} actions */
function cardOf(row, actions) {
  const act = (/** @type {string} */ text, /** @type {string} */ type) =>
    button(text, () => actions.send({ type, name: row.name }));
  const facts = [
    ["Address", row.address],
    ["Who am I", row.who],
    ["Method", row.method],
    ["Login", row.name],
    ["Credentials", row.source],
    ["For next time", row.kept],
  ];
  const list = make("dl");
  for (const [name, value] of facts)
    if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  const it = make("div", { class: "card", "data-name": row.name });
  it.append(heading(`Signed in to ${row.title}`, row.sandbox), list);
  it.append(make("p", {}, "Time left: ", make("span", { class: "time" })));
  if (row.life !== null)
    it.append(make("div", { class: "bar", "aria-hidden": "true" }, make("div")));
  for (const text of [row.note, row.error])
    if (text) it.append(make("p", { class: "error" }, text));
  if (row.renewable) it.append(act("Renew", "renew"));
  if (row.error) it.append(act("Sign in again", "again"));
  it.append(act("Log out", "logout"), copyButton(row, actions));
  return it;
}

/** @param {LoginState} row @param {Actions} actions */
function copyButton(row, actions) {
  const byHand = () => actions.say(`Copy this: ${row.code}`);
  const copy = button("Copy code", () => {
    const copying = navigator.clipboard?.writeText(row.code);
    if (copying) copying.then(() => actions.say("Copied."), byHand);
    else byHand();
  });
  copy.title = row.code;
  return copy;
}

const COLUMNS = [
  "Login",
  "Provider",
  "Tenant",
  "Who am I",
  "Method",
  "Time left",
  "Credentials from",
  "Last error",
  "Actions",
];

/** @param {StatusState} state @param {Actions} actions */
function tableOf(state, actions) {
  if (!state.rows.length) return make("p", {}, state.empty);
  const heads = COLUMNS.map((name) => make("th", { scope: "col" }, name));
  const table = make("table", {}, make("caption", { class: "soft" }, "All logins of this kernel"));
  table.append(make("thead", {}, make("tr", {}, ...heads)));
  table.append(make("tbody", {}, ...state.rows.map((row) => lineOf(row, actions))));
  return table;
}

/** @param {LoginState} row @param {Actions} actions */
function lineOf(row, actions) {
  const act = (/** @type {string} */ text, /** @type {string} */ type) => {
    const it = button(text, () => actions.send({ type, name: row.name }));
    it.setAttribute("aria-label", `${text} ${row.name}`);
    return it;
  };
  const acts = [...(row.renewable ? [act("Renew", "renew")] : []), act("Log out", "logout")];
  const cells = [
    make("th", { scope: "row" }, row.name),
    make("td", {}, row.title),
    make("td", {}, row.sandbox ? make("span", { class: "mark" }, "SANDBOX") : row.tenant),
    make("td", {}, row.who || "unknown"),
    make("td", {}, row.method),
    make("td", {}, make("span", { class: "time" })),
    make("td", { title: row.story }, row.source),
    make("td", {}, [row.note, row.error].filter(Boolean).join("; ")),
    make("td", {}, ...acts),
  ];
  cells.forEach((cell, at) => cell.setAttribute("data-label", COLUMNS[at]));
  return make("tr", { "data-name": row.name }, ...cells);
}

// Drawing.

/**
 * What is left, in one grey line. @param {string} text @param {(Node | string)[]} more
 */
function pastOf(text, ...more) {
  return make("p", { class: "line" }, text, ...more);
}

/** What a state shows. @param {Page} page @param {State} state @param {Actions} actions */
function partOf(page, state, actions) {
  if (page.lost) return pastOf(page.past);
  if (state.view === "status")
    return state.snapshot ? pastOf(state.snapshot) : tableOf(state, actions);
  if (state.line && !state.form && !state.attempt)
    return pastOf(
      state.line,
      " ",
      button("Sign in again", () => actions.send({ type: "again" })),
    );
  if (state.attempt) return attemptOf(page, state, state.attempt, actions);
  if (state.form) return formOf(page, state, state.form, actions);
  return state.login ? cardOf(state.login, actions) : "";
}

/** @param {Page} page @param {Actions} actions */
function draw(page, actions) {
  const { state, body, root } = page;
  if (!state) return;
  const attempt = state.view === "login" ? state.attempt : null;
  const busy = state.view === "login" && state.busy;
  if (attempt && !attempt.busy) prove(page, attempt, actions);
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const caret = focused instanceof HTMLInputElement ? focused.selectionStart : null;
  const half = busy ? {} : halfTyped(body);
  root.classList.toggle("wide", state.view === "status");
  body.replaceChildren(partOf(page, state, actions));
  body.querySelectorAll("input").forEach((box) => half[box.name] && (box.value = half[box.name]));
  const answered = page.pending && !busy && !attempt?.busy;
  if (answered) page.pending = false;
  refocus(body, focused, caret, answered);
  if (page.lost || !page.answered) switchOff(body);
  if (attempt) askForCode(page, attempt, actions);
  tick(page, actions);
}

/**
 * What is half typed and kept by the page alone stays, while another login redraws the panel.
 * @param {HTMLElement} body
 */
function halfTyped(body) {
  /** @type {Record<string, string>} */ const half = {};
  body.querySelectorAll("input").forEach((box) => {
    if (box.type === "password" || box.name === "answer") half[box.name] = box.value;
  });
  return half;
}

/**
 * Put the focus after a redraw. `answered`: this is the response to a submit, so the wrong field or
 * the first button gets it; else what had it keeps it. @param {HTMLElement} body
 * @param {Element | null} focused @param {number | null} caret @param {boolean} answered
 */
function refocus(body, focused, caret, answered) {
  const find = (/** @type {string} */ selector) =>
    /** @type {HTMLElement | null} */ (body.querySelector(selector));
  const name = focused?.getAttribute("name");
  const same = name ? find(`[name="${name}"]`) : null;
  const first = find("button:not(:disabled)");
  if (answered && (focused || document.activeElement === document.body))
    (find("[aria-invalid='true']") ?? same ?? first)?.focus();
  else if (focused) (same ?? first)?.focus();
  if (same instanceof HTMLInputElement && document.activeElement === same && caret !== null)
    same.setSelectionRange(caret, caret);
}

/** Nothing can be pressed any more. @param {HTMLElement} body */
function switchOff(body) {
  body.querySelectorAll("button, input, select").forEach((one) => one.setAttribute("disabled", ""));
  body.querySelectorAll("a").forEach((one) => one.removeAttribute("href"));
}

// Time, and the kernel.

/**
 * Counts on in the page: no message, also while the kernel computes or the laptop slept.
 * @param {Page} page @param {Actions} actions
 */
function tick(page, actions) {
  const { state } = page;
  if (page.lost) return;
  if (state?.view === "status") for (const row of state.rows) countDown(page, row);
  if (state?.view !== "login" || !state.login) return;
  const row = state.login;
  const now = countDown(page, row);
  if (!now || !page.answered) return;
  if (now !== page.phase) {
    if (now === "expiring") actions.say(`${row.title}: the login expires soon.`);
    if (now === "expired") actions.say(`${row.title}: the login has expired.`);
    page.phase = now;
  }
  // A pasted token has run out in front of the user's eyes: the kernel sends the form, in place.
  if (now === "expired" && !row.renewable && !state.form && !page.asked) {
    page.asked = true;
    actions.send({ type: "again", name: row.name });
  }
}

/**
 * Show the time that a login has left now; gives its phase, "" where it is not drawn.
 * @param {Page} page @param {LoginState} row
 */
function countDown(page, row) {
  const box = page.body.querySelector(`[data-name="${CSS.escape(row.name)}"]`);
  const time = box?.querySelector(".time");
  if (!box || !time) return "";
  const left = leftOf(row, Date.now() - page.received);
  const { now, text } = timeOf(row, left, page.lost);
  if (time.textContent !== text) time.textContent = text;
  box.classList.toggle("expiring", now === "expiring");
  box.classList.toggle("expired", now === "expired");
  /** @type {HTMLElement | null} */ const bar = box.querySelector(".bar > div");
  if (bar && left !== null && row.life)
    bar.style.width = `${Math.min(100, (100 * left) / row.life)}%`;
  return now;
}

/**
 * Whether the kernel is gone, or was and is back.
 * @param {Page} page @param {Port} port @param {Actions} actions
 */
function watch(page, port, actions) {
  if (port.kernel() === "gone") {
    page.hellos = 0;
    if (page.lost) return;
    page.lost = true;
    actions.say("");
    page.body.replaceChildren(pastOf(page.past));
  } else if (page.lost && page.hellos < SILENT) {
    // Only a response tells whether it is the same one: a new kernel knows nothing of this panel.
    page.hellos += 1;
    port.send({ type: "hello" });
  }
}

/**
 * Say hello until the kernel answers.
 * @param {Page} page @param {Port} port
 */
function greet(page, port) {
  if (page.answered || page.lost || page.hellos >= HELLOS) return;
  setTimeout(() => greet(page, port), HELLO_MS);
  const busy = port.kernel() === "busy";
  // A kernel that has just become free gets the time of two hellos to answer those it was sent.
  if (!page.state && page.hellos >= SILENT && (busy || page.hellos > SILENT + 1)) {
    const text =
      "The kernel is busy: if it asks below this cell, answer there. " +
      "The panel appears when the kernel is free.";
    page.body.replaceChildren(busy ? make("p", {}, text) : pastOf(page.past));
  }
  // A kernel that computes answers later; more hellos would only pile up.
  if (page.hellos >= SILENT && busy) return;
  page.hellos += 1;
  port.send({ type: "hello" });
}

/**
 * A message of the kernel.
 * @param {Page} page @param {any} message @param {Port} port @param {Actions} actions
 */
function heard(page, message, port, actions) {
  if (message?.type === "state") update(page, message, actions);
  else if (message?.type === "keep") {
    page.past = message.metadata.labauth.past;
    port.keep({ data: message.data, metadata: message.metadata });
  } else if (message?.type === "resolved" && message.number === page.resolved?.number) {
    page.resolved = message;
    follow(page);
  }
}

/** Show what is saved until the kernel answers. @param {Page} page @param {any} saved */
function recall(page, saved) {
  page.past = saved.past || page.past;
  if (saved.state?.view === "login") page.state = saved.state;
}

/** @param {Page} page @param {State} state @param {Actions} actions */
function update(page, state, actions) {
  const before = page.answered ? page.state : null;
  const form = state.view === "login" ? state.form : null;
  // A form that stays as it is (another login changed) is not redrawn under somebody's hands.
  const mine = !!form && !page.lost && !page.pending;
  if (mine && JSON.stringify(state) === JSON.stringify(before)) return;
  const text = announcement(state, before, page, page.live.textContent ?? "");
  page.state = state;
  page.received = Date.now();
  page.lost = page.asked = false;
  page.answered = true;
  if (form && !before) page.remember = form.remember;
  const tenant = form?.methods[0]?.fields.find((field) => field.name === "tenant");
  // From here on the kernel says what was typed.
  if (tenant?.value && tenant.value === page.typed.tenant?.trim()) page.resolved = null;
  if (state.view === "login" && state.login && !form) {
    page.method = "";
    page.resolved = null;
  }
  actions.say(text);
  actions.draw();
}

let count = 0;

/** @param {HTMLElement} el @returns {Page} */
function pageIn(el) {
  const root = make("section", {
    class: "labauth",
    "data-lm-suppress-shortcuts": "true",
    "aria-label": "labauth",
  });
  const live = make("div", { role: "status", "aria-live": "polite", class: "soft" });
  const body = make("div");
  root.append(body, live);
  el.append(root);
  for (const name of ["keydown", "keyup", "keypress"])
    root.addEventListener(name, (event) => event.stopPropagation());
  const id = `labauth-${++count}-${Math.random().toString(36).slice(2, 8)}`;
  /** @type {Pick<Page, "state" | "received" | "hellos" | "answered" | "lost" | "past">} */
  const kernel = { state: null, received: 0, hellos: 0, answered: false, lost: false, past: PAST };
  const form = { method: "", remember: "", typed: {}, resolved: null, looked: 0 };
  const attempt = { way: "", proving: "", unproven: 0, device: "" };
  const said = { pending: false, asked: false, phase: "" };
  return { id, root, body, live, ...kernel, ...form, ...attempt, ...said };
}

/**
 * Show a panel in `el`; gives what ends that. @param {HTMLElement} el @param {Port} port
 */
export function attach(el, port) {
  const page = pageIn(el);
  /** @type {Actions} */
  const actions = {
    send: port.send,
    draw: () => draw(page, actions),
    say: (text) => {
      if (page.live.textContent !== text) page.live.textContent = text;
    },
  };
  const wake = () => {
    watch(page, port, actions);
    tick(page, actions);
  };
  const deafen = port.listen((message) => heard(page, message, port, actions));
  const timer = setInterval(wake, 1000);
  document.addEventListener("visibilitychange", wake);
  if (port.saved) recall(page, port.saved);
  actions.draw();
  watch(page, port, actions);
  greet(page, port);
  return () => {
    clearInterval(timer);
    page.hellos = HELLOS;
    deafen();
    document.removeEventListener("visibilitychange", wake);
    page.root.remove();
  };
}

/**
 * The way to the kernel by a widget of ipywidgets. Its manager names the kernel in JupyterLab only.
 * @param {Model} model @returns {Port}
 */
export function widgetPort(model) {
  let had = false;
  let answered = false;
  /** @type {object[]} */ let held = [];
  const kernel = () => {
    const it = model.widget_manager?.kernel;
    if (it ? isDead(it) : had) return "gone";
    had ||= !!it;
    if (it?.status === "busy") return "busy";
    return answered ? "live" : "connecting";
  };
  const pass = (/** @type {object} */ message) => {
    try {
      model.send(message);
    } catch {
      // The kernel is gone: the next tick says so.
    }
  };
  return {
    send: (message) => {
      const hello = "type" in message && message.type === "hello";
      if (hello || answered) pass(message);
      else held.push(message);
    },
    listen: (hear) => {
      const listen = (/** @type {any} */ message) => {
        answered ||= message?.type === "state";
        if (answered) held.splice(0).forEach(pass);
        hear(message);
      };
      model.on("msg:custom", listen);
      return () => {
        held = [];
        model.off("msg:custom", listen);
      };
    },
    kernel,
    saved: null,
    keep: () => {},
  };
}
