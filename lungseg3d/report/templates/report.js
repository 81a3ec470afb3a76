"use strict";
(() => {
  const cards = [...document.querySelectorAll("article.card")];
  const find = (id) => document.getElementById(id);
  let current = -1;
  const visit = (index) => {
    if (!cards.length) return;
    current = Math.min(Math.max(index, 0), cards.length - 1);
    cards[current].focus({ preventScroll: true });
    cards[current].scrollIntoView({ block: "start" });
  };
  const follow = (element) => {
    const index = cards.findIndex((card) => element && card.contains(element));
    if (index >= 0) current = index;
  };
  const turn = (id) => { const box = find(id); if (box) box.checked = !box.checked; };
  const lay = (name) => {
    const choice = find("overlay-" + name), none = find("overlay-none");
    if (choice) (choice.checked ? none : choice).checked = true;
  };
  const keys = {
    j: () => visit(current + 1), ArrowRight: () => visit(current + 1),
    k: () => visit(current - 1), ArrowLeft: () => visit(current - 1),
    o: () => turn("show-outline"), u: () => lay("uncertainty"), e: () => lay("explanation"),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, [contenteditable], .scroll");
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    if (typing && event.key.startsWith("Arrow")) return;
    keys[event.key]();
    event.preventDefault();
  });
  document.addEventListener("focusin", (event) => follow(event.target));
  addEventListener("hashchange", () => follow(document.querySelector(":target")));
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    if (find(id)) find(id).addEventListener("click", () => visit(current + step));
  }
  for (const element of document.querySelectorAll("[data-scripted]")) element.hidden = false;
})();
