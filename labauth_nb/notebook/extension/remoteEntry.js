// @ts-check
// The JupyterLab and Notebook 7 extension, written by hand: a module federation container with one
// plugin. It draws what the kernel displays as MIME by panel.js, and connects it to the notebook's
// kernel by a comm. In Voila, which has no notebooks, it does nothing.

(() => {
  const MIME = "application/vnd.labauth+json";
  const TARGET = "labauth";
  const FORMAT = 1; // as FORMAT of widget.py
  const OTHER =
    "(To see it live, install the same version of labauth-nb where JupyterLab runs and in the " +
    "kernel, and reload this page.)";
  const RANK = -20; // before the widgets of ipywidgets, at -10
  const SUBSHELL_MS = 3000;
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const here = (/** @type {string} */ name) => new URL(name, script.src).href;
  /** @type {Promise<any> | undefined} */ let code;

  /** panel.js, with its css on the page. @returns {Promise<any>} */
  function panel() {
    if (code) return code;
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet" });
    link.href = here("panel.css");
    document.head.append(link);
    return (code = import(here("panel.js")));
  }

  /**
   * Wait until the kernel can hear us while it computes, where it ever can: a comm that is opened
   * before its subshell exists waits for the end of the running cell. @param {any} comm
   */
  async function subshell(comm, /** @type {any} */ kernel) {
    if (!kernel.supportsSubshells || !comm.subshellStarted) return;
    if (comm.commsOverSubshells === "disabled") return;
    const late = new Promise((go) => setTimeout(go, SUBSHELL_MS));
    await Promise.race([comm.subshellStarted, late]).catch(() => {});
  }

  /**
   * The way to the kernel (`Port` of panel.js) of a panel in a notebook.
   * @param {any} context the notebook's session context
   * @param {any} saved @param {(bundle: any) => void} keep @param {(kernel: any) => boolean} isDead
   */
  function commPort(context, saved, keep, isDead) {
    /** @type {any} */ let comm = null;
    /** @type {any} */ let mine = null;
    let answered = false;
    let ended = false;
    /** @type {object[]} */ let held = [];
    /** @type {(message: any) => void} */ let hear = () => {};

    function kernel() {
      if (!saved.id) return "gone";
      const now = context.session?.kernel;
      if (!now) return context.isReady || mine ? "gone" : "connecting";
      if (ended || (mine && now !== mine) || isDead(now) || comm?.isDisposed) return "gone";
      if (saved.kernel && saved.kernel !== now.id) return "gone";
      if (answered) return "live";
      return now.status === "busy" ? "busy" : "connecting";
    }

    function close() {
      ended = true;
      held = [];
      mine?.statusChanged.disconnect(restarted);
    }

    // A restart keeps the kernel and its id, but not what it knew.
    function restarted(/** @type {any} */ _, /** @type {string} */ status) {
      if (["restarting", "autorestarting", "dead"].includes(status)) close();
    }

    async function open() {
      const now = context.session?.kernel;
      if (mine || !now || kernel() === "gone" || now.connectionStatus !== "connected") return;
      mine = now;
      await now.info;
      comm = now.createComm(TARGET);
      comm.onMsg = (/** @type {any} */ message) => {
        const said = message.content.data.content;
        answered ||= said?.type === "state";
        hear(said);
        if (answered) held.splice(0).forEach(pass);
      };
      comm.onClose = close;
      now.statusChanged.connect(restarted);
      await subshell(comm, now);
      if (!ended && !comm.isDisposed) comm.open({ panel: saved.id });
    }

    function pass(/** @type {object} */ message) {
      try {
        comm.send({ method: "custom", content: message });
      } catch {
        // The kernel is gone: the next tick says so.
      }
    }

    return {
      kernel,
      saved,
      keep,
      send: (/** @type {any} */ message) => {
        if (ended) return;
        if (answered) pass(message);
        else if (message.type === "hello") open().catch(close);
        else held.push(message);
      },
      listen: (/** @type {(message: any) => void} */ listener) => {
        hear = listener;
        return () => {
          hear = () => {};
          close();
          if (comm && !comm.isDisposed && !isDead(mine)) comm.close();
        };
      },
    };
  }

  /** What is past, where somebody has cleared the output's metadata. @param {string} html */
  function sentence(html = "") {
    return new DOMParser().parseFromString(html, "text/html").querySelector("p")?.textContent ?? "";
  }

  /** JSON to compare by: a file has its keys in another order. @param {any} value */
  function flat(value) {
    const sorted = (/** @type {string} */ _, /** @type {any} */ each) =>
      each && typeof each === "object" && !Array.isArray(each)
        ? Object.fromEntries(Object.entries(each).sort())
        : each;
    return JSON.stringify(value, sorted);
  }

  /** A renderer of one output. @param {any} Widget that of Lumino @param {any} context */
  function renderer(Widget, context) {
    const it = new Widget();
    /** @type {any} */ let model = null;
    let id = "";
    let detach = () => {};
    const dispose = it.dispose.bind(it);
    const keep = (/** @type {any} */ { data, metadata }) => {
      if (model && flat([model.data, model.metadata]) !== flat([data, metadata]))
        model.setData({ data, metadata });
    };
    it.renderModel = async (/** @type {any} */ shown) => {
      model = shown;
      const past = sentence(shown.data["text/html"]);
      const known = shown.data[MIME]?.v === FORMAT;
      const saved = known ? (shown.metadata?.labauth ?? { past }) : { past: `${past} ${OTHER}` };
      if (saved.id && saved.id === id) return; // what we have just kept
      detach();
      id = saved.id ?? "";
      const { attach, isDead } = await panel();
      if (it.isDisposed || id !== (saved.id ?? "")) return;
      detach = attach(it.node, commPort(context, saved, keep, isDead));
    };
    it.dispose = () => {
      detach();
      model = null;
      dispose();
    };
    return it;
  }

  /** @param {any} scope what JupyterLab shares @param {string} name */
  async function shared(scope, name) {
    const versions = /** @type {any[]} */ (Object.values(scope[name] ?? {}));
    const version = versions.find((each) => each.loaded) ?? versions[0];
    return version ? (await version.get())() : null;
  }

  /** @param {any} scope */
  async function plugin(scope) {
    const notebooks = await shared(scope, "@jupyterlab/notebook");
    const lumino = await shared(scope, "@lumino/widgets");
    const it = { id: "labauth-nb:panels", autoStart: true, activate: () => {} };
    if (!notebooks?.INotebookTracker || !lumino) return it;
    const activate = (/** @type {any} */ _, /** @type {any} */ tracker) => {
      const add = (/** @type {any} */ notebook) =>
        notebook.content.rendermime.addFactory(
          {
            safe: true, // only text is set, whoever wrote the notebook
            mimeTypes: [MIME],
            createRenderer: () => renderer(lumino.Widget, notebook.sessionContext),
          },
          RANK,
        );
      tracker.forEach(add);
      tracker.widgetAdded.connect((/** @type {any} */ __, /** @type {any} */ one) => add(one));
    };
    return { ...it, requires: [notebooks.INotebookTracker], activate };
  }

  /** @type {any} */ let scope = {};
  /** @type {any} */ (window)._JUPYTERLAB ??= {};
  /** @type {any} */ (window)._JUPYTERLAB["labauth-nb"] = {
    init: (/** @type {any} */ given) => void (scope = given),
    get: async (/** @type {string} */ name) => {
      if (name !== "./extension") throw new Error(`labauth-nb has no module ${name}`);
      const found = await plugin(scope);
      return () => ({ __esModule: true, default: found });
    },
  };
})();
