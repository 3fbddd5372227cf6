// Every state that a panel can be in, as the kernel sends it: panel.test.mjs draws each without a
// browser, test_face.py in one.

const login = {
  name: "benchling",
  title: "Benchling",
  tenant: "acme",
  address: "https://acme.benchling.com",
  sandbox: false,
  who: "ada",
  method: "As an app",
  state: "valid",
  left: 845,
  life: 900,
  margin: 60,
  words: "15 min",
  renewable: true,
  source: "from the environment (BENCHLING_CLIENT_SECRET)",
  story: "client_secret from the environment",
  note: "",
  error: "",
  code: "lab = %labauth session benchling",
  kept: "Remembered in the keyring.",
};
const pasted = {
  ...login,
  name: "pasted",
  title: "Foundry",
  tenant: "acme",
  address: "https://acme.palantirfoundry.com",
  who: "",
  method: "With my token",
  state: "needs",
  left: -1000,
  renewable: false,
  source: "typed here",
  code: "lab = %labauth session pasted",
  kept: "",
};
const qbench = {
  ...login,
  name: "qbench",
  title: "QBench",
  tenant: "sandbox",
  address: "sandbox",
  sandbox: true,
  state: "asleep",
  left: -60,
  source: "the sandbox's own",
  story: "",
  code: "lab = %labauth session qbench",
  kept: "",
};
const dnanexus = {
  ...login,
  name: "dnanexus",
  title: "DNAnexus",
  address: "https://api.dnanexus.com",
  who: "user-ada",
  method: "With my API token",
  left: null,
  life: null,
  margin: null,
  words: "does not expire",
  renewable: false,
  source: "from ~/.dnanexus_config",
  code: "lab = %labauth session dnanexus",
  kept: "",
};

const field = {
  name: "api_key",
  label: "API key",
  hint: "your profile settings, API Key, Generate; it starts with sk_",
  secret: true,
  optional: false,
  value: "",
  supplied: "",
  locked: false,
};
const tenant = {
  ...field,
  name: "tenant",
  label: "Benchling address",
  hint: "the name before .benchling.com in your browser's address bar, such as acme",
  secret: false,
};
const preset = { ...tenant, value: "acme", supplied: "preset by your admin", locked: true };
const client = {
  ...field,
  name: "client_id",
  label: "Client ID",
  hint: "Developer Console, your app, Client ID",
  secret: false,
};
const secret = {
  ...field,
  name: "client_secret",
  label: "Client secret",
  hint: "Developer Console, your app, Generate Client Secret",
};
const scopes = {
  ...client,
  name: "scopes",
  label: "Scopes",
  hint: "what the application may do as you",
  optional: true,
  value: "openid email offline_access",
};
const where = [{ field: "tenant", address: "https://acme.benchling.com", by: "" }];
const key = {
  name: "api-key",
  label: "With my API key",
  hint: "For a quick look: acts as you, and does not expire.",
  note: "",
  page: "https://acme.benchling.com/",
  page_words: "Make a key on acme.benchling.com",
  browser: false,
  keeps: ["credentials"],
  fields: [{ ...tenant, value: "acme" }, field],
  where,
  doubts: [],
};
const browser = {
  ...key,
  name: "oidc",
  label: "As myself, in the browser",
  hint: "Acts as you: you sign in at your lab's identity provider, which Benchling must trust.",
  page: "",
  page_words: "",
  browser: true,
  keeps: ["refresh-token"],
  fields: [{ ...tenant, value: "acme" }, scopes],
};
const app = {
  ...key,
  name: "app",
  label: "As an app",
  hint: "For scripts and integrations: acts as the app, which must have been added to the projects.",
  page_words: "Make an app on acme.benchling.com",
  fields: [{ ...tenant, value: "acme" }, client, secret],
};
const form = {
  methods: [browser, key, app],
  method: "oidc",
  sandbox: false,
  remember: "",
  store: "keyring",
  store_words:
    "Kept in this computer's keyring: the next kernel signs in without asking, until you log out.",
  refused: [],
};
const panel = {
  view: "login",
  title: "Benchling",
  login: null,
  form: null,
  attempt: null,
  line: "",
  busy: false,
  error: "",
  field: "",
  note: "",
  wait: null,
  seal: null,
};
const attempt = {
  where,
  url: "https://id.acme.example/authorize?client_id=mine",
  note: "",
  here: true,
  proof: "http://127.0.0.1:1/proof",
  offers: true,
  link: "",
  code: "",
  busy: false,
  error: "",
};
const table = {
  view: "status",
  title: "Logins in this kernel",
  rows: [pasted, login, qbench, dnanexus],
  note: "",
  empty: "Not signed in anywhere. To sign in, type %labauth login benchling",
  snapshot: "",
};
const asked = { ...panel, form, wait: 298, seal: { id: "1", key: "BA==" } };
const byKey = { ...asked, form: { ...form, method: "api-key" } };
const unknown = { ...key, page: "", page_words: "", where: [], fields: [tenant, field] };
const doubt = {
  field: "tenant",
  address: "https://evil.example",
  why: "Your API key (from the environment) would be sent to https://evil.example. Only your .env in this folder names that address.",
};
const card = (/** @type {object} */ changed) => ({ ...panel, login: { ...login, ...changed } });

/** @type {Record<string, any>} */
export const STATES = {
  "card-valid": card({}),
  "card-expiring": card({ left: 48 }),
  "card-expiring-pasted": { ...panel, login: { ...pasted, state: "expiring", left: 48 } },
  "card-asleep": { ...panel, title: "QBench", login: qbench },
  "card-needs": { ...panel, title: "Foundry", login: pasted },
  "card-refused": card({
    state: "needs",
    left: -90000,
    renewable: false,
    error: "Benchling responded with 401 invalid_client. Check the client ID and secret.",
  }),
  "card-renewing": card({ state: "renewing" }),
  "card-unreachable": card({
    state: "unreachable",
    left: -60,
    error: "Benchling did not respond within 30 s (https://acme.benchling.com).",
  }),
  "card-endless": { ...panel, title: "DNAnexus", login: dnanexus },
  "card-long-names": card({
    who: "adalovelace-from-the-analytical-engines-department@research.example.com",
    address: "https://a-tenant-with-a-very-long-name-indeed-for-a-laboratory.benchling.com",
  }),
  line: { ...panel, line: "Signed out of Benchling at 14:20." },
  "form-browser": asked,
  "form-key": byKey,
  "form-first": { ...asked, form: { ...form, method: "api-key", methods: [unknown] } },
  "form-preset": {
    ...asked,
    form: { ...form, methods: [{ ...browser, fields: [preset, { ...scopes }] }] },
  },
  "form-app-found": {
    ...asked,
    form: {
      ...form,
      method: "app",
      methods: [
        {
          ...app,
          fields: [
            preset,
            {
              ...client,
              value: "mine",
              supplied: "from the environment (BENCHLING_CLIENT_ID)",
              locked: true,
            },
            secret,
          ],
        },
        key,
      ],
    },
  },
  "form-error": {
    ...byKey,
    error: "Benchling responded with 401. Check the API key or token; the user may be suspended.",
    field: "api_key",
  },
  "form-doubt": {
    ...asked,
    form: {
      ...form,
      method: "api-key",
      methods: [
        {
          ...key,
          page: "",
          page_words: "",
          fields: [
            { ...preset, value: "evil.example", supplied: "your .env in this folder" },
            {
              ...field,
              supplied: "from the environment (BENCHLING_API_KEY)",
              locked: true,
            },
          ],
          where: [],
          doubts: [doubt],
        },
        browser,
      ],
    },
  },
  "form-busy": { ...byKey, busy: true },
  "form-file": {
    ...byKey,
    wait: null,
    seal: null,
    form: {
      ...form,
      method: "api-key",
      sandbox: true,
      store: "file",
      store_words:
        "No keyring can be used here. Kept in a file that only you can read, and that is not encrypted: the next kernel signs in without asking, until you log out.",
    },
  },
  "form-keeps-nothing": { ...byKey, form: { ...byKey.form, store: "", store_words: "" } },
  "attempt-here": { ...asked, attempt },
  "attempt-paste": {
    ...asked,
    attempt: {
      ...attempt,
      here: false,
      proof: "",
      offers: false,
      error: "There is no code in that.",
    },
  },
  "attempt-device": {
    ...asked,
    wait: null,
    attempt: {
      ...attempt,
      here: false,
      proof: "",
      code: "WDJB-MJHT",
      link: "https://id.acme.example/device?user_code=WDJB-MJHT",
    },
  },
  "attempt-busy": { ...asked, attempt: { ...attempt, busy: true } },
  table,
  "table-one": { ...table, title: "Login pasted", rows: [{ ...pasted, error: "" }] },
  "table-note": { ...table, rows: [dnanexus], note: "Signed out of QBench (sandbox)." },
  "table-empty": { ...table, rows: [] },
  "table-past": {
    ...table,
    snapshot: "4 logins at 14:05, one needed you: pasted. Run this cell to see them now.",
  },
};
