// The pages of the app: which one the address names, links without reloading, and what buttons do.
window.insightv = (() => {
  const pages = new Map();
  const starting = [];
  const RANKS = ["viewer", "reviewer", "admin"];
  const LOST = "The app does not answer. Start it again with insightv app, then reload this page.";
  let asked = 0;
  let me = { name: "", role: "admin" };

  const pageOf = (search) => {
    const name = new URLSearchParams(search).get("tab") || "overview";
    return pages.has(name) ? name : "overview";
  };
  const narrow = () => window.matchMedia("(max-width: 760px)").matches;

  // -- pages ---------------------------------------------------------------------------------------------------------

  function add(name, server, trigger, roles, events = []) {
    // Beside Gradio's element, not inside: Gradio may draw that again, and would wipe what was painted.
    const column = document.getElementById(`page-${name}`);
    const view = column.querySelector(":scope > .view") || column.appendChild(document.createElement("main"));
    view.className = "view";
    view.tabIndex = -1;
    const page = { name, server, trigger, roles, view, shown: null, keeps: events.includes("ask") };
    pages.set(name, page);
    for (const ready of starting.splice(0)) ready();
    return page;
  }

  async function start(server) {
    history.scrollRestoration = "manual";
    document.addEventListener("click", followClick);
    document.addEventListener("submit", followForm);
    document.addEventListener("change", (event) => event.target.matches("select[name=sort], form[data-soon] *") && sendForm(event.target.form));
    document.addEventListener("input", searchSoon);
    window.addEventListener("popstate", (event) => route(event.state?.y ?? 0));
    const begin = () => (pages.size >= document.querySelectorAll(".top [data-page]").length ? route(0) : starting.push(begin));
    await greet(server);
    begin();
  }

  // -- who is at work ------------------------------------------------------------------------------------------------

  async function greet(server) {
    const found = await server.who("").catch(() => null);
    if (found?.role) me = found;
    document.body.dataset.role = me.role;
    const form = document.querySelector(".top .account");
    form.hidden = !me.name;
    form.querySelector("span").textContent = `${me.name}, ${me.role}`;
  }

  // What a role may not do is refused by the server; here it is shown before anybody tries.
  function withhold(page) {
    for (const button of page.view.querySelectorAll("[data-action], [data-needs]")) {
      const role = page.roles[button.dataset.action ?? button.dataset.needs];
      if (!role || RANKS.indexOf(me.role) >= RANKS.indexOf(role)) continue;
      button.disabled = true;
      const reason = document.createElement("span");
      reason.className = "refused";
      reason.textContent = `needs the role ${role}; you are ${me.role}`;
      (button.closest(".buttons") ?? button).after(" ", reason);
    }
  }

  // What a handler returns as HTML; where the login is over, the way back leads through it.
  async function fetchHtml(page, name, given) {
    const html = await page.server[name](given).catch(() => null);
    if (typeof html === "string") return html;
    const state = await fetch("login", { redirect: "manual" }).catch(() => null);
    if (me.name && state?.ok) location.assign(`login${location.search}`);
    return `<p class="problem" role="alert">${LOST}</p>`;
  }

  async function route(y) {
    const number = ++asked;
    const name = pageOf(location.search);
    const page = pages.get(name);
    document.body.dataset.page = name;
    for (const link of document.querySelectorAll(".top [data-page]")) {
      link.dataset.page === name ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    if (page.keeps && page.shown !== null && !leavesChat()) return;
    document.body.classList.add("loading");
    const html = await fetchHtml(page, "show", location.search);
    if (number !== asked) return;
    document.body.classList.remove("loading");
    paint(page, html);
    scrollTo(0, y);
    if (location.search.includes("compare=")) document.getElementById("parting")?.scrollIntoView({ block: "center" });
  }

  function paint(page, html) {
    const active = page.view.contains(document.activeElement) ? document.activeElement : null;
    const typing = active?.matches("input[type=search]") ? { id: active.id, value: active.value, at: active.selectionStart } : null;
    page.view.innerHTML = html;
    page.shown = location.search;
    if (narrow()) page.view.querySelector("details.filters")?.removeAttribute("open");
    if (typing) {
      const field = document.getElementById(typing.id);
      field.value = typing.value;
      field.focus({ preventScroll: true });
      field.setSelectionRange(typing.at, typing.at);
    }
    rememberNeighbours(page.view);
    if (page.keeps) openedChat();
    withhold(page);
    const next = page.view.querySelector("[data-go]")?.dataset.go;
    if (next) go(next, true);
    page.view.dispatchEvent(new CustomEvent("painted"));
  }

  function go(search, replace = false) {
    history.replaceState({ y: scrollY }, "");
    replace ? history.replaceState({ y: 0 }, "", search) : history.pushState({ y: 0 }, "", search);
    return route(replace ? scrollY : 0);
  }

  // -- the questions before and after an opened one, as the grid listed them -----------------------------------------

  function rememberNeighbours(view) {
    const cards = [...view.querySelectorAll("[data-question]")].map((card) => card.getAttribute("href"));
    if (cards.length) sessionStorage.setItem("insightv-listed", JSON.stringify(cards));
    const idOf = (search) => new URLSearchParams(search).get("question");
    const listed = JSON.parse(sessionStorage.getItem("insightv-listed") || "[]");
    const here = listed.findIndex((href) => idOf(href) === idOf(location.search));
    for (const link of view.querySelectorAll("[data-neighbour]")) {
      const href = here < 0 ? undefined : listed[here + Number(link.dataset.neighbour)];
      if (href) [link.href, link.hidden] = [href, false];
    }
  }

  // -- links, forms, buttons -----------------------------------------------------------------------------------------

  function followClick(event) {
    if (event.target.closest(".skip")) {
      event.preventDefault();
      pages.get(pageOf(location.search)).view.focus();
      return;
    }
    const link = event.target.closest("a[href^='?']");
    if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      go(link.getAttribute("href"));
      return;
    }
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.zoom) zoom(button.dataset.zoom, button.querySelector("img")?.alt);
    if (button.dataset.copy !== undefined) copy(button, button.dataset.copy);
    if (button.dataset.copyAddress !== undefined) copy(button, location.href);
    if (button.dataset.action) act(button);
  }

  function followForm(event) {
    if (!event.target.matches("form[data-query]")) return;
    event.preventDefault();
    sendForm(event.target);
  }

  let later;
  function searchSoon(event) {
    if (!event.target.matches("form[data-query] input[type=search]")) return;
    clearTimeout(later);
    const form = event.target.form;
    later = setTimeout(() => form.isConnected && sendForm(form), 250);
  }

  function sendForm(form) {
    clearTimeout(later);
    const query = new URLSearchParams(location.search);
    const before = query.toString();
    for (const [name, value] of new FormData(form)) {
      const standard = value === "" || (name === "sort" && value === "score");
      standard ? query.delete(name) : query.set(name, value);
    }
    if (query.toString() === before) return;
    query.delete("after");
    go(`?${query}`);
  }

  async function copy(button, text) {
    const name = button.dataset.name ?? (button.dataset.name = button.textContent);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "not allowed by the browser";
    }
    setTimeout(() => (button.textContent = name), 1500);
  }

  async function act(button) {
    const page = pages.get(pageOf(location.search));
    button.disabled = true;
    button.textContent = button.dataset.busy || button.textContent;
    paint(page, await fetchHtml(page, button.dataset.action, location.search));
  }

  function zoom(address, description) {
    const dialog = document.createElement("dialog");
    dialog.className = "zoom";
    const picture = document.createElement("img");
    picture.src = address;
    picture.alt = description || "";
    const close = document.createElement("button");
    close.textContent = "Close";
    dialog.append(picture, close);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  // -- chat ----------------------------------------------------------------------------------------------------------

  const chat = { picture: "", busy: false, left: false };
  const chatPage = () => pages.get("chat");
  const part = (selector) => chatPage().view.querySelector(selector);

  document.addEventListener("submit", (event) => event.target.matches("form.ask") && (event.preventDefault(), ask()));
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".chat button");
    if (!button) return;
    if (button.dataset.example) takeExample(button);
    if (button.dataset.stop !== undefined) chatPage().trigger("stop", {});
    if (button.dataset.edit !== undefined) editStep(button);
    if (button.dataset.judge !== undefined) judgeAgain();
    if (button.dataset.forget) listChats(chatPage().server.forget(button.dataset.forget));
    if (button.dataset.restore) listChats(chatPage().server.restore(button.dataset.restore));
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.id === "asked" && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      ask();
    }
  });
  document.addEventListener("change", (event) => event.target.matches(".chat .drop input") && upload(event.target.files[0]));
  document.addEventListener("dragover", (event) => event.target.closest?.(".chat") && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!event.target.closest(".chat")) return;
    event.preventDefault();
    upload(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file && document.body.dataset.page === "chat") upload(file);
  });

  function showPicture(address, note = "") {
    const image = part(".drop img");
    image.src = address;
    image.hidden = !address;
    part(".drop span").hidden = !!address;
    part(".upload-note").textContent = note;
  }

  async function upload(file) {
    if (!file) return;
    part(".upload-note").textContent = "reading the picture …";
    const address = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => resolve("");
      reader.readAsDataURL(file);
    });
    let answer;
    try {
      answer = await chatPage().server.upload(address);
    } catch {
      answer = { problem: "The app did not take the picture: save it smaller, then choose it again." };
    }
    if (answer.problem) {
      part(".upload-note").textContent = answer.problem;
      return;
    }
    chat.picture = answer.picture;
    showPicture(answer.preview, answer.note);
  }

  function takeExample(button) {
    chat.picture = button.dataset.example;
    showPicture(button.dataset.source);
    part("#asked").value = button.dataset.text;
    part("#asked").focus();
  }

  function ask() {
    if (chat.busy) return;
    begin('<p class="soft waiting">waits for the model …</p>');
    chatPage().trigger("ask", { question: part("#asked").value, picture: chat.picture });
  }

  function begin(html) {
    [chat.busy, chat.left] = [true, false];
    part("[data-stop]").disabled = false;
    part("form.ask .main").disabled = true;
    if (html) part("#turn").innerHTML = html;
    if (html && narrow()) part("#turn").scrollIntoView();
  }

  function paintTurn(html) {
    if (!html || chat.left || !chatPage()?.view.querySelector("#turn")) return;
    part("#turn").innerHTML = html;
    const phase = part("#turn .turn")?.dataset.phase;
    chat.busy = !(phase === undefined || ["done", "stopped", "failed"].includes(phase));
    part("[data-stop]").disabled = !chat.busy;
    part("form.ask .main").disabled = chat.busy;
    if (!chat.busy) savedChat();
  }

  // -- earlier chats -------------------------------------------------------------------------------------------------

  const shownChat = () => part("#turn .turn")?.dataset.chat;

  // Another chat is asked for than the one on the page: what is being said is stopped, and no longer shown.
  function leavesChat() {
    const wanted = new URLSearchParams(location.search).get("chat");
    if (!wanted || wanted === shownChat()) return false;
    if (chat.busy) chatPage().trigger("stop", {});
    [chat.busy, chat.left] = [false, true];
    return true;
  }

  function openedChat() {
    const turn = part("#turn .turn");
    if (!turn) return;
    chat.picture = `chat-${turn.dataset.chat}`;
    showPicture(turn.dataset.source);
    part("#asked").value = part("#turn .asked").textContent;
  }

  function savedChat() {
    if (!shownChat()) return;
    if (document.body.dataset.page === "chat") history.replaceState(history.state, "", `?tab=chat&chat=${shownChat()}`);
    listChats(chatPage().server.history(location.search));
  }

  async function listChats(html) {
    part(".history").innerHTML = await html;
  }

  function editStep(button) {
    const text = button.closest(".step").querySelector("p");
    const field = document.createElement("textarea");
    field.value = text.textContent;
    field.rows = Math.max(2, Math.ceil(text.textContent.length / 60));
    field.setAttribute("aria-label", button.getAttribute("aria-label"));
    text.replaceWith(field);
    button.remove();
    part(".again").hidden = false;
    field.focus();
  }

  function judgeAgain() {
    const steps = [...chatPage().view.querySelectorAll("#turn .agents .steps .step-text")];
    const contents = steps.map((step) => step.querySelector("textarea")?.value ?? step.querySelector("p").textContent);
    begin();
    part("[data-judge]").disabled = true;
    chatPage().trigger("judge", { steps: contents, chat: shownChat() });
  }

  return { add, start, go, paint, paintTurn, pages, me: () => me };
})();
