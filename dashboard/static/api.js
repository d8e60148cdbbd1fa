// Questions to the worker.

export class ApiError extends Error {}

/** There was no answer at all. */
export class AwayError extends ApiError {}

/**
 * Ask and get the answer's document.
 * Throws ApiError (or AwayError) with a text for people; AbortError if the question is not wanted any more.
 */
export async function ask(question, parameters, signal) {
  let response;
  try {
    response = await fetch(`dashboard/api/${question}?${new URLSearchParams(parameters)}`, {
      signal, headers: { Accept: "application/json" }, credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AwayError("The worker cannot be reached.");
  }
  if (response.status === 401) {
    window.location.reload(); // the session has ended: the worker asks to sign in
    throw new ApiError("Please sign in again.");
  }
  let document;
  try {
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(`The worker answered ${response.status} and no JSON.`);
  }
  if (!response.ok) throw new ApiError(document.message ?? `The worker answered ${response.status}.`);
  return document;
}

/**
 * Milliseconds since a time (of performance.now) in which answers of the worker were waited for.
 * As the network saw it: what the page itself had to do meanwhile is not the worker's time.
 */
export function workerTime(since) {
  const waits = performance.getEntriesByType("resource")
    .filter(({ name, startTime }) => startTime >= since && name.includes("/dashboard/api/"))
    .map(({ startTime, requestStart, responseEnd }) => [requestStart || startTime, responseEnd]) // 0: it failed
    .sort(([one], [other]) => one - other);
  performance.clearResourceTimings(); // a browser keeps only so many
  let [total, until] = [0, 0];
  for (const [start, end] of waits) {
    total += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return total;
}
