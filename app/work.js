// Runs, Results, Export: what they show is shown anew while something runs, and a slider prices margins.
(() => {
  const REACHED = "a, button, summary, [tabindex]";
  let waiting;

  // "painted" does not bubble, so it is caught on its way down.
  document.addEventListener("painted", (event) => refreshLater(event.target), true);

  // The slider of a margin shows the line that prices it.
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-prices]")) return;
    for (const line of event.target.closest(".price").querySelectorAll("[data-price]")) {
      line.hidden = line.dataset.price !== event.target.value;
    }
  });

  function refreshLater(view) {
    clearTimeout(waiting);
    const seconds = view.querySelector("[data-refresh]")?.dataset.refresh;
    if (seconds) waiting = setTimeout(() => refresh(view), 1000 * seconds);
  }

  async function refresh(view) {
    const page = [...insightv.pages.values()].find((each) => each.view === view);
    const search = location.search;
    if (document.body.dataset.page !== page.name) return;
    if (document.hidden || view.contains(document.getSelection()?.anchorNode) && !document.getSelection().isCollapsed) {
      refreshLater(view);
      return;
    }
    const html = await page.server.show(search).catch(() => null);
    if (typeof html !== "string") return refreshLater(view);
    if (location.search !== search) return;
    const folds = [...view.querySelectorAll("details")].map((each) => each.open);
    const reached = [...view.querySelectorAll(REACHED)].indexOf(document.activeElement);
    insightv.paint(page, html);
    view.querySelectorAll("details").forEach((each, place) => (each.open = folds[place] ?? each.open));
    if (reached >= 0) view.querySelectorAll(REACHED)[reached]?.focus({ preventScroll: true });
  }
})();
