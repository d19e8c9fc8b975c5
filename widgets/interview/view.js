import { interview } from "./interview.js";
import { practice } from "./practice.js";
import { browserStorage, store } from "./store.js";

export default {
  render({ model, el }) {
    const data = model.get("data");
    const live = model.get("live") === true;
    return (data.mode === "mock" ? interview : practice)(el, data, store(model, live ? null : browserStorage()), live);
  },
};
