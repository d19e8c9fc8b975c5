/** Loaded before a test: writes to the file $HEARD which texts of which messages were said in it. */
import { writeFileSync } from "node:fs";

import { Messages } from "../../widgets/kit/messages.js";

const heard = new Set();
const chosen = Messages.prototype.chosen;
Messages.prototype.chosen = function (name, message, facts) {
  const text = chosen.call(this, name, message, facts);
  heard.add(JSON.stringify([name, text]));
  return text;
};
process.on("exit", () => writeFileSync(process.env.HEARD, `[${[...heard].join(",\n")}]`));
