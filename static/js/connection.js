/** What the page says about its live connection, and the marking of values that are old. */

import { clock, latency } from "./format.js";

const BANNER_AFTER_MS = 3000;

const CHIPS = { connected: "ok", connecting: "off", reconnecting: "wait", refused: "bad" };

function wording(state, zone) {
  const since = clock(state.since, { zone });
  return {
    connected: { word: "Connected", title: `Live connection since ${since}` },
    connecting: { word: "Connecting", title: "The live connection is being made" },
    reconnecting: { word: `Reconnecting since ${since}`, title: `No live connection since ${since}` },
    refused: { word: `Not connected since ${since}`, title: `The server refused the live connection at ${since}` },
  }[state.name];
}

class Connection {
  constructor(live, body) {
    this.live = live;
    this.zone = body.dataset.zone || "UTC";
    this.place = document.getElementById("jt-conn");
    this.banner = document.getElementById("jt-offline");
    this.bannerTimer = null;
    live.onState((state) => this.show(state));
  }

  show(state) {
    this.showChip(state);
    const lost = state.name === "reconnecting" || state.name === "refused";
    if (!lost) {
      clearTimeout(this.bannerTimer);
      this.bannerTimer = null;
      this.setBanner(null);
      return;
    }
    if (state.name === "refused") this.setBanner(state);
    else if (!this.bannerTimer) this.bannerTimer = setTimeout(() => this.setBanner(this.live.state), BANNER_AFTER_MS);
  }

  showChip(state) {
    const { word, title } = wording(state, this.zone);
    if (!this.place) return;
    this.place.title = title;
    this.place.dataset.state = state.name;
    this.place.querySelector(".jt-chip").className = `jt-chip jt-chip--${CHIPS[state.name]}`;
    const text = this.place.querySelector(".jt-conn-word");
    if (text.textContent !== word) text.textContent = word;
    const known = state.name === "connected" && state.latency !== null;
    this.place.querySelector("[data-conn-latency]").textContent = known ? latency(Math.round(state.latency)) : "";
  }

  setBanner(state) {
    if (!this.banner) return;
    markStale(Boolean(state));
    this.banner.hidden = !state;
    if (!state) return;
    const since = clock(state.since, { zone: this.zone });
    const text = this.banner.querySelector("[data-offline-text]");
    const strong = document.createElement("strong");
    const refused = state.name === "refused";
    strong.textContent = `Live updates stopped at ${since}.`;
    const rest = refused ? " The server ended the session. Sign in again to go on." : " Everything on this page is from then. Trying again.";
    text.replaceChildren(strong, rest);
    this.banner.querySelector("[data-live-retry]").textContent = refused ? "Sign in" : "Try now";
  }
}

/** Every streamed value keeps its text and is marked as old; values marked for another reason stay so. */
function markStale(stale) {
  for (const element of document.querySelectorAll(stale ? "[data-live]:not(.jt-stale)" : "[data-stream-stale]")) {
    element.classList.toggle("jt-stale", stale);
    element.toggleAttribute("data-stream-stale", stale);
  }
}

export function startConnection(live) {
  const connection = new Connection(live, document.body);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-live-retry]")) return;
    if (live.state.name === "refused") location.reload();
    else live.retry();
  });
  return connection;
}
