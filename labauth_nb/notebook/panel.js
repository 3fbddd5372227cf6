// @ts-check
// The page's side of the panels: plain ESM, no build step. It shows the state that the kernel sends
// and counts down by itself. A secret leaves a field once, in the message that submits it, and is
// kept nowhere.
//
// In this order: what decides (pure, tested by node), what makes elements, what a state shows, and
// what happens when the page draws, ticks or hears the kernel. `attach` at the end ties them.

// What the kernel sends; cards.py says what each key is, and a test holds the two equal.

/**
 * @typedef {{
 *   name: string, label: string, hint: string, secret: boolean, optional: boolean, value: string,
 *   supplied: string, locked: boolean,
 * }} FieldState
 * @typedef {{field: string, address: string, by: string}} PlaceState
 * @typedef {{field: string, address: string, why: string}} DoubtState
 * @typedef {{
 *   name: string, label: string, hint: string, note: string, page: string, page_words: string,
 *   browser: boolean, keeps: string[], fields: FieldState[], where: PlaceState[],
 *   doubts: DoubtState[],
 * }} MethodState
 * @typedef {{
 *   methods: MethodState[], method: string, sandbox: boolean, remember: string, store: string,
 *   store_words: string, refused: string[],
 * }} FormState
 * @typedef {{
 *   where: PlaceState[], url: string, note: string, here: boolean, proof: string, offers: boolean,
 *   link: string, code: string, busy: boolean, error: string,
 * }} AttemptState
 * @typedef {{
 *   name: string, title: string, tenant: string, address: string, sandbox: boolean, who: string,
 *   method: string,
 *   state: "valid" | "expiring" | "asleep" | "needs" | "renewing" | "unreachable",
 *   left: number | null, life: number | null, margin: number | null, words: string,
 *   renewable: boolean, source: string, story: string, note: string, error: string, code: string,
 *   kept: string,
 * }} LoginState
 * @typedef {{id: string, key: string}} SealState
 * @typedef {{
 *   view: "login", title: string, login: LoginState | null, form: FormState | null,
 *   attempt: AttemptState | null, line: string, busy: boolean, error: string, field: string,
 *   note: string, wait: number | null, seal: SealState | null,
 * }} PanelState
 * @typedef {{
 *   view: "status", title: string, rows: LoginState[], note: string, empty: string,
 *   snapshot: string,
 * }} StatusState
 * @typedef {{method: string, page: string, page_words: string}} LinkState
 * @typedef {{number: number, address: string, error: string, links: LinkState[]}} ResolvedState
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
 * When a login ran out, `left` seconds (below 0) from `now`, in ms: "ran out at 14:02".
 * @param {number} left @param {number} now
 */
export function ranOut(left, now) {
  const days = Math.floor(-left / 86400);
  if (days > 0) return `ran out ${days} ${days === 1 ? "day" : "days"} ago`;
  const then = new Date(now + left * 1000);
  const [hours, minutes] = [then.getHours(), then.getMinutes()].map((n) =>
    String(n).padStart(2, "0"),
  );
  return `ran out at ${hours}:${minutes}`;
}

/**
 * The state of a login with `left` seconds: it moves on without a message from the kernel.
 * @param {LoginState} row @param {number | null} left
 */
export function stateOf(row, left) {
  if (left === null || !["valid", "expiring", "asleep"].includes(row.state)) return row.state;
  if (left <= 0) return row.renewable ? "asleep" : "needs";
  return row.margin !== null && left <= row.margin ? "expiring" : "valid";
}

/**
 * The seconds that a login has left `ms` after its row came, below 0 once it has expired.
 * @param {LoginState} row @param {number} ms
 */
export function leftOf(row, ms) {
  return row.left === null ? null : row.left - ms / 1000;
}

/**
 * How a login looks with `left` seconds at `now`, in ms: its state, the words for its time, and how
 * much of its life is left (null: not known).
 * @param {LoginState} row @param {number | null} left @param {number} now
 */
export function looksOf(row, left, now) {
  const state = stateOf(row, left);
  const share = left === null || !row.life ? null : Math.min(Math.max(left / row.life, 0), 1);
  const over = left !== null && left <= 0;
  const words = {
    valid: left === null ? row.words : inWords(left),
    expiring: left === null ? row.words : inWords(left),
    asleep: "renews itself when used",
    needs: over ? ranOut(left, now) : "no longer accepted",
    renewing: "renewing…",
    unreachable: `${row.title} is unreachable`,
  };
  return { state, text: words[state], share: state === "needs" ? null : share };
}

/**
 * The actions of a login: [what it says, its message, whether it is the main one].
 * @param {LoginState} row @param {string} state
 * @returns {[string, string, boolean][]}
 */
export function actsOf(row, state) {
  /** @type {[string, string, boolean][]} */ const acts = [];
  const ends = !row.renewable && (state === "expiring" || !!row.error);
  if (state === "needs" || ends) acts.push(["Sign in again", "again", state === "needs"]);
  if (row.renewable) acts.push(["Renew", "renew", false]);
  return [...acts, ["Log out", "logout", false]];
}

/** Where a login is, for a person. @param {LoginState} row */
export function hostOf(row) {
  return row.sandbox ? "on this computer" : row.address.replace(/^https:../, "");
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
    ...(resolved ? [{ field: "tenant", address: resolved.address, why: "" }] : []),
    ...where
      .filter((each) => !typed(each) && !doubted(each))
      .map(({ field, address, by }) => ({
        field,
        address,
        why: by && `Only ${by} names this address.`,
      })),
    ...doubts.filter((each) => !typed(each)),
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
 * The page where a method's secret is made, as the kernel said: [address, words], or "" for none.
 * @param {MethodState} method @param {ResolvedState | null} resolved
 */
export function linkOf(method, resolved) {
  const typed = resolved?.links.find((each) => each.method === method.name);
  const { page, page_words: words } = resolved ? (typed ?? { page: "", page_words: "" }) : method;
  return [page, words];
}

/**
 * What the form's button says.
 * @param {MethodState} method @param {ResolvedState | null} resolved
 */
export function submitLabel(method, resolved) {
  if (asks(method, resolved)) return "Yes, sign in there";
  return method.browser ? "Continue in the browser" : "Sign in";
}

/** What a password manager may fill in. @param {FieldState} field @param {FieldState[]} fields */
export function autofill(field, fields) {
  if (field.name === "otp") return "one-time-code";
  if (field.secret) return "current-password";
  const user = fields.find((each) => !each.secret && !each.optional && each.name !== "tenant");
  return field === user ? "username" : "off";
}

/**
 * The fields of a method but the address: those to look at, and those that most leave alone.
 * @param {MethodState} method
 */
export function partedOf(method) {
  const fields = method.fields.filter((each) => each.name !== "tenant");
  const aside = (/** @type {FieldState} */ each) => each.optional && each.name !== "otp";
  return { first: fields.filter((each) => !aside(each)), options: fields.filter(aside) };
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
  if (!state.login || state.form) {
    const error = state.error || state.attempt?.error || "";
    const chosen = state.form?.methods?.find((each) => each.name === state.form?.method);
    const doubt = state.attempt ? "" : (chosen?.doubts[0]?.why ?? "");
    return state.busy ? "Signing in…" : error || doubt || state.note;
  }
  if (state.note) return state.note;
  const old = before?.view === "login" ? before : null;
  const was = !page.phase || page.phase === "valid";
  const is = state.login.state === "valid";
  if (!old?.login || old.form) return `Signed in to ${state.title}.`;
  if (state.login.error && state.login.error !== old.login.error) return state.login.error;
  if (is && !was) return "Renewed.";
  // Nothing new: what was said stays to be read.
  return is === was && !old.note && !page.lost ? said : "";
}

/** What is announced as a login moves on by itself. @param {LoginState} row @param {string} now */
export function moved(row, now) {
  if (now === "expiring") return `${row.title}: the login expires soon.`;
  if (now === "asleep")
    return `${row.title}: the token has expired; it renews itself when it is used.`;
  return now === "needs" ? `${row.title}: the login has expired. Sign in again.` : "";
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
function button(text, onclick, main = false, more = {}) {
  return make("button", { type: "button", class: main ? "main" : "quiet", onclick, ...more }, text);
}

/**
 * A link to a provider's page, which learns nothing of the notebook.
 * @param {string} text @param {string} href
 */
function link(text, href, main = true) {
  const away = { target: "_blank", rel: "noopener noreferrer", referrerpolicy: "no-referrer" };
  const new_tab = make("span", { class: "away", "aria-hidden": "true" });
  return make("a", { class: main ? "button main" : "", href, ...away }, text, new_tab);
}

function sandboxMark() {
  return make("span", { class: "mark" }, "SANDBOX");
}

/** @param {string} text @param {boolean} sandbox */
function heading(text, sandbox) {
  return make("h3", {}, text, ...(sandbox ? [sandboxMark()] : []));
}

/** @param {string} text */
function soft(text) {
  return make("p", { class: "soft" }, text);
}

/** Read out, and not seen. @param {string} text */
function unseen(text) {
  return make("span", { class: "vh" }, text);
}

/** An error, which a field can name as its description. @param {Page} page @param {string} text */
function problem(page, text) {
  return make("p", { class: "error", id: `${page.id}-error` }, text);
}

/**
 * What has become past: one quiet line, and what can be done about it.
 * @param {string} text @param {Node[]} acts
 */
function lineOf(text, ...acts) {
  return make("p", { class: "line" }, text, ...acts);
}

/** @type {Record<string, string>} */
const GOES = {
  tenant: "You sign in to",
  issuer: "You sign in at",
  redirect_uri: "Your browser comes back to",
};

/**
 * The addresses, in large where there is a reason to look twice.
 * @param {ReturnType<typeof placesOf>} places
 */
function shownPlaces(places) {
  return places.map(({ field, address, why }) => {
    if (!address) return make("p", { class: "where" });
    const shown = address === "sandbox" ? "the sandbox on this computer" : address;
    if (!why) return make("p", { class: "where" }, `${GOES[field]} `, make("b", {}, shown));
    return make(
      "div",
      { class: "doubt" },
      make("p", { class: "large" }, address),
      make("p", {}, `${why} Continue only if you recognize it.`),
    );
  });
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
  const it = make("form", { class: "box form", autocomplete: "on", novalidate: true });
  it.append(heading(`Sign in to ${state.title}`, form.sandbox), ...form.refused.map(soft));
  if (state.error && !near) it.append(problem(page, state.error));
  const errorAt = (/** @type {FieldState} */ field) =>
    near && field.name === state.field ? state.error : "";
  it.append(addressOf(page, method, errorAt, actions));
  if (form.methods.length > 1) it.append(choicesOf(page, form, method, errorAt, actions));
  else it.append(make("div", { class: "only" }, ...restOf(page, method, errorAt, actions)));
  it.append(footOf(page, state, form, method, actions));
  it.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(page, method, it, actions);
  });
  return it;
}

/**
 * Where the sign-in goes: asked for, or shown with who named it.
 * @param {Page} page @param {MethodState} method @param {(field: FieldState) => string} errorAt
 * @param {Actions} actions
 */
function addressOf(page, method, errorAt, actions) {
  const field = method.fields.find((each) => each.name === "tenant") ?? method.fields[0];
  const places = shownPlaces(placesOf(method.where, method.doubts, page.resolved));
  const where = make("div", { class: "places", id: `${page.id}-places` }, ...places);
  if (field.locked)
    return make("div", { class: "row" }, where, soft(`${field.label}: ${field.supplied}`));
  const row = fieldRow(page, method, field, errorAt(field), actions);
  row.querySelector(".hint")?.toggleAttribute("hidden", !!places.length);
  row.append(make("p", { class: "soft address" }, page.resolved?.error ?? ""), where);
  row.querySelector("input")?.addEventListener("input", (event) => {
    resolve(page, /** @type {HTMLInputElement} */ (event.target).value, actions);
  });
  return row;
}

/**
 * How to sign in: plain choices, the fields of the one that is chosen among them.
 * @param {Page} page @param {FormState} form @param {MethodState} method
 * @param {(field: FieldState) => string} errorAt @param {Actions} actions
 */
function choicesOf(page, form, method, errorAt, actions) {
  const it = make("fieldset", { class: "how" }, make("legend", {}, "How"));
  for (const each of form.methods) {
    const key = `${page.id}-way-${each.name}`;
    const on = each === method;
    const about = { type: "radio", name: "method", value: each.name };
    const radio = make("input", { id: key, ...about, "aria-describedby": `${key}-hint` });
    radio.checked = on;
    radio.addEventListener("change", () => {
      page.method = each.name;
      if (page.state?.view === "login") page.state = { ...page.state, error: "" };
      actions.draw();
    });
    const hint = make("small", { id: `${key}-hint` }, each.hint);
    const rest = on ? restOf(page, each, errorAt, actions, false) : [pageOf(page, each)];
    const row = make("div", { class: on ? "way on" : "way" }, radio);
    row.append(make("label", { for: key }, each.label), hint);
    row.append(make("div", { class: "more" }, ...rest));
    it.append(row);
  }
  return it;
}

/** The link to where a method's secret is made. @param {Page} page @param {MethodState} method */
function pageOf(page, method) {
  const [href, words] = linkOf(method, page.resolved);
  const it = make("p", { class: "made", "data-method": method.name });
  if (href) it.append(link(words, href, false));
  return it;
}

/**
 * What the chosen method asks for, but the address. `alone`: its hint is not shown elsewhere.
 * @param {Page} page @param {MethodState} method @param {(field: FieldState) => string} errorAt
 * @param {Actions} actions
 */
function restOf(page, method, errorAt, actions, alone = true) {
  const { first, options } = partedOf(method);
  const row = (/** @type {FieldState} */ field) =>
    field.locked ? lockedRow(field) : fieldRow(page, method, field, errorAt(field), actions);
  /** @type {HTMLElement[]} */
  const parts = [...(alone ? [soft(method.hint)] : []), pageOf(page, method), ...first.map(row)];
  if (options.length) {
    const open = options.some((each) => errorAt(each));
    const about = { class: "options", "data-key": `options-${method.name}`, open };
    parts.push(make("details", about, make("summary", {}, "Options"), ...options.map(row)));
  }
  return method.note ? [...parts, soft(method.note)] : parts;
}

/** A hint that stands by itself. @param {string} text */
export function sentence(text) {
  return /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}

/** A field that is supplied, and not asked for. @param {FieldState} field */
function lockedRow(field) {
  const value = field.value ? [make("span", { class: "value" }, field.value), " "] : [];
  const from = make("span", { class: "soft" }, field.supplied);
  const label = make("span", { class: "label" }, field.label);
  return make("div", { class: "row locked" }, label, " ", ...value, from);
}

/**
 * @param {Page} page @param {MethodState} method @param {FieldState} field @param {string} error
 * @param {Actions} actions
 */
function fieldRow(page, method, field, error, actions) {
  const key = `${page.id}-${field.name}`;
  const required = !field.optional && !field.supplied;
  const tenant = field.name === "tenant";
  const about = [`${key}-hint`, tenant ? `${page.id}-places` : "", error ? `${page.id}-error` : ""];
  const box = make("input", {
    id: key,
    name: field.name,
    type: field.secret ? "password" : "text",
    "data-secret": field.secret,
    autocomplete: autofill(field, method.fields),
    autocapitalize: "none",
    spellcheck: "false",
    placeholder: field.supplied ? `leave empty: ${field.supplied}` : "",
    "aria-required": required ? "true" : null,
    "aria-invalid": error ? "true" : null,
    "aria-describedby": about.filter(Boolean).join(" "),
  });
  if (!field.secret) {
    box.value = page.typed[field.name] ?? field.value;
    box.addEventListener("input", () => (page.typed[field.name] = box.value));
  }
  const label = make("label", { for: key }, tenant ? `Your ${field.label}` : field.label);
  const mark = required ? "required" : field.optional && !tenant ? "optional" : "";
  const head = make("div", { class: "head" }, label, make("span", { class: "need" }, mark));
  const line = make("div", { class: "entry" }, box);
  if (field.secret) line.append(showButton(field, box));
  const row = make("div", { class: "row" }, head, line);
  row.append(make("p", { class: "hint", id: `${key}-hint` }, sentence(field.hint)));
  if (error) row.append(problem(page, error));
  return row;
}

/**
 * Shows what was pasted, for as long as it is looked at.
 * @param {FieldState} field @param {HTMLInputElement} box
 */
function showButton(field, box) {
  const name = { name: `show-${field.name}`, "aria-label": `Show ${field.label}` };
  const show = button("Show", () => turn(box.type === "password"), false, name);
  const turn = (/** @type {boolean} */ seen) => {
    box.type = seen ? "text" : "password";
    show.textContent = seen ? "Hide" : "Show";
    show.setAttribute("aria-label", `${seen ? "Hide" : "Show"} ${field.label}`);
  };
  return show;
}

/**
 * Ask the kernel, when typing pauses, which address a tenant stands for.
 * @param {Page} page @param {string} tenant @param {Actions} actions
 */
function resolve(page, tenant, actions) {
  clearTimeout(page.asking);
  const number = ++page.looked;
  // An empty box stands for what was found.
  page.resolved = tenant.trim() ? { number, address: "", error: "", links: [] } : null;
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
  const said = body.querySelector(".address");
  if (said) said.textContent = resolved?.error ?? "";
  if (!form?.methods.length) return;
  const method = methodOf(page, form);
  const places = shownPlaces(placesOf(method.where, method.doubts, resolved));
  body.querySelector(".places")?.replaceChildren(...places);
  body.querySelector(`[id="${page.id}-tenant-hint"]`)?.toggleAttribute("hidden", !!places.length);
  for (const each of form.methods)
    body
      .querySelector(`.made[data-method="${CSS.escape(each.name)}"]`)
      ?.replaceWith(pageOf(page, each));
  const main = body.querySelector("button[type='submit']");
  if (main) main.textContent = submitLabel(method, resolved);
  body.querySelector("button[name='no']")?.toggleAttribute("hidden", !asks(method, resolved));
}

/**
 * What ends the form: its button, what is kept, and how long the cell waits.
 * @param {Page} page @param {PanelState} state @param {FormState} form @param {MethodState} method
 * @param {Actions} actions
 */
function footOf(page, state, form, method, actions) {
  const label = state.busy ? "Signing in…" : submitLabel(method, page.resolved);
  const main = make("button", { type: "submit", class: "main", disabled: state.busy }, label);
  const no = button("No", () => actions.send({ type: "decline" }), false, { name: "no" });
  no.toggleAttribute("hidden", !asks(method, page.resolved));
  const foot = make("div", { class: "foot" }, main, no);
  const it = make("div", {}, foot);
  if (method.keeps.length && form.store) {
    foot.append(rememberBox(page, form, method));
    it.append(make("p", { class: "hint", id: `${page.id}-remember-hint` }, form.store_words));
  }
  if (method.fields.some((each) => each.secret && !each.locked))
    it.append(soft(sealWords(state.seal, canSeal())));
  if (state.wait !== null) it.append(waitOf(actions));
  return it;
}

/**
 * What is kept for the next kernel: a box, and a choice where there is one.
 * @param {Page} page @param {FormState} form @param {MethodState} method
 */
function rememberBox(page, form, method) {
  const key = `${page.id}-remember`;
  page.remember = kept(page.remember, method.keeps);
  const about = { type: "checkbox", id: key, name: "remember", "aria-describedby": `${key}-hint` };
  const box = make("input", about);
  box.checked = !!page.remember;
  const place = form.store === "file" ? "Remember me in a file" : "Remember me on this computer";
  const it = make("span", { class: "remember" }, box, make("label", { for: key }, place));
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

/** How long the cell still waits, and what can be done about that. @param {Actions} actions */
function waitOf(actions) {
  const longer = () => actions.send({ type: "longer" });
  return make(
    "p",
    { class: "wait" },
    make("span", {}, "The cell waits ", make("span", { class: "waiting" }), " for you."),
    button("Wait longer", longer, false, { name: "longer" }),
    button("Give the cell back (Esc)", () => leave(actions), false, { name: "leave" }),
  );
}

/**
 * Esc in `it` gives the cell back that waits.
 * @param {HTMLElement} it @param {PanelState} state @param {Actions} actions
 */
function escapable(it, state, actions) {
  it.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.wait !== null) leave(actions);
  });
  return it;
}

/** The cell goes on without a sign-in; the panel stays. @param {Actions} actions */
function leave(actions) {
  actions.send({ type: "leave" });
  actions.say("The cell no longer waits. You can still sign in here.");
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
  sendTyped(page, { type: "submit", method: method.name, remember }, { fields }, actions);
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
  if (state.error) attempt = { ...attempt, error: state.error };
  const cancel = button("Cancel", () => actions.send({ type: "cancel" }), false, {
    name: "cancel",
  });
  const it = make("div", { class: "box form attempt" });
  it.append(heading(`Sign in to ${state.title}`, !!state.form?.sandbox));
  it.append(...shownPlaces(placesOf(attempt.where, [], null)));
  if (attempt.busy) {
    it.append(make("p", {}, "Response received; signing in…"));
    it.append(make("div", { class: "foot" }, cancel));
    return it;
  }
  const way = wayOf(page, attempt);
  const ways = waysOf(attempt);
  if (ways.length > 1) it.append(tabsOf(page, ways, way, actions));
  if (attempt.note) it.append(soft(attempt.note));
  if (way === "paste") {
    it.append(make("p", {}, link("Open the sign-in page", attempt.url)));
    it.append(pasteOf(page, attempt, cancel, actions));
  } else {
    if (attempt.error) it.append(problem(page, attempt.error));
    it.append(...(way === "device" ? deviceOf(page, attempt, actions) : hereOf(attempt)));
    it.lastElementChild?.append(cancel);
  }
  if (state.wait !== null) it.append(waitOf(actions));
  return it;
}

/** @param {AttemptState} attempt */
function hereOf(attempt) {
  const text = "Sign in on the page that opens, then come back: this panel continues by itself.";
  const open = link("Open the sign-in page", attempt.url);
  return [make("p", {}, text), make("div", { class: "foot" }, open)];
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
      make("p", { class: "code" }, attempt.code),
      soft(attempt.link.split("?")[0]),
      make("div", { class: "foot" }, link("Open the page for the code", attempt.link)),
    ];
  }
  const foot = make("div", { class: "foot" });
  if (page.device === attempt.url && attempt.error) {
    foot.append(button("Request a new code", () => actions.send({ type: "device" }), true));
    return [foot];
  }
  return [make("p", {}, "Requesting a code…"), foot];
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
  row.append(make("p", { class: "hint", id: `${page.id}-paste` }, about));
  if (attempt.error) row.append(problem(page, attempt.error));
  row.append(soft(sealWords(sealOf(page), canSeal())));
  const go = make("button", { type: "submit", class: "main" }, "Continue");
  const it = make("form", { novalidate: true }, row, make("div", { class: "foot" }, go, cancel));
  it.addEventListener("submit", (event) => {
    event.preventDefault();
    sendTyped(page, { type: "answer" }, { text: box.value }, actions);
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

// Sealing.

const CLEAR = ["type", "method", "name", "remember", "number"];
const UNSEALED =
  "Nothing was submitted: this page could not encrypt what you typed. Reload the page, then type " +
  "it again.";

/** Whether this page can encrypt: a browser lets only https and localhost do it. */
function canSeal() {
  return !!globalThis.isSecureContext && !!globalThis.crypto?.subtle;
}

/**
 * The kernel's key for what is typed next, or null. @param {Page} page
 */
function sealOf(page) {
  return page.state?.view === "login" ? page.state.seal : null;
}

/**
 * The small print. @param {SealState | null} key @param {boolean} able whether the page can encrypt
 */
export function sealWords(key, able) {
  if (key && able) return "What you type is encrypted on its way to this kernel.";
  const cure = able
    ? "install the package cryptography in this kernel"
    : "open this page over https or on localhost";
  return `What you type is not encrypted beyond the connection itself. To change that, ${cure}.`;
}

/**
 * What a sealed text is bound to: the clear part of its message, as `about` in seals.py.
 * @param {Record<string, any>} message
 */
function about(message) {
  const clear = CLEAR.map((name) => String(message[name] ?? ""));
  return new TextEncoder().encode(JSON.stringify(clear));
}

/**
 * `typed`, encrypted with the kernel's key; only in `message` does it open. ECDH on P-256,
 * HKDF-SHA-256 (RFC 5869), AES-256-GCM (NIST SP 800-38D). Throws where the browser cannot do it.
 * @param {SealState} key @param {object} typed @param {Record<string, any>} message
 */
export async function seal(key, typed, message) {
  const { subtle } = globalThis.crypto;
  const curve = { name: "ECDH", namedCurve: "P-256" };
  const theirs = Uint8Array.from(atob(key.key), (c) => c.charCodeAt(0));
  const kernel = await subtle.importKey("raw", theirs, curve, false, []);
  const mine = await subtle.generateKey(curve, false, ["deriveBits"]);
  const point = new Uint8Array(await subtle.exportKey("raw", mine.publicKey));
  const bits = await subtle.deriveBits({ name: "ECDH", public: kernel }, mine.privateKey, 256);
  const shared = await subtle.importKey("raw", bits, "HKDF", false, ["deriveKey"]);
  const info = Uint8Array.of(...new TextEncoder().encode("labauth-nb seal 1"), ...theirs, ...point);
  const derive = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info };
  const aes = { name: "AES-GCM", length: 256 };
  const secret = await subtle.deriveKey(derive, shared, aes, false, ["encrypt"]);
  const iv = globalThis.crypto.getRandomValues(new Uint8Array(12));
  const text = JSON.stringify(typed);
  // Spaces, so that its length does not tell that of a secret.
  const plain = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 512) * 512));
  const how = { name: "AES-GCM", iv, additionalData: about(message) };
  const sealed = new Uint8Array(await subtle.encrypt(how, secret, plain));
  return { id: key.id, key: base64(point), iv: base64(iv), text: base64(sealed) };
}

/** @param {Uint8Array} bytes */
function base64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/**
 * Send `message` with what was typed, sealed where that can be. What cannot be sealed, although the
 * page and the kernel could, is not sent. @param {Page} page
 * @param {Record<string, any>} message @param {object} typed @param {Actions} actions
 */
export function sendTyped(page, message, typed, actions) {
  const key = canSeal() ? sealOf(page) : null;
  if (!key) return actions.send({ ...message, ...typed });
  const unsent = () => {
    if (page.state?.view !== "login") return;
    page.state = { ...page.state, busy: false, error: UNSEALED, field: "" };
    actions.draw();
    actions.say(UNSEALED);
  };
  seal(key, typed, message).then((sealed) => actions.send({ ...message, sealed }), unsent);
}

// A login, and all of them.

/** How a login looks at this moment. @param {Page} page @param {LoginState} row */
function looksNow(page, row) {
  const now = Date.now();
  return looksOf(row, leftOf(row, now - page.received), now);
}

/**
 * The time left of a login, with its thin bar; `countDown` fills it in.
 * @param {LoginState} row @param {string} state
 */
function leftBox(row, state) {
  /** @type {Record<string, string>} */
  const said = {
    valid: "Time left: ",
    expiring: "Expires soon, time left: ",
    needs: "Needs you: ",
  };
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
  const box = make("div", { class: "left" }, unseen(said[state] ?? ""));
  box.append(make("span", { class: "time" }));
  if (row.life !== null && state !== "needs") box.append(bar);
  return box;
}

/**
 * The buttons of a login. `named`: its name stands beside each for a screen reader.
 * @param {LoginState} row @param {string} state @param {Actions} actions
 */
function actButtons(row, state, actions) {
  const press = (/** @type {string} */ type) => () => {
    if (type === "renew") row.state = "renewing"; // until the kernel says what became of it
    if (type === "renew") actions.draw();
    actions.send({ type, name: row.name });
  };
  return actsOf(row, state).map(([text, type, main]) => {
    const about = { name: `${type}-${row.name}`, "aria-label": `${text} ${row.name}` };
    const off = type === "renew" && state === "renewing";
    return button(text, press(type), main, { ...about, disabled: off });
  });
}

/** @param {Page} page @param {LoginState} row @param {Actions} actions */
function cardOf(page, row, actions) {
  const { state } = looksNow(page, row);
  const about = { role: "group", "aria-label": `Login ${row.name}` };
  const it = make("div", { class: "box card", ...about, "data-name": row.name });
  it.dataset.state = state;
  const who = make("div", { class: "who" }, make("b", {}, row.title));
  const as = row.who || row.method.replace(/^\w/, (letter) => letter.toLowerCase());
  who.append(make("span", {}, ` · ${as}`), ...(row.sandbox ? [sandboxMark()] : []));
  who.append(make("br"), make("span", { class: "host" }, hostOf(row)));
  it.append(make("span", { class: "dot", "aria-hidden": "true" }), who, leftBox(row, state));
  it.append(make("div", { class: "acts" }, ...actButtons(row, state, actions)));
  it.append(factsOf(row, actions));
  for (const text of [row.note, row.error]) if (text) it.append(make("p", { class: "why" }, text));
  return it;
}

/** What else there is to know of a login, behind one click. @param {LoginState} row @param {Actions} actions */
function factsOf(row, actions) {
  const facts = [
    ["Signed in as", row.who],
    ["Address", row.sandbox ? "" : row.address],
    ["How", row.method],
    ["Login", row.name],
    ["Credentials", row.source],
    ["Next time", row.kept],
  ];
  const list = make("dl");
  for (const [name, value] of facts)
    if (value) list.append(make("dt", {}, name), make("dd", {}, value));
  list.append(make("dt", {}, "In a cell"), make("dd", {}, make("code", {}, row.code), " "));
  list.lastElementChild?.append(copyButton(row, actions));
  const about = { class: "facts", "data-key": `facts-${row.name}` };
  return make("details", about, make("summary", { title: "Details" }, unseen("Details")), list);
}

/** @param {LoginState} row @param {Actions} actions */
function copyButton(row, actions) {
  const byHand = () => actions.say(`Copy this: ${row.code}`);
  const copy = button("Copy code", () => {
    const copying = navigator.clipboard?.writeText(row.code);
    const done = () => {
      copy.textContent = "Copied";
      actions.say("Copied.");
    };
    if (copying) copying.then(done, byHand);
    else byHand();
  });
  copy.setAttribute("name", `copy-${row.name}`);
  return copy;
}

/** @param {Page} page @param {StatusState} state @param {Actions} actions */
function tableOf(page, state, actions) {
  if (state.snapshot || !state.rows.length) return lineOf(state.snapshot || state.empty);
  const caption = make("caption", {}, state.title, make("span", {}, " · now"));
  const columns = ["Login", "Signed in as", "Time left"];
  const heads = columns.map((name) => make("th", { scope: "col" }, name));
  heads.push(make("th", { scope: "col" }, unseen("Actions")));
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)));
  table.append(make("tbody", {}, ...state.rows.map((row) => rowOf(page, row, actions))));
  const it = make("div", {}, make("div", { class: "box" }, table));
  if (state.note) it.append(make("p", { class: "soft note" }, state.note));
  return it;
}

/** @param {Page} page @param {LoginState} row @param {Actions} actions */
function rowOf(page, row, actions) {
  const { state } = looksNow(page, row);
  const name = make("th", { scope: "row" }, make("span", { class: "dot", "aria-hidden": "true" }));
  name.append(row.name);
  const who = make("td", {}, `${row.who || row.title} · ${hostOf(row)}`);
  if (row.sandbox) who.append(sandboxMark());
  const from = make("span", { class: "from" }, row.source && `, ${row.source}`);
  who.append(make("small", { title: row.story }, row.method, from));
  for (const text of [row.note, row.error])
    if (text) who.append(make("small", { class: "why" }, text));
  const acts = make("td", {}, ...actButtons(row, state, actions));
  const it = make("tr", { "data-name": row.name }, name, who, make("td", {}, leftBox(row, state)));
  it.dataset.state = state;
  it.append(acts);
  return it;
}

// Drawing.

/** What a state shows. @param {Page} page @param {State} state @param {Actions} actions */
export function partOf(page, state, actions) {
  if (page.lost) return lineOf(page.past);
  if (state.view === "status") return tableOf(page, state, actions);
  if (state.line && !state.form && !state.attempt) {
    const again = () => actions.send({ type: "again" });
    return lineOf(state.line, button("Sign in again", again, false, { name: "again" }));
  }
  if (state.attempt)
    return escapable(attemptOf(page, state, state.attempt, actions), state, actions);
  if (state.form) return escapable(formOf(page, state, state.form, actions), state, actions);
  return state.login ? cardOf(page, state.login, actions) : "";
}

/** @param {Page} page @param {Actions} actions */
function draw(page, actions) {
  const { state, body, root } = page;
  if (!state) return;
  const panel = state.view === "login" ? state : null;
  const attempt = panel?.attempt ?? null;
  if (attempt && !attempt.busy && !page.lost) prove(page, attempt, actions);
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const caret = focused instanceof HTMLInputElement ? focused.selectionStart : null;
  const half = panel?.busy ? {} : halfTyped(body);
  const open = openDetails(body);
  root.classList.toggle("wide", state.view === "status");
  body.replaceChildren(partOf(page, state, actions));
  if (panel?.note) body.append(make("p", { class: "soft note" }, panel.note));
  body.querySelectorAll("input").forEach((box) => half[box.name] && (box.value = half[box.name]));
  body.querySelectorAll("details").forEach((each) => {
    each.open ||= open.includes(each.dataset.key);
  });
  const answered = page.pending && !panel?.busy && !attempt?.busy;
  if (answered) page.pending = false;
  refocus(body, focused, caret, answered);
  if (!page.answered) switchOff(body);
  if (attempt && !page.lost) askForCode(page, attempt, actions);
  tick(page, actions);
}

/** Nothing can be pressed until the kernel answers. @param {HTMLElement} body */
function switchOff(body) {
  body.querySelectorAll("button, input, select").forEach((one) => one.setAttribute("disabled", ""));
  body.querySelectorAll("a").forEach((one) => one.removeAttribute("href"));
}

/** The keys of what was unfolded. @param {HTMLElement} body */
function openDetails(body) {
  return Array.from(body.querySelectorAll("details"))
    .filter((each) => each.open)
    .map((each) => each.dataset.key);
}

/**
 * What is half typed and kept by the page alone stays, while another login redraws the panel.
 * @param {HTMLElement} body
 */
function halfTyped(body) {
  /** @type {Record<string, string>} */ const half = {};
  body.querySelectorAll("input").forEach((box) => {
    if (box.matches("[data-secret]") || box.name === "answer") half[box.name] = box.value;
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
  const name = CSS.escape(focused?.getAttribute("name") ?? "");
  const same = name ? (find(`[name="${name}"]:checked`) ?? find(`[name="${name}"]`)) : null;
  const summary = focused?.closest("details")?.dataset.key;
  const first = find("button:not(:disabled)");
  const again = same ?? (summary ? find(`[data-key="${CSS.escape(summary)}"] summary`) : null);
  if (answered && (focused || document.activeElement === document.body))
    (find("[aria-invalid='true']") ?? again ?? first)?.focus();
  else if (focused) (again ?? first)?.focus();
  if (same instanceof HTMLInputElement && document.activeElement === same && caret !== null)
    same.setSelectionRange(caret, caret);
}

// Time.

/**
 * Counts on in the page: no message, also while the kernel computes or the laptop slept.
 * @param {Page} page @param {Actions} actions
 */
function tick(page, actions) {
  const { state } = page;
  if (!state || page.lost) return;
  const rows = state.view === "status" ? state.rows : state.login ? [state.login] : [];
  // What a login offers changes with its state: a login that has moved on is drawn again.
  if (!rows.map((row) => countDown(page, row)).every(Boolean)) return draw(page, actions);
  if (state.view !== "login") return;
  const waiting = page.body.querySelector(".wait");
  const left = (state.wait ?? 0) - (Date.now() - page.received) / 1000;
  waiting?.toggleAttribute("hidden", left <= 0);
  const time = waiting?.querySelector(".waiting");
  if (time) time.textContent = inWords(left);
  if (!state.login || state.form || state.attempt) return;
  const { state: now } = looksNow(page, state.login);
  if (now === page.phase || !page.answered) return;
  const text = moved(state.login, now);
  if (text) actions.say(text);
  page.phase = now;
}

/**
 * Show the time that a login has left now; gives whether it is still drawn as it stands.
 * @param {Page} page @param {LoginState} row
 */
function countDown(page, row) {
  /** @type {HTMLElement | null} */
  const box = page.body.querySelector(`[data-name="${CSS.escape(row.name)}"]`);
  const time = box?.querySelector(".time");
  if (!box || !time) return true;
  const { state, text, share } = looksNow(page, row);
  if (time.textContent !== text) time.textContent = text;
  /** @type {HTMLElement | null} */ const bar = box.querySelector(".bar > i");
  if (bar) bar.style.width = `${100 * (share ?? 0)}%`;
  return box.dataset.state === state;
}

// The page and the kernel.

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
    page.body.replaceChildren(lineOf(page.past));
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
    page.body.replaceChildren(lineOf(busy ? text : page.past));
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
  const shape = (/** @type {any} */ each) => JSON.stringify({ ...each, wait: each?.wait !== null });
  if (mine && shape(state) === shape(before)) {
    Object.assign(page, { state, received: Date.now() });
    return tick(page, actions);
  }
  const text = announcement(state, before, page, page.live.textContent ?? "");
  page.state = state;
  page.received = Date.now();
  page.lost = false;
  page.answered = true;
  if (form && (before?.view !== "login" || !before.form)) page.remember = form.remember;
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
  const root = make("div", { class: "labauth", "data-lm-suppress-shortcuts": "true" });
  const live = make("div", { role: "status", "aria-live": "polite", class: "vh" });
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
  const said = { pending: false, phase: "" };
  return { id, root, body, live, ...kernel, ...form, ...attempt, ...said };
}

/** Whether this is a page of JupyterLab that was opened before our extension was installed. */
function isOlder() {
  const opened = /** @type {any} */ (globalThis)._JUPYTERLAB; // with these extensions
  return !!opened && !opened["labauth-nb"];
}

/**
 * Show a panel in `el`; gives what ends that.
 * @param {HTMLElement} el @param {Port} port @param {string} reload what to say on an older page
 */
export function attach(el, port, reload = "") {
  const page = pageIn(el);
  if (reload && isOlder()) page.root.append(soft(reload));
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
    if (it ? isDead(it) : had) {
      held = []; // it may hold what was typed
      return "gone";
    }
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
