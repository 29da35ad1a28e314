/**
 * The live connection: one Socket.IO client for a page.
 *
 * Durable events carry `seq`, which rises by one per user. They are delivered exactly once and in
 * order: what is known already is dropped, a gap is asked for again (`resume`) while what came early
 * waits, and when the server cannot fill it (`resync`) the page's parts are loaded anew. Events
 * without `seq` (marks, tickers) are handed on as they come.
 */

const GAP_TIMEOUT_MS = 4000;
const PING_EVERY_MS = 10_000;
const PING_TIMEOUT_MS = 5000;
const ACK_TIMEOUT_MS = 8000;
const KICKED_RETRY_MS = 2000;

/** Puts numbered events in order. Pure: says what to deliver and whether something is missing. */
export class Sequencer {
  constructor(last) {
    this.last = last;
    this.early = new Map();
  }

  /** @returns {{deliver: object[], gap: boolean}} */
  take(event) {
    if (event.seq <= this.last) return { deliver: [], gap: this.early.size > 0 };
    this.early.set(event.seq, event);
    return this.drain();
  }

  /** Gives up on what is missing: everything up to `seq` counts as seen. */
  skipTo(seq) {
    this.last = Math.max(this.last, seq);
    for (const held of this.early.keys()) if (held <= this.last) this.early.delete(held);
    return this.drain();
  }

  /** Believes the server: everything after `seq` will come, even where that goes back. */
  restart(seq) {
    this.last = seq;
    this.early.clear();
  }

  newestHeld() {
    return Math.max(this.last, ...this.early.keys());
  }

  drain() {
    const deliver = [];
    while (this.early.has(this.last + 1)) {
      this.last += 1;
      deliver.push(this.early.get(this.last));
      this.early.delete(this.last);
    }
    return { deliver, gap: this.early.size > 0 };
  }
}

/** The newest sequence number this tab has seen, kept per user across page loads. */
export class SeqStore {
  constructor(user, storage) {
    this.key = `jt-seq-${user}`;
    this.storage = storage;
  }

  read() {
    try {
      const value = Number(this.storage?.getItem(this.key) ?? NaN);
      return Number.isSafeInteger(value) ? value : null;
    } catch {
      return null;
    }
  }

  write(seq) {
    try {
      this.storage?.setItem(this.key, String(seq));
    } catch {
      // Full or forbidden storage costs only a longer resume after the next page load.
    }
  }
}

export class LiveClient {
  /**
   * @param {object} options
   * @param {() => object} options.connect makes the Socket.IO socket (not yet connected)
   * @param {string} options.user
   * @param {number|null} options.seq what the page shows already; null takes the stored one
   */
  constructor({ connect, user, seq = null, storage = null, now = () => Date.now() }) {
    this.user = String(user);
    this.now = now;
    this.store = new SeqStore(user, storage);
    this.seenBefore = this.store.read() ?? 0;
    const start = seq ?? this.store.read();
    this.fresh = start === null;
    this.sequence = new Sequencer(start ?? 0);
    this.handlers = new Map();
    this.stateHandlers = new Set();
    this.topics = new Map();
    this.state = { name: "connecting", since: now(), latency: null, offset: 0 };
    this.socket = connect();
    this.listen();
  }

  // ------------------------------------------------------------------ for pages

  /** Calls `fn(data, event)` for every event of a type; `*` is all. Returns how to stop. */
  on(type, fn) {
    if (!this.handlers.has(type)) this.handlers.set(type, new Set());
    this.handlers.get(type).add(fn);
    return () => this.handlers.get(type).delete(fn);
  }

  /** Calls `fn(state)` now and on every change of the connection. */
  onState(fn) {
    this.stateHandlers.add(fn);
    fn(this.state);
    return () => this.stateHandlers.delete(fn);
  }

  /** Follows a topic, over reconnects too. Returns how to stop; shared topics are counted. */
  subscribe(topic) {
    const users = this.topics.get(topic) ?? 0;
    this.topics.set(topic, users + 1);
    if (users === 0 && this.socket.connected) this.send("subscribe", { topic });
    let active = true;
    return () => {
      if (!active) return;
      active = false;
      this.unsubscribe(topic);
    };
  }

  /** Tries to connect at once instead of at the end of the present wait. */
  retry() {
    if (this.socket.connected) return;
    this.socket.disconnect();
    this.socket.connect();
  }

  start() {
    this.socket.connect();
    this.pinger = setInterval(() => this.ping(), PING_EVERY_MS);
  }

  stop() {
    clearInterval(this.pinger);
    clearTimeout(this.gapTimer);
    clearTimeout(this.kickTimer);
    this.socket.disconnect();
  }

  // ------------------------------------------------------------------ wire

  listen() {
    const { socket } = this;
    socket.on("connect", () => this.connected());
    socket.on("disconnect", (reason) => this.disconnected(reason));
    socket.on("connect_error", (error) => this.refused(error));
    socket.onAny((type, event) => this.receive(type, event));
  }

  /** Resolves to the server's acknowledgement, or to `{ok: false, error: "timeout"}`. */
  send(type, body, timeout = ACK_TIMEOUT_MS) {
    return new Promise((resolve) => {
      this.socket.timeout(timeout).emit(type, body, (error, answer) => {
        resolve(error ? { ok: false, error: "timeout" } : (answer ?? { ok: true }));
      });
    });
  }

  unsubscribe(topic) {
    const users = (this.topics.get(topic) ?? 0) - 1;
    if (users > 0) {
      this.topics.set(topic, users);
      return;
    }
    this.topics.delete(topic);
    if (this.socket.connected) this.send("unsubscribe", { topic });
  }

  connected() {
    clearTimeout(this.kickTimer);
    this.moveTo("connected");
    for (const topic of this.topics.keys()) this.send("subscribe", { topic });
    this.resume();
    this.ping();
  }

  disconnected(reason) {
    clearTimeout(this.gapTimer);
    this.resuming = false;
    if (reason === "io client disconnect") return;
    this.moveTo("reconnecting");
    // The client library never reconnects by itself after the server hung up (a restart, an ended
    // session); a refused handshake then says which of the two it was.
    if (reason === "io server disconnect") {
      this.kickTimer = setTimeout(() => this.socket.connect(), KICKED_RETRY_MS);
    }
  }

  refused(error) {
    // `active` is false only when the server answered the handshake with a refusal.
    if (this.socket.active === false) {
      this.moveTo("refused", { reason: error?.data?.code ?? error?.message ?? "" });
    } else if (this.state.name !== "connecting" || this.now() - this.state.since > 3000) {
      this.moveTo("reconnecting");
    }
  }

  async resume() {
    if (this.resuming || !this.socket.connected) return;
    this.resuming = true;
    const from = this.sequence.last;
    const answer = await this.send("resume", { last_seq: this.fresh ? null : from });
    this.resuming = false;
    if (answer.ok && this.fresh && Number.isSafeInteger(answer.last_seq)) this.startAt(answer.last_seq);
    const gap = this.sequence.early.size > 0;
    // What was sent between the server's answer and our first live event can be missing still.
    if (gap && this.sequence.last > from) this.resume();
    this.watchGap(gap);
  }

  startAt(seq) {
    this.fresh = false;
    this.deliver(this.sequence.skipTo(seq).deliver);
  }

  receive(type, event) {
    if (type === "pong") return;
    if (type === "resync") {
      this.resync(event ?? {});
      return;
    }
    if (!Number.isSafeInteger(event?.seq)) {
      this.dispatch(type, event?.data ?? event, event ?? {});
      return;
    }
    if (this.fresh) {
      this.fresh = false;
      this.sequence.last = event.seq - 1;
    }
    const { deliver, gap } = this.sequence.take({ type, ...event });
    this.deliver(deliver);
    this.watchGap(gap);
  }

  deliver(events) {
    for (const event of events) {
      this.dispatch(event.type, event.data, { ...event, seen: event.seq <= this.seenBefore });
    }
    if (events.length) this.store.write(this.sequence.last);
  }

  dispatch(type, data, event) {
    for (const key of [type, "*"]) {
      for (const fn of this.handlers.get(key) ?? []) {
        try {
          fn(data, { ...event, type });
        } catch (error) {
          // One part of the page that fails must not stop the stream for the others.
          console.error(`handler of ${type} failed`, error);
        }
      }
    }
  }

  /** A hole is asked for once; when that does not fill it in time, the page is loaded anew. */
  watchGap(gap) {
    if (!gap) {
      clearTimeout(this.gapTimer);
      this.gapTimer = null;
      return;
    }
    if (this.gapTimer) return;
    this.gapTimer = setTimeout(() => {
      this.gapTimer = null;
      if (this.sequence.early.size) this.giveUp(this.sequence.newestHeld());
    }, GAP_TIMEOUT_MS);
    this.resume();
  }

  /** Too much was missed: the server names the newest number and the parts are fetched again. */
  resync(event) {
    if (Number.isSafeInteger(event.last_seq)) {
      this.fresh = false;
      this.sequence.restart(event.last_seq);
      this.store.write(event.last_seq);
    }
    this.dispatch("resync", event, {});
  }

  /** What is missing up to `seq` does not come: its effects are fetched with the page's parts. */
  giveUp(seq) {
    this.deliver(this.sequence.skipTo(seq).deliver);
    this.store.write(this.sequence.last);
    this.dispatch("resync", { last_seq: seq }, {});
  }

  async ping() {
    if (!this.socket.connected) return;
    const sent = this.now();
    const answer = await this.pingOnce();
    if (answer === null) {
      // Half-open connections look fine to the library for up to a minute; ours says it sooner.
      if (this.socket.connected) this.socket.io?.engine?.close();
      return;
    }
    const latency = this.now() - sent;
    const at = Date.parse(answer.at ?? answer.time ?? "");
    const offset = Number.isNaN(at) ? this.state.offset : at - (sent + latency / 2);
    this.moveTo(this.state.name, { latency, offset });
  }

  /** The server answers by acknowledgement, by a `pong` event, or both. */
  pingOnce() {
    return new Promise((resolve) => {
      const onPong = (event) => resolve(event?.data ?? event ?? {});
      this.socket.once("pong", onPong);
      this.socket.timeout(PING_TIMEOUT_MS).emit("ping", {}, (error, answer) => {
        this.socket.off("pong", onPong);
        resolve(error ? null : (answer ?? {}));
      });
    });
  }

  moveTo(name, more = {}) {
    // A page that never got its connection is as old as its loading.
    const before = this.state.name;
    const goesOn = name === before || (before === "connecting" && name !== "connected");
    const since = goesOn ? this.state.since : this.now();
    this.state = { ...this.state, ...more, name, since };
    for (const fn of this.stateHandlers) fn(this.state);
  }
}

/** The client of this page, or null where nobody is signed in. */
export function connectPage({ body = document.body, io = window.io } = {}) {
  const { user, seq } = body.dataset;
  if (!user || !io) return null;
  return new LiveClient({
    user,
    seq: seq === undefined || seq === "" ? null : Number(seq),
    storage: window.sessionStorage,
    connect: () =>
      io({ autoConnect: false, reconnectionDelay: 500, reconnectionDelayMax: 8000, timeout: 8000 }),
  });
}
