// What makes the webmail quicker for those with JavaScript. Everything works without it.
"use strict";
(() => {
  const root = document.documentElement, $ = (s, from = document) => from.querySelector(s), $$ = (s, from = document) => [...from.querySelectorAll(s)];
  root.classList.add("js");

  // The reader's time zone, so that the server writes times in it.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes("tz=" + zone)) {
    document.cookie = "tz=" + zone + "; path=/; max-age=31536000; SameSite=Lax" + (location.protocol === "https:" ? "; Secure" : "");
  }

  // A sentence at the foot of the page. It leaves by itself, unless it is being read or used.
  let leaving;
  function toastSoonGone() {
    clearTimeout(leaving);
    const toast = $("#toast > .toast");
    if (!toast) return;
    leaving = setTimeout(function gone() {
      if (toast.matches(":hover, :focus-within")) { leaving = setTimeout(gone, 2000); return; }
      toast.classList.add("leaving");
      setTimeout(() => toast.remove(), 150);
    }, 10000);
  }
  function say(text) {
    const box = $("#toast");
    if (!box || !text) return;
    const toast = document.createElement("div"), span = document.createElement("span");
    toast.className = "toast"; span.textContent = text; toast.append(span);
    box.replaceChildren(toast);
    toastSoonGone();
  }

  // Frames are as high as what they show. Nothing runs in them; we only look from outside.
  function fit(frame) {
    const measure = () => {
      const doc = frame.contentDocument;
      if (!doc || !doc.body || !doc.body.childNodes.length) return;
      const high = Math.ceil(Math.max(doc.body.getBoundingClientRect().height, 24)) + (doc.body.scrollWidth > doc.body.clientWidth ? 18 : 2);
      if (Math.abs(high - frame.clientHeight) > 1) frame.style.height = high + "px";
    };
    measure();
    const doc = frame.contentDocument;
    if (doc && doc.body && window.ResizeObserver && !frame.watched) {
      frame.watched = new ResizeObserver(measure);
      frame.watched.observe(doc.body);
      // A frame has the keys while it has the focus: hand ours on.
      doc.addEventListener("keydown", keys);
    }
  }
  function frames(from) {
    for (const frame of $$("iframe.mail", from)) {
      frame.addEventListener("load", () => { frame.watched = null; fit(frame); });
      if (frame.contentDocument && frame.contentDocument.readyState === "complete") fit(frame);
    }
  }

  // Selecting many.
  function picked() {
    const boxes = $$("#list .pick input"), on = boxes.filter(b => b.checked);
    const all = $("#list [data-all]"), says = $("#list [data-picked]");
    if (all) { all.checked = on.length > 0 && on.length === boxes.length; all.indeterminate = on.length > 0 && on.length < boxes.length; }
    if (says) says.textContent = on.length ? String(on.length) : "";
  }
  let lastPick = null;
  document.addEventListener("change", e => {
    if (e.target.matches("[data-all]")) {
      for (const box of $$("#list .pick input")) box.checked = e.target.checked;
      picked();
    } else if (e.target.matches(".pick input")) { picked(); }
  });
  document.addEventListener("click", e => {
    const box = e.target.closest(".pick input");
    if (!box) return;
    const boxes = $$("#list .pick input");
    if (e.shiftKey && lastPick && boxes.includes(lastPick)) {
      const [a, b] = [boxes.indexOf(lastPick), boxes.indexOf(box)].sort((x, y) => x - y);
      for (let i = a; i <= b; i++) boxes[i].checked = box.checked;
      picked();
    }
    lastPick = box;
  });

  // A star is put on at once, and taken off again if the server has not heard of it.
  document.addEventListener("click", e => {
    const star = e.target.closest("button[data-star]");
    if (!star || !star.form) return;
    e.preventDefault(); e.stopPropagation();
    const on = star.getAttribute("aria-pressed") !== "true";
    const alike = $$("button[data-star]").filter(b => b.value === star.value);
    const show = lit => alike.forEach(b => { b.setAttribute("aria-pressed", lit); b.classList.toggle("starred", lit); b.name = lit ? "unstar" : "star"; });
    const body = new URLSearchParams([[on ? "star" : "unstar", star.value]]);
    show(on);
    fetch(star.form.action, { method: "POST", body, headers: { "HX-Request": "true", "HX-Target": "none" } })
      .then(r => { if (!r.ok) throw r; })
      .catch(() => { show(!on); say(document.body.dataset.failed); });
  }, true);

  // Menus close when one looks elsewhere.
  document.addEventListener("click", e => {
    for (const menu of $$("details.menu[open]")) if (!menu.contains(e.target) || e.target.closest("a, .menu div button")) menu.open = false;
  });
  document.addEventListener("keydown", e => {
    if (e.key === "Escape") for (const menu of $$("details.menu[open]")) { menu.open = false; $("summary", menu).focus(); }
  });

  // Keys.
  const rows = () => $$("#list .row");
  const focused = () => document.activeElement && document.activeElement.closest("#list .row");
  function step(by) {
    const reader = $("#reader[data-open]");
    if (reader) { const go = $(`[data-key="${by > 0 ? "j" : "k"}"]`, reader); if (go) go.click(); return; }
    const all = rows(), at = all.indexOf(focused());
    const to = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    if (to) { $("a.open", to).focus(); to.scrollIntoView({ block: "nearest" }); }
  }
  function pressRow(row, what) {
    const box = $(".pick input", row);
    if (!box) return false;
    if (what === "x") { box.checked = !box.checked; picked(); return true; }
    if (what === "s") { const b = $("[data-star]", row); if (b) b.click(); return true; }
    const button = $(`.bulk [value="${what}"]`);
    if (!button) return false;
    if (!$("#list .pick input:checked")) box.checked = true;
    button.click();
    return true;
  }
  function keys(e) {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || e.isComposing) return;
    const t = e.target;
    if (t && t.closest && t.closest("input:not([type=checkbox]), textarea, select, [contenteditable], dialog")) return;
    const row = focused(), reader = $("#reader[data-open]");
    let done = true;
    switch (e.key) {
      case "j": case "n": step(1); break;
      case "k": case "p": step(-1); break;
      case "o": if (row) $("a.open", row).click(); else done = false; break;
      case "?": { const sheet = $("#keys"); if (sheet && !sheet.open) sheet.showModal(); break; }
      case "/": { const q = $("input[data-key='/']"); if (q) { q.focus(); q.select(); } break; }
      case "x": done = !!row && pressRow(row, "x"); break;
      case "s": if (!row || reader) click("s"); else done = pressRow(row, "s"); break;
      case "#": case "Delete": if (reader && (!row || row.classList.contains("now"))) click("#"); else done = !!row && pressRow(row, "trash"); break;
      case "U": if (reader) click("U"); else done = !!row && pressRow(row, "unseen"); break;
      case "u": case "c": case "r": case "a": case "f": case "z": done = click(e.key); break;
      default: done = false;
    }
    if (done) e.preventDefault();
  }
  function click(key) {
    const at = $$(`[data-key="${CSS.escape(key)}"]`).find(x => x.offsetParent !== null || getComputedStyle(x).position === "fixed" || key === "u");
    if (at) at.click();
    return !!at;
  }
  document.addEventListener("keydown", keys);

  // Swaps by htmx: the list stays where it was scrolled to, what was selected stays so.
  let kept = null;
  document.addEventListener("htmx:beforeSwap", e => {
    const list = $("#list"), into = e.detail.target;
    if (e.detail.xhr && e.detail.xhr.status >= 400 && e.detail.xhr.getResponseHeader("Content-Type")?.startsWith("text/html")) {
      // A problem has a page of its own.
      e.detail.shouldSwap = false;
      const page = new DOMParser().parseFromString(e.detail.xhr.responseText, "text/html"), h1 = page.querySelector(".problem h1");
      say(h1 ? h1.textContent : document.body.dataset.failed);
      return;
    }
    kept = list && into && (into.id === "main" || into.id === "list") ? { path: list.dataset.path, top: list.scrollTop, on: into.id === "list" ? $$(".pick input:checked", list).map(b => b.value) : [] } : null;
  });
  document.addEventListener("htmx:afterSettle", e => {
    const list = $("#list"), at = e.detail.target || e.target;
    if (kept && list && list.dataset.path === kept.path) {
      list.scrollTop = kept.top;
      for (const box of $$(".pick input", list)) if (kept.on.includes(box.value)) box.checked = true;
    }
    kept = null;
    settle(document);
    const reader = $("#reader[data-open]");
    if (reader && reader.dataset.seen !== reader.dataset.path) {
      reader.dataset.seen = reader.dataset.path;
      reader.scrollTop = 0;
      mark(reader.dataset.thread);
      // Those who hear the page go on reading there.
      const title = $(".title", reader);
      if (title && at && at.id !== "list") { title.tabIndex = -1; title.focus({ preventScroll: true }); }
      last = reader.dataset.thread;
    } else if (!reader && last) {
      const row = rows().find(r => r.dataset.thread === last), active = document.activeElement;
      if (row && (!active || active === document.body)) $("a.open", row).focus({ preventScroll: true });
      last = null;
    }
  });
  let last = null;
  // The browser's own way back brings whole pages, whose frames are new.
  for (const name of ["htmx:historyRestore", "htmx:historyCacheMissLoad"]) document.addEventListener(name, () => setTimeout(() => settle(document), 0));
  // What is done in the list leaves what is read beside it open.
  document.addEventListener("htmx:configRequest", e => {
    if (e.detail.elt.matches(".rows-form") && !new URLSearchParams(location.search).has("after")) e.detail.parameters.back = location.pathname + location.search;
  });
  function mark(thread) {
    for (const row of rows()) {
      const now = row.dataset.thread === thread, link = $("a.open", row);
      row.classList.toggle("now", now);
      if (now) { row.classList.remove("unread"); $(".mark", row)?.remove(); link.setAttribute("aria-current", "true"); row.scrollIntoView({ block: "nearest" }); }
      else link.removeAttribute("aria-current");
    }
  }
  document.addEventListener("htmx:sendError", () => say(document.body.dataset.offline));
  document.addEventListener("htmx:timeout", () => say(document.body.dataset.offline));
  window.addEventListener("offline", () => say(document.body.dataset.offline));

  function settle(from) {
    frames(from);
    picked();
    toastSoonGone();
    const rail = $("#rail");
    if (rail && rail.matches(":popover-open")) rail.hidePopover();
  }

  // New mail appears by itself.
  let stream, stale = false;
  function refresh() {
    const list = $("#list[data-live]");
    if (document.hidden) { stale = true; return; }
    stale = false;
    const grown = list && list.dataset.grown, at = location.pathname + location.search;
    if (list && !grown && list.scrollTop < 400) htmx.ajax("GET", at, { target: "#list", swap: "outerHTML" });
    else if ($("#rail") && $("#lines")) htmx.ajax("GET", "/state", { target: "#lines", swap: "none" });
  }
  function listen() {
    if (!window.EventSource || !document.body.classList.contains("app")) return;
    stream = new EventSource("/events");
    let opened = false;
    stream.onopen = () => { if (opened) refresh(); opened = true; };
    stream.addEventListener("mail", refresh);
    stream.addEventListener("lines", refresh);
    stream.addEventListener("out", () => {
      stream.close();
      if (document.body.dataset.page === "write") say(document.body.dataset.failed); // what is being written stays to be seen
      else location.reload();
    });
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) { stream.close(); setTimeout(listen, 60000); } };
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden && stale) refresh(); });
  document.addEventListener("htmx:afterSwap", e => { if (e.detail.requestConfig?.elt?.closest?.("#more")) $("#list").dataset.grown = "yes"; });

  // Pages for paper print themselves, once their frames are as high as they will be.
  function paper() {
    if (!$("[data-print]")) return;
    const wait = $$("iframe.mail").filter(f => !(f.contentDocument && f.contentDocument.readyState === "complete" && f.contentDocument.URL !== "about:blank"));
    Promise.all(wait.map(f => new Promise(done => { f.addEventListener("load", done); setTimeout(done, 5000); }))).then(() => setTimeout(() => window.print(), 200));
  }

  settle(document);
  const reader = $("#reader[data-open]");
  if (reader) { reader.dataset.seen = reader.dataset.path; const now = $("#list .row.now"); if (now) now.scrollIntoView({ block: "nearest" }); }
  listen();
  paper();
})();
