// @ts-check
// The page's side of the panels: plain ESM, no build step. It shows the state that the kernel sends and counts down by
// itself. A secret leaves a field once, in the message that submits it, and is kept nowhere.

/** @typedef {{name: string, label: string, hint: string, secret: boolean, optional: boolean, value: string, supplied: string, locked: boolean}} Field */
/** @typedef {{field: string, address: string, by: string}} Where */
/** @typedef {{name: string, label: string, hint: string, note: string, browser: boolean, keeps: string[], fields: Field[], where: Where[], doubts: {address: string, field: string, why: string}[]}} Method */
/** @typedef {{methods: Method[], method: string, sandbox: boolean, remember: string, store: string, unavailable: string, refused: string[]}} Form */
/** @typedef {{where: Where[], url: string, note: string, here: boolean, proof: string, offers: boolean, link: string, code: string, busy: boolean, confirm: string, question: number, error: string}} Attempt */
/** @typedef {{name: string, title: string, tenant: string, address: string, sandbox: boolean, who: string, method: string, status: string, left: number | null, life: number | null, words: string, renewable: boolean, source: string, story: string, note: string, error: string, code: string, kept: string}} Row */
/** @typedef {{view: string, title?: string, login?: Row | null, form?: Form | null, attempt?: Attempt | null, busy?: boolean, error?: string, field?: string, note?: string, rows?: Row[], empty?: string}} State */
/** @typedef {{get(name: string): any, send(message: object): void, on(name: string, callback: (...args: any[]) => void): void, off(name: string, callback: (...args: any[]) => void): void, widget_manager?: any}} Model */

const HELLO_MS = 400;
const HELLOS = 50;
const SILENT = 15;
const PROOF_MS = 1500;
const RESOLVE_MS = 150;

/** "14 min 05 s" from seconds; "expired" at 0. @param {number} seconds */
export function inWords(seconds) {
  if (seconds <= 0) return "expired";
  const whole = Math.ceil(seconds);
  const days = Math.floor(whole / 86400),
    hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60),
    rest = whole % 60;
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${two(minutes)} min`;
  return minutes ? `${minutes} min ${two(rest)} s` : `${rest} s`;
}

/** "valid", "expiring" (under 10 % of the life or 60 s, whichever is less) or "expired". @param {number} left @param {number | null} life */
export function phase(left, life) {
  if (left <= 0) return "expired";
  return left <= Math.min(60, (life ?? 600) * 0.1) ? "expiring" : "valid";
}

/** An element with attributes (on...: a listener) and children; text is always text. @param {string} tag @param {Record<string, any>} attributes @param {(Node | string)[]} children */
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

let count = 0;

/** @param {{model: Model, el: HTMLElement}} view */
function render({ model, el }) {
  const id = `labauth-${++count}-${Math.random().toString(36).slice(2, 8)}`;
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

  /** @type {State | null} */ let state = null;
  let received = 0,
    hellos = 0,
    lost = false,
    had = false,
    pending = false,
    method = "",
    shown = "",
    way = "",
    proving = "",
    remember = "";
  /** @type {Record<string, string>} what was typed and is no secret */
  const typed = {};
  /** @type {{number: number, tenant: string, address: string, error: string} | null} what the kernel said of the tenant that was typed */
  let resolved = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ let asking;
  let looked = 0;

  const send = (/** @type {object} */ message) => {
    try {
      model.send(message);
    } catch {
      // The kernel is gone: the tick below says so.
    }
  };
  const say = (/** @type {string} */ text) => {
    if (live.textContent !== text) live.textContent = text;
  };
  const gone = () => {
    const kernel = model.widget_manager?.kernel;
    if (!kernel) return had;
    had = true;
    return (
      kernel.isDisposed ||
      ["dead", "terminating", "restarting", "autorestarting"].includes(kernel.status) ||
      kernel.connectionStatus === "disconnected"
    );
  };
  const left = (/** @type {Row} */ row) =>
    row.left === null ? null : Math.max(row.left - (Date.now() - received) / 1000, 0);

  const button = (/** @type {string} */ text, /** @type {() => void} */ click, main = false) =>
    make("button", { type: "button", class: main ? "main" : "", onclick: click }, text);
  const heading = (/** @type {string} */ text, /** @type {boolean} */ sandbox) => {
    const it = make("h3", {}, text);
    if (sandbox) it.append(make("span", { class: "mark" }, "SANDBOX"));
    return it;
  };

  function hello() {
    if (state || hellos >= HELLOS) return;
    setTimeout(hello, HELLO_MS);
    const busy = model.widget_manager?.kernel?.status === "busy";
    // A kernel that has just become free gets the time of two hellos to answer those that it was sent.
    if (hellos >= SILENT && (busy || hellos > SILENT + 1)) {
      const text = busy
        ? "The kernel is busy: if it asks below this cell, answer there. The panel appears when the kernel is free."
        : "Not connected: run this cell to see the panel.";
      body.replaceChildren(heading(model.get("provider") || "Logins", false), make("p", {}, text));
    }
    // A kernel that computes answers later; more hellos would only pile up.
    if (hellos >= SILENT && busy) return;
    hellos += 1;
    send({ type: "hello" });
  }

  /** @param {Field} field @param {string} error @param {string} filled what a password manager may fill in */
  function input(field, error, filled) {
    const key = `${id}-${field.name}`;
    if (field.locked) {
      const value = field.value ? [make("span", { class: "value" }, field.value), " "] : [];
      return make(
        "div",
        { class: "row" },
        make("span", { class: "label" }, field.label),
        ...value,
        make("span", { class: "soft" }, `from ${field.supplied}`),
      );
    }
    const about = [make("span", { class: "hint", id: `${key}-hint` }, field.hint)];
    const box = /** @type {HTMLInputElement} */ (
      make("input", {
        id: key,
        name: field.name,
        type: field.secret ? "password" : "text",
        autocomplete: filled,
        autocapitalize: "none",
        spellcheck: "false",
        placeholder: field.supplied ? `leave empty: from ${field.supplied}` : "",
        "aria-invalid": error ? "true" : null,
        "aria-describedby": `${key}-hint${error ? ` ${id}-error` : ""}`,
      })
    );
    if (!field.secret) {
      box.value = typed[field.name] ?? field.value;
      box.addEventListener("input", () => (typed[field.name] = box.value));
    }
    const row = make(
      "div",
      { class: "row" },
      make("label", { for: key }, field.label + (field.optional ? " (optional)" : "")),
      box,
    );
    if (field.name === "tenant") {
      about.push(make("span", { class: "soft address" }));
      box.addEventListener("input", () => {
        clearTimeout(asking);
        // An empty box stands for what was found.
        resolved = box.value.trim()
          ? { number: ++looked, tenant: box.value, address: "", error: "" }
          : null;
        if (!resolved) return goes();
        asking = setTimeout(
          () => send({ type: "resolve", tenant: box.value, number: resolved?.number }),
          RESOLVE_MS,
        );
        goes();
      });
    }
    row.append(...about);
    if (error) row.append(make("p", { class: "error", role: "alert", id: `${id}-error` }, error));
    return row;
  }

  /** The page follows what is typed: the kernel says which address it stands for, the page resolves nothing. */
  function goes() {
    const box = body.querySelector(".address"),
      places = body.querySelector(".places");
    if (box) box.textContent = resolved?.error ?? "";
    const chosen = state?.form?.methods.find(
      (each) => each.name === (method || state?.form?.method),
    );
    if (!chosen) return;
    places?.replaceChildren(...placesOf(chosen.where, chosen.doubts));
    const main = body.querySelector("button[type='submit']"),
      no = body.querySelector("button[name='no']");
    if (main) main.textContent = goOf(chosen);
    no?.toggleAttribute("hidden", !asks(chosen));
  }

  /** Whether the form asks for a yes. @param {Method} chosen */
  const asks = (chosen) => chosen.doubts.some((doubt) => doubt.field !== "tenant" || !resolved);
  /** What its button says. @param {Method} chosen */
  const goOf = (chosen) =>
    asks(chosen) ? "Yes, sign in there" : chosen.browser ? "Sign in with the browser" : "Sign in";

  /** Where a sign-in goes: in large where a file of a cloned folder says so. @param {Where[]} where @param {Method["doubts"]} doubts */
  function placesOf(where, doubts) {
    const typed = (/** @type {{field: string}} */ each) => !!resolved && each.field === "tenant";
    const large = (/** @type {string} */ address, /** @type {string} */ why) =>
      make(
        "div",
        { class: "doubt", role: "alert" },
        make("p", { class: "large" }, address),
        make("p", {}, `${why} Continue only if you recognize it.`),
      );
    const plain = where.filter(
      (each) => !typed(each) && !doubts.some((doubt) => doubt.address === each.address),
    );
    const told = plain.map(({ address, by }) =>
      by
        ? large(address, `Only ${by} names this address.`)
        : make("p", { class: "where" }, address),
    );
    if (resolved) told.unshift(make("p", { class: "where" }, resolved.address));
    return [
      ...told,
      ...doubts.filter((doubt) => !typed(doubt)).map((doubt) => large(doubt.address, doubt.why)),
    ];
  }

  /** @param {Form} form */
  function formOf(form) {
    const chosen =
      form.methods.find((each) => each.name === (method || form.method)) ?? form.methods[0];
    const error = state?.error ?? "",
      near = chosen.fields.some((field) => field.name === state?.field && !field.locked)
        ? state?.field
        : "";
    const it = /** @type {HTMLFormElement} */ (
      make("form", {
        autocomplete: "on",
        novalidate: true,
        "aria-label": `Sign in to ${state?.title}`,
      })
    );
    const places = make("div", { class: "places" }, ...placesOf(chosen.where, chosen.doubts));
    it.append(heading(`Sign in to ${state?.title}`, form.sandbox), places);
    for (const text of form.refused) it.append(make("p", { class: "soft" }, text));
    if (error && !near)
      it.append(make("p", { class: "error", role: "alert", id: `${id}-error` }, error));
    if (form.methods.length > 1) {
      const select = /** @type {HTMLSelectElement} */ (
        make("select", { id: `${id}-method`, name: "method", "aria-describedby": `${id}-how` })
      );
      for (const each of form.methods)
        select.append(make("option", { value: each.name, selected: each === chosen }, each.label));
      select.addEventListener("change", () => {
        method = select.value;
        if (state) state.error = "";
        draw();
        document.getElementById(`${id}-method`)?.focus();
      });
      it.append(
        make(
          "div",
          { class: "row" },
          make("label", { for: `${id}-method` }, "How"),
          select,
          make("span", { class: "hint", id: `${id}-how` }, chosen.hint),
        ),
      );
    }
    const user = chosen.fields.find(
      (field) => !field.secret && !field.optional && field.name !== "tenant",
    );
    for (const field of chosen.fields) {
      const filled =
        field.name === "otp"
          ? "one-time-code"
          : field.secret
            ? "current-password"
            : field === user
              ? "username"
              : "off";
      it.append(input(field, field.name === near ? error : "", filled));
    }
    if (chosen.keeps.length) it.append(keeping(form, chosen));
    if (chosen.note) it.append(make("p", { class: "soft" }, chosen.note));
    it.append(
      make(
        "button",
        { type: "submit", class: "main", disabled: state?.busy },
        state?.busy ? "Signing in…" : goOf(chosen),
      ),
    );
    const no = button("No", () => send({ type: "decline" }));
    no.setAttribute("name", "no");
    no.toggleAttribute("hidden", !asks(chosen));
    it.append(no);
    it.addEventListener("submit", (event) => {
      event.preventDefault();
      /** @type {Record<string, string>} */ const fields = {};
      for (const field of chosen.fields) {
        const box = /** @type {HTMLInputElement | null} */ (
          it.querySelector(`input[name="${field.name}"]`)
        );
        if (!box) continue;
        fields[field.name] = box.value;
        if (field.secret) box.value = "";
      }
      method = chosen.name;
      way = "";
      send({
        type: "submit",
        method: chosen.name,
        fields,
        remember: chosen.keeps.includes(remember) ? remember : "",
      });
      pending = true;
      if (state) {
        state.busy = true;
        state.error = state.note = "";
        draw();
      }
      say("Signing in…");
    });
    return it;
  }

  /** What is kept for the next kernel: a box, and a choice where there is one. @param {Form} form @param {Method} chosen */
  function keeping(form, chosen) {
    const key = `${id}-remember`,
      words = /** @type {Record<string, string>} */ ({
        credentials: "what I typed",
        "refresh-token": "the refresh token only",
      });
    const it = make("div", { class: "row" });
    const box = /** @type {HTMLInputElement} */ (
      make("input", {
        type: "checkbox",
        id: key,
        name: "remember",
        "aria-describedby": `${key}-hint`,
        disabled: !!form.unavailable,
      })
    );
    const wanted = chosen.keeps.includes(remember) ? remember : remember ? chosen.keeps[0] : "";
    box.checked = !!wanted && !form.unavailable;
    remember = wanted;
    it.append(make("label", { for: key, class: "check" }, box, " Remember me on this computer"));
    const about =
      form.unavailable ||
      `In the ${form.store}: the next kernel signs in without asking. Log out forgets it.`;
    it.append(make("span", { class: "hint", id: `${key}-hint` }, about));
    /** @type {HTMLSelectElement | null} */ let select = null;
    if (chosen.keeps.length > 1) {
      select = /** @type {HTMLSelectElement} */ (
        make("select", {
          id: `${key}-what`,
          name: "what",
          "aria-label": "What is remembered",
          hidden: !box.checked,
        })
      );
      for (const each of chosen.keeps)
        select.append(
          make("option", { value: each, selected: each === remember }, `Keep ${words[each]}`),
        );
      select.addEventListener("change", () => (remember = select?.value ?? ""));
      it.append(select);
    }
    box.addEventListener("change", () => {
      remember = box.checked ? select?.value || chosen.keeps[0] : "";
      if (select) select.hidden = !box.checked;
    });
    return it;
  }

  const local = () => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);

  /** The browser sign-in under way: three ways home, the best one first. @param {Attempt} attempt */
  function attemptOf(attempt) {
    const it = make("div", { class: "attempt" });
    it.append(heading(`Sign in to ${state?.title}`, !!state?.form?.sandbox));
    const page = () =>
      make(
        "a",
        {
          class: "button main",
          href: attempt.url,
          target: "_blank",
          rel: "noopener noreferrer",
          referrerpolicy: "no-referrer",
        },
        "Open the sign-in page",
      );
    const cancel = button("Cancel", () => send({ type: "cancel" }));
    it.append(...placesOf(attempt.where, []));
    if (attempt.confirm) {
      it.append(make("p", { class: "error", role: "alert" }, attempt.confirm));
      it.append(
        button(
          "Yes, I have just signed in there",
          () => send({ type: "confirm", yes: true, question: attempt.question }),
          true,
        ),
        button("No", () => send({ type: "confirm", yes: false, question: attempt.question })),
        cancel,
      );
      return it;
    }
    if (attempt.busy) {
      it.append(make("p", {}, "The answer has come; signing in…"), cancel);
      return it;
    }
    // Only a page of this computer may ask it: from elsewhere the browser would ask the person for permission.
    if (attempt.proof && attempt.proof !== proving && local()) {
      proving = attempt.proof;
      fetch(attempt.proof, {
        mode: "no-cors",
        cache: "no-store",
        credentials: "omit",
        referrerPolicy: "no-referrer",
      }).catch(() => {});
      setTimeout(draw, PROOF_MS);
      unproven = Date.now() + PROOF_MS - 50;
    }
    const maybe =
      attempt.here || (attempt.proof && proving === attempt.proof && Date.now() < unproven);
    const chosen = way || (maybe ? "here" : attempt.offers ? "device" : "paste");
    const ways = [
      ...(attempt.proof ? [["here", "In this browser"]] : []),
      ["paste", "Paste the address"],
      ...(attempt.offers ? [["device", "With a code"]] : []),
    ];
    const tabs = make("div", {
      class: "ways",
      role: "group",
      "aria-label": "How the answer comes back",
    });
    for (const [name, label] of ways) {
      const tab = button(label, () => {
        way = name;
        draw();
        /** @type {HTMLElement | null} */ (body.querySelector(`[name="way-${name}"]`))?.focus();
      });
      tab.setAttribute("aria-pressed", String(name === chosen));
      tab.setAttribute("name", `way-${name}`);
      tabs.append(tab);
    }
    if (ways.length > 1) it.append(tabs);
    if (attempt.note) it.append(make("p", { class: "soft" }, attempt.note));
    const problem = attempt.error
      ? [make("p", { class: "error", role: "alert", id: `${id}-error` }, attempt.error)]
      : [];
    if (chosen !== "paste") it.append(...problem);
    if (chosen === "here") {
      it.append(
        make(
          "p",
          {},
          "Sign in on the page that opens. Then come back: this panel goes on by itself.",
        ),
        page(),
      );
    } else if (chosen === "device") {
      if (!attempt.code && asked === attempt.url && attempt.error) {
        it.append(button("Ask for a code again", () => send({ type: "device" }), true));
      } else if (!attempt.code) {
        if (asked !== attempt.url) send({ type: "device" });
        asked = attempt.url;
        it.append(make("p", {}, "Asking for a code…"));
      } else {
        it.append(
          make(
            "p",
            {},
            "Open the page below in any browser, also on another device. Sign in there, and check that it shows this code, or type it. The panel then goes on by itself.",
          ),
        );
        it.append(make("p", { class: "code", "aria-label": "Code" }, attempt.code));
        it.append(
          make(
            "a",
            {
              class: "button main",
              href: attempt.link,
              target: "_blank",
              rel: "noopener noreferrer",
              referrerpolicy: "no-referrer",
            },
            "Open the page for the code",
          ),
        );
        it.append(make("p", { class: "soft" }, attempt.link.split("?")[0]));
      }
    } else {
      const paste = /** @type {HTMLFormElement} */ (
        make("form", { novalidate: true, "aria-label": "Paste the answer" })
      );
      const box = /** @type {HTMLInputElement} */ (
        make("input", {
          id: `${id}-answer`,
          name: "answer",
          type: "text",
          autocomplete: "off",
          autocapitalize: "none",
          spellcheck: "false",
          "aria-describedby": `${id}-paste${attempt.error ? ` ${id}-error` : ""}`,
          "aria-invalid": attempt.error ? "true" : null,
        })
      );
      paste.append(
        make(
          "div",
          { class: "row" },
          make("label", { for: `${id}-answer` }, "Address that the browser landed on"),
          box,
          make(
            "span",
            { class: "hint", id: `${id}-paste` },
            "After the sign-in the browser goes to a page that it may not be able to open, or that shows a code: copy the whole address (or the code) and paste it here.",
          ),
          ...problem,
        ),
      );
      paste.append(make("button", { type: "submit", class: "main" }, "Use it"), cancel);
      paste.addEventListener("submit", (event) => {
        event.preventDefault();
        send({ type: "answer", text: box.value });
        box.value = "";
        pending = true;
      });
      it.append(page(), paste);
    }
    if (chosen !== "paste") it.append(cancel);
    return it;
  }
  let unproven = 0,
    asked = "";

  /** @param {Row} row */
  function cardOf(row) {
    const it = make("div", { class: "card", "data-name": row.name });
    it.append(heading(`Signed in to ${row.title}`, row.sandbox));
    const list = make("dl");
    const facts = [
      ["Address", row.address],
      ["Who am I", row.who],
      ["Method", row.method],
      ["Login", row.name],
      ["Credentials from", row.source],
      ["For next time", row.kept],
    ];
    for (const [name, value] of facts)
      if (value) list.append(make("dt", {}, name), make("dd", {}, value));
    it.append(list, make("p", {}, "Time left: ", make("span", { class: "time" })));
    if (row.life !== null)
      it.append(make("div", { class: "bar", "aria-hidden": "true" }, make("div")));
    for (const text of [row.note, row.error])
      if (text) it.append(make("p", { class: "error" }, text));
    if (row.renewable) it.append(button("Renew", () => send({ type: "renew", name: row.name })));
    if (row.error)
      it.append(button("Sign in again", () => send({ type: "again", name: row.name })));
    it.append(button("Log out", () => send({ type: "logout", name: row.name })));
    const copy = button("Copy code", () => {
      navigator.clipboard?.writeText(row.code).then(
        () => say("Copied."),
        () => say(`Copy this: ${row.code}`),
      ) ?? say(`Copy this: ${row.code}`);
    });
    copy.title = row.code;
    it.append(copy);
    return it;
  }

  function tableOf(/** @type {Row[]} */ rows) {
    if (!rows.length) return make("p", {}, state?.empty ?? "");
    const names = [
      "Login",
      "Provider",
      "Tenant",
      "Who am I",
      "Method",
      "Time left",
      "Credentials from",
      "Last error",
      "Do",
    ];
    const table = make(
      "table",
      {},
      make("caption", { class: "soft" }, "All logins of this kernel"),
      make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))),
    );
    const lines = rows.map((row) => {
      const acts = make("td", {});
      if (row.renewable)
        acts.append(button("Renew", () => send({ type: "renew", name: row.name })));
      acts.append(button("Log out", () => send({ type: "logout", name: row.name })));
      acts
        .querySelectorAll("button")
        .forEach((one) => one.setAttribute("aria-label", `${one.textContent} ${row.name}`));
      const tenant = make(
        "td",
        {},
        row.sandbox ? make("span", { class: "mark" }, "SANDBOX") : row.tenant,
      );
      const cells = [
        row.title,
        tenant,
        row.who || "not told",
        row.method,
        make("td", {}, make("span", { class: "time" })),
        make("td", { title: row.story }, row.source),
        make("td", {}, [row.note, row.error].filter(Boolean).join("; ")),
        acts,
      ];
      const line = make(
        "tr",
        { "data-name": row.name },
        make("th", { scope: "row" }, row.name),
        ...cells.map((cell) => (typeof cell === "string" ? make("td", {}, cell) : cell)),
      );
      line
        .querySelectorAll("th, td")
        .forEach((cell, at) => cell.setAttribute("data-label", names[at]));
      return line;
    });
    table.append(make("tbody", {}, ...lines));
    return table;
  }

  function draw() {
    if (!state) return;
    const focused = /** @type {HTMLElement | null} */ (
      root.contains(document.activeElement) ? document.activeElement : null
    );
    const name = focused?.getAttribute("name");
    const caret = focused instanceof HTMLInputElement ? focused.selectionStart : null;
    // What is half typed in a secret field stays in the page while a message of another login redraws the panel.
    /** @type {Record<string, string>} */ const half = {};
    const busy = state.busy;
    body
      .querySelectorAll("input")
      .forEach(
        (box) =>
          (box.type === "password" || box.name === "answer") &&
          !busy &&
          (half[box.name] = box.value),
      );
    root.classList.toggle("wide", state.view === "status");
    const parts = [];
    if (state.view === "status") parts.push(tableOf(state.rows ?? []));
    else {
      if (state.attempt) parts.push(attemptOf(state.attempt));
      else if (state.form) parts.push(formOf(state.form));
      else if (state.login) parts.push(cardOf(state.login));
    }
    body.replaceChildren(...parts);
    body.querySelectorAll("input").forEach((box) => half[box.name] && (box.value = half[box.name]));
    const again = name
      ? /** @type {HTMLElement | null} */ (body.querySelector(`[name="${name}"]`))
      : null;
    const wrong = /** @type {HTMLElement | null} */ (body.querySelector("[aria-invalid='true']"));
    const first = /** @type {HTMLElement | null} */ (body.querySelector("button:not(:disabled)"));
    const answered = pending && !state.busy && !state.attempt?.busy;
    if (answered) pending = false;
    // After the answer to a submit: the wrong field, or the card. Else whatever had the focus keeps it.
    if (answered && (focused || document.activeElement === document.body))
      (wrong ?? again ?? first)?.focus();
    else if (focused) (again ?? first)?.focus();
    if (again instanceof HTMLInputElement && document.activeElement === again && caret !== null)
      again.setSelectionRange(caret, caret);
    if (lost) switched();
    tick();
  }

  const switched = () => {
    body
      .querySelectorAll("button, input, select")
      .forEach((one) => one.setAttribute("disabled", ""));
    body.querySelectorAll("a").forEach((one) => one.removeAttribute("href"));
  };

  /** Counts on in the page: no message, also while the kernel computes or the laptop slept. */
  function tick() {
    if (!state) return;
    if (gone()) {
      if (!lost) {
        lost = true;
        root.classList.add("lost");
        say("The kernel is gone: reconnect the kernel or restart it, then run this cell again.");
        switched();
      }
      hellos = 0;
    } else if (lost && hellos < SILENT) {
      // It is back, but only an answer tells whether it is the same one: a new kernel knows nothing of this panel.
      hellos += 1;
      send({ type: "hello" });
    }
    for (const row of state.view === "status"
      ? (state.rows ?? [])
      : state.login
        ? [state.login]
        : []) {
      const box = /** @type {HTMLElement | null} */ (
        body.querySelector(`[data-name="${CSS.escape(row.name)}"]`)
      );
      const time = box?.querySelector(".time");
      if (!box || !time) continue;
      const seconds = left(row);
      const now =
        row.status === "expired" || (seconds !== null && seconds <= 0)
          ? "expired"
          : seconds === null
            ? "valid"
            : phase(seconds, row.life);
      const text = lost
        ? "unknown: reconnect the kernel"
        : now === "expired"
          ? row.renewable
            ? "expired; renews at the next request"
            : "expired"
          : seconds === null
            ? row.words
            : inWords(seconds);
      if (time.textContent !== text) time.textContent = text;
      box.classList.toggle("expiring", now === "expiring");
      box.classList.toggle("expired", now === "expired");
      const bar = /** @type {HTMLElement | null} */ (box.querySelector(".bar > div"));
      if (bar && seconds !== null && row.life)
        bar.style.width = `${Math.min(100, (100 * seconds) / row.life)}%`;
      const told = `${row.name} ${now}`;
      if (state.view === "login" && told !== shown && !lost) {
        if (now === "expiring") say(`${row.title}: the login expires soon.`);
        if (now === "expired") say(`${row.title}: the login has expired.`);
        shown = told;
      }
      // A pasted token has run out in front of the user's eyes: offer to sign in again, in place. The kernel sends the form.
      if (now === "expired" && !row.renewable && !state.form && state.view === "login" && !lost) {
        state.form = {
          methods: [],
          method: "",
          sandbox: row.sandbox,
          remember: "",
          store: "",
          unavailable: "",
          refused: [],
        };
        send({ type: "again", name: row.name });
        return;
      }
    }
  }

  const heard = (/** @type {any} */ message) => {
    if (message?.type === "resolved" && resolved && message.number === resolved.number) {
      resolved = { ...resolved, address: message.address, error: message.error };
      goes();
    }
    if (message?.type !== "state") return;
    const before = state;
    // A form that stays as it is (another login changed) is not drawn anew under somebody's hands.
    if (!lost && !pending && message.form && JSON.stringify(message) === JSON.stringify(before))
      return;
    const fine = !shown || shown.endsWith(" valid"),
      back = lost;
    state = message;
    received = Date.now();
    lost = false;
    root.classList.remove("lost");
    let text = message.note ?? "";
    if (!before && message.form) remember = message.form.remember;
    const tenant = message.form?.methods[0]?.fields.find(
      (/** @type {Field} */ field) => field.name === "tenant",
    );
    if (tenant && tenant.value === resolved?.tenant.trim()) resolved = null; // from here on the kernel says it
    if (message.login && !message.form) {
      method = "";
      resolved = null;
      const now = message.login.status.startsWith("valid");
      if (!before?.login || before.form) text ||= `Signed in to ${message.title}.`;
      else if (!fine && now) text ||= "Renewed.";
      // Nothing new: what was said stays to be read.
      else if (fine === now && !before.note && !back) text ||= live.textContent ?? "";
    } else if (message.busy) text = "Signing in…";
    say(text);
    draw();
  };
  const wake = () => tick();
  model.on("msg:custom", heard);
  model.on("comm_live_update", wake);
  const timer = setInterval(tick, 1000);
  document.addEventListener("visibilitychange", wake);
  body.append(make("p", { class: "soft" }, "Connecting to the kernel…"));
  hello();
  return () => {
    clearInterval(timer);
    hellos = HELLOS;
    model.off("msg:custom", heard);
    model.off("comm_live_update", wake);
    document.removeEventListener("visibilitychange", wake);
  };
}

export default { render };
