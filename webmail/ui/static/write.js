// Writing with JavaScript: kept as one types, files with their progress, people as pills. Without it the same form works.
"use strict";
(() => {
  const form = document.getElementById("write");
  if (!form) return;
  const say = form.dataset;
  const saved = document.getElementById("saved");
  const text = form.elements.text;
  const picker = document.getElementById("file");
  const files = document.getElementById("files");
  const uploads = document.getElementById("uploads");
  const quiet = 2000; // ms without typing until it is kept
  const longest = 10000; // ms of typing without being kept
  form.classList.add("live");

  // Keeping what is typed.
  let kept = "", timer = 0, since = 0, running = null, leaving = false, delay = quiet, uploading = 0;
  const fields = () => {
    const data = new FormData(form);
    data.delete("file");
    data.delete("do");
    return data;
  };
  const snapshot = () => {
    let s = "";
    for (const [name, value] of fields()) if (name !== "confirm") s += name + "=" + value + "\0";
    return s;
  };
  // tell says how it stands beside the title; what is wrong gets a line of its own.
  const trouble = document.getElementById("trouble");
  const tell = (message, bad) => {
    saved.textContent = bad ? "" : message;
    trouble.hidden = !bad;
    trouble.querySelector("p").textContent = bad ? message : "";
  };
  const soon = () => {
    if (leaving) return;
    const now = Date.now();
    since = since || now;
    clearTimeout(timer);
    timer = setTimeout(keep, Math.max(0, Math.min(delay, since + Math.max(longest, delay) - now)));
  };
  const changed = () => {
    if (snapshot() === kept) return;
    if (delay === quiet) tell(say.unsaved);
    soon();
  };
  const keep = () => {
    clearTimeout(timer);
    if (leaving) return Promise.resolve();
    if (running) return running.then(changed);
    const what = snapshot();
    if (what === kept) return Promise.resolve();
    since = 0;
    const data = fields();
    data.set("do", "save");
    tell(say.saving);
    running = fetch(form.action, { method: "POST", body: data, headers: { Accept: "application/json" }, redirect: "manual" })
      .then(async (answer) => {
        if (answer.type === "opaqueredirect") throw new Error("signedout");
        const said = (answer.headers.get("Content-Type") || "").startsWith("application/json") ? await answer.json() : {};
        if (!answer.ok && !said.problem) throw new Error("failed");
        delay = quiet;
        // The list of files comes back as it is kept now: what a forward carries along has become attachments.
        const fits = held(snapshot()) === held(what) || held(what).includes("carry=");
        if (fits) files.innerHTML = said.files;
        kept = fits && typed(snapshot()) === typed(what) ? snapshot() : what;
        tell(said.problem || said.saved, said.problem);
        if (said.path) history.replaceState(null, "", said.path);
      })
      .catch((why) => {
        tell(why.message === "signedout" ? say.signedout : say.offline, true);
        delay = Math.min(delay * 2, 30000);
        since = 0;
      })
      .finally(() => {
        running = null;
        if (snapshot() !== kept) soon();
      });
    return running;
  };
  // The two halves of a snapshot: which files, and everything else.
  const held = (s) => s.split("\0").filter((f) => /^(att|carry)=/.test(f)).join("\0");
  const typed = (s) => s.split("\0").filter((f) => !/^(att|carry)=/.test(f)).join("\0");
  kept = snapshot();
  form.addEventListener("input", changed);
  form.addEventListener("change", (e) => { if (e.target !== picker) changed(); });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") keep(); });
  addEventListener("beforeunload", (e) => {
    if (leaving || snapshot() === kept) return;
    keep();
    e.preventDefault();
  });

  // Sending, discarding: after what is under way has ended, so that nothing is kept behind its back.
  form.addEventListener("submit", async (e) => {
    const button = e.submitter;
    const act = button && button.name === "do" ? button.value : "";
    if (leaving) return;
    if (button && button.name === "remove") {
      e.preventDefault();
      const row = button.closest("li");
      (row.nextElementSibling?.querySelector("button, a") || text).focus();
      row.remove();
      changed();
      return;
    }
    if (act !== "send" && act !== "discard") {
      e.preventDefault();
      keep();
      return;
    }
    for (const f of people) f.settle();
    if (uploading) {
      e.preventDefault();
      tell(say.waiting, true);
      return;
    }
    clearTimeout(timer);
    if (!running && (act === "discard" || snapshot() === kept)) {
      leave();
      return;
    }
    e.preventDefault();
    await running;
    if (act === "send") await keep();
    if (act === "send" && snapshot() !== kept) return; // the line says why: no connection, or signed out
    leave();
    setTimeout(() => form.requestSubmit(button)); // within its own submit event a form can't be sent
  });
  const leave = () => {
    leaving = true;
    picker.disabled = true;
    setTimeout(() => { leaving = picker.disabled = false; }, 15000); // if no answer came
  };
  form.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      const send = form.querySelector(".send");
      if (!send.disabled) form.requestSubmit(send);
    } else if (e.key === "Enter" && e.target.id === "subject") {
      e.preventDefault();
      text.focus();
    }
  });

  // Files.
  const upload = (file) => {
    const row = document.getElementById("upload").content.firstElementChild.cloneNode(true);
    const bar = row.querySelector("progress");
    row.querySelector(".name").textContent = file.name;
    bar.setAttribute("aria-label", file.name);
    uploads.append(row);
    uploading++;
    const request = new XMLHttpRequest();
    const failed = (problem) => {
      uploading--;
      const note = document.createElement("p");
      note.className = "error";
      note.setAttribute("role", "alert");
      note.textContent = problem;
      bar.replaceWith(note);
      row.querySelector("button").onclick = () => row.remove();
    };
    row.querySelector("button").onclick = () => request.abort();
    request.upload.onprogress = (e) => { if (e.lengthComputable) bar.value = e.loaded / e.total; };
    request.onabort = () => { uploading--; row.remove(); };
    request.onerror = request.ontimeout = () => failed(say.upload);
    request.onload = async () => {
      let said = {};
      try { said = JSON.parse(request.responseText); } catch { /* a page: signed out, or worse */ }
      if (!said.id) { failed(said.problem || say.upload); return; }
      if (running) await running; // so that the list it brings doesn't lack this one
      uploading--;
      const id = document.createElement("input");
      Object.assign(id, { type: "hidden", name: "att", value: said.id });
      bar.remove();
      row.append(id);
      row.querySelector("button").onclick = () => { row.remove(); changed(); };
      files.append(row); // until the list of files comes back from keeping it
      keep();
    };
    const data = new FormData();
    for (const name of ["box", "from"]) data.append(name, form.elements[name].value);
    for (const had of form.querySelectorAll("input[name=att]")) data.append("att", had.value);
    data.append("file", file);
    request.open("POST", form.action + "/attach");
    request.send(data);
  };
  picker.addEventListener("change", () => {
    for (const file of picker.files) upload(file);
    picker.value = "";
  });
  form.addEventListener("dragover", (e) => {
    if (!e.dataTransfer.types.includes("Files")) return;
    e.preventDefault();
    form.classList.add("dropping");
  });
  form.addEventListener("dragleave", (e) => { if (!form.contains(e.relatedTarget)) form.classList.remove("dropping"); });
  form.addEventListener("drop", (e) => {
    form.classList.remove("dropping");
    if (!e.dataTransfer.files.length) return;
    e.preventDefault();
    for (const file of e.dataTransfer.files) upload(file);
  });
  form.addEventListener("paste", (e) => {
    if (!e.clipboardData.files.length) return;
    e.preventDefault();
    for (const file of e.clipboardData.files) upload(file);
  });

  // The text grows with what is written, where the style sheet alone can't do that.
  if (!CSS.supports("field-sizing", "content")) {
    const grow = () => { text.style.height = "auto"; text.style.height = text.scrollHeight + 2 + "px"; };
    text.addEventListener("input", grow);
    grow();
  }

  // People: what is typed becomes pills; a hidden field holds the list as the form sends it.
  const split = (list) => {
    const all = [];
    let piece = "", quoted = false, angle = false;
    for (const c of list) {
      if (c === '"' && !angle) quoted = !quoted;
      if (!quoted && c === "<") angle = true;
      if (!quoted && c === ">") angle = false;
      if (!quoted && !angle && /[,;\n，；、]/.test(c)) { all.push(piece); piece = ""; } else { piece += c; }
    }
    if (quoted || angle) return [list.trim()];
    all.push(piece);
    return all.map((p) => p.trim()).filter(Boolean);
  };
  class People {
    constructor(input) {
      this.list = document.createElement("input");
      this.list.type = "hidden";
      this.list.name = input.name;
      this.input = input;
      input.removeAttribute("name");
      this.box = document.createElement("div");
      this.box.className = "pills";
      input.replaceWith(this.box);
      this.box.append(input);
      this.box.after(this.list);
      this.offers = document.createElement("ul");
      this.offers.className = "offers";
      this.offers.id = input.id + "-offers";
      this.offers.role = "listbox";
      this.offers.hidden = true;
      this.offers.setAttribute("aria-label", input.labels[0].textContent);
      this.list.after(this.offers);
      for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.offers.id })) input.setAttribute(name, value);
      this.found = [];
      this.chosen = -1;
      this.asked = 0;
      const had = input.value;
      input.value = "";
      for (const p of split(had)) this.add(p);
      this.collect();
      this.box.addEventListener("mousedown", (e) => { if (e.target === this.box) { e.preventDefault(); input.focus(); } });
      input.addEventListener("input", () => this.typed());
      input.addEventListener("keydown", (e) => this.key(e));
      input.addEventListener("blur", () => { this.settle(); this.close(); });
      input.addEventListener("paste", () => setTimeout(() => { if (/[,;\n]|@.*\s.*@/.test(input.value)) this.settle(); }));
      this.offers.addEventListener("mousedown", (e) => {
        e.preventDefault();
        const row = e.target.closest("li");
        if (row) this.take(this.found[Number(row.dataset.n)]);
      });
    }
    add(value) {
      const pill = document.getElementById("pill").content.firstElementChild.cloneNode(true);
      const named = value.match(/^\s*"?(.*?)"?\s*<([^<>]*)>\s*$/);
      const label = named && named[1] ? named[1].replace(/\\(.)/g, "$1") : value;
      pill.dataset.value = value;
      pill.title = value;
      pill.classList.toggle("bad", !/@[^@\s]+\.[^@\s.]/.test(value.replace(/[<>]/g, "")) && !/[＠]/.test(value));
      pill.querySelector(".edit").textContent = label;
      const drop = pill.querySelector(".drop");
      drop.setAttribute("aria-label", drop.getAttribute("aria-label") + ": " + label);
      pill.querySelector(".edit").onclick = () => { this.settle(); this.input.value = value; pill.remove(); this.collect(); this.input.focus(); };
      drop.onclick = () => { pill.remove(); this.collect(); this.input.focus(); changed(); };
      this.box.insertBefore(pill, this.input);
    }
    // collect writes pills and what is being typed into the hidden field.
    collect() {
      const all = [...this.box.querySelectorAll(".pill")].map((p) => p.dataset.value);
      if (this.input.value.trim()) all.push(this.input.value.trim());
      this.list.value = all.join(", ");
    }
    // settle makes pills of what was typed.
    settle() {
      let pieces = split(this.input.value);
      if (pieces.length === 1 && !/[<"]/.test(pieces[0]) && pieces[0].split(/\s+/).every((w) => w.includes("@"))) pieces = pieces[0].split(/\s+/);
      this.input.value = "";
      for (const p of pieces) this.add(p);
      this.collect();
      if (pieces.length) changed();
    }
    typed() {
      if (/[,;，；、]\s*$/.test(this.input.value) && split(this.input.value).length && split(this.input.value + "x").length > 1) { this.settle(); this.close(); return; }
      this.collect();
      const q = this.input.value.trim(), asked = ++this.asked;
      if (!q) { this.close(); return; }
      setTimeout(async () => {
        if (asked !== this.asked) return;
        try {
          const answer = await fetch("/write/people?q=" + encodeURIComponent(q), { redirect: "manual" });
          if (asked === this.asked && answer.ok) this.show(await answer.json());
        } catch { /* without a connection there is nothing to offer */ }
      }, 120);
    }
    show(found) {
      const had = this.list.value.toLowerCase();
      this.found = found.filter((p) => !had.includes(p.addr.toLowerCase()) || this.input.value.toLowerCase().includes(p.addr.toLowerCase()));
      this.offers.replaceChildren(...this.found.map((p, n) => {
        const row = document.createElement("li"), name = document.createElement("b"), addr = document.createElement("span");
        row.role = "option";
        row.id = this.offers.id + n;
        row.dataset.n = n;
        name.textContent = p.name || p.addr;
        addr.textContent = p.name ? p.addr : "";
        row.append(name, addr);
        return row;
      }));
      this.chosen = -1;
      this.offers.hidden = !this.found.length;
      this.input.setAttribute("aria-expanded", String(!this.offers.hidden));
      if (this.found.length) this.choose(0);
    }
    choose(n) {
      this.chosen = (n + this.found.length) % this.found.length;
      [...this.offers.children].forEach((row, i) => row.setAttribute("aria-selected", String(i === this.chosen)));
      this.offers.children[this.chosen].scrollIntoView({ block: "nearest" });
      this.input.setAttribute("aria-activedescendant", this.offers.children[this.chosen].id);
    }
    close() {
      this.asked++;
      this.offers.hidden = true;
      this.found = [];
      this.input.setAttribute("aria-expanded", "false");
      this.input.removeAttribute("aria-activedescendant");
    }
    take(person) {
      this.input.value = "";
      this.add(person.value);
      this.collect();
      this.close();
      changed();
    }
    key(e) {
      if (e.isComposing) return;
      const open = this.found.length > 0;
      if (open && e.key === "ArrowDown") { e.preventDefault(); this.choose(this.chosen + 1); }
      else if (open && e.key === "ArrowUp") { e.preventDefault(); this.choose(this.chosen - 1); }
      else if (open && (e.key === "Enter" || e.key === "Tab") && !e.ctrlKey && !e.metaKey && !e.shiftKey) { e.preventDefault(); this.take(this.found[this.chosen]); }
      else if (open && e.key === "Escape") { e.preventDefault(); e.stopPropagation(); this.close(); }
      else if (e.key === "Enter" && !e.ctrlKey && !e.metaKey) { e.preventDefault(); this.settle(); }
      else if (e.key === "Backspace" && !this.input.value) {
        const last = [...this.box.querySelectorAll(".pill")].pop();
        if (last) { e.preventDefault(); this.input.value = last.dataset.value; last.remove(); this.collect(); changed(); }
      }
    }
  }
  const people = [...form.querySelectorAll("input.people")].map((input) => {
    const focused = document.activeElement === input || input.autofocus;
    const p = new People(input);
    if (focused) input.focus();
    return p;
  });
  kept = snapshot();
  const wrong = form.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
  else if (text.autofocus) { text.focus(); text.setSelectionRange(0, 0); }
})();
