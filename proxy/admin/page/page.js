// Renews the page in place: the server says when something changed, the same page is fetched, and of
// its parts those that differ replace what stands here. Nothing is rendered in the browser.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const served = new Map(); // what the server last gave, by id
  for (const part of document.querySelectorAll("[data-live]")) served.set(part.id, part.outerHTML);
  let busy = false, again = false;

  const say = (text, on) => {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("on", on);
  };

  const selected = (part) => {
    const s = getSelection();
    return s && !s.isCollapsed && s.containsNode(part, true);
  };

  const replace = (old, next) => {
    const open = new Set([...old.querySelectorAll("details[open]")].map((d) => d.id));
    const across = [...old.querySelectorAll(".scroll")].map((s) => s.scrollLeft);
    const focus = [...old.querySelectorAll("a, summary, .scroll")].indexOf(document.activeElement);
    old.replaceWith(next);
    for (const d of next.querySelectorAll("details")) d.open = open.has(d.id);
    next.querySelectorAll(".scroll").forEach((s, i) => { s.scrollLeft = across[i] || 0; });
    if (focus >= 0) next.querySelectorAll("a, summary, .scroll")[focus]?.focus({ preventScroll: true });
  };

  const show = (page) => {
    for (const next of page.querySelectorAll("[data-live]")) {
      const old = document.getElementById(next.id), text = next.outerHTML;
      if (!old || served.get(next.id) === text || selected(old)) continue;
      served.set(next.id, text);
      replace(old, document.adoptNode(next));
    }
    document.title = page.title;
  };

  const renew = () => {
    if (document.hidden) return;
    if (busy) { again = true; return; }
    busy = true;
    const request = new XMLHttpRequest();
    request.open("GET", "/");
    request.setRequestHeader("Accept", "text/html");
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => { if (request.status === 200 && request.response) { show(request.response); say("Live", true); } };
    request.onerror = request.ontimeout = () => say("The proxy does not answer; this is what was last seen", false);
    request.onloadend = () => { busy = false; if (again) { again = false; renew(); } };
    request.send();
  };

  const events = new EventSource("/api/events?changes");
  events.addEventListener("open", () => { say("Live", true); renew(); });
  events.addEventListener("changed", renew);
  events.addEventListener("error", () => say("The connection is lost; this is what was last seen", false));
  document.addEventListener("visibilitychange", renew);
  addEventListener("pagehide", () => events.close());
})();
