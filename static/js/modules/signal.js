/** One signal's page: its parts are fetched again after an event that concerns this signal. */

export default function mount(root, { live }) {
  if (!live) return undefined;
  const id = Number(root.dataset.signal);
  const concerns = (executionId) => (root.dataset.executions ?? "").split(" ").includes(String(executionId));
  const reload = () => root.dispatchEvent(new CustomEvent("jt:reload"));
  let timer = null;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      reload();
    }, 150);
  };
  const orders = new Set();
  const stops = [
    live.on("signal", (data) => data.id === id && soon()),
    live.on("order:update", (data) => {
      if (!concerns(data.execution_id)) return;
      orders.add(data.id);
      soon();
    }),
    live.on("fill", (data) => (orders.has(data.order_id) || root.querySelector(`#order-${Number(data.order_id)}`)) && soon()),
  ];
  return () => {
    clearTimeout(timer);
    for (const stop of stops) stop();
  };
}
