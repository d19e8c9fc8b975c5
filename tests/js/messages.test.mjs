import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Messages } from "../../widgets/kit/messages.js";

const { messages, said, wrong } = JSON.parse(readFileSync(new URL("messages.json", import.meta.url)));
const says = new Messages(messages, { loud: (text) => text.toUpperCase() });

test("a message is chosen and filled as in Python", () => {
  for (const [name, facts, parts] of said) {
    assert.deepEqual(says.parts(name, facts), parts, `${name} ${JSON.stringify(facts)}`);
    assert.equal(says.text(name, facts), parts.join(""));
  }
});

test("what is missing is named", () => {
  for (const [name, facts, error] of wrong)
    assert.throws(() => says.text(name, facts), (found) => found.message.includes(error), error);
});
