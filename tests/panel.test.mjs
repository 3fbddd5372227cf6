// The pure parts of the panel's page side. Run by: node --test tests/panel.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// A notebook loads panel.js as a module from text; so does this.
const text = readFileSync(new URL("../labauth_nb/notebook/panel.js", import.meta.url), "utf8");
const { inWords, phase } = await import(`data:text/javascript,${encodeURIComponent(text)}`);

test("a time left is told in the two largest units, rounded up, and never as 0", () => {
  const told = [
    [0, "expired"],
    [-5, "expired"],
    [0.2, "1 s"],
    [1, "1 s"],
    [59.1, "1 min 00 s"],
    [60, "1 min 00 s"],
    [845, "14 min 05 s"],
    [3599.5, "1 h 00 min"],
    [3600, "1 h 00 min"],
    [64800, "18 h 00 min"],
    [86400, "1 d 0 h"],
    [2592000, "30 d 0 h"],
    [90061, "1 d 1 h"],
  ];
  for (const [seconds, words] of told) assert.equal(inWords(seconds), words, String(seconds));
});

test("a login is expiring in its last minute, or its last tenth where that is shorter", () => {
  assert.equal(phase(61, 900), "valid");
  assert.equal(phase(60, 900), "expiring");
  assert.equal(phase(0.4, 3), "valid");
  assert.equal(phase(0.3, 3), "expiring");
  assert.equal(phase(50, null), "expiring");
  assert.equal(phase(61, null), "valid");
  assert.equal(phase(0, 900), "expired");
  assert.equal(phase(-1, null), "expired");
});
