// Run by test_javascript.py: static/js/format.js against the cases that Python is held to.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as format from "../../../static/js/format.js";

const cases = JSON.parse(readFileSync(new URL("../../data/formats.json", import.meta.url), "utf8"));

for (const [name, list] of Object.entries(cases)) {
  for (const { value, args, text } of list) {
    test(`${name} ${value} ${JSON.stringify(args ?? {})}`, () => {
      assert.equal(format[name](value, args), text);
    });
  }
}

test("compare is exact where floats are not", () => {
  assert.equal(format.compare("0.3", "0.30"), 0);
  assert.equal(format.compare("9007199254740993", "9007199254740992"), 1);
  assert.equal(format.compare("-1", "0.5"), -1);
});

test("what is not a number is refused rather than shown as one", () => {
  assert.throws(() => format.signed("NaN"), TypeError);
});
