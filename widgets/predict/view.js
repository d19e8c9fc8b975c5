import { html } from "../kit/dom.js";
import { frame } from "../kit/frame.js";

/**
 * What stands under the choices; every second part is the one that matters.
 * @param {{choices: string[], answer: ?number, why: string}} data @param {number} [choice] @returns {string[]}
 */
export function verdict({ choices, answer, why }, choice) {
  if (choice === undefined) return ["Choose one before you read on."];
  if (answer === null) return ["Noted: ", choices[choice], ". Run the next cell."];
  return [`You said ${choices[choice]}. It is `, choices[answer], `. ${why}`.trimEnd()];
}

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { root, tell, dispose } = frame(el, data.question);
    const buttons = data.choices.map((text, choice) => html("button", {
      type: "button",
      onclick() {
        if (model.get("reader").choice !== undefined) return;
        model.set("reader", { choice });
        model.save_changes();
      },
    }, text));
    root.classList.add("al-predict");
    root.querySelector(".al-header").after(
      html("div", { class: "al-choices", role: "group", "aria-label": "your prediction" }, ...buttons));

    function draw() {
      const { choice } = model.get("reader");
      const open = choice === undefined;
      buttons.forEach((button, i) => {
        // A choice made stays made. Not `disabled`, which would take the keyboard's place away.
        button.setAttribute("aria-disabled", String(!open));
        button.setAttribute("aria-pressed", String(i === choice));
        button.classList.toggle("al-measured", !open && i === data.answer);
      });
      tell(verdict(data, choice));
    }
    model.on("change:reader", draw);
    draw();
    return () => { model.off("change:reader", draw); dispose(); };
  },
};
