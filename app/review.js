// The page Review: one pair after the other by keyboard. Nothing moves on before the server says that it is saved.
window.insightvReview = (() => {
  const STORED = { name: "insightv-reviewer", wait: "insightv-review-waits" };
  const HELD = 3;
  const GO_ON = 900; // milliseconds that the judge's view stays where it agrees
  const TOO_SOON = 250; // a key that was meant for the card before
  const WRITES = ["act", "take_back"];
  const MODIFIERS = ["Shift", "Control", "Alt", "Meta", "Tab", "CapsLock"];
  const SCROLLERS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"];
  let page, reviewer, cards = [], card = null, phase = "idle", dealing = null, timer = null;
  let shown = 0, row = null, step = null, zoomed = false, editNext = false, seen = new Set();

  const part = (selector) => page.view.querySelector(selector);
  const every = (selector) => [...page.view.querySelectorAll(selector)];
  const makeToken = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const pause = (time) => new Promise((ready) => setTimeout(ready, time));

  function start(added) {
    page = added;
    page.view.addEventListener("painted", painted);
    page.view.addEventListener("click", clicked);
    page.view.addEventListener("submit", submitted);
    document.addEventListener("keydown", pressed);
  }

  // -- asking the server -----------------------------------------------------------------------------------------------

  // What is written is sent with the same token until it is saved: however often it arrives, it counts once.
  async function ask(name, given) {
    const sent = { reviewer, ...given };
    for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
      let answer;
      try {
        answer = await page.server[name](sent);
      } catch {
        answer = undefined;
      }
      // Gradio answers with nothing where the server cannot be reached, and with "detail" where it stumbles.
      if (answer && !("detail" in answer)) {
        if (wait > 500 && !WRITES.includes(name)) say("");
        return answer;
      }
      if (insightv.me().name && answer?.detail === "Log in first.") {
        say("you are logged out: log in again in another tab, and this goes on", "bad");
        await pause(wait);
        continue;
      }
      say(WRITES.includes(name) ? "not saved yet, trying again; reload the page if this stays" : "the app does not answer, trying again", "bad");
      await pause(wait);
    }
  }

  function say(words, css = "") {
    const badge = part(".badge");
    if (badge) [badge.textContent, badge.className] = [words, `badge ${css}`];
  }

  function explain(problem) {
    const place = part(".stage");
    if (place) place.innerHTML = '<p class="problem" role="alert"></p>';
    if (place) place.firstChild.textContent = problem;
  }

  // -- the page --------------------------------------------------------------------------------------------------------

  async function painted() {
    const frame = part(".review");
    if (!frame) return;
    const account = insightv.me();
    reviewer = account.name || localStorage.getItem(STORED.name) || "";
    part("form.who").hidden = !!reviewer;
    part("[data-name]").hidden = !reviewer || !!account.name;
    part("[data-name]").textContent = `${reviewer}, change`;
    if (!reviewer) {
      part(".stage").innerHTML = "";
      part(".dock").hidden = true;
      return part("#reviewer").focus();
    }
    if (frame.dataset.view !== "pairs") {
      const answer = await ask("view", { view: frame.dataset.view });
      return answer.problem ? forget(answer.problem) : (part(".stage").innerHTML = answer.html);
    }
    const wanted = new URLSearchParams(location.search).get("pair");
    if (wanted) {
      const answer = await ask("deal", { pair: wanted });
      if (answer.problem) return explain(answer.problem);
      if (card && card.pair !== wanted && !card.settles) cards.unshift(card);
      return show(answer.cards[0]);
    }
    if (card?.settles) card = null;
    card ? show(card) : next();
    if (!dealing) deal();
  }

  function forget(problem) {
    [cards, card, phase] = [[], null, "idle"];
    if (insightv.me().name) return explain(problem);
    localStorage.removeItem(STORED.name);
    painted();
    if (!problem) return;
    part("form.who .problem").hidden = false;
    part("form.who .problem").textContent = problem;
  }

  // Cards ahead of the one on screen, so that the next one is there before it is wanted.
  function deal() {
    dealing = (async () => {
      const have = [card, ...cards].filter(Boolean).map((each) => each.pair);
      const answer = await ask("deal", { have });
      dealing = null;
      if (answer.problem) return answer;
      const held = new Set([card, ...cards].filter(Boolean).map((each) => each.pair));
      cards.push(...answer.cards.filter((each) => !held.has(each.pair)));
      for (const each of cards) new Image().src = /data-zoom="([^"]+)"/.exec(each.html)?.[1] ?? "";
      const pace = answer.pace ? ` · ${answer.pace} pairs / min` : "";
      if (part(".count")) part(".count").textContent = answer.left ? `${answer.done + 1} of ${answer.done + answer.left}` : "";
      if (part(".pace")) part(".pace").textContent = pace.replace(" · ", "");
      return answer;
    })();
    return dealing;
  }

  async function next() {
    clearTimeout(timer);
    card = null;
    phase = "idle";
    if (new URLSearchParams(location.search).has("pair")) history.replaceState({ y: 0 }, "", "?tab=review");
    if (!cards.length) {
      const answer = dealing ? (await dealing, cards.length ? {} : await deal()) : await deal();
      if (answer.problem) return forget(answer.problem);
    }
    if (cards.length) {
      show(cards.shift());
      if (cards.length < HELD - 1 && !dealing) deal();
      return;
    }
    part(".dock").hidden = true;
    part(".stage").innerHTML = '<div class="empty"><p>No pair is left for you. Undo is still <kbd>U</kbd>.</p><p><a href="?tab=review&view=reviewers">See how you did</a>, or press the button after others have voted.</p><p><button data-press="more">Look again</button></p></div>';
  }

  function show(given) {
    card = given;
    part(".stage").innerHTML = card.html;
    part(".dock").hidden = false;
    openPanel("");
    part(".panel").hidden = true;
    part(".toolbar").hidden = false;
    hint("");
    for (const tag of every("[data-tag]")) tag.setAttribute("aria-pressed", "false");
    [zoomed, editNext, step] = [false, false, null];
    moveTo(part(".pair-row.parts") || part(".pair-row"), false);
    if (card.settles) openPanel(card.reveal);
    if (card.settles) part(".toolbar").hidden = false;
    shown = performance.now();
    phase = "reading";
    scrollTo(0, 0);
  }

  function openPanel(html) {
    part(".panel").innerHTML = html;
    part(".panel").hidden = false;
    part(".toolbar").hidden = true;
  }

  function hint(words) {
    part(".hint").textContent = words;
    part(".hint").hidden = !words;
  }

  // -- the step that decides -------------------------------------------------------------------------------------------

  function moveTo(target, chosen) {
    for (const each of every(".pair-row.at")) {
      each.classList.remove("at");
      each.removeAttribute("aria-current");
    }
    row = target;
    step = chosen && row ? Number(row.dataset.step) : null;
    row?.classList.add("at");
    row?.setAttribute("aria-current", "step");
    if (chosen) row?.scrollIntoView({ block: "nearest" });
    part(".because").textContent = step ? `because of step ${step} · Esc: no step` : "";
    part(".because").hidden = !step;
  }

  function move(by) {
    const rows = every(".pair-row");
    const here = rows.indexOf(row);
    // The first press takes the step that the cursor stands on already.
    const to = step === null ? here : here + by;
    if (rows.length) moveTo(rows[Math.max(0, Math.min(rows.length - 1, to))], true);
  }

  // -- deciding --------------------------------------------------------------------------------------------------------

  async function decide(event, choice) {
    if (phase !== "reading" || performance.now() - shown < TOO_SOON) return;
    phase = "saving";
    say("saving …", "wait");
    const tags = every("[data-tag][aria-pressed=true]").map((tag) => tag.dataset.tag);
    const given = {
      pair: card.pair, event, choice, step, tags, zoomed, again: seen.has(card.pair),
      seconds: (performance.now() - shown) / 1000, token: makeToken(),
    };
    const answer = await ask("act", given);
    if (answer.problem) {
      phase = "reading";
      say("not saved", "bad");
      return hint(answer.problem);
    }
    say(event === "skip" ? "Skipped, comes back at the end" : event === "flag" ? "Flagged ✓" : "saved ✓");
    if (event !== "vote") return next();
    seen.add(card.pair);
    reveal(answer);
  }

  function reveal(answer) {
    const question = answer.judge
      ? `<p class="ask"><span>The judge prefers ${answer.judge}.</span><button data-press="1"><kbd>1</kbd> the judge is wrong</button><button data-press="2"><kbd>2</kbd> I was wrong</button><button data-press="3"><kbd>3</kbd> the picture is unclear</button></p>`
      : "";
    openPanel(`${answer.reveal}${question}<p class="after"><button data-press="next">next pair <kbd>any key</kbd></button><button data-press="e"><kbd>E</kbd> rewrite</button><button data-press="u"><kbd>U</kbd> undo</button></p>`);
    phase = answer.judge ? "asked" : "revealed";
    if (editNext) return edit();
    if (phase === "revealed" && !localStorage.getItem(STORED.wait)) timer = setTimeout(next, GO_ON);
  }

  async function reply(choice) {
    phase = "saving";
    const answer = await ask("act", { pair: card.pair, event: "reply", choice, token: makeToken() });
    say(answer.problem || "saved ✓", answer.problem ? "bad" : "");
    next();
  }

  async function undo() {
    if (phase === "saving") return;
    clearTimeout(timer);
    phase = "saving";
    const answer = await ask("take_back", { token: makeToken() });
    if (answer.problem || answer.nothing) {
      say(answer.problem || "nothing is left to take back", "wait");
      phase = card ? "reading" : "idle";
      return;
    }
    if (card && card.pair !== answer.pair && !seen.has(card.pair) && !card.settles) cards.unshift(card);
    cards = cards.filter((each) => each.pair !== answer.pair);
    show(answer);
    say(`taken back: your ${answer.event}`);
  }

  // -- rewriting -------------------------------------------------------------------------------------------------------

  async function edit() {
    clearTimeout(timer);
    const before = phase;
    const answer = await ask("edit", { pair: card.pair });
    if (answer.problem) {
      phase = before;
      say(answer.problem, "wait");
      if (phase === "revealed") timer = setTimeout(next, GO_ON);
      return;
    }
    phase = "editing";
    openPanel(answer.form);
    part(".editor textarea").focus();
  }

  async function saveEdit(form) {
    const titles = [...form.querySelectorAll("[name=title]")].map((field) => field.value);
    const texts = [...form.querySelectorAll("[name=content]")].map((field) => field.value);
    const steps = titles.map((title, place) => [title, texts[place]]);
    const answer = await ask("act", { pair: card.pair, event: "edit", steps, token: makeToken() });
    if (answer.problem) return say(answer.problem, "bad");
    say("Rewritten and saved ✓");
    next();
  }

  // -- keys ------------------------------------------------------------------------------------------------------------

  function legend() {
    clearTimeout(timer);
    const dialog = part("dialog.keys");
    dialog.open ? dialog.close() : dialog.showModal();
  }

  function zoom() {
    const open = document.querySelector("dialog.zoom");
    if (open) return open.close();
    zoomed = true;
    clearTimeout(timer);
    part(".pair .picture")?.click();
  }

  function waitOrNot() {
    const waits = !localStorage.getItem(STORED.wait);
    waits ? localStorage.setItem(STORED.wait, "1") : localStorage.removeItem(STORED.wait);
    clearTimeout(timer);
    say(waits ? "waits for a key after each vote" : "goes on by itself where the judge agrees", "wait");
  }

  function press(key) {
    if (key === "?") return legend();
    if (key === "z") return zoom();
    if (key === "a") return waitOrNot();
    if (key === "more") return next();
    if (key === "u") return undo();
    if (phase === "editing") return key === "Escape" ? next() : undefined;
    if (phase === "asked" && "123".includes(key)) return reply(["judge_wrong", "i_was_wrong", "unclear"][Number(key) - 1]);
    if (phase === "asked" || phase === "revealed") {
      if (key === "e") return edit();
      return "jk".includes(key) ? (clearTimeout(timer), move(key === "j" ? 1 : -1)) : next();
    }
    if (phase !== "reading") return;
    if (key === "j" || key === "k") return move(key === "j" ? 1 : -1);
    if (key === "Escape") return escape();
    const event = card.settles ? "settle" : "vote";
    if (["1", "2", "0", "x"].includes(key)) return decide(event, key);
    if (card.settles) return;
    if (key === "s") return decide("skip");
    if (key === "f") return decide("flag");
    if (key === "e") return [(editNext = true), hint("Press 1 or 2: the response that you prefer, to rewrite it.")];
    const tag = part(`[data-tag][data-press="${CSS.escape(key)}"]`);
    tag?.setAttribute("aria-pressed", tag.getAttribute("aria-pressed") !== "true");
  }

  function escape() {
    editNext = false;
    hint("");
    moveTo(row, false);
  }

  function pressed(event) {
    if (document.body.dataset.page !== "review" || !part(".review") || event.repeat || event.isComposing) return;
    const typing = event.target.matches?.("input, textarea, select, [contenteditable]");
    if (typing) {
      const form = event.target.closest(".editor");
      if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      if (form && event.key === "Escape") press("Escape");
      return;
    }
    const undoing = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (event.altKey || ((event.ctrlKey || event.metaKey) && !undoing)) return;
    if (MODIFIERS.includes(event.key) || SCROLLERS.includes(event.key)) return;
    const key = undoing ? "u" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const open = document.querySelector("dialog[open]");
    if (open && !(key === "z" && open.matches(".zoom")) && !(key === "?" && open.matches(".keys"))) return;
    // A focused button or link is pressed by Enter and Space as everywhere.
    if ((key === "Enter" || key === " ") && event.target.matches?.("button, a, summary")) return;
    if (key === " ") event.preventDefault();
    press(key);
  }

  function clicked(event) {
    const button = event.target.closest("[data-press]");
    if (button) return press(button.dataset.press);
    if (event.target.closest("[data-name]")) return forget("");
    const target = event.target.closest(".pair-row");
    if (target && phase === "reading") moveTo(target, true);
    if (event.target.closest(".picture")) zoomed = true;
  }

  async function submitted(event) {
    if (event.target.matches(".editor, .who")) event.preventDefault();
    if (event.target.matches(".editor")) return saveEdit(event.target);
    if (!event.target.matches(".who")) return;
    const answer = await page.server.enter(event.target.elements.name.value);
    if (!answer?.reviewer) {
      part("form.who .problem").hidden = false;
      part("form.who .problem").textContent = answer?.problem || "The app does not answer. Start it again, then press Begin.";
      return;
    }
    localStorage.setItem(STORED.name, answer.reviewer);
    painted();
  }

  return { start };
})();
