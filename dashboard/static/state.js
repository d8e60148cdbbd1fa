// Time range and filters. They are part of the page's address, so that it can be bookmarked and
// shared.

export const FILTERS = [
  "org_id", "player_id", "video_id", "device_category", "browser_family", "os_family",
  "network_country", "player_name", "env", "app_name", "app_version", "content_type",
];

export const NAMES = {
  org_id: "Org", player_id: "Player", video_id: "Video", device_category: "Device",
  browser_family: "Browser", os_family: "OS", network_country: "Country",
  player_name: "Player software", env: "Environment", app_name: "App", app_version: "Version",
  content_type: "Content",
};

const VIEW_FIELDS = [
  "outcome", "min_rebuffer", "min_startup", "error_code", "viewer_id", "session_id", "view_id", "sort",
];

const RANGES = ["15m", "1h", "6h", "24h", "7d"];

class State extends EventTarget {
  constructor() {
    super();
    this.read();
    window.addEventListener("popstate", () => {
      this.read();
      this.dispatchEvent(new Event("change"));
    });
  }

  read() {
    const query = new URLSearchParams(window.location.search);
    const from = Number(query.get("from"));
    const to = Number(query.get("to"));
    /** A fixed range in ms; null while the range ends now. */
    this.zoom = from > 0 && to > from ? { from, to } : null;
    this.last = RANGES.includes(query.get("last")) ? query.get("last") : "1h";
    this.filters = {};
    for (const name of FILTERS) if (query.get(name)) this.filters[name] = query.get(name);
    /** Filters and order of the list of views. */
    this.views = {};
    for (const name of VIEW_FIELDS) if (query.get(`views.${name}`)) this.views[name] = query.get(`views.${name}`);
  }

  /** Change some members; a filter "" is removed. */
  set({ last, zoom, filters }) {
    if (last !== undefined) this.last = last;
    if (zoom !== undefined) this.zoom = zoom;
    if (filters !== undefined) {
      const merged = Object.entries({ ...this.filters, ...filters }).filter(([, value]) => value);
      this.filters = Object.fromEntries(merged);
    }
    const query = this.query();
    if (!this.zoom) query.set("last", this.last);
    for (const [name, value] of Object.entries(this.views)) query.set(`views.${name}`, value);
    window.history.pushState(null, "", `?${query}`);
    this.dispatchEvent(new Event("change"));
  }

  /** Replace the filters and the order of the list of views. */
  setViews(views) {
    this.views = Object.fromEntries(Object.entries(views).filter(([, value]) => value));
    this.set({});
  }

  clear() {
    this.set({ filters: Object.fromEntries(FILTERS.map((name) => [name, ""])) });
  }

  /** The parameters that all questions share. */
  query() {
    return new URLSearchParams({ ...this.range(), ...this.filters });
  }

  range() {
    return this.zoom ? { from: this.zoom.from, to: this.zoom.to } : { last: this.last };
  }
}

export const state = new State();
