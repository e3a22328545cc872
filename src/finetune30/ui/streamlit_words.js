// Puts the page's words into the places of Streamlit's own that no style reaches: names of buttons, tips, menus of tables.
// No angle bracket stands before a letter here: Streamlit would take the script for one that hides something.
// Handed in: pairs of patterns and words; [] where Streamlit's own language is spoken, which puts its words back.
((pairs) => {
  const NAMED = "button[aria-label], [role=button][aria-label], [role=menuitem][aria-label], input[aria-label]";
  const WRITTEN = [
    "[role=tooltip]", "[data-testid=stFileUploaderDropzoneInstructions]", "[data-testid=stDataFrameColumnMenu]",
    "[data-testid=stDataFrameColumnVisibilityMenu]", "[data-testid=stDataFrameColumnFormattingMenu]", ".vega-actions",
  ].join();
  const before = window.streamlitWords;
  if (before) {
    if (JSON.stringify(before.pairs) === JSON.stringify(pairs)) return;
    before.watch.disconnect();
    for (const [put, own] of before.done) put(own);
  }
  const patterns = pairs.map(([own, ours]) => [new RegExp("^" + own + "(: .*)?$", "s"), ours]);
  const done = new Map();  // what puts a text in place -> what stood there
  const find = (text) => {
    for (const [pattern, ours] of patterns) {
      const found = pattern.exec(text);
      if (found) return ours.replace("{}", found[1] ?? "") + (found.at(-1) ?? "");
    }
    return null;
  };
  const name = (element) => {
    const own = element.getAttribute("aria-label"), ours = own && find(own);
    if (ours) { element.setAttribute("aria-label", ours); keep(element, own, ours); }
  };
  const write = (place) => {
    const walk = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const own = node.nodeValue, ours = find(own);
      if (ours) { node.nodeValue = ours; keep(node, own, ours); }
    }
  };
  const keep = (node, own, ours) => {
    for (const put of done.keys()) if (!put.node.isConnected) done.delete(put);
    const put = (text) => {
      if (node instanceof Text && node.nodeValue === ours) node.nodeValue = text;
      if (node instanceof Element && node.getAttribute("aria-label") === ours) node.setAttribute("aria-label", text);
    };
    put.node = node;
    done.set(put, own);
  };
  const look = (node) => {
    const element = node instanceof Element ? node : node.parentElement;
    if (!element) return;
    if (element.matches(NAMED)) name(element);
    element.querySelectorAll(NAMED).forEach(name);
    const place = element.closest(WRITTEN);
    if (place) write(place); else element.querySelectorAll(WRITTEN).forEach(write);
  };
  const watch = new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "childList") change.addedNodes.forEach(look); else look(change.target);
    }
  });
  window.streamlitWords = { pairs, watch, done };
  if (!pairs.length) return;
  look(document.body);
  const what = { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-label"] };
  watch.observe(document.body, what);
})
