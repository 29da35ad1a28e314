/** Calls of our JSON endpoints: CSRF token, problem+json errors, one key per unsafe call. */

import { toast } from "./toast.js";

const SAFE = new Set(["GET", "HEAD"]);

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.title = problem.title ?? "";
    this.detail = problem.detail ?? "";
    this.errors = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
  }
}

export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/** A key that makes a repeated call harmless. `randomUUID` needs HTTPS or loopback, this does not. */
function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

function headersFor(method, body, key) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (!SAFE.has(method)) {
    headers["X-CSRFToken"] = csrfToken();
    headers["Idempotency-Key"] = key ?? freshKey();
  }
  return headers;
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: response.statusText || "No readable answer" };
  }
}

function show(error) {
  if (error.status === 401) {
    toast({ kind: "bad", title: "You are signed out", text: "Sign in again to go on.", href: "/login/", link: "Sign in" });
    return;
  }
  const lines = error.errors.map(({ field, message }) => (field ? `${field}: ${message}` : message));
  const text = lines.length ? lines.join(" ") : error.detail;
  const title = error.title || "That did not work";
  const note = error.requestId && error.status >= 500 ? ` Request ${error.requestId}.` : "";
  toast({ kind: "bad", title, text: `${text}${note}`.trim() });
}

/**
 * Resolves to the parsed answer (null when empty). Rejects with ApiError, after showing it as a toast
 * unless `quiet`. A network failure has status 0: it is not known whether the call arrived.
 */
export async function call(method, url, body, { quiet = false, signal, key } = {}) {
  try {
    const response = await fetch(url, {
      method,
      signal,
      credentials: "same-origin",
      headers: headersFor(method, body, key),
      body: body === undefined ? undefined : JSON.stringify(body),
    }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, { title: "No answer", detail: "The server could not be reached. It is not known whether this was done." });
    });
    if (!response.ok) throw new ApiError(response.status, await problemOf(response));
    const text = response.status === 204 ? "" : await response.text();
    return text ? JSON.parse(text) : null;
  } catch (error) {
    if (error instanceof ApiError && !quiet) show(error);
    throw error;
  }
}

export const get = (url, options) => call("GET", url, undefined, options);
export const post = (url, body = {}, options) => call("POST", url, body, options);
export const put = (url, body = {}, options) => call("PUT", url, body, options);
export const del = (url, body, options) => call("DELETE", url, body, options);
