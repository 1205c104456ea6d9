"use strict";
// The first page renews itself; the rule tester answers while one types. Without this script both work all the same.
(() => {
  const live = document.getElementById("live");
  if (live) renew(live);
  const tester = document.getElementById("tester");
  if (tester) test(tester);

  function renew(live) {
    const asOf = document.getElementById("asof"), said = document.getElementById("polls"), stop = document.getElementById("stop");
    const soon = 5000, later = 60000, inUse = 60000, mostErrors = 3;
    let tag = null, timer = null, errors = 0, stopped = false, used = Date.now();

    const held = () => {  // what somebody reads or is about to press is left as it is
      const selection = document.getSelection();
      const selected = selection && !selection.isCollapsed && live.contains(selection.anchorNode);
      return selected || (document.activeElement && live.contains(document.activeElement));
    };
    const plan = () => {
      clearTimeout(timer);
      if (!stopped) timer = setTimeout(look, !document.hidden && Date.now() - used < inUse ? soon : later);
    };
    const end = (text) => {
      stopped = true;
      clearTimeout(timer);
      said.textContent = text;
      stop.textContent = "Go on";
    };
    async function look() {
      if (held()) return plan();
      try {
        const answer = await fetch(live.dataset.from, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
        if (answer.status === 401) return location.assign("/sign-in");
        if (answer.status !== 304) {
          if (!answer.ok) throw new Error(answer.status);
          const text = await answer.text();
          if (held()) return plan();
          live.innerHTML = text;
          tag = answer.headers.get("ETag");
          document.title = answer.headers.get("Title") || document.title;
        }
        asOf.textContent = answer.headers.get("As-Of") || asOf.textContent;
        errors = 0;
      } catch {
        errors += 1;
        if (errors >= mostErrors) return end("No answer: updates have stopped.");
      }
      plan();
    }
    for (const event of ["pointerdown", "keydown", "scroll"]) {
      document.addEventListener(event, () => { const idle = Date.now() - used > inUse; used = Date.now(); if (idle) plan(); }, { passive: true });
    }
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { used = Date.now(); plan(); } });
    stop.hidden = false;
    stop.addEventListener("click", () => {
      if (!stopped) return end("Updates are stopped.");
      stopped = false;
      errors = 0;
      said.textContent = "";
      stop.textContent = "Stop updates";
      look();
    });
    plan();
  }

  function test(form) {
    const results = document.getElementById("results");
    let timer = null, asked = 0;
    async function ask() {
      const number = ++asked, body = new URLSearchParams(new FormData(form));
      body.set("part", "yes");
      try {
        const answer = await fetch("/rules", { method: "POST", body });
        if (answer.status === 401) return location.assign("/sign-in");
        if (answer.ok && number === asked) results.innerHTML = await answer.text();
      } catch { /* the button asks again */ }
    }
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(ask, 250); });
    form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); ask(); });
  }
})();
