/**
 * Keeps one account's page at what its broker says: positions, money, orders of others and the stream's
 * state come through the account's topic. Numbers are written at once; what changes more than a number
 * has the part of the page fetched again, at most once a second.
 */

const RELOAD_EVERY_MS = 1000;

export default function mount(root, { live, write, writeTopic }) {
  if (!live) return undefined;
  const id = Number(root.dataset.account);
  const part = () => document.getElementById(root.dataset.part || "account-state");
  let timer = null;
  let last = -Infinity;

  function reload() {
    const wait = last + RELOAD_EVERY_MS - performance.now();
    timer ??= setTimeout(() => {
      timer = null;
      last = performance.now();
      part()?.dispatchEvent(new CustomEvent("jt:reload"));
    }, Math.max(wait, 0));
  }

  const cellsOf = (contract) => part()?.querySelectorAll(`[data-broker-position="${CSS.escape(contract)}"]`) ?? [];
  const cells = () => [...(part()?.querySelectorAll("[data-broker-position]") ?? [])];

  /** Whether the page shows this position already as it is. */
  function showPosition({ contract, net_pos: net }) {
    const shown = [...cellsOf(contract)];
    const before = shown[0]?.dataset.value ?? "0";
    for (const cell of shown) write(cell, net);
    return before === net;
  }

  function showPositions(positions) {
    const known = positions.map(showPosition);
    if (!known.every(Boolean)) reload();
  }

  function showBalance(balance) {
    writeTopic(`account:${id}`, balance);
    for (const element of part()?.querySelectorAll("[data-open-of][data-open-base]") ?? []) {
      if (element.dataset.live === `account:${id}.equity`) element.dataset.openBase = balance.cash;
    }
  }

  function showStream(stream) {
    const shown = part();
    writeTopic(`stream:${id}`, stream);
    if (!shown || shown.dataset.streamState === stream.state) return;
    shown.dataset.streamState = stream.state;
    reload();
  }

  /** Where things stand, told when the topic is joined (again): what the page has missed shows. */
  function compare(snapshot) {
    showPositions(snapshot.positions);
    const held = new Set(snapshot.positions.filter((p) => p.net_pos !== "0").map((p) => p.contract));
    if (cells().some((cell) => cell.dataset.value !== "0" && !held.has(cell.dataset.brokerPosition))) reload();
    for (const balance of snapshot.balances) showBalance(balance);
    const listed = [...(part()?.querySelectorAll("[data-external-order]") ?? [])].map((row) => row.dataset.externalOrder);
    const open = snapshot.external_orders.map((order) => order.id);
    if (open.length !== listed.length || open.some((order) => !listed.includes(order))) reload();
    showStream(snapshot.stream);
  }

  const mine = (fn) => (data) => Number(data?.account_id) === id && fn(data);
  const stops = [
    live.on("account:snapshot", mine(compare)),
    live.on("account:positions", mine(({ positions }) => showPositions(positions))),
    live.on("balance:update", mine(showBalance)),
    live.on("account:stream", mine(showStream)),
    live.subscribe(`account:${id}`),
  ];
  return () => {
    clearTimeout(timer);
    for (const stop of stops) stop();
  };
}
