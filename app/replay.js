// Replay: a saved chat is played as it was said, from the times that came with it. Nothing is asked of the server.
(() => {
  const TICK = 40; // milliseconds
  const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let playing = null;

  // "painted" does not bubble, so it is caught on its way down.
  document.addEventListener("painted", (event) => opened(event.target), true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-play], [data-halt]");
    if (!button) return;
    if (button.dataset.halt !== undefined) end("Stopped.", false);
    else if (playing) hold(!playing.held);
    else play(button.closest(".recording"));
  });
  document.addEventListener("change", (event) => {
    if (playing && event.target.matches("[data-speed]") && !speed(playing.bar)) end("Played to the end.", true);
  });

  const speed = (bar) => Number(bar.querySelector("[data-speed]").value);

  // A chat that is opened was recorded; one that was just asked was not, until it is played.
  function opened(view) {
    const bar = view.querySelector("#turn .recording");
    if (!bar) return;
    bar.querySelector(".recorded").hidden = false;
    if (!bar.dataset.recording || !new URLSearchParams(location.search).has("replay")) return;
    play(bar);
    const reach = () => playing?.bar === bar && bar.getBoundingClientRect().bottom > innerHeight && bar.closest(".turn").scrollIntoView();
    // The page scrolls to its beginning right after it is painted, and pictures above push the chat down once they are there.
    setTimeout(reach);
    for (const picture of view.querySelectorAll(".drop img, .examples img")) picture.addEventListener("load", reach, { once: true });
  }

  function play(bar) {
    if (playing) end("Stopped.", false);
    const turn = bar.closest(".turn");
    const saved = [...turn.children].filter((each) => !each.matches(".asked-head, .recording"));
    const recording = JSON.parse(bar.dataset.recording);
    playing = { bar, turn, saved, recording, time: 0, held: false, last: performance.now(), ...setStage(saved, recording) };
    for (const each of saved) each.hidden = true;
    turn.append(playing.stage);
    bar.querySelector(".recorded").hidden = false;
    bar.querySelector("[data-halt]").hidden = false;
    bar.classList.add("plays");
    address(true);
    hold(false);
    draw();
    playing.timer = setInterval(tick, TICK);
    if (!speed(bar)) end("Played to the end.", true);
  }

  function hold(held) {
    playing.held = held;
    playing.bar.querySelector("[data-play]").textContent = held ? "Go on" : "Pause";
    say(playing.bar, held ? "Paused." : "The recording plays.");
  }

  // The saved chat takes the place of what was played.
  function end(words, whole) {
    const { bar, stage, saved, recording, timer } = playing;
    clearInterval(timer);
    playing = null;
    stage.remove();
    for (const each of saved) each.hidden = false;
    const halt = bar.querySelector("[data-halt]");
    const again = bar.querySelector("[data-play]");
    if (document.activeElement === halt) again.focus();
    halt.hidden = true;
    again.textContent = whole ? "Play again" : "Play";
    bar.classList.remove("plays");
    bar.querySelector(".clock").textContent = seconds(recording.length);
    if (!whole) address(false);
    say(bar, words);
  }

  function tick() {
    const now = performance.now();
    const passed = (now - playing.last) / 1000;
    playing.last = now;
    // Another chat was opened or a question asked: what was played is gone from the page.
    if (!playing.stage.isConnected) {
      clearInterval(playing.timer);
      playing = null;
      return;
    }
    if (playing.held || document.hidden || document.body.dataset.page !== "chat") return;
    playing.time += passed * speed(playing.bar);
    playing.time < playing.recording.length ? draw() : end("Played to the end.", true);
  }

  const say = (bar, words) => (bar.querySelector("[role=status]").textContent = words);
  const seconds = (time) => `${time.toFixed(1)} s`;

  // The address that plays the chat is in the bar of the browser while it plays, to be kept.
  function address(replay) {
    const query = new URLSearchParams(location.search);
    if (query.get("tab") !== "chat" || query.get("chat") !== playingChat()) return;
    replay ? query.set("replay", "1") : query.delete("replay");
    history.replaceState(history.state, "", `?${query}`);
  }

  const playingChat = () => document.querySelector("#turn .turn")?.dataset.chat;

  // -- what is drawn -------------------------------------------------------------------------------------------------

  // A copy of what is saved, without tools and edits, whose parts come to be seen one after the other.
  function setStage(saved, recording) {
    const stage = document.createElement("div");
    stage.className = "stage-of-replay";
    stage.append(...saved.map((each) => each.cloneNode(true)));
    for (const tool of stage.querySelectorAll("[data-edit], .again, .step-tools .label")) tool.remove();
    const [summary, again] = stage.querySelectorAll(".summary");
    if (again) summary.parentElement.replaceWith(summary);
    const lines = [...stage.querySelectorAll(".agent .steps > .step")].slice(0, recording.steps.length);
    const steps = lines.map((line, place) => makeStep(line, recording.steps[place]));
    const agent = stage.querySelector(".agent:not(.base, .summary)");
    const broken = [...agent.querySelectorAll(":scope > p")];
    const rest = [...stage.children].filter((each) => !each.matches(".agents, .summary"));
    return {
      stage, steps, broken, rest, summary,
      writing: wait(agent, "writes …"),
      told: summary && answer(summary, "reads the chain …"),
      base: recording.base === null ? null : answer(stage.querySelector(".base"), "waits for its turn …"),
    };
  }

  function makeStep(line, step) {
    line.classList.remove("edited");
    const text = line.querySelector(".step-text > :last-child");
    const content = document.createElement("p");
    text.replaceWith(content);
    return {
      line, step, content, title: line.querySelector(".step-title"), mark: line.querySelector(".mark"),
      cost: line.querySelector(".sure"), titleLetters: [...step.title], contentLetters: [...step.content],
    };
  }

  function answer(agent, words) {
    const said = [...agent.children].filter((each) => !each.matches("h2"));
    return { said, waiting: wait(agent, words) };
  }

  function wait(agent, words) {
    const line = document.createElement("p");
    line.className = "soft waiting";
    line.textContent = words;
    agent.append(line);
    return line;
  }

  // How the chat looked at that time: the same for the same time, however it was reached.
  function draw() {
    const { recording, time, steps, broken, rest, summary, told, base, writing, bar } = playing;
    const whole = still();
    for (const each of steps) drawStep(each, time, whole);
    writing.hidden = !whole || time >= recording.thought;
    for (const each of broken) each.hidden = time < recording.thought;
    for (const each of rest) each.hidden = true;
    if (summary) summary.hidden = time < recording.thought;
    if (told) drawAnswer(told, time >= recording.summary);
    if (base) drawAnswer(base, time >= recording.base);
    const tokens = recording.spent.length ? ` · ${spentBy(time)} of ${recording.spent.at(-1)[1]} tokens` : "";
    bar.querySelector(".clock").textContent = `${time.toFixed(1)} of ${seconds(recording.length)}${tokens}`;
  }

  function drawStep({ line, step, title, content, mark, cost, titleLetters, contentLetters }, time, whole) {
    const done = time >= step.ends;
    line.hidden = whole ? !done : time < step.begins;
    if (line.hidden) return;
    const share = done ? 1 : (time - step.begins) / (step.ends - step.begins);
    const letters = Math.floor(share * (titleLetters.length + contentLetters.length));
    title.textContent = titleLetters.slice(0, letters).join("");
    content.textContent = contentLetters.slice(0, Math.max(0, letters - titleLetters.length)).join("");
    const over = done && step.whole;
    line.classList.toggle("writing", !over);
    mark.textContent = over ? "·" : "…";
    if (cost) cost.hidden = !over;
  }

  function drawAnswer({ said, waiting }, done) {
    for (const each of said) each.hidden = !done;
    waiting.hidden = done;
  }

  // Tokens between two times that are known are spread evenly.
  function spentBy(time) {
    const { spent } = playing.recording;
    const next = spent.findIndex(([until]) => until > time);
    if (next < 0) return spent.at(-1)[1];
    const [[begins, before], [ends, after]] = [spent[next - 1], spent[next]];
    return Math.round(before + ((after - before) * (time - begins)) / (ends - begins));
  }
})();
