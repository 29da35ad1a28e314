// Run by test_javascript.py: the live client against a socket that the test plays.
import assert from "node:assert/strict";
import test from "node:test";

import { LiveClient, Sequencer } from "../../../static/js/live.js";

class FakeSocket {
  constructor() {
    this.connected = false;
    this.active = true;
    this.handlers = new Map();
    this.sent = [];
    this.answers = { resume: { ok: true }, subscribe: { ok: true }, unsubscribe: { ok: true }, ping: {} };
  }

  on(type, fn) {
    this.handlers.set(type, [...(this.handlers.get(type) ?? []), fn]);
  }

  once() {}

  off() {}

  onAny(fn) {
    this.any = fn;
  }

  timeout() {
    return {
      emit: (type, body, acknowledge) => {
        this.sent.push([type, body]);
        const answer = this.answers[type];
        if (answer === undefined) return;
        acknowledge(null, answer);
      },
    };
  }

  connect() {}

  disconnect() {}

  fire(type, value) {
    for (const fn of this.handlers.get(type) ?? []) fn(value);
  }

  open() {
    this.connected = true;
    this.fire("connect");
  }

  drop(reason = "transport close") {
    this.connected = false;
    this.fire("disconnect", reason);
  }

  event(seq, type = "fill") {
    this.any(type, { seq, type, data: { n: seq } });
  }

  sentOf(type) {
    return this.sent.filter(([name]) => name === type).map(([, body]) => body);
  }
}

class FakeStorage {
  constructor(values = {}) {
    this.values = new Map(Object.entries(values));
  }

  getItem(key) {
    return this.values.get(key) ?? null;
  }

  setItem(key, value) {
    this.values.set(key, value);
  }
}

function client({ seq = 10, storage = new FakeStorage() } = {}) {
  const socket = new FakeSocket();
  const live = new LiveClient({ connect: () => socket, user: 7, seq, storage });
  const got = [];
  live.on("fill", (data, { seq: at }) => got.push(at));
  return { live, socket, got, storage };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("events come once and in order, whatever the wire does", () => {
  const sequence = new Sequencer(0);
  const order = [2, 1, 1, 3, 6, 5, 2, 4, 6];

  const delivered = order.flatMap((seq) => sequence.take({ seq }).deliver.map((event) => event.seq));

  assert.deepEqual(delivered, [1, 2, 3, 4, 5, 6]);
});

test("connecting resumes from what the page shows", () => {
  const { socket } = client({ seq: 10 });

  socket.open();

  assert.deepEqual(socket.sentOf("resume"), [{ last_seq: 10 }]);
});

test("a page that names no number resumes from the one stored for its user", () => {
  const { socket } = client({ seq: null, storage: new FakeStorage({ "jt-seq-7": "33", "jt-seq-8": "99" }) });

  socket.open();

  assert.deepEqual(socket.sentOf("resume"), [{ last_seq: 33 }]);
});

test("a gap holds back what came early, asks once and is filled by the answer", async (t) => {
  const { live, socket, got } = client();
  t.after(() => live.stop());
  socket.open();
  await settle();

  socket.event(11);
  socket.event(14);
  socket.event(15);
  assert.deepEqual(got, [11]);
  assert.deepEqual(socket.sentOf("resume"), [{ last_seq: 10 }, { last_seq: 11 }]);
  socket.event(12);
  socket.event(13);

  assert.deepEqual(got, [11, 12, 13, 14, 15]);
});

test("a gap that nobody fills ends in a resync and goes on behind it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { live, socket, got } = client();
  let resyncs = 0;
  live.on("resync", () => (resyncs += 1));
  socket.open();
  await settle();

  socket.event(14);
  t.mock.timers.tick(5000);
  socket.event(15);

  assert.equal(resyncs, 1);
  assert.deepEqual(got, [15]);
});

test("resync from the server moves on to the number it names", () => {
  const { live, socket, got } = client();
  let resyncs = 0;
  live.on("resync", () => (resyncs += 1));
  socket.open();

  socket.any("resync", { last_seq: 500 });
  socket.event(499);
  socket.event(501);

  assert.equal(resyncs, 1);
  assert.deepEqual(got, [501]);
});

test("resync from a server that knows less is believed", () => {
  const { socket, got, storage } = client({ seq: 999 });
  socket.open();

  socket.any("resync", { last_seq: 5 });
  socket.event(6);

  assert.deepEqual(got, [6]);
  assert.equal(storage.getItem("jt-seq-7"), "6");
});

test("a page that knows no number begins behind the one that the answer names", async () => {
  const { socket, got } = client({ seq: null });
  socket.answers.resume = { ok: true, last_seq: 41 };
  socket.open();
  await settle();

  socket.event(41);
  socket.event(42);

  assert.deepEqual(socket.sentOf("resume"), [{ last_seq: null }]);
  assert.deepEqual(got, [42]);
});

test("a reconnect asks for what was missed and follows the same topics again", async () => {
  const { live, socket } = client();
  live.subscribe("account:3");
  live.subscribe("account:3");
  const stop = live.subscribe("signal:9");
  socket.open();
  await settle();
  socket.event(11);
  stop();

  socket.drop();
  assert.equal(live.state.name, "reconnecting");
  socket.open();

  assert.deepEqual(socket.sentOf("subscribe"), [{ topic: "account:3" }, { topic: "signal:9" }, { topic: "account:3" }]);
  assert.deepEqual(socket.sentOf("unsubscribe"), [{ topic: "signal:9" }]);
  assert.deepEqual(socket.sentOf("resume"), [{ last_seq: 10 }, { last_seq: 11 }]);
  assert.equal(live.state.name, "connected");
});

test("marks have no number and pass straight through", () => {
  const { live, socket } = client();
  const marks = [];
  live.on("marks", (data) => marks.push(data.positions.length));
  socket.open();

  socket.any("marks", { positions: [{ id: 1 }] });

  assert.deepEqual(marks, [1]);
});

test("what was seen on the page before is marked as seen, so that nothing pops up twice", () => {
  const { live, socket } = client({ seq: 10, storage: new FakeStorage({ "jt-seq-7": "11" }) });
  const seen = [];
  live.on("fill", (data, event) => seen.push(event.seen));
  socket.open();

  socket.event(11);
  socket.event(12);

  assert.deepEqual(seen, [true, false]);
});

test("a handler that fails does not stop the others", (t) => {
  t.mock.method(console, "error", () => {});
  const { live, socket, got } = client();
  live.on("fill", () => {
    throw new Error("part broke");
  });
  socket.open();

  socket.event(11);
  socket.event(12);

  assert.deepEqual(got, [11, 12]);
});

test("a refused handshake is not a reconnect", () => {
  const { live, socket } = client();
  socket.active = false;

  socket.fire("connect_error", new Error("unauthorized"));

  assert.equal(live.state.name, "refused");
  assert.equal(live.state.reason, "unauthorized");
});

test("the stored number follows what was delivered", () => {
  const { socket, storage } = client();
  socket.open();

  socket.event(11);
  socket.event(13);

  assert.equal(storage.getItem("jt-seq-7"), "11");
});
